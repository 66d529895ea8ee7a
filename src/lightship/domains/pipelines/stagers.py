"""The containers that move a step's files, and what they need for it in their Pod. Pure; ``children`` calls me.

On the embedded node the launcher is built in and uses the platform's own store, so its containers need nothing. On any
other cluster they are a program in an image, and the Pod says where artifacts lie and brings the keys, from a Secret of
the step's own namespace: what a namespace may reach is what its keys may.
"""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import Any

from lightship.domains.pipelines import names
from lightship.kube.objects import Object
from lightship.launcher import staging

FOLDER = "/artifacts"
"""Where a claim that holds artifacts is mounted in stagers."""
MAX_PLAIN_BYTES = 64 * 1024
"""Linux takes 128 KiB in one variable."""
_CLAIM_VOLUME = "lightship-artifacts"
_PROGRAM = ["python3", "-m", "lightship.launcher"]
_KEYS = (("AWS_ACCESS_KEY_ID", "accesskey"), ("AWS_SECRET_ACCESS_KEY", "secretkey"))
"""Variables, and the keys of KFP's Secret ``mlpipeline-minio-artifact`` that hold them."""
_RESOURCES = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}}
"""So that namespaces with quotas take the Pod. A part of a large file is in memory; see the launcher's ``s3``."""
_CONFINED = {"allowPrivilegeEscalation": False, "seccompProfile": {"type": "RuntimeDefault"}}
_IDENTITY = ("runAsUser", "runAsGroup", "runAsNonRoot")


@dataclass(frozen=True, kw_only=True)
class Launcher:
    """How stagers run. The default is the embedded node's; ``composition`` makes others."""

    image: str = names.LAUNCHER_IMAGE
    is_program: bool = False
    """Whether the image is one with Python and this package, and not an entrypoint of the node."""
    location: str = ""
    """An S3 endpoint, or empty where ``claim`` holds the artifacts."""
    region: str = ""
    secret: str = ""
    """The Secret with the endpoint's keys, in each namespace."""
    claim: str = ""
    """A claim in each namespace that holds the artifacts as files."""


EMBEDDED = Launcher()


def container(phase: str, plan: dict[str, Any], mounts: list[Object], launcher: Launcher) -> Object:
    """The container of ``phase`` (``names.STAGE_IN`` or ``STAGE_OUT``)."""
    made: Object = {
        "name": phase,
        "image": launcher.image,
        "args": [phase],
        "env": [
            {"name": names.STAGING_ENV, "value": _plan(plan, launcher)},
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
        ],
        "volumeMounts": mounts,
    }
    if not launcher.is_program:
        return made
    made["command"] = _PROGRAM
    made["env"] += _environment(launcher)
    made |= {"resources": _RESOURCES, "securityContext": dict(_CONFINED)}
    if launcher.claim:
        made["volumeMounts"] = [*mounts, {"name": _CLAIM_VOLUME, "mountPath": FOLDER}]
    return made


def run_like(main: Object, stagers: list[Object], launcher: Launcher) -> None:
    """Have stagers be the user that the step is said to be, whose files may be readable to nobody else. Where nobody
    says so, they stay the image's user, root in ours, who may read what an image's own user wrote."""
    given = main.get("securityContext") or {}
    identity = {name: given[name] for name in _IDENTITY if name in given}
    if not launcher.is_program or not identity:
        return
    for stager in stagers:
        stager["securityContext"] |= identity
        if identity.get("runAsUser"):
            stager["securityContext"]["capabilities"] = {"drop": ["ALL"]}


def volumes(launcher: Launcher) -> list[Object]:
    """What the Pod of such containers must have."""
    if not launcher.claim:
        return []
    return [{"name": _CLAIM_VOLUME, "persistentVolumeClaim": {"claimName": launcher.claim}}]


def field(name: str, path: str) -> Object:
    """A variable that says something of the Pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _plan(plan: dict[str, Any], launcher: Launcher) -> str:
    """The plan's JSON; packed where a program's environment could not hold it, such as for a thousand inputs."""
    text = json.dumps(plan, separators=(",", ":"), ensure_ascii=False).replace("$", "$$")  # which Kubernetes undoes
    if not launcher.is_program or len(text.encode()) <= MAX_PLAIN_BYTES:
        return text
    return staging.PACKED + base64.b64encode(zlib.compress(text.replace("$$", "$").encode(), 9)).decode()


def _environment(launcher: Launcher) -> list[Object]:
    found: list[Object] = [{"name": names.ARTIFACTS_ENV, "value": launcher.location or FOLDER}]
    if launcher.region:
        found.append({"name": "AWS_REGION", "value": launcher.region})
    if launcher.secret:
        found += [{"name": name, "valueFrom": {"secretKeyRef": {"name": launcher.secret, "key": key}}}
                  for name, key in _KEYS]
    return found
