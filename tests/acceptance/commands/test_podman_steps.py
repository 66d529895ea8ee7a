"""A step whose image the catalogue does not map runs in podman, its files staged as any other's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import boxes
from tests.acceptance.commands.conftest import LIMIT_SECONDS
from tests.acceptance.conftest import ANY_PORTS

pytestmark = pytest.mark.slow
if boxes.missing():
    pytest.skip(boxes.missing(), allow_module_level=True)

WRITE = 'mkdir -p "$(dirname "$1")" "$(dirname "$2")"; printf "%s and %s" "$0" "$FROM_IMAGE" > "$1"; echo data > "$2"'
READ = 'mkdir -p "$(dirname "$1")"; tr a-z A-Z < "$0" > "$1"'


def _executor(script: str, *arguments: str) -> dict[str, Any]:
    return {"container": {"image": boxes.IMAGE, "command": ["sh", "-c", script], "args": list(arguments)}}


def _pipeline() -> dict[str, Any]:
    artifact = {"artifactType": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"}}
    text = {"parameterType": "STRING"}
    return {
        "schemaVersion": "2.1.0", "sdkVersion": "kfp-2.17.0", "pipelineInfo": {"name": "boxed"},
        "deploymentSpec": {"executors": {
            "exec-write": _executor(WRITE, "{{$.inputs.parameters['word']}}",
                                    "{{$.outputs.parameters['said'].output_file}}",
                                    "{{$.outputs.artifacts['data'].path}}"),
            "exec-read": _executor(READ, "{{$.inputs.artifacts['data'].path}}",
                                   "{{$.outputs.parameters['loud'].output_file}}")}},
        "components": {
            "comp-write": {"executorLabel": "exec-write", "inputDefinitions": {"parameters": {"word": text}},
                           "outputDefinitions": {"parameters": {"said": text}, "artifacts": {"data": artifact}}},
            "comp-read": {"executorLabel": "exec-read", "inputDefinitions": {"artifacts": {"data": artifact}},
                          "outputDefinitions": {"parameters": {"loud": text}}}},
        "root": {"dag": {"tasks": {
            "write": {"componentRef": {"name": "comp-write"}, "taskInfo": {"name": "write"},
                      "inputs": {"parameters": {"word": {"runtimeValue": {"constant": "one"}}}}},
            "read": {"componentRef": {"name": "comp-read"}, "taskInfo": {"name": "read"}, "dependentTasks": ["write"],
                     "inputs": {"artifacts": {"data": {"taskOutputArtifact": {
                         "producerTask": "write", "outputArtifactKey": "data"}}}}}}}}}


def _lightship(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "lightship", *words], capture_output=True, text=True,
                          timeout=LIMIT_SECONDS, env=environment, check=False)


def test_steps_run_in_containers_of_their_image(tmp_path: Path) -> None:
    file = tmp_path / "boxed.json"
    file.write_text(json.dumps(_pipeline()))
    try:
        with boxes.storage(tmp_path) as configuration:
            environment = os.environ | {boxes.VARIABLE: str(configuration),
                                        "LIGHTSHIP_DATA_DIR": str(tmp_path / "data")}
            started = _lightship(environment, "up", "--detach", "--containers", "podman", *ANY_PORTS)
            assert started.returncode == 0, started.stderr
            try:
                done = _lightship(environment, "run", str(file), "--follow", "-o", "json")
            finally:
                _lightship(environment, "down")
    except boxes.NoImage as error:
        pytest.skip(str(error))

    assert done.returncode == 0, done.stdout + done.stderr
    outputs = {task["name"]: [each["value"] for each in task["outputs"]["parameters"]]
               for task in json.loads(done.stdout)["tasks"] if task["type"] == "RUNTIME"}
    assert outputs == {"write": ["one and yes"], "read": ["DATA\n"]}
