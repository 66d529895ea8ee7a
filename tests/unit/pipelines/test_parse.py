"""Pipeline files: upstream's parse and validate; wrong and hostile ones get one clear error that names the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.domains.pipelines import document, ir, parse
from tests.unit.pipelines import specs

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "kfp"
FILES = sorted(CORPUS.glob("*/*.yaml"))


@pytest.mark.skipif(not FILES, reason="no ../shared beside this clone")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_upstreams_files_are_valid(path: Path) -> None:
    pipeline = parse.file(path.read_bytes())
    assert pipeline.root.dag is not None and pipeline.root.dag.tasks
    again = parse.file(json.dumps(parse.combine(document.load(path.read_bytes()))).encode())
    assert again == pipeline, "the stored JSON form says the same as the YAML"


def _two_steps() -> specs.Spec:
    return specs.pipeline(
        {"a": specs.task("comp-a", inputs={"x": specs.constant("1")}),
         "b": specs.task("comp-b", inputs={"x": specs.output_of("a")})},
        {"comp-a": specs.component("a", inputs=specs.parameters(x="STRING"), outputs=specs.STRING_OUT),
         "comp-b": specs.component("b", inputs=specs.parameters(x="STRING"))})


def test_producers_named_by_inputs_are_upstream_without_dependent_tasks() -> None:
    pipeline = parse.spec(_two_steps())
    assert pipeline.root.dag is not None
    assert pipeline.root.dag.tasks["b"].upstream == ("a",)


Change = Callable[[dict[str, Any]], Any]
TASKS = "root.dag.tasks"

WRONG: dict[str, tuple[Change, str, str]] = {
    "no root": (lambda s: s.pop("root"), "root", "is missing"),
    "no tasks": (lambda s: s["root"]["dag"]["tasks"].clear(), TASKS, "nothing to run"),
    "unknown component": (
        lambda s: s["root"]["dag"]["tasks"]["a"]["componentRef"].update(name="comp-z"),
        f"{TASKS}.a.componentRef", '"comp-z"'),
    "unknown executor": (
        lambda s: s["components"]["comp-a"].update(executorLabel="exec-z"),
        "components.comp-a.executorLabel", '"exec-z"'),
    "cycle": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(dependentTasks=["b"]), TASKS, "cycle"),
    "missing producer": (
        lambda s: s["root"]["dag"]["tasks"]["b"]["inputs"]["parameters"].update(x=specs.output_of("z")),
        f"{TASKS}.b", '"z"'),
    "missing output": (
        lambda s: s["root"]["dag"]["tasks"]["b"]["inputs"]["parameters"].update(x=specs.output_of("a", "Nope")),
        f"{TASKS}.b.inputs.parameters.x", '"Nope"'),
    "input of the parent that is not there": (
        lambda s: s["root"]["dag"]["tasks"]["b"]["inputs"]["parameters"].update(x=specs.input_of_parent("nope")),
        f"{TASKS}.b.inputs.parameters.x", '"nope"'),
    "types that differ": (
        lambda s: s["components"]["comp-b"]["inputDefinitions"]["parameters"].update(
            x={"parameterType": "NUMBER_INTEGER"}),
        f"{TASKS}.b.inputs.parameters.x", "STRING"),
    "constant of the wrong type": (
        lambda s: s["components"]["comp-a"]["inputDefinitions"]["parameters"].update(
            x={"parameterType": "NUMBER_INTEGER"}) or s["root"]["dag"]["tasks"]["a"]["inputs"]["parameters"].update(
            x=specs.constant("many")),
        f"{TASKS}.a.inputs.parameters.x", "many"),
    "required input not given": (
        lambda s: s["root"]["dag"]["tasks"]["a"]["inputs"]["parameters"].clear(),
        f"{TASKS}.a.inputs.parameters", '"x"'),
    "unknown type": (
        lambda s: s["components"]["comp-a"]["inputDefinitions"]["parameters"].update(x={"parameterType": "TENSOR"}),
        "components.comp-a.inputDefinitions.parameters.x.parameterType", "TENSOR"),
    "resolver": (
        lambda s: s["deploymentSpec"]["executors"].update({"exec-a": {"resolver": {"outputArtifactQueries": {}}}}),
        "deploymentSpec.executors.exec-a.resolver", "resolver"),
    "custom job": (
        lambda s: s["deploymentSpec"]["executors"].update({"exec-a": {"customJob": {"customJob": {}}}}),
        "deploymentSpec.executors.exec-a.customJob", "custom job"),
    "placeholder of an unknown input": (
        lambda s: s["deploymentSpec"]["executors"]["exec-a"]["container"].update(
            args=["{{$.inputs.parameters['nope']}}"]),
        "deploymentSpec.executors.exec-a.container", '"nope"'),
    "an executor of a kind that is not known": (
        lambda s: s["deploymentSpec"]["executors"].update({"exec-a": {"teleporter": {}}}),
        "deploymentSpec.executors.exec-a.container", "missing"),
    "a pre-cache check": (
        lambda s: s["deploymentSpec"]["executors"]["exec-a"]["container"].update(lifecycle={"preCacheCheck": {}}),
        "deploymentSpec.executors.exec-a.container.lifecycle", "pre-cache"),
    "the workspace of a pipeline that has none": (
        lambda s: s["root"]["dag"]["tasks"]["a"]["inputs"]["parameters"].update(
            x=specs.constant("{{$.workspace_path}}/data")),
        f"{TASKS}.a.inputs.parameters.x", "workspace"),
    "a part of the task's configuration that there is not": (
        lambda s: s["components"]["comp-a"].update(taskConfigPassthroughs=[{"field": "NODE"}]),
        "components.comp-a.taskConfigPassthroughs[0].field", "NODE"),
    "a selector that is not CEL": (
        lambda s: s["root"]["dag"]["tasks"]["b"]["inputs"]["parameters"]["x"].update(
            parameterExpressionSelector="parseJson(string_value"),
        f"{TASKS}.b.inputs.parameters.x.parameterExpressionSelector", "CEL"),
    "a condition over what there is not": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(triggerPolicy={"condition": "outcome == 'good'"}),
        f"{TASKS}.a.triggerPolicy.condition", "outcome"),
    "retries below none": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(retryPolicy={"maxRetryCount": -1}),
        f"{TASKS}.a.retryPolicy.maxRetryCount", "-1"),
    "an item that the SDK lost": (
        lambda s: s["root"]["dag"]["tasks"]["b"]["inputs"]["parameters"].update(
            x=specs.input_of_parent("loop-item-param-1-subvar-b")),
        f"{TASKS}.b.inputs.parameters.x", "loop-item"),
    "condition that is not CEL": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(triggerPolicy={"condition": "1 +"}),
        f"{TASKS}.a.triggerPolicy.condition", "CEL"),
    "loop items that are not JSON": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(specs.loop_over("[1,", "x")),
        f"{TASKS}.a.parameterIterator.items.raw", "JSON"),
    "loop item that is no input": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(specs.loop_over("[1]", "y")),
        f"{TASKS}.a.parameterIterator.itemInput", '"y"'),
    "too many loop items": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(specs.loop_over(json.dumps([0] * 10_001), "x")),
        f"{TASKS}.a.parameterIterator.items.raw", "10000"),
    "a name that is a path": (
        lambda s: s["components"]["comp-a"]["outputDefinitions"]["parameters"].update(
            {"../../etc": {"parameterType": "STRING"}}),
        "components.comp-a.outputDefinitions.parameters.../../etc", "name"),
    "a list where a mapping is expected": (
        lambda s: s["root"]["dag"].update(tasks=[]), TASKS, "a list"),
    "a negative parallelism": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(specs.loop_over("[1]", "x", parallelism=-1)),
        f"{TASKS}.a.iteratorPolicy.parallelismLimit", "-1"),
    "an unknown strategy": (
        lambda s: s["root"]["dag"]["tasks"]["a"].update(triggerPolicy={"strategy": "SOMETIMES"}),
        f"{TASKS}.a.triggerPolicy.strategy", "SOMETIMES"),
    "both a DAG and an executor": (
        lambda s: s["components"]["comp-a"].update(dag={"tasks": {}}), "components.comp-a.dag", "not both"),
}


@pytest.mark.parametrize("story", WRONG)
def test_what_cannot_run_is_refused_with_its_place(story: str) -> None:
    change, place, words = WRONG[story]
    spec = copy.deepcopy(_two_steps())
    change(spec)
    with pytest.raises(errors.InvalidInput) as caught:
        parse.spec(spec)
    assert caught.value.field == place
    assert words in caught.value.message
    assert caught.value.remedy


def test_a_component_that_contains_itself_is_refused() -> None:
    spec = specs.pipeline({"a": specs.task("comp-a")}, {"comp-a": specs.sub_dag({"again": specs.task("comp-a")})})
    with pytest.raises(errors.InvalidInput, match="contains itself"):
        parse.spec(spec)


def _bomb() -> bytes:
    lines = ["a: &a [x,x,x,x,x,x,x,x,x,x]"]
    for letter, before in zip("bcdefghij", "abcdefghi", strict=True):
        lines.append(f"{letter}: &{letter} [{','.join(['*' + before] * 10)}]")
    return "\n".join(lines).encode()


HOSTILE: dict[str, tuple[bytes, type[errors.LightshipError], str]] = {
    "an alias bomb": (_bomb(), errors.TooLarge, "aliases"),
    "a recursive alias": (b"a: &a {b: *a}", errors.InvalidInput, "itself"),
    "deep YAML": (b"[" * 100_000, errors.TooLarge, "deeper"),
    "deep JSON": (b'{"a":' * 5_000, errors.TooLarge, "deeper"),
    "a key given twice": (b"a: 1\na: 2", errors.InvalidInput, "twice"),
    "not text": (b"\xff\xfe\x00", errors.InvalidInput, "UTF-8"),
    "too large": (b"x" * (document.MAX_FILE_BYTES + 1), errors.TooLarge, "limit"),
    "a file of 50 MB": (b"a: " + b"x" * 50_000_000, errors.TooLarge, "50000003 bytes"),
    "a number that is none": (b'{"a": [NaN]}', errors.InvalidInput, "JSON does not have"),
    "an endless number": (b"a: {b: .inf}", errors.InvalidInput, "JSON does not have"),
    "half a character": (b'{"a": "\\ud800"}', errors.InvalidInput, "surrogate"),
    "a NUL": (b'{"a": {"\\u0000": 1}}', errors.InvalidInput, "NUL"),
    "an integer of 5,000 digits": (b'{"a": ' + b"9" * 5_000 + b"}", errors.InvalidInput, "cannot be read"),
    "empty": (b"\n\n", errors.InvalidInput, "empty"),
    "a tag that makes objects": (b"a: !!python/object/apply:os.system ['true']", errors.InvalidInput, "YAML"),
    "a scalar": (b"42", errors.InvalidInput, "a number"),
    "three documents": (b"a: 1\n---\nb: 2\n---\nc: 3", errors.InvalidInput, "3 documents"),
    "broken YAML": (b"root: [", errors.InvalidInput, "line"),
}


@pytest.mark.parametrize("story", HOSTILE)
def test_hostile_files_are_refused(story: str) -> None:
    data, kind, words = HOSTILE[story]
    with pytest.raises(kind, match=words):
        parse.file(data)


def test_dates_stay_text_and_snake_case_fields_are_read() -> None:
    spec = _two_steps()
    task = spec["root"]["dag"]["tasks"]["a"]
    task["component_ref"] = task.pop("componentRef")
    assert parse.spec(spec).root.dag is not None
    assert document.load(b"when: 2024-01-01")[0]["when"] == "2024-01-01"


def test_deprecated_forms_are_read() -> None:
    spec = _two_steps()
    spec["components"]["comp-a"]["inputDefinitions"]["parameters"]["x"] = {"type": "INT"}
    spec["root"]["dag"]["tasks"]["a"]["inputs"]["parameters"]["x"] = {
        "runtimeValue": {"constantValue": {"intValue": "7"}}}
    pipeline = parse.spec(spec)
    assert pipeline.components["comp-a"].inputs.parameters["x"].type == ir.NUMBER_INTEGER
    assert pipeline.root.dag is not None
    assert pipeline.root.dag.tasks["a"].parameters["x"].source == ir.Constant(value=7)


@pytest.mark.parametrize(("kubernetes", "place"), [
    ({"deploymentSpec": {"executors": {"exec-a": {"tolerance": []}}}}, "deploymentSpec.executors.exec-a.tolerance"),
    ({"pipelineConfig": {"mutexName": "x"}}, "pipelineConfig.mutexName"),
])
def test_what_is_not_known_of_a_platform_config_is_refused_by_name(kubernetes: dict[str, Any], place: str) -> None:
    spec = specs.pipeline({"a": specs.task("a")}, {"a": specs.component("a")})
    with pytest.raises(errors.InvalidInput) as refused:
        parse.spec({"pipeline_spec": spec, "platform_spec": {"platforms": {"kubernetes": kubernetes}}})
    assert refused.value.field == f"platform_spec.platforms.kubernetes.{place}"
