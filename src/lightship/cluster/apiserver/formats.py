"""What a client accepts: plain objects, a Table, metadata only; JSON or, for lack of others, JSON. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from lightship.cluster.apiserver.errors import NotAcceptable


@dataclass(frozen=True, slots=True)
class Format:
    """The shape of objects in the answer. ``version`` is of ``meta.k8s.io``."""

    shape: Literal["object", "table", "metadata"] = "object"
    version: str = "v1"


PLAIN = Format()
_SHAPES: dict[str, Literal["table", "metadata"]] = {
    "Table": "table", "PartialObjectMetadata": "metadata", "PartialObjectMetadataList": "metadata",
}


def clauses(accept: str) -> list[tuple[str, dict[str, str]]]:
    """Each media range with its parameters, most wanted first."""
    found = []
    for number, clause in enumerate(accept.split(",")):
        media, *parameters = (part.strip() for part in clause.split(";"))
        values = dict(pair.partition("=")[::2] for pair in parameters)
        try:
            quality = float(values.get("q", "1"))
        except ValueError:
            quality = 0.0
        found.append((-quality, number, media.lower(), values))
    return [(media, values) for quality, _, media, values in sorted(found, key=lambda c: c[:2]) if quality < 0]


@lru_cache(maxsize=256)
def negotiate(accept: str) -> Format:
    """The first acceptable shape. Raises ``NotAcceptable``."""
    if not accept:
        return PLAIN
    for media, parameters in clauses(accept):
        if media not in ("application/json", "*/*", "application/*"):
            continue
        wanted = parameters.get("as")
        if wanted is None:
            return PLAIN
        version = parameters.get("v", "v1")
        if wanted in _SHAPES and parameters.get("g", "meta.k8s.io") == "meta.k8s.io" and version in ("v1", "v1beta1"):
            return Format(_SHAPES[wanted], version)
    raise NotAcceptable(f"only application/json is served, not {accept[:200]!r}")
