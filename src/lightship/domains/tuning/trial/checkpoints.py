"""Checkpoints that Trials hand on to each other, as in population based training. Pure.

Each Trial of such an Experiment has a folder of the Experiment's volume at ``suggestion_trial_dir``; one with a parent
begins with a copy of the parent's, which an init container makes. Upstream copies in the algorithm's own Pod. The
Experiment's reconciler makes the claim, ``children.make_run`` asks me for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.domains.tuning import names
from lightship.kube import objects
from lightship.kube.objects import Object

IMAGE = "busybox:1.37"
_FOLDERS = "/checkpoints"
# A copy is whole or not there; one that a Trial has gone on from is not copied again when its Pod is made anew.
_COPY = ('cd "$0" && { rmdir "$2" 2>/dev/null || true; } && if [ ! -d "$2" ]; then rm -rf ".$2.part"; '
         'if [ -d "$1" ]; then cp -a "$1" ".$2.part"; else mkdir ".$2.part"; fi && mv ".$2.part" "$2"; fi')
VOLUME_SIZE = "1Gi"


def where(experiment: Object) -> dict[str, str]:
    """What a Trial keeps of where its checkpoints are; nothing where there are none."""
    algorithm = objects.spec(experiment).get("algorithm") or {}
    folder = next((str(one.get("value") or "") for one in algorithm.get("algorithmSettings") or ()
                   if one.get("name") == names.CHECKPOINT_SETTING), "")
    if not folder.startswith("/"):
        return {}
    claim = names.volume_claim(objects.name(experiment), str(algorithm.get("algorithmName")))
    return {names.CHECKPOINT_FOLDER: folder, names.CHECKPOINT_CLAIM: claim}


def make_claim(experiment: Object, owner: Object) -> Object | None:
    """The volume of an Experiment whose Trials have checkpoints; as many nodes may use it as its class lets."""
    wanted = where(experiment)
    if not wanted:
        return None
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {
        "name": wanted[names.CHECKPOINT_CLAIM], "namespace": objects.namespace(experiment),
        "ownerReferences": [owner]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": VOLUME_SIZE}}}}


def amend(trial: Object, pod: Object) -> Object:
    """The Pod template with the Trial's checkpoints in its primary container."""
    found = objects.annotations(trial)
    folder, claim = found.get(names.CHECKPOINT_FOLDER), found.get(names.CHECKPOINT_CLAIM)
    if not folder or not claim:
        return pod
    experiment = objects.labels(trial).get(names.EXPERIMENT_LABEL, "")
    spec = dict(pod["spec"])
    primary = objects.spec(trial).get("primaryContainerName")
    mount = {"name": names.CHECKPOINT_VOLUME, "mountPath": folder, "subPath": f"{experiment}/{objects.name(trial)}"}
    spec["containers"] = [_mounted(one, mount) if one.get("name") == primary else one for one in spec["containers"]]
    spec["volumes"] = [*(spec.get("volumes") or ()), {
        "name": names.CHECKPOINT_VOLUME, "persistentVolumeClaim": {"claimName": claim}}]
    if parent := objects.labels(trial).get(names.PARENT_LABEL):
        spec["initContainers"] = [*(spec.get("initContainers") or ()), _copier(experiment, parent, objects.name(trial))]
    return pod | {"spec": spec}


def _copier(experiment: str, parent: str, child: str) -> dict[str, Any]:
    return {"name": "copy-checkpoint", "image": IMAGE, "command": ["sh", "-c", _COPY, _FOLDERS, parent, child],
            "volumeMounts": [{"name": names.CHECKPOINT_VOLUME, "mountPath": _FOLDERS, "subPath": experiment}]}


def _mounted(container: Mapping[str, Any], mount: dict[str, str]) -> dict[str, Any]:
    return dict(container) | {"volumeMounts": [*(container.get("volumeMounts") or ()), mount]}
