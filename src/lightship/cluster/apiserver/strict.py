"""Strict field validation: names of fields that a core kind does not have.

Pure; ``writes`` and ``applies`` call me where the client asked (kubectl does). Types come from ``kubernetes_types``;
custom kinds have no schema here, so nothing of theirs is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightship import errors
from lightship.client.transport import Response
from lightship.cluster.apiserver import kubernetes_types, shapes, typed
from lightship.cluster.apiserver.backend import Call
from lightship.cluster.apiserver.registry import Served
from lightship.kube.objects import Object

LIMIT_NAMED_FIELDS = 20


def read(call: Call, data: Any) -> tuple[Object, list[str]]:
    """What a client wrote as an object of the call's kind, with what it should be warned of.

    Raises ``errors.BadRequest``.
    """
    obj = shapes.read_object(data, call.served)
    warnings = check(call, data)
    if call.served.notice and call.request.method in ("POST", "PUT"):
        warnings = [*warnings, call.served.notice]
    return obj, warnings


def check(call: Call, obj: Object) -> list[str]:
    """The unknown fields where the client only wants a warning. Raises ``errors.BadRequest`` where it is strict."""
    mode = call.query.text("fieldValidation")
    if mode not in ("", "Ignore", "Warn", "Strict"):
        raise errors.BadRequest(f"fieldValidation must be Ignore, Warn or Strict, not {mode[:100]!r}")
    if mode in ("", "Ignore"):
        return []
    unknown = [f'unknown field "{path}"' for path in _unknown(call.served, obj)]
    del unknown[LIMIT_NAMED_FIELDS:]
    if unknown and mode == "Strict":
        raise errors.BadRequest(f"strict decoding error: {', '.join(unknown)}")
    return unknown


def _unknown(served: Served, obj: Object) -> Iterable[str]:
    if served.custom:
        return served.unknown(obj) if served.unknown else ()
    name = kubernetes_types.name_of(served.resource.api_version, served.resource.kind)
    return typed.unknown(obj, name) if name else ()


def warned(response: Response, warnings: list[str]) -> Response:
    """The answer with its warnings in the header that clients print."""
    if not warnings:
        return response
    text = "; ".join(warnings).encode("ascii", errors="replace").decode().replace("\\", "").replace('"', "\\\"")
    headers = {**response.headers, "warning": f'299 - "{text}"'}
    return Response(status=response.status, headers=headers, body=response.body)
