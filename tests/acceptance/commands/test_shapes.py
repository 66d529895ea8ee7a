"""Every shape of component that the SDK compiles runs, in an environment of its own, with its right output."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.commands.conftest import LIMIT_SECONDS
from tests.acceptance.conftest import Platform
from tests.sdks import sdk_python

FILE = Path(__file__).with_name("shapes_to_run.py")
pytestmark = pytest.mark.sdk


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "note.txt").write_text("a note")

    def cell(name: str, source: str, *tags: str) -> dict[str, object]:
        return {"cell_type": "code", "execution_count": None, "id": name, "metadata": {"tags": list(tags)},
                "outputs": [], "source": [source]}

    (tmp_path / "note.ipynb").write_text(json.dumps({
        "cells": [cell("a", "number = 1", "parameters"), cell("b", "open('/tmp/number', 'w').write(str(number * 2))")],
        "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
        "nbformat": 4, "nbformat_minor": 5}))
    return tmp_path


def _run(platform: Platform, name: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lightship", "run", f"{FILE}:{name}", "--python", str(sdk_python("kfp==2.17.0")),
               "--data-dir", str(platform.data_dir), "-o", "json", "--follow"]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * LIMIT_SECONDS, check=False,
                          env=os.environ | {"SHAPES_FOLDER": str(folder)})


def test_each_shape_gives_its_output(platform: Platform, folder: Path) -> None:
    done = _run(platform, "shapes", folder)

    assert done.returncode == 0, done.stdout + done.stderr
    found = {task["name"]: [each["value"] for each in task["outputs"]["parameters"]]
             for task in json.loads(done.stdout)["tasks"] if task["type"] == "RUNTIME"}
    assert found == {
        "with-package": ["1.17.0"], "with-venv": ["1.17.0"], "with-helper": [42], "with-file": ["a note"],
        "with-notebook": ["10"], "with-shell": ["hi from Linux"], "with-perl": ["LOUD"]}


def test_a_package_that_is_not_there_fails_the_step_with_the_resolvers_words(platform: Platform, folder: Path) -> None:
    done = _run(platform, "wrong", folder)

    assert done.returncode == 1
    assert "lightship-has-no-such-package" in done.stderr
    assert "Check the requirement's name" in done.stderr
