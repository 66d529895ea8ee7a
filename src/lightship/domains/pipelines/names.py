"""Labels, annotations, reasons and the names of what a run makes. Pure; everyone in this room calls me."""

from __future__ import annotations

import hashlib
import re
import uuid

DEFAULT_ACCOUNT = "default-editor"
"""As whom steps run where the run names nobody: Kubeflow's account of the namespace."""
RUN_LABEL = "pipeline/runid"
COMPONENT_LABEL = "pipelines.kubeflow.org/v2_component"
TASK_LABEL = "lightship.dev/task-id"
PATH_ANNOTATION = "lightship.dev/task-path"
ATTEMPT_ANNOTATION = "lightship.dev/attempt"
FOLDER_ANNOTATION = "lightship.dev/run-folder"
TTL_ANNOTATION = "lightship.dev/ttl-seconds"
"""How long the Pod stays once its run has ended, by how it ended: ``success=1,failure=2,completion=3``."""
FINALIZER = "lightship.dev/outcome"

STAGE_IN = "stage-in"
MAIN = "main"
STAGE_OUT = "stage-out"

LAUNCHER_IMAGE = "lightship.dev/launcher:v1"
STAGING_ENV = "LIGHTSHIP_STAGING"
ARTIFACTS_ENV = "LIGHTSHIP_ARTIFACTS"

NODE_RESTARTED = "NodeRestarted"
"""The reason of a Pod that ran when its node's server was killed: nothing the step did, so no retry is used up."""

ROOT = "root"
COMMIT_FILE = "commit.json"
OUTPUT_FILE = "executor_output.json"
SCRATCH = "/tmp"
"""What main shares with the stagers: an artifact's ``custom_path`` may be anywhere below."""
OUTPUTS_DIRECTORY = "/tmp/kfp"
DEBUG_FOLDER = "/tmp/step"
"""Where a step that is held for a shell has what there is to run."""
LOGS_FOLDER = ".logs"
"""Beside a run's tasks, none of which can have this name: the logs of its Pods."""

_NOT_A_NAME = re.compile(r"[^a-z0-9]+")
_NOT_A_SEGMENT = re.compile(r"[^A-Za-z0-9._-]+")


def task_id(run_id: str, path: str) -> str:
    """The task's id: the same for the same path of the same run, so that a crash cannot make a second one."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lightship:task:{run_id}:{path}"))


def attempt_id(task: str, generation: int, attempt: int) -> str:
    """What separates the files of one attempt from those of any other."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lightship:attempt:{task}:{generation}:{attempt}"))


def artifact_id(uri: str, owner: str) -> str:
    """An artifact's id from its place and from the task (or namespace, for imported ones) that it belongs to."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"lightship:artifact:{owner}:{uri}"))


def pod(run_id: str, task_name: str, attempt: str) -> str:
    """A Pod's name: readable, valid (at most 63 characters), and one for each attempt."""
    stem = _NOT_A_NAME.sub("-", task_name.lower()).strip("-")[:40].strip("-") or "step"
    digest = hashlib.sha256(f"{run_id}/{attempt}".encode()).hexdigest()
    return f"{stem}-{digest[:12]}"


def label_value(text: str) -> str:
    """``text`` as a label's value: at most 63 characters of those that labels allow."""
    return _NOT_A_SEGMENT.sub("-", text)[:63].strip("-_.")


def segment(text: str) -> str:
    """``text`` as one segment of an artifact's key: never empty, never ``.`` or ``..``, no separators."""
    return _NOT_A_SEGMENT.sub("-", text).strip(".") or "_"


def child(parent: str, name: str) -> str:
    return f"{parent}/{name}"


def iteration(loop: str, index: int) -> str:
    return f"{loop}[{index}]"


def volume(name: str) -> str:
    """A volume's name: a DNS label, made distinct by a digest where ``name`` is none."""
    plain = _NOT_A_NAME.sub("-", name.lower()).strip("-")
    if plain == name and len(plain) <= 63:
        return plain
    return f"{plain[:50].strip('-')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def workspace(run_id: str) -> str:
    """The claim of a run's workspace."""
    return claim(f"{run_id}-kfp-workspace")


def claim(name: str) -> str:
    """A volume claim's name: a DNS subdomain of at most 253 characters."""
    return re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")[:253] or "claim"
