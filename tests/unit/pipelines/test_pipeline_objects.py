"""Pipeline and PipelineVersion as objects: what is refused, and that rows and objects say the same."""

from __future__ import annotations

import copy
import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.domains.pipelines.objects import admission, translate
from lightship.records.rows import Pipeline, PipelineVersion
from tests.acceptance.kfp_rest.test_routes import SPEC

AT = datetime(2026, 3, 1, tzinfo=UTC)
STAMP = {"uid": "u-1", "creationTimestamp": "2026-03-01T00:00:00Z"}


def version(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "v", "namespace": "default"},
            "spec": {"pipelineName": "p", "pipelineSpec": SPEC} | spec}


@pytest.mark.parametrize(("spec", "path"), [
    ({"pipelineName": ""}, "spec.pipelineName"), ({"pipelineName": 5}, "spec.pipelineName"),
    ({"versionName": "Not A Name"}, "spec.versionName"), ({"pipelineSpec": None}, "spec.pipelineSpec"),
    ({"pipelineSpec": "text"}, "spec.pipelineSpec"), ({"pipelineSpec": []}, "spec.pipelineSpec"),
    ({"pipelineSpec": {}}, "spec.pipelineSpec"), ({"pipelineSpec": SPEC | {"components": {}}}, "spec.pipelineSpec"),
    ({"pipelineSpec": SPEC | {"root": 5}}, "spec.pipelineSpec"), ({"platformSpec": "text"}, "spec.platformSpec"),
    ({"platformSpec": [1]}, "spec.platformSpec"), ({"tags": {"a": 1}}, "spec.tags"), ({"tags": [1]}, "spec.tags"),
    ({"displayName": {}}, "spec.displayName"),
])
def test_a_wrong_version_is_refused_by_its_field(spec: dict[str, Any], path: str) -> None:
    found = admission.version(version(**spec), None)

    assert found and found[0].path.startswith(path), found


def test_what_is_right_is_taken_and_stays() -> None:
    made = version(tags={"a": "b"}, versionName="v1.0", displayName="D")
    assert not admission.version(made, None)
    labelled = copy.deepcopy(made)
    labelled["metadata"]["labels"] = {"a": "b"}
    assert not admission.version(labelled, made)
    changed = copy.deepcopy(made)
    changed["spec"]["tags"] = {}
    assert [each.path for each in admission.version(changed, made)] == ["spec"]


@pytest.mark.parametrize("spec", [None, 5, "x", [], {"description": 1}, {"tags": 3}])
def test_a_wrong_pipeline_is_refused(spec: Any) -> None:
    found = admission.pipeline({"metadata": {"name": "p"}, "spec": spec}, None)

    assert bool(found) is (spec is not None)


NAMES = st.text(min_size=1, max_size=128)
TEXTS = st.text(max_size=20)
TAGS = st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5), min_size=1, max_size=3)


@given(NAMES, NAMES, TEXTS, TAGS)
def test_a_row_is_the_same_by_way_of_its_object(name: str, display: str, description: str,
                                                tags: dict[str, str] | None) -> None:
    row = Pipeline(id="u-1", namespace="default", name=name, display_name=display, description=description, tags=tags,
                   created_at=AT)
    obj = translate.of_pipeline(row)
    obj["metadata"] |= STAMP

    assert dataclasses.replace(translate.pipeline(obj), object_name="") == row
    assert not admission.pipeline(obj, None)
    parent = translate.pipeline(obj)
    first = PipelineVersion(id="u-1", namespace="default", pipeline_id="u-1", name=name, display_name=display,
                            description=description, tags=tags, spec={"pipeline_spec": SPEC}, created_at=AT)
    of = translate.of_version(parent, first)
    of["metadata"] |= STAMP
    back = translate.version(of, "u-1")
    assert dataclasses.replace(back, object_name="", spec=first.spec) == first
    assert back.spec["pipeline_spec"] == SPEC
    assert not admission.version(of, None)


def test_what_rest_changes_goes_before_the_spec() -> None:
    obj = translate.of_pipeline(Pipeline(id="", namespace="default", name="p", display_name="p", created_at=AT))
    obj["metadata"] |= STAMP
    obj["metadata"]["annotations"] = translate.changed({"display_name": "D", "tags": None})["metadata"]["annotations"]

    assert (translate.pipeline(obj).display_name, translate.pipeline(obj).tags) == ("D", None)
    for written in ("5", "{", "[1]"):
        obj["metadata"]["annotations"] = dict.fromkeys(translate.CHANGED.values(), written)
        assert (translate.pipeline(obj).display_name, translate.pipeline(obj).tags) == ("p", None)
