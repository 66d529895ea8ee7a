"""Paths of objects, whatever their names are."""

from __future__ import annotations

import pytest

from lightship import errors
from lightship.kube.resources import PODS, SECRETS


@pytest.mark.parametrize(("name", "segment"), [
    ("plain-1.name", "plain-1.name"), ("system:node:a", "system:node:a"), ("a/b", "a%2Fb"), ("a?b#c", "a%3Fb%23c"),
    ("../../nodes", "..%2F..%2Fnodes"), ("%2e", "%252e"), ("ä", "%C3%A4"), ("a b", "a%20b"),
])
def test_a_name_is_one_segment_of_the_path(name: str, segment: str) -> None:
    assert SECRETS.path("default", name) == f"/api/v1/namespaces/default/secrets/{segment}"
    assert PODS.path(name, "p", "log") == f"/api/v1/namespaces/{segment}/pods/p/log"


@pytest.mark.parametrize("name", [".", ".."])
def test_a_step_up_is_no_name(name: str) -> None:
    with pytest.raises(errors.BadRequest):
        SECRETS.path("default", name)
