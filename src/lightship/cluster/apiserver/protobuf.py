"""Protobuf request bodies, which newer kubectl sends for ``create KIND`` and reviews: refused for now, clearly.

``bodies`` calls me.
"""

from __future__ import annotations

from typing import Any

from lightship.cluster.apiserver.errors import UnsupportedMediaType


def decode(body: bytes) -> Any:
    """Raises ``UnsupportedMediaType``."""
    raise UnsupportedMediaType("the request body is protobuf, which this server does not read yet",
                               remedy="Send JSON or YAML: kubectl does so for `apply -f` and `create -f`")
