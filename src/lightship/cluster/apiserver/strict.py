"""Strict field validation: names of fields that a core kind does not have.

Pure; ``writes`` and ``applies`` call me where the client asked (kubectl does). Types come from ``kubernetes_types``;
custom kinds have no schema here, so nothing of theirs is unknown.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from lightship import errors
from lightship.client.transport import Request, Response
from lightship.cluster.apiserver import baseline, bodies, kubernetes_types, shapes, typed
from lightship.cluster.apiserver.backend import Call
from lightship.cluster.apiserver.registry import Served
from lightship.kube.objects import Object

LIMIT_NAMED_FIELDS = 20


def read(call: Call, data: Any) -> tuple[Object, list[str]]:
    """What a client wrote as an object of the call's kind, with what it should be warned of.

    Raises ``errors.BadRequest``.
    """
    obj = shapes.read_object(data, call.served)
    warnings = check(call, data, obj)
    if call.served.amended:
        obj, more = call.served.amended(obj)
        warnings = [*warnings, *more]
    warnings = [*warnings, *baseline.warnings(call.served.resource, obj, call.user.groups)]
    if call.served.notice and call.request.method in ("POST", "PUT"):
        warnings = [*warnings, call.served.notice]
    return obj, warnings


def check(call: Call, data: Any, read: Object) -> list[str]:
    """The unknown fields of ``data``, of which ``read`` was made, where the client only wants a warning.

    Raises ``errors.BadRequest`` where it is strict.

    Who does not say is warned, as upstream has it, but for fields that are there twice: to find those costs a second
    decoding.
    """
    mode = call.query.text("fieldValidation")
    if mode not in ("", "Ignore", "Warn", "Strict"):
        raise errors.BadRequest(f"fieldValidation must be Ignore, Warn or Strict, not {mode[:100]!r}")
    if mode == "Ignore":
        return []
    unknown = [f'duplicate field "{path}"' for path in _duplicates(call.request)] if mode else []
    unknown += [f'unknown field "{path}"' for path in _unknown(call.served, data, read)]
    del unknown[LIMIT_NAMED_FIELDS:]
    if unknown and mode == "Strict":
        resource, head = call.served.resource, ""
        if call.request.method != "PATCH":
            head = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        raise errors.BadRequest(f"{head}strict decoding error: {', '.join(unknown)}")
    return unknown


def _unknown(served: Served, data: Object, read: Object) -> Iterable[str]:
    name = kubernetes_types.name_of(served.resource.api_version, served.resource.kind)
    if not name:
        return served.unknown(data) if served.unknown else ()
    if all(key in read and read[key] == value for key, value in data.items()):
        return ()  # Nothing was dropped, so all of it is known.
    return typed.unknown(data, name)


class _Pairs(dict[str, Any]):
    """An object as it was written, which knows the keys that it was given twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.twice = [key for key, _ in pairs if key in seen or seen.add(key)]  # type: ignore[func-returns-value]


def _duplicates(request: Request) -> Iterator[str]:
    """The paths of fields that a JSON body gives twice: the decoder would only see the last."""
    if request.method == "PATCH" or bodies.content_type(request) != "application/json" or not request.body:
        return
    yield from _twice(json.loads(request.body, object_pairs_hook=_Pairs), "")


def _twice(value: Any, place: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        yield from (f"{place}.{key}".lstrip(".") for key in value.twice)
        for key, inner in value.items():
            yield from _twice(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _twice(inner, f"{place}[{number}]")


def warned(response: Response, warnings: list[str]) -> Response:
    """The answer with its warnings in the header that clients print."""
    if not warnings:
        return response
    shown = [text.encode("ascii", errors="replace").decode().replace("\\", "").replace('"', '\\"')
             for text in warnings]
    headers = {**response.headers, "warning": ", ".join(f'299 - "{text}"' for text in shown)}
    return Response(status=response.status, headers=headers, body=response.body)
