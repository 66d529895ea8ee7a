"""Who goes first where memory runs out: upstream's order, and never the server before a Pod."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.node import oom

GIB = 1 << 30


@pytest.mark.parametrize(("resources", "score"), [
    ({}, 1000),
    ({"requests": {"memory": "2Gi"}}, 500),
    ({"limits": {"memory": "2Gi"}}, 500),
    ({"requests": {"cpu": "1"}}, 999),
    ({"requests": {"memory": "4Gi"}}, 3),
    ({"limits": {"cpu": "1", "memory": "1Gi"}}, 0),
    ({"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}}, 0),
])
def test_who_asked_for_less_goes_first(resources: dict[str, Any], score: int) -> None:
    container = {"name": "c", "resources": resources}
    assert oom.score({"containers": [container]}, container, 4 * GIB) == score
