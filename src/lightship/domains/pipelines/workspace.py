"""A run's workspace: one volume for all its steps, mounted where they ask for it. Pure.

``children`` mounts it into the Pods that need it, ``reconciler`` makes its claim before the first of them, and
``afterwards`` deletes it: when the run succeeded, or with the run's Pods. An artifact that an importer downloads lies
in the workspace; KFP marks it by ``IN_WORKSPACE`` in its metadata, and its path in a step is in the workspace then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.domains.pipelines import ir, names
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.nodes import Node
from lightship.domains.pipelines.placeholders import IN_WORKSPACE, WORKSPACE_PATH
from lightship.kube import objects
from lightship.kube.objects import Object

VOLUME = "kfp-workspace"
ARTIFACTS = f"{WORKSPACE_PATH}/.artifacts"
_DEFAULT_ACCESS = ["ReadWriteOnce"]


def needed_by(node: Node) -> bool:
    """Whether the step names the workspace in a parameter, or takes an artifact that lies there."""
    return _named_in(list(node.parameters.values())) or any(
        one.metadata.get(IN_WORKSPACE) is True for listed in node.artifacts.values() for one in listed)


def _named_in(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_named_in(item) for item in value.values())
    if isinstance(value, list):
        return any(_named_in(item) for item in value)
    return isinstance(value, str) and WORKSPACE_PATH in value


def mount(pod: Object, main: Object, run_id: str) -> None:
    """Give the Pod the run's volume, and ``main`` the mount. Raises ``StepError`` where something else is there."""
    for other in main["volumeMounts"]:
        path = str(other["mountPath"]).rstrip("/")
        if path == WORKSPACE_PATH or path.startswith(f"{WORKSPACE_PATH}/") or other["name"] == VOLUME:
            raise StepError(f'the volume at "{path}" is where the run\'s workspace lies',
                            remedy=f"Mount it at a path that is not in {WORKSPACE_PATH}")
    pod["spec"]["volumes"] = [*pod["spec"]["volumes"], {
        "name": VOLUME, "persistentVolumeClaim": {"claimName": names.workspace(run_id)}}]
    main["volumeMounts"] = [*main["volumeMounts"], {"name": VOLUME, "mountPath": WORKSPACE_PATH}]


def mounted_in(pod: Object, run_id: str) -> bool:
    claims = ((volume.get("persistentVolumeClaim") or {}).get("claimName")
              for volume in objects.spec(pod).get("volumes") or ())
    return names.workspace(run_id) in claims


def make_claim(pipeline: ir.Pipeline, run_id: str, namespace: str) -> Object:
    """The claim: of the size that the pipeline asks for, patched as it says. Raises ``StepError``."""
    wanted = pipeline.workspace
    if wanted is None:
        raise StepError("the step uses the run's workspace, and the pipeline declares none",
                        remedy="Give the pipeline a dsl.PipelineConfig with a workspace, and compile it again")
    patch = dict(wanted.claim)
    resources = patch.pop("resources", None) or {}
    requests = {**(resources.get("requests") or {}), "storage": wanted.size}
    return {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": names.workspace(run_id), "namespace": namespace, "labels": {names.RUN_LABEL: run_id}},
        "spec": {"accessModes": _DEFAULT_ACCESS, **patch, "resources": {**resources, "requests": requests}},
    }
