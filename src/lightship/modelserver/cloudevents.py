"""CloudEvents over V1: a request that is an event is answered by one, in the mode in which it came. Pure.

``predicting`` calls me. As upstream, the answer's type and source are ours (``CE_TYPE``, ``CE_SOURCE`` change them),
and with ``CE_MERGE`` it keeps the request's other attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lightship.modelserver.errors import InvalidTensor
from lightship.modelserver.replies import JSON, Response

STRUCTURED = b"application/cloudevents+json"
_NEEDED = ("specversion", "id", "source", "type")
_PREFIX = b"ce-"
_LIMIT_UNDECLARED_BYTES = 64 * 1024
"""A larger body is an event only if its content type says so: to look costs time on the loop."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What the environment says of answers."""

    merge: bool = False
    type: str = "io.kserve.inference.response"
    source: str = ""
    """Empty: after the model."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """An event that asks: its data, and the attributes beside it."""

    data: bytes
    structured: bool
    attributes: Mapping[str, str] = field(default_factory=dict)


def read(headers: Mapping[bytes, bytes], body: bytes) -> Event | None:
    """The event that a request is; None where it is none. Raises ``InvalidTensor`` for one that is not whole."""
    if b"ce-specversion" in headers:
        attributes = {name[len(_PREFIX):].decode("latin-1"): value.decode("latin-1")
                      for name, value in headers.items() if name.startswith(_PREFIX)}
        return Event(data=body, structured=False, attributes=_whole(attributes))
    declared = headers.get(b"content-type", b"").startswith(STRUCTURED)
    if not declared and (len(body) > _LIMIT_UNDECLARED_BYTES or b'"specversion"' not in body):
        return None
    try:
        given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as problem:
        if declared:
            raise InvalidTensor(f"the request's body is no CloudEvent: {problem}") from problem
        return None  # what it is instead is for others to refuse
    if not declared and not {*_NEEDED, "time", "data"} <= given.keys():
        return None
    data = bytes(given.pop("data", msgspec.Raw(b"null")))
    attributes = {name: str(msgspec.json.decode(value)) for name, value in given.items()}
    return Event(data=data, structured=True, attributes=_whole(attributes))


def _whole(attributes: dict[str, str]) -> dict[str, str]:
    missing = [name for name in _NEEDED if not attributes.get(name)]
    if missing:
        raise InvalidTensor(f"the request is a CloudEvent without {', '.join(missing)}")
    return attributes


def answer(event: Event, options: Options, response: Response, *, model: str, fresh: Mapping[str, str]) -> Response:
    """The answer as an event. ``fresh``: its ``id`` and ``time``."""
    kept = {name: value for name, value in event.attributes.items() if name != "datacontenttype"}
    attributes: dict[str, Any] = {
        **(kept if options.merge else {}), "specversion": "1.0", **fresh, "type": options.type,
        "source": options.source or f"io.kserve.inference.{model}"}
    if event.structured:
        body = msgspec.json.encode(attributes | {"datacontenttype": "application/json",
                                                 "data": msgspec.Raw(response.body)})
        return Response(response.status, body, STRUCTURED, response.headers)
    headers = tuple((_PREFIX + name.encode("latin-1"), value.encode("latin-1", "replace"))
                    for name, value in attributes.items())
    return Response(response.status, response.body, JSON, (*response.headers, *headers))
