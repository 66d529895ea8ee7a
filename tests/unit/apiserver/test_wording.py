"""What clients are told of what they may not do: kubectl words its own messages by these answers' details."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.apiserver.conftest import Caller

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
SECRETS = "/api/v1/namespaces/default/secrets"


async def test_an_invalid_object_is_named_by_its_kind_and_its_own_name(caller: Caller) -> None:
    code, said = await caller.json("POST", CONFIG_MAPS, {"metadata": {"name": "Bad"}})
    assert (code, said["reason"]) == (422, "Invalid")
    assert {key: said["details"].get(key) for key in ("name", "group", "kind")} == {
        "name": "Bad", "group": None, "kind": "ConfigMap"}
    assert said["details"]["causes"][0]["message"].startswith('Invalid value: "Bad": a lowercase RFC 1123 subdomain')
    _, said = await caller.json("POST", "/apis/apps/v1/namespaces/default/deployments", {"metadata": {"name": "x"}})
    assert (said["details"]["name"], said["details"]["group"], said["details"]["kind"]) == ("x", "apps", "Deployment")


async def test_a_patch_that_fits_nothing_says_why_and_names_no_causes(caller: Caller) -> None:
    await caller.json("POST", CONFIG_MAPS, {"metadata": {"name": "c"}})
    code, said = await caller.json("PATCH", f"{CONFIG_MAPS}/c", [{"op": "test", "path": "/data/a", "value": "1"}],
                                   content_type="application/json-patch+json")
    assert (code, said["details"]) == (422, {}), "kubectl would show the details in place of the message"
    assert said["message"]


@pytest.mark.parametrize(("metadata", "why"), [
    ({"labels": {"a b": "c"}}, 'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric'),
    ({"labels": {"a": "c d"}}, 'metadata.labels: Invalid value: "c d": a valid label must be an empty string or'),
    ({"labels": {"a": "x" * 64}}, "must be no more than 63 characters"),
    ({"labels": {"/a": "x"}}, "prefix part must be non-empty"),
    ({"annotations": {"a b": "c"}}, 'metadata.annotations: Invalid value: "a b": name part must consist of'),
    ({"name": "x" * 254}, "must be no more than 253 characters"),
])
async def test_what_is_wrong_with_names_and_labels(caller: Caller, metadata: dict[str, Any], why: str) -> None:
    code, said = await caller.json("POST", CONFIG_MAPS, {"metadata": {"name": "x"} | metadata})
    assert code == 422 and why in said["message"]
