"""Model registries other than ours, asked by their REST for where a version's files lie. ``places`` calls me."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from lightship import errors
from lightship.artifacts import web
from lightship.domains.serving.storage import Registered

_API = "/api/model_registry/v1alpha3"
_OURS = ("model-registry-service", "model-registry-service.kubeflow", "model-registry-service.kubeflow.svc",
         "model-registry-service.kubeflow.svc.cluster.local")
"""How Pods name the registry of their own platform."""


def is_host(text: str) -> bool:
    """Whether the first part of a URI is a registry and not a model: it has a port or a domain, or is ours."""
    host, _, port = text.partition(":")
    return bool(port) or host in _OURS


def is_ours(text: str) -> bool:
    return text.partition(":")[0] in _OURS


async def resolve(host: str, name: Sequence[str], *, anywhere: bool) -> Registered:
    """What ``MODEL[/VERSION]`` is there. Raises ``errors.NotFound`` and ``errors.Unavailable``."""
    return await asyncio.to_thread(_resolve, f"http://{host}{_API}", name, web.Web(anywhere=anywhere))


def _resolve(base: str, name: Sequence[str], asking: web.Web) -> Registered:
    model = asking.json(f"{base}/registered_model?name={quote(name[0], safe='')}")
    if len(name) > 1:
        version = asking.json(f"{base}/model_version?name={quote(name[1], safe='')}"
                              f"&parentResourceId={quote(str(model.get('id')), safe='')}")
    else:
        version = _newest(asking.json(f"{base}/registered_models/{quote(str(model.get('id')), safe='')}/versions"
                                      "?orderBy=CREATE_TIME&sortOrder=DESC&pageSize=1"), f"model {name[0]}", "version")
    listed = asking.json(f"{base}/model_versions/{quote(str(version.get('id')), safe='')}/artifacts"
                         "?orderBy=CREATE_TIME&sortOrder=DESC&pageSize=20")
    models = [one for one in listed.get("items") or ()
              if one.get("artifactType") == "model-artifact" and one.get("uri")]
    found = _newest({"items": models}, f"version {version.get('name')} of model {name[0]}", "model artifact")
    return Registered(uri=str(found["uri"]), digest="")


def _newest(listed: Any, of: str, what: str) -> dict[str, Any]:
    items = listed.get("items") if isinstance(listed, dict) else None
    if not items:
        raise errors.NotFound(f"{of} has no {what} in the registry", remedy="Register one")
    found: dict[str, Any] = items[0]
    return found
