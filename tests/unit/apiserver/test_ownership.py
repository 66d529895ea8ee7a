"""Who owns which fields: plain writes, applies, conflicts, migration; after upstream's structured-merge-diff cases."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from lightship.cluster.apiserver import fields
from lightship.cluster.apiserver.applies import merge, without
from lightship.cluster.apiserver.fields import FREE, Shape
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.testing.api_suite import deployment
from tests.unit.apiserver.conftest import Caller

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
SET, BY_NAME = Shape(keys=()), Shape(keys=(("name", ""),), item=FREE)


def entries(obj: Object) -> dict[tuple[str, str, str], Any]:
    return {(e["manager"], e["operation"], e.get("subresource", "")): e["fieldsV1"]
            for e in objects.meta(obj).get("managedFields") or []}


async def apply(caller: Caller, url: str, manager: str, body: Any, *, force: bool = False) -> tuple[int, Any]:
    return await caller.json("PATCH", f"{url}?fieldManager={manager}&force={str(force).lower()}", body,
                             content_type=APPLY)


def config(**data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


async def test_plain_writes_own_what_they_change(caller: Caller) -> None:
    _, made = await caller.json("POST", CONFIGMAPS, config(x="1", y="1"), user_agent="kubectl/v1.36.0 (linux)")
    assert entries(made) == {("kubectl", "Update", ""): {"f:data": {".": {}, "f:x": {}, "f:y": {}}}}
    _, patched = await caller.json("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", {"data": {"y": "2", "z": "3"}},
                                   content_type=MERGE)
    assert entries(patched) == {("kubectl", "Update", ""): {"f:data": {".": {}, "f:x": {}}},
                                ("me", "Update", ""): {"f:data": {"f:y": {}, "f:z": {}}}}
    _, less = await caller.json("PATCH", f"{CONFIGMAPS}/a?fieldManager=me", {"data": {"y": None}}, content_type=MERGE)
    assert entries(less)["me", "Update", ""] == {"f:data": {"f:z": {}}}


async def test_a_deployment_is_owned_as_upstream_shows_it(caller: Caller) -> None:
    _, made = await caller.json("POST", f"{DEPLOYMENTS}?fieldManager=kubectl-create", deployment("d", "default"))
    spec = entries(made)["kubectl-create", "Update", ""]["f:spec"]
    assert spec["f:strategy"] == {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}}
    assert spec["f:selector"] == {} and "." not in spec and "." not in spec["f:template"]["f:spec"]["f:containers"]
    status = {"status": {"replicas": 1}}
    _, told = await caller.json("PATCH", f"{DEPLOYMENTS}/d/status?fieldManager=controller", status, content_type=MERGE)
    assert entries(told)["controller", "Update", "status"] == {"f:status": {"f:replicas": {}}}


async def test_apply_conflicts_with_plain_owners_and_can_be_forced(caller: Caller) -> None:
    await caller.json("POST", f"{CONFIGMAPS}?fieldManager=editor", config(x="1", y="1"))
    code, refused = await apply(caller, f"{CONFIGMAPS}/a", "me", config(x="2"))
    assert code == 409 and refused["message"].startswith(
        'Apply failed with 1 conflict: conflict with "editor" using v1: .data.x')
    assert refused["details"]["causes"][0]["reason"] == "FieldManagerConflict"
    assert refused["details"]["causes"][0]["field"] == ".data.x"
    code, same = await apply(caller, f"{CONFIGMAPS}/a", "me", config(x="1"))
    assert code == 200 and entries(same)["me", "Apply", ""] == {"f:data": {"f:x": {}}}
    code, forced = await apply(caller, f"{CONFIGMAPS}/a", "me", config(x="2"), force=True)
    assert (code, forced["data"]) == (200, {"x": "2", "y": "1"})
    assert entries(forced)["editor", "Update", ""] == {"f:data": {".": {}, "f:y": {}}}


async def test_what_is_no_longer_applied_goes_unless_somebody_else_owns_it(caller: Caller) -> None:
    await apply(caller, f"{CONFIGMAPS}/a", "me", config(x="1", y="1"))
    await apply(caller, f"{CONFIGMAPS}/a", "you", config(y="1", z="1"))
    bare = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    _, left = await apply(caller, f"{CONFIGMAPS}/a", "me", bare)
    assert left["data"] == {"y": "1", "z": "1"}
    assert ("me", "Apply", "") not in entries(left)


async def test_lists_merge_by_their_keys(caller: Caller) -> None:
    def with_env(*names: str, image: str = "busybox:1") -> Object:
        made = deployment("d", "default")
        containers = [{"name": "c", "image": image, "env": [{"name": n, "value": n} for n in names],
                       "ports": [{"containerPort": 80}]}]
        made["spec"]["template"]["spec"] = {"containers": containers}
        return made | {"apiVersion": "apps/v1", "kind": "Deployment"}

    await apply(caller, f"{DEPLOYMENTS}/d", "me", with_env("A", "B"))
    other = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": {"template": {"spec": {
        "containers": [{"name": "c", "env": [{"name": "C", "value": "C"}]}, {"name": "side", "image": "busybox"}]}}}}
    code, _ = await apply(caller, f"{DEPLOYMENTS}/d", "you", other)
    assert code == 200
    _, after = await apply(caller, f"{DEPLOYMENTS}/d", "me", with_env("B"))
    first, second = after["spec"]["template"]["spec"]["containers"]
    assert [e["name"] for e in first["env"]] == ["B", "C"] and second["name"] == "side"
    assert 'k:{"containerPort":80,"protocol":"TCP"}' in entries(after)["me", "Apply", ""]["f:spec"]["f:template"][
        "f:spec"]["f:containers"]['k:{"name":"c"}']["f:ports"]


async def test_entries_can_be_reset_and_migrated_but_not_broken(caller: Caller) -> None:
    await caller.json("POST", f"{CONFIGMAPS}?fieldManager=kubectl-client-side-apply", config(x="1"))
    for reset, kept in (([], True), ([{}], False)):  # an empty list resets nothing, as upstream
        code, bare = await caller.json("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"managedFields": reset}},
                                       content_type=MERGE)
        assert (code, "managedFields" in bare["metadata"]) == (200, kept)
    code, taken = await apply(caller, f"{CONFIGMAPS}/a", "me", config(x="1"))
    assert entries(taken).keys() == {("before-first-apply", "Update", ""), ("me", "Apply", "")}
    own = [{"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:x": {}}}}]
    code, _ = await caller.json("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"managedFields": own}}, content_type=MERGE)
    assert code == 200
    for broken in ([{"operation": "X"}], [own[0] | {"fieldsV1": {"k:nope": {}}}], [own[0] | {"fieldsV1": {"x": 1}}]):
        code, _ = await caller.json("PATCH", f"{CONFIGMAPS}/a", {"metadata": {"managedFields": broken}},
                                    content_type=MERGE)
        assert code == 422


async def test_who_wrote_plainly_and_applies_from_now_on_loses_nothing(caller: Caller) -> None:
    """kubectl turns its own Update entry into an Apply one; that holds nodes on the way, which an apply never does."""
    body = deployment("d", "default") | {"apiVersion": "apps/v1", "kind": "Deployment"}
    body["metadata"].pop("namespace", None)
    _, made = await caller.json("POST", f"{DEPLOYMENTS}?fieldManager=kubectl-client-side-apply", body)
    owned = [made["metadata"]["managedFields"][0] | {"manager": "kubectl", "operation": "Apply"}]
    await caller.json("PATCH", f"{DEPLOYMENTS}/d", {"metadata": {"managedFields": owned}}, content_type=MERGE)
    code, applied = await apply(caller, f"{DEPLOYMENTS}/d", "kubectl", body)
    assert (code, applied["spec"]) == (200, made["spec"])


@pytest.mark.parametrize(("shape", "live", "applied", "merged"), [
    (FREE, {"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}, {"a": 1, "b": {"c": 1, "d": 2}}),
    (FREE, {"a": [1, 2]}, {"a": [3]}, {"a": [3]}), (SET, ["a", "b"], ["c", "a"], ["c", "a", "b"]),
    (BY_NAME, [{"name": "a", "x": 1}, {"name": "b"}], [{"name": "a", "y": 2}], [{"name": "a", "x": 1, "y": 2},
                                                                               {"name": "b"}]),
    (BY_NAME, [{"name": "a"}, {"name": "b"}], [{"name": "b"}, {"name": "a"}], [{"name": "b"}, {"name": "a"}]),
    (BY_NAME, [{"name": "a"}, {"name": "a"}], [{"name": "b"}], [{"name": "b"}]),
])
def test_merging(shape: Shape, live: Any, applied: Any, merged: Any) -> None:
    assert merge(live, applied, shape) == merged


@pytest.mark.parametrize(("a", "b", "both", "either", "less"), [
    ({}, {"f:a": {}}, {}, {"f:a": {}}, {}), ({"f:a": {}}, {"f:a": {"f:b": {}}}, {}, {"f:a": {".": {}, "f:b": {}}},
                                            {"f:a": {}}),
    ({"f:a": {".": {}, "f:b": {}, "f:c": {}}}, {"f:a": {"f:b": {}}}, {"f:a": {"f:b": {}}},
     {"f:a": {".": {}, "f:b": {}, "f:c": {}}}, {"f:a": {".": {}, "f:c": {}}}),
    ({"f:a": {"f:b": {}}}, {"f:a": {"f:b": {}}}, {"f:a": {"f:b": {}}}, {"f:a": {"f:b": {}}}, {}),
])
def test_sets(a: Any, b: Any, both: Any, either: Any, less: Any) -> None:
    assert (fields.common(a, b), fields.union(a, b), fields.minus(a, b)) == (both, either, less)


def test_taking_fields_out_leaves_no_empty_shells() -> None:
    value = {"a": {"b": 1}, "l": [{"name": "x", "v": 1}, {"name": "y"}], "k": {}}
    shape = Shape(is_map=True, item=FREE)
    assert without(value, {"f:a": {"f:b": {}}}, shape) == {"l": value["l"], "k": {}}
    assert without(value["l"], {'k:{"name":"x"}': {".": {}, "f:v": {}}}, BY_NAME) == [{"name": "y"}]
    assert without(value["l"], {'k:{"name":"x"}': {"f:v": {}}}, BY_NAME) == [{"name": "x"}, {"name": "y"}]

LAST = "kubectl.kubernetes.io/last-applied-configuration"
CLIENT_SIDE = "?fieldManager=kubectl-client-side-apply"


async def test_kubectl_takes_over_what_its_client_side_apply_wrote(caller: Caller) -> None:
    url = "/api/v1/namespaces/default/configmaps"
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1", "b": "1"}}
    noted = first | {"metadata": {"name": "m", "annotations": {LAST: msgspec.json.encode(first).decode()}}}
    assert (await caller.json("POST", f"{url}{CLIENT_SIDE}", noted))[0] == 201
    await caller.json("PATCH", f"{url}/m?fieldManager=other", {"data": {"b": "2"}},
                      content_type=MERGE)
    wanted = first | {"data": {"a": "<9>"}}
    code, said = await caller.json("PATCH", f"{url}/m?fieldManager=kubectl", wanted, content_type=APPLY)
    assert (code, said["data"]["a"]) == (200, "<9>"), "the value was still what client-side apply wrote"
    shown = said["metadata"]["annotations"][LAST]
    assert shown == '{"apiVersion":"v1","data":{"a":"\\u003c9\\u003e"},"kind":"ConfigMap","metadata":{"name":"m"}}\n'
    code, said = await caller.json("PATCH", f"{url}/m?fieldManager=kubectl", first, content_type=APPLY)
    assert (code, [cause["field"] for cause in said["details"]["causes"]]) == (409, [".data.b"]), "another's by now"
    assert 'conflict with "other" using v1: .data.b' in said["message"]


async def test_another_applier_meets_the_conflict(caller: Caller) -> None:
    url = "/api/v1/namespaces/default/configmaps"
    first = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
    noted = first | {"metadata": {"name": "m", "annotations": {LAST: msgspec.json.encode(first).decode()}}}
    await caller.json("POST", f"{url}{CLIENT_SIDE}", noted)
    code, _ = await caller.json("PATCH", f"{url}/m?fieldManager=flux", first | {"data": {"a": "2"}},
                                content_type=APPLY)
    assert code == 409


async def test_who_scales_owns_the_number_by_the_subresource(caller: Caller) -> None:
    url = "/apis/apps/v1/namespaces/default/deployments"
    await caller.json("POST", url, deployment("d", "default"))
    code, said = await caller.json("PATCH", f"{url}/d/scale?fieldManager=kubectl", {"spec": {"replicas": 4}},
                                   content_type=MERGE)
    assert (code, said["spec"]["replicas"]) == (200, 4)
    _, said = await caller.json("GET", f"{url}/d")
    assert [e["subresource"] for e in said["metadata"]["managedFields"] if e["manager"] == "kubectl"] == ["scale"]
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 5}}
    _, said = await caller.json("PATCH", f"{url}/d?fieldManager=x", wanted, content_type=APPLY)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in said["message"]
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    _, said = await caller.json("GET", f"{url}/d/scale", accept=table)
    assert [c["name"] for c in said["columnDefinitions"]] == ["Name", "Desired", "Available", "Age"]
    assert said["rows"][0]["cells"][:3] == ["d", 4, 0]
