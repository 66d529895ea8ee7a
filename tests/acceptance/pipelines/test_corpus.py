"""Upstream's own compiled pipelines end in their right states, and every step got and gave the right values.

Inputs without defaults are generated from their declared types. ``corpus.json`` has the stories, read against the
components' code; where a pipeline throws dice, what must follow from the throw is worked out here instead.
"""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lightship.domains.pipelines import document, ir, parse
from lightship.kube.resources import SECRETS
from lightship.records import pipeline_rows as rows
from tests.acceptance.pipelines import story
from tests.acceptance.pipelines.harness import Finished, Platform

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.sdk]

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "kfp"
FILES = sorted(CORPUS.glob("*/*.yaml"))
STORIES = json.loads(Path(__file__).with_name("corpus.json").read_text())

NEEDS = {
    "embedded_artifact": "its kfp pin (2.14) lacks dsl.EmbeddedInput, which its source uses; see test_authored",
    "pipeline_with_string_machine_fields_task_output": "a GPU; see test_engine for what its user is told",
}
PACKAGES = {
    "iris_pipeline_compiled": ("train-model", "metrics", "system.ClassificationMetrics", "confusionMatrix"),
    "metrics_visualization_v2": ("wine-classification", "metrics", "system.ClassificationMetrics", "confidenceMetrics"),
}
"""What takes pandas and scikit-learn from an index, half a minute: a step, its output, that one's type and metadata."""
FAILING = {
    "fail_v2", "pipeline_with_exit_handler", "pipeline_with_multiple_exit_handlers", "pipeline_as_exit_task",
    "local_execution_pipeline_with_ignore_upstream_failure", "pipeline_with_task_final_status",
    "pipeline_with_task_using_ignore_upstream_failure",
    "local_execution_pipeline_with_retry",  # it counts its attempts in a file, and no container outlives an attempt
}
DICE = {"pipeline_with_condition", "pipeline_with_nested_conditions", "pipeline_with_nested_conditions_yaml",
        "if_elif_else_complex"}
VALUES: dict[str, Any] = {ir.STRING: "hello", ir.NUMBER_INTEGER: 3, ir.NUMBER_DOUBLE: 1.5, ir.BOOLEAN: True,
                          ir.LIST: [1, 2], ir.STRUCT: {"a": 1}}

in_corpus = pytest.mark.skipif(not FILES, reason="no ../shared beside this clone")
each = pytest.mark.parametrize("path", [path for path in FILES if path.stem not in PACKAGES],
                               ids=lambda path: path.stem)


@in_corpus
@each
async def test_a_pipeline_of_the_corpus_ends_as_it_should(path: Path, shared_platform: Platform) -> None:
    if path.stem in NEEDS:
        pytest.skip(f"needs {NEEDS[path.stem]}")
    done = await run(path, shared_platform)
    assert done.run.state == (rows.FAILED if path.stem in FAILING else rows.SUCCEEDED), done.run.error
    assert {task.state for task in done.tasks.values()} <= rows.FINAL, "a run has ended, and a task has not"
    if path.stem in DICE:
        pipeline = parse.file(await asyncio.to_thread(path.read_bytes))
        assert not [line for task in done.tasks.values() for line in misjudged(task, pipeline)]
    else:
        assert not story.differences(STORIES[path.stem], await story.of(done, shared_platform))


@in_corpus
@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
async def test_steps_get_their_packages_from_an_index(name: str, shared_platform: Platform) -> None:
    done = await run(next(path for path in FILES if path.stem == name), shared_platform)
    assert done.run.state == rows.SUCCEEDED, done.run.error
    step, output, title, key = PACKAGES[name]
    made, = done.task(step).outputs.artifacts[output]
    assert made.type_title == title and made.metadata[key]


@in_corpus
@pytest.mark.slow
async def test_a_cold_start_gives_what_a_warm_one_gives(shared_platform: Platform) -> None:
    """Every component runs by exec, in an interpreter of its own, since its environment has a setting of Python's."""
    wrong: list[str] = []
    for path in FILES:
        if path.stem in STORIES:
            done = await run(path, shared_platform, cold=True)
            wrong += story.differences(STORIES[path.stem], await story.of(done, shared_platform), path.stem)
    assert not wrong


async def test_every_pipeline_of_the_corpus_has_a_story() -> None:
    if FILES:
        assert {path.stem for path in FILES} == {*STORIES, *NEEDS, *PACKAGES, *DICE}


async def run(path: Path, platform: Platform, *, cold: bool = False) -> Finished:
    """The pipeline with generated inputs."""
    await have_secret(platform)
    spec = parse.combine(document.load(await asyncio.to_thread(path.read_bytes)))
    declared = parse.spec(spec).root.inputs.parameters
    for executor in spec["pipeline_spec"]["deploymentSpec"]["executors"].values() if cold else ():
        if "container" in executor:
            executor["container"].setdefault("env", []).append({"name": "PYTHONDONTWRITEBYTECODE", "value": "1"})
    given = {name: VALUES[spec.type] for name, spec in declared.items() if spec.default is None and not spec.optional}
    return await platform.run(spec, given)


async def have_secret(platform: Platform) -> None:
    client = platform.client("tests")
    found = await client.list(SECRETS)
    if not any(item["metadata"]["name"] == "test-secret-1" for item in found.items):
        await client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "stringData": {"username": "ada"},
                                      "metadata": {"name": "test-secret-1", "namespace": "default"}})


def misjudged(task: rows.TaskRow, pipeline: ir.Pipeline) -> list[str]:
    """What is wrong about a task whose inputs are thrown: its condition, by Python's reckoning, or what it gave."""
    given, got = task.inputs.parameters, task.outputs.parameters
    wrong = []
    definition = next((dag.tasks[task.name] for component in (pipeline.root, *pipeline.components.values())
                       if (dag := component.dag) is not None and task.name in dag.tasks), None)
    if definition is not None and definition.condition and task.index is None and given:
        holds = bool(eval(as_python(definition.condition), {"values": given, "int": int}))
        if (task.state != rows.SKIPPED) is not holds:
            wrong.append(f"{task.path} is {task.state}, and its condition is {holds}")
    if task.name.startswith("print-and-return") and task.state != rows.SKIPPED and got["Output"] != given["text"]:
        wrong.append(f"{task.path} gave {got}")
    if task.name.startswith("is-even-or-odd") and got["Output"] != ("odd" if given["num"] % 2 else "even"):
        wrong.append(f"{task.path} gave {got} for {given}")
    return wrong


def as_python(condition: str) -> str:
    """The condition, as Python writes it."""
    plain = condition.replace("inputs.parameter_values[", "values[").replace("&&", " and ").replace("||", " or ")
    return re.sub(r"\btrue\b", "True", re.sub(r"!(?!=)", " not ", plain))
