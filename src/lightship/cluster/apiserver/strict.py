"""Strict field validation: names of fields that a core kind does not have.

Pure; ``writes`` and ``applies`` call me where the client asked (kubectl does). Types come from ``kubernetes_types``;
custom kinds have no schema here, so nothing of theirs is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import kubernetes_types
from lightship.cluster.apiserver.backend import Call
from lightship.kube.objects import Object

LIMIT_NAMED_FIELDS = 20
_TOP = frozenset({"apiVersion", "kind"})


def check(call: Call, obj: Object) -> list[str]:
    """The unknown fields where the client only wants a warning. Raises ``errors.BadRequest`` where it is strict."""
    mode = call.query.text("fieldValidation")
    if mode not in ("", "Ignore", "Warn", "Strict"):
        raise errors.BadRequest(f"fieldValidation must be Ignore, Warn or Strict, not {mode[:100]!r}")
    if mode in ("", "Ignore") or call.served.custom:
        return []
    name = kubernetes_types.name_of(call.served.resource.api_version, call.served.resource.kind)
    if not name:
        return []
    unknown = [f'unknown field "{path}"' for path in _unknown(obj, name, "")]
    del unknown[LIMIT_NAMED_FIELDS:]
    if unknown and mode == "Strict":
        raise errors.BadRequest(f"strict decoding error: {', '.join(unknown)}")
    return unknown


def warned(response: Response, warnings: list[str]) -> Response:
    """The answer with its warnings in the header that clients print."""
    if not warnings:
        return response
    text = "; ".join(warnings).encode("ascii", errors="replace").decode().replace("\\", "").replace('"', "\\\"")
    headers = {**response.headers, "warning": f'299 - "{text}"'}
    return Response(status=response.status, headers=headers, body=response.body)


def _unknown(value: Any, name: str, place: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    fields = kubernetes_types.json_fields(name)
    for label, inner in value.items():
        path = f"{place}.{label}" if place else label
        field = fields.get(label)
        if field is None:
            if place or label not in _TOP:
                yield path
        elif "." in field.type:
            if field.repeated and isinstance(inner, list):
                for number, item in enumerate(inner):
                    yield from _unknown(item, field.type, f"{path}[{number}]")
            elif field.map and isinstance(inner, Mapping):
                for key, item in inner.items():
                    yield from _unknown(item, field.type, f"{path}[{key}]")
            else:
                yield from _unknown(inner, field.type, path)
