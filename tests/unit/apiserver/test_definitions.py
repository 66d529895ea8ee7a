"""CustomResourceDefinitions through the front door: kinds that come, change and go while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.kube.objects import Object
from lightship.kube.resources import Resource
from lightship.testing.embedded import EmbeddedOptions, embedded_api
from tests.unit.apiserver.conftest import Caller, WidgetKind

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
TABS = "/apis/stable.example.org/v1/namespaces/default/crontabs"
CRONTABS = Resource(group="stable.example.org", version="v1", kind="CronTab", plural="crontabs")
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "required": ["cronSpec"], "properties": {
            "cronSpec": {"type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$"},
            "image": {"type": "string", "default": "nginx"},
            "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1}}},
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}


def crd(**changes: Any) -> Object:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA},
               "subresources": {"status": {}, "scale": {
                   "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                   "labelSelectorPath": ".status.selector"}},
               "additionalPrinterColumns": [{"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec"},
                                            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}]}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "crontabs.stable.example.org"},
            "spec": {"group": "stable.example.org", "scope": "Namespaced",
                     "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
                     "versions": [version | changes.pop("version", {})]} | changes}


def tab(name: str = "a", **spec: Any) -> Object:
    return {"apiVersion": "stable.example.org/v1", "kind": "CronTab", "metadata": {"name": name},
            "spec": {"cronSpec": "* * * * */5"} | spec}


async def test_a_kind_is_served_once_its_definition_is_answered(caller: Caller) -> None:
    status, made = await caller.json("POST", CRDS, crd())
    assert status == 201, made
    conditions = {c["type"]: c["status"] for c in made["status"]["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert made["status"]["storedVersions"] == ["v1"]
    assert made["status"]["acceptedNames"]["singular"] == "crontab"
    status, obj = await caller.json("POST", TABS, tab(unknown=1))
    assert status == 201, obj
    assert obj["spec"] == {"cronSpec": "* * * * */5", "image": "nginx", "replicas": 1}
    _, listed = await caller.json("GET", "/apis/stable.example.org/v1")
    assert {r["name"] for r in listed["resources"]} == {"crontabs", "crontabs/status", "crontabs/scale"}
    _, groups = await caller.json("GET", "/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2;"
                                                         "as=APIGroupDiscoveryList")
    assert "stable.example.org" in {item["metadata"]["name"] for item in groups["items"]}


async def test_faults_say_what_kubernetes_says(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    status, said = await caller.json("POST", TABS, tab(replicas="three", cronSpec="x"))
    assert status == 422
    causes = {c["field"]: c["message"] for c in said["details"]["causes"]}
    assert causes["spec.replicas"] == ('Invalid value: "string": spec.replicas in body must be of type integer: '
                                       '"string"')
    assert causes["spec.cronSpec"].startswith('Invalid value: "x": spec.cronSpec in body should match')
    status, said = await caller.json("POST", TABS, {"metadata": {"name": "b"}, "spec": {}})
    assert (status, said["details"]["causes"][0]["field"]) == (422, "spec.cronSpec")


async def test_scale_and_status_of_a_custom_kind(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    await caller.json("POST", TABS, tab())
    status, said = await caller.json("PATCH", f"{TABS}/a/scale", {"spec": {"replicas": 4}},
                                     content_type="application/merge-patch+json")
    assert (status, said["spec"]) == (200, {"replicas": 4})
    given = {"status": {"replicas": 3, "selector": "a=b", "x": 1}}
    status, said = await caller.json("PATCH", f"{TABS}/a/status", given, content_type="application/merge-patch+json")
    assert (status, said["status"]) == (200, {"replicas": 3, "selector": "a=b"})
    _, said = await caller.json("GET", f"{TABS}/a/scale")
    assert said["status"] == {"replicas": 3, "selector": "a=b"}
    status, said = await caller.json("PATCH", f"{TABS}/a/status", {"status": {"replicas": "x"}},
                                     content_type="application/merge-patch+json")
    assert status == 422
    status, said = await caller.json("PATCH", f"{TABS}/a/scale", {"spec": {"replicas": 40}},
                                     content_type="application/merge-patch+json")
    assert status == 422


async def test_a_deleted_definition_takes_its_objects_along(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    for number in range(5):
        await caller.json("POST", TABS, tab(f"t{number}"))
    status, _ = await caller.json("DELETE", f"{CRDS}/crontabs.stable.example.org")
    assert status == 200
    assert (await caller.json("GET", f"{CRDS}/crontabs.stable.example.org"))[0] == 404
    assert (await caller.json("GET", TABS))[0] == 404
    await caller.json("POST", CRDS, crd())
    assert (await caller.json("GET", TABS))[1]["items"] == []


async def test_finalizers_hold_a_definition_until_the_last_object_is_gone(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    held = tab() | {"metadata": {"name": "a", "finalizers": ["example.org/hold"]}}
    await caller.json("POST", TABS, held)
    await caller.json("POST", TABS, tab("b"))
    status, _ = await caller.json("DELETE", f"{CRDS}/crontabs.stable.example.org")
    assert status == 200
    _, said = await caller.json("GET", f"{CRDS}/crontabs.stable.example.org")
    assert [c["status"] for c in said["status"]["conditions"] if c["type"] == "Terminating"] == ["True"]
    assert [item["metadata"]["name"] for item in (await caller.json("GET", TABS))[1]["items"]] == ["a"]
    assert (await caller.json("POST", TABS, tab("c")))[0] == 405
    await caller.json("PATCH", f"{TABS}/a", {"metadata": {"finalizers": None}},
                      content_type="application/merge-patch+json")
    assert (await caller.json("GET", f"{CRDS}/crontabs.stable.example.org"))[0] == 404


async def test_definitions_outlive_the_server(tmp_path: Path) -> None:
    async with embedded_api(tmp_path) as first:
        caller = Caller(first)
        await caller.json("POST", CRDS, crd())
        await caller.json("POST", TABS, tab())
    async with embedded_api(tmp_path) as second:
        status, said = await Caller(second).json("GET", f"{TABS}/a")
        assert (status, said["spec"]["image"]) == (200, "nginx")
        assert (await Caller(second).json("POST", TABS, tab("b", replicas=11)))[0] == 422


async def test_a_deletion_that_a_stop_interrupted_goes_on(tmp_path: Path) -> None:
    async with embedded_api(tmp_path) as first:
        caller = Caller(first)
        await caller.json("POST", CRDS, crd())
        await caller.json("POST", TABS, tab() | {"metadata": {"name": "a", "finalizers": ["example.org/hold"]}})
        await caller.json("DELETE", f"{CRDS}/crontabs.stable.example.org")
    async with embedded_api(tmp_path) as second:
        await Caller(second).json("PATCH", f"{TABS}/a", {"metadata": {"finalizers": None}},
                                  content_type="application/merge-patch+json")
        client = second.in_process()
        with pytest.raises(errors.NotFound):
            await client.get(Resource(group="apiextensions.k8s.io", version="v1", kind="CustomResourceDefinition",
                                      plural="customresourcedefinitions", namespaced=False),
                             "crontabs.stable.example.org")


async def test_versions_differ_in_name_only(caller: Caller) -> None:
    old = {"name": "v1beta1", "served": True, "storage": False, "deprecated": True,
           "schema": {"openAPIV3Schema": SCHEMA}}
    both = crd()
    both["spec"]["versions"].append(old)
    await caller.json("POST", CRDS, both)
    beta = TABS.replace("/v1/", "/v1beta1/")
    status, said = await caller.json("POST", beta, tab() | {"apiVersion": "stable.example.org/v1beta1"})
    assert (status, said["apiVersion"]) == (201, "stable.example.org/v1beta1")
    assert (await caller.json("GET", f"{TABS}/a"))[1]["apiVersion"] == "stable.example.org/v1"
    assert {item["apiVersion"] for item in (await caller.json("GET", beta))[1]["items"]} == {
        "stable.example.org/v1beta1"}
    response = await caller.send("GET", beta)
    assert response.headers["warning"] == '299 - "stable.example.org/v1beta1 CronTab is deprecated"'


async def test_a_changed_schema_holds_at_once_and_forgives_what_was_there(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    await caller.json("POST", TABS, tab(replicas=9))
    narrower = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "cronSpec": {"type": "string"}, "replicas": {"type": "integer", "maximum": 5},
        "mode": {"type": "string", "default": "fast"}}}}}
    status, said = await caller.json("PATCH", f"{CRDS}/crontabs.stable.example.org", [
        {"op": "replace", "path": "/spec/versions/0/schema/openAPIV3Schema", "value": narrower}],
        content_type="application/json-patch+json")
    assert status == 200, said
    assert (await caller.json("GET", f"{TABS}/a"))[1]["spec"] == {"cronSpec": "* * * * */5", "replicas": 9,
                                                                   "mode": "fast"}
    merge = {"content_type": "application/merge-patch+json"}
    assert (await caller.json("PATCH", f"{TABS}/a", {"spec": {"cronSpec": "x"}}, **merge))[0] == 200
    assert (await caller.json("PATCH", f"{TABS}/a", {"spec": {"replicas": 8}}, **merge))[0] == 422
    assert (await caller.json("POST", TABS, tab("b", replicas=6)))[0] == 422


async def test_names_that_are_taken_wait(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    other = crd(names={"plural": "tables", "kind": "Table2", "shortNames": ["ct"]})
    other["metadata"]["name"] = "tables.stable.example.org"
    status, said = await caller.json("POST", CRDS, other)
    assert status == 201
    assert {c["type"]: (c["status"], c["reason"]) for c in said["status"]["conditions"]} == {
        "NamesAccepted": ("False", "ShortNamesConflict"), "Established": ("False", "NotAccepted")}
    assert (await caller.json("GET", "/apis/stable.example.org/v1/tables"))[0] == 404
    await caller.json("DELETE", f"{CRDS}/crontabs.stable.example.org")
    assert (await caller.json("GET", "/apis/stable.example.org/v1/tables"))[0] == 200


async def test_built_in_kinds_have_definitions_that_nobody_replaces(caller: Caller) -> None:
    path = f"{CRDS}/widgets.example.com"
    status, shown = await caller.json("GET", path)
    assert (status, shown["metadata"]["annotations"]["lightship.dev/built-in"]) == (200, "true")
    assert (await caller.json("DELETE", path))[0] == 403
    theirs = shown["spec"] | {"versions": [shown["spec"]["versions"][0] | {"name": "v9"}]}
    status, said = await caller.json("PATCH", path, {"spec": theirs, "metadata": {"labels": {"a": "b"}}},
                                     content_type="application/merge-patch+json")
    assert (status, said["spec"], said["metadata"]["labels"]) == (200, shown["spec"], {"a": "b"})
    applied = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
               "metadata": {"name": "widgets.example.com"}, "spec": theirs}
    response = await caller.send("PATCH", f"{path}?fieldManager=me", applied,
                                 content_type="application/apply-patch+yaml")
    assert (response.status, response.headers["warning"]) == (
        200, '299 - "widgets.example.com is built in: what its definition specifies stays as it is"')
    assert (await caller.json("GET", path))[1]["spec"] == shown["spec"]
    assert (await caller.json("POST", "/apis/example.com/v1/namespaces/default/widgets",
                              {"metadata": {"name": "w"}, "spec": {"size": 10}}))[0] == 422


@pytest.mark.parametrize(("change", "field"), [
    ({"scope": "Galaxy"}, "spec.scope"),
    ({"names": {"plural": "Crontabs", "kind": "CronTab"}}, "spec.names.plural"),
    ({"versions": []}, "spec.versions"),
    ({"conversion": {"strategy": "Webhook"}}, "spec.conversion.strategy"),
    ({"preserveUnknownFields": True}, "spec.preserveUnknownFields"),
    ({"version": {"schema": None}}, "spec.versions[0].schema.openAPIV3Schema"),
    ({"version": {"schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {}}}}}},
     "spec.versions[0].schema.openAPIV3Schema.properties[spec].type"),
    ({"version": {"schema": {"openAPIV3Schema": {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"a": {"type": "string", "default": 1}}}}}}}},
     "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[a].default"),
    ({"version": {"storage": False}}, "spec.versions"),
])
async def test_wrong_definitions_are_refused(caller: Caller, change: dict[str, Any], field: str) -> None:
    status, said = await caller.json("POST", CRDS, crd(**change))
    assert status == 422, said
    assert field in {cause["field"] for cause in said["details"]["causes"]}


async def test_unknown_fields_are_refused_where_asked(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    status, said = await caller.json("POST", f"{TABS}?fieldValidation=Strict", tab(unknown=1))
    assert (status, said["message"]) == (400, 'CronTab in version "v1" cannot be handled as a CronTab: '
                                                'strict decoding error: unknown field "spec.unknown"')
    response = await caller.send("POST", f"{TABS}?fieldValidation=Warn", tab(unknown=1))
    assert (response.status, response.headers["warning"]) == (201, '299 - "unknown field \\"spec.unknown\\""')


async def test_openapi_describes_custom_kinds(caller: Caller) -> None:
    _, before = await caller.json("GET", "/openapi/v3")
    await caller.json("POST", CRDS, crd())
    _, index = await caller.json("GET", "/openapi/v3")
    assert "apis/stable.example.org/v1" in index["paths"] and "apis/stable.example.org/v1" not in before["paths"]
    _, document = await caller.json("GET", "/openapi/v3/apis/stable.example.org/v1")
    schema = document["components"]["schemas"]["org.example.stable.v1.CronTab"]
    assert schema["properties"]["spec"]["properties"]["replicas"]["maximum"] == 10
    assert "$ref" in str(schema["properties"]["metadata"])


async def test_a_built_in_kind_may_have_a_schema(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "size": {"type": "integer"}, "colour": {"type": "string", "default": "red"}}}}}
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=[WidgetKind(schema=schema)])) as api:
        caller, path = Caller(api), "/apis/example.com/v1/namespaces/default/widgets"
        status, said = await caller.json("POST", path, {"metadata": {"name": "w"}, "spec": {"odd": 1}})
        assert (status, said["spec"]) == (201, {"colour": "red", "size": 1})
        status, said = await caller.json("POST", path, {"metadata": {"name": "x"}, "spec": {"size": "big"}})
        assert (status, said["details"]["causes"][0]["field"]) == (422, "spec.size")
        assert (await caller.json("POST", path, {"metadata": {"name": "x"}, "spec": {"size": 10}}))[0] == 422
        _, shown = await caller.json("GET", f"{CRDS}/widgets.example.com")
        assert shown["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == schema


@pytest.mark.parametrize("spec", [{"size": "big"}, {"size": None}, {"size": [1]}, {"size": {}}])
async def test_admission_that_stumbles_over_a_type_makes_a_bad_request(caller: Caller, spec: Any) -> None:
    status, said = await caller.json("POST", "/apis/example.com/v1/namespaces/default/widgets",
                                     {"metadata": {"name": "w"}, "spec": spec})
    assert status == 400 and "Widget" in said["message"]


async def test_the_message_is_upstreams(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    _, said = await caller.json("POST", TABS, tab(replicas=11))
    assert said["message"] == ('CronTab.stable.example.org "a" is invalid: spec.replicas: Invalid value: 11: '
                               "spec.replicas in body should be less than or equal to 10")
    _, said = await caller.json("POST", TABS, tab(replicas="x", image=1))
    assert said["message"].startswith('CronTab.stable.example.org "a" is invalid: [spec.replicas: ')
    assert {cause["reason"] for cause in said["details"]["causes"]} == {"FieldValueTypeInvalid"}


async def test_objects_of_a_kind_that_is_no_longer_served_go_with_its_definition(caller: Caller) -> None:
    await caller.json("POST", CRDS, crd())
    await caller.json("POST", TABS, tab())
    status, said = await caller.json("PATCH", f"{CRDS}/crontabs.stable.example.org", [
        {"op": "replace", "path": "/spec/versions/0/served", "value": False}],
        content_type="application/json-patch+json")
    assert status == 200, said
    assert (await caller.json("GET", f"{TABS}/a"))[0] == 404
    assert (await caller.json("DELETE", f"{CRDS}/crontabs.stable.example.org"))[0] == 200
    assert (await caller.json("GET", f"{CRDS}/crontabs.stable.example.org"))[0] == 404
    await caller.json("POST", CRDS, crd())
    assert (await caller.json("GET", TABS))[1]["items"] == []


async def test_a_storage_version_moves_when_its_objects_do(caller: Caller) -> None:
    both = crd()
    both["spec"]["versions"].append({"name": "v2", "served": True, "storage": False,
                                     "schema": {"openAPIV3Schema": SCHEMA}})
    path, patch = f"{CRDS}/crontabs.stable.example.org", {"content_type": "application/json-patch+json"}
    await caller.json("POST", CRDS, both)
    await caller.json("POST", TABS, tab())
    moved = [{"op": "replace", "path": "/spec/versions/0/storage", "value": False},
             {"op": "replace", "path": "/spec/versions/1/storage", "value": True}]
    status, said = await caller.json("PATCH", path, moved, **patch)
    assert (status, said["status"]["storedVersions"]) == (200, ["v1", "v2"])
    assert (await caller.json("GET", f"{TABS}/a"))[1]["apiVersion"] == "stable.example.org/v1"
    assert (await caller.json("GET", f"{TABS.replace('/v1/', '/v2/')}/a"))[1]["apiVersion"] == "stable.example.org/v2"
    gone = [{"op": "remove", "path": "/spec/versions/0"}]
    status, said = await caller.json("PATCH", path, gone, **patch)
    assert (status, said["details"]["causes"][0]["field"]) == (422, "status.storedVersions[0]")
    done = {"status": {"storedVersions": ["v2"]}}
    assert (await caller.json("PATCH", f"{path}/status", done, content_type="application/merge-patch+json"))[0] == 200
    assert (await caller.json("PATCH", path, gone, **patch))[0] == 200
    assert (await caller.json("GET", TABS))[0] == 404


async def test_openapi_marks_tell_what_changed(caller: Caller) -> None:
    async def marks() -> dict[str, str]:
        _, index = await caller.json("GET", "/openapi/v3")
        return {prefix: entry["serverRelativeURL"] for prefix, entry in index["paths"].items()}

    before = await marks()
    await caller.json("POST", CRDS, crd())
    after = await marks()
    assert {prefix: after[prefix] for prefix in before} == before
    await caller.json("PATCH", f"{CRDS}/crontabs.stable.example.org", [
        {"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/more", "value": {"type": "string"}}],
        content_type="application/json-patch+json")
    changed = await marks()
    assert [prefix for prefix in after if changed[prefix] != after[prefix]] == ["apis/stable.example.org/v1"]


async def test_a_status_without_a_subresource_is_a_field_like_others(caller: Caller) -> None:
    plain = crd(version={"subresources": None})
    plain["spec"]["names"]["listKind"] = "ManyCronTabs"
    await caller.json("POST", CRDS, plain)
    status, said = await caller.json("POST", TABS, tab() | {"status": {"replicas": 1}})
    assert (status, said["status"], said["metadata"]["generation"]) == (201, {"replicas": 1}, 1)
    _, said = await caller.json("PATCH", f"{TABS}/a", {"status": {"replicas": 2}},
                                content_type="application/merge-patch+json")
    assert (said["status"], said["metadata"]["generation"]) == ({"replicas": 2}, 2)
    assert (await caller.json("GET", f"{TABS}/a/status"))[0] == 404
    assert (await caller.json("GET", TABS))[1]["kind"] == "ManyCronTabs"
