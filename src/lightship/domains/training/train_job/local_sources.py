"""Data sets and models that lie in a claim (``pvc://CLAIM/PATH``) or in the initializer's own Pod (``file:///PATH``).

Pure; ``lower`` calls me, on the embedded cluster: upstream's images know neither. The copy is made inside the Pod,
which sees what it may see and nothing else, by a plain image's own ``cp``.
"""

from __future__ import annotations

from typing import Any

from lightship.domains.training import names
from lightship.domains.training.train_job.draft import Draft, Step, upsert

_CLAIM, _FILE = "pvc://", "file://"
_VOLUME, _PLACE = "lightship-source", "/mnt/lightship-source"
_COPY = ('test -e "$0" || { echo "nothing lies at $STORAGE_URI"; exit 1; }; mkdir -p "$1" || exit 1; '
         'if test -d "$0"; then cp -R "$0/." "$1/"; else cp "$0" "$1/"; fi && '
         'echo "copied $(find "$1" -type f | wc -l) file(s) from $STORAGE_URI"')
_IMAGE = "busybox:1"


def enforce(draft: Draft) -> None:
    """Have initializers copy what lies near."""
    for part, kind in names.INITIALIZERS.items():
        for step in draft.with_step(kind):
            _copy(step, part)


def _copy(step: Step, part: str) -> None:
    container = step.container(step.kind)
    if container is None:
        return
    uri = next((str(one.get("value") or "") for one in container.env if one["name"] == names.STORAGE_URI), "")
    if uri.startswith(_CLAIM):
        claim, _, path = uri.removeprefix(_CLAIM).partition("/")
        source = f"{_PLACE}/{path}".rstrip("/")
        volume: dict[str, Any] = {"name": _VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        step.pod["volumes"] = upsert(step.pod.get("volumes") or (), [volume])
        container.body["volumeMounts"] = upsert(
            container.body.get("volumeMounts") or (),
            [{"name": _VOLUME, "mountPath": _PLACE, "readOnly": True}], key="mountPath")
    elif uri.startswith(_FILE):
        source = uri.removeprefix(_FILE)
    else:
        return
    container.body |= {"image": _IMAGE, "command": ["sh", "-c", _COPY, source, f"/workspace/{part}"]}
    container.body.pop("args", None)
