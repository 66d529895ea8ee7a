"""How a run unfolds: readiness, conditions, loops, failures, nesting, final status."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.domains.pipelines import dag, parse, projection
from lightship.domains.pipelines.nodes import Node, Outcome
from lightship.lib.clock import SYSTEM
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import TaskIO
from tests.unit.pipelines import specs
from tests.unit.pipelines.unfolding import artifact, begun, fails, gives, states, unfold

STRING_IN = specs.parameters(x="STRING")
STEP = specs.component("step", inputs=specs.parameters(x={"parameterType": "STRING", "isOptional": True}),
                       outputs=specs.STRING_OUT)


def test_a_chain_hands_values_on() -> None:
    spec = specs.pipeline(
        {"a": specs.task("comp-step"), "b": specs.task("comp-step", inputs={"x": specs.output_of("a")})},
        {"comp-step": STEP}, outputs=specs.STRING_OUT,
        gives={"parameters": {"Output": {"valueFromParameter": specs.selector("b")}}})
    done = unfold(spec, lambda node: gives(Output=f"{node.parameters.get('x', '')}{node.name}"))
    assert done.root.state == rows.SUCCEEDED
    assert done.root.out_parameters == {"Output": "ab"}


def test_what_needs_a_failed_step_is_skipped_and_the_rest_goes_on() -> None:
    spec = specs.pipeline(
        {"a": specs.task("comp-step"), "b": specs.task("comp-step", after=["a"]),
         "c": specs.task("comp-step", after=["b"]), "d": specs.task("comp-step")}, {"comp-step": STEP})
    done = unfold(spec, lambda node: fails() if node.name == "a" else gives())
    assert states(done) == {"root": rows.FAILED, "root/a": rows.FAILED, "root/b": rows.SKIPPED,
                            "root/c": rows.SKIPPED, "root/d": rows.SUCCEEDED}
    assert done.root.error == 'step "root/a": exit code 1'


def test_an_exit_task_runs_after_a_failure_and_is_told_of_it() -> None:
    handler = specs.sub_dag({"work": specs.task("comp-step")})
    spec = specs.pipeline(
        {"exit-handler-1": specs.task("comp-exit-handler-1"),
         "cleanup": specs.task("comp-cleanup", after=["exit-handler-1"], **specs.RUN_ALWAYS, inputs={
             "status": {"taskFinalStatus": {"producerTask": "exit-handler-1"}}})},
        {"comp-step": STEP, "comp-exit-handler-1": handler,
         "comp-cleanup": specs.component("cleanup", inputs=specs.parameters(
             status={"parameterType": "TASK_FINAL_STATUS", "isOptional": True}))})
    told: list[Any] = []

    def program(node: Node) -> Outcome:
        if node.name == "cleanup":
            told.append(node.parameters["status"])
        return fails("boom") if node.name == "work" else gives()

    done = unfold(spec, program)
    assert done.nodes["root/cleanup"].state == rows.SUCCEEDED
    assert done.root.state == rows.FAILED
    assert told[0]["state"] == "FAILED" and "boom" in told[0]["error"]["message"]
    assert told[0]["pipelineTaskName"] == "exit-handler-1"
    unfold(spec, lambda node: told.append(node.parameters.get("status")) or gives())
    assert told[-1]["state"] == "COMPLETE"


@pytest.mark.parametrize(("value", "state"), [("heads", rows.SUCCEEDED), ("tails", rows.SKIPPED)])
def test_a_condition_decides(value: str, state: str) -> None:
    inner = specs.sub_dag({"then": specs.task("comp-step")}, inputs=specs.parameters(coin="STRING"))
    spec = specs.pipeline(
        {"flip": specs.task("comp-step"),
         "condition-1": specs.task("comp-condition-1", inputs={"coin": specs.output_of("flip")},
                                   **specs.when("inputs.parameter_values['coin'] == 'heads'")),
         "after": specs.task("comp-step", after=["condition-1"])},
        {"comp-step": STEP, "comp-condition-1": inner})
    done = unfold(spec, lambda node: gives(Output=value))
    assert done.nodes["root/condition-1"].state == state
    assert done.nodes["root/after"].state == state
    assert done.root.state == rows.SUCCEEDED


def test_one_of_takes_the_branch_that_ran() -> None:
    def branch(name: str) -> specs.Spec:
        return specs.sub_dag({name: specs.task("comp-step")}, inputs=specs.parameters(coin="STRING"),
                             outputs=specs.STRING_OUT,
                             gives={"parameters": {"Output": {"valueFromParameter": specs.selector(name)}}})

    coin = {"coin": specs.input_of_parent("coin")}
    branches = specs.sub_dag(
        {"condition-2": specs.task("comp-two", inputs=coin, **specs.when("inputs.parameter_values['coin'] == 'h'")),
         "condition-3": specs.task("comp-three", inputs=coin,
                                   **specs.when("!(inputs.parameter_values['coin'] == 'h')"))},
        inputs=specs.parameters(coin="STRING"), outputs=specs.STRING_OUT,
        gives={"parameters": {"Output": {"valueFromOneof": {"parameterSelectors": [
            specs.selector("condition-2"), specs.selector("condition-3")]}}}})
    spec = specs.pipeline(
        {"condition-branches-1": specs.task("comp-branches", inputs={"coin": specs.input_of_parent("coin")}),
         "use": specs.task("comp-step", inputs={"x": specs.output_of("condition-branches-1")})},
        {"comp-step": STEP, "comp-branches": branches, "comp-two": branch("two"), "comp-three": branch("three")},
        inputs=specs.parameters(coin="STRING"))
    for coin_value, taken in (("h", "two"), ("t", "three")):
        done = unfold(spec, lambda node: gives(Output=node.name), {"coin": coin_value})
        assert done.nodes["root/use"].parameters == {"x": taken}


def _loop(body: specs.Spec, items: str, **more: Any) -> specs.Spec:
    return specs.pipeline(
        {"for-loop-1": {**specs.task("comp-loop"), **specs.loop_over(items, **more)},
         "use": specs.task("comp-use", inputs={"xs": specs.output_of("for-loop-1")})},
        {"comp-loop": body, "comp-step": STEP,
         "comp-use": specs.component("use", inputs=specs.parameters(xs="LIST"))})


BODY = specs.sub_dag(
    {"step": specs.task("comp-step", inputs={"x": specs.input_of_parent("item")})},
    inputs=specs.parameters(item="STRING"), outputs=specs.parameters(Output="LIST"),
    gives={"parameters": {"Output": {"valueFromParameter": specs.selector("step")}}})


@given(st.lists(st.text(max_size=5), max_size=8), st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_loop_collects_in_the_order_of_its_items(items: list[str], parallelism: int, order: random.Random) -> None:
    spec = _loop(BODY, json.dumps(items), parallelism=parallelism)
    done = unfold(spec, lambda node: gives(Output=node.parameters.get("x")), order=order)
    assert done.nodes["root/use"].parameters == {"xs": items}
    assert done.root.state == rows.SUCCEEDED


def test_a_loops_own_limit_holds() -> None:
    unfolded = begun(_loop(BODY, json.dumps(["a"] * 7), parallelism=2))
    while unfolded.ready:
        assert len(unfolded.ready) <= 2
        unfolded.settle(next(reversed(unfolded.ready)), gives(Output="a"))
    assert unfolded.nodes["root/for-loop-1"].state == rows.SUCCEEDED


def test_an_empty_loop_gives_an_empty_list() -> None:
    done = unfold(_loop(BODY, "[]"), lambda node: gives())
    assert done.nodes["root/use"].parameters == {"xs": []}


def test_iterations_whose_step_did_not_run_give_nothing() -> None:
    body = specs.sub_dag(
        {"condition-2": specs.task("comp-body", inputs={"item": specs.input_of_parent("item")},
                                   **specs.when("int(inputs.parameter_values['item']) > 1"))},
        inputs=specs.parameters(item="NUMBER_INTEGER"), outputs=specs.parameters(Output="LIST"),
        gives={"parameters": {"Output": {"valueFromParameter": specs.selector("condition-2")}}})
    spec = _loop(body, "[1, 2, 3]")
    spec["components"]["comp-body"] = BODY
    done = unfold(spec, lambda node: gives(Output=node.parameters.get("x")))
    assert done.nodes["root/use"].parameters == {"xs": ["2", "3"]}


def test_parameters_of_nested_loops_nest_and_artifacts_flatten() -> None:
    made = {"artifacts": {"thing": {"artifactType": {"schemaTitle": "system.Dataset"}}}}
    listed = {"parameters": {"Output": {"parameterType": "LIST"}},
              "artifacts": {"thing": {"artifactType": {"schemaTitle": "system.Dataset"}, "isArtifactList": True}}}

    def collected(producer: str) -> specs.Spec:
        return {"parameters": {"Output": {"valueFromParameter": specs.selector(producer)}},
                "artifacts": {"thing": {"artifactSelectors": [
                    {"producerSubtask": producer, "outputArtifactKey": "thing"}]}}}

    step = specs.component("maker", inputs=specs.parameters(i="NUMBER_INTEGER", j="NUMBER_INTEGER"),
                           outputs={**specs.STRING_OUT, **made})
    inner = specs.sub_dag({"maker": specs.task("comp-maker", inputs={
        "i": specs.input_of_parent("i"), "j": specs.input_of_parent("j")})},
        inputs=specs.parameters(i="NUMBER_INTEGER", j="NUMBER_INTEGER"), outputs=listed, gives=collected("maker"))
    outer = specs.sub_dag({"for-loop-2": {**specs.task("comp-inner", inputs={"i": specs.input_of_parent("i")}),
                                          **specs.loop_over("[1, 2]", "j")}},
                          inputs=specs.parameters(i="NUMBER_INTEGER"), outputs=listed, gives=collected("for-loop-2"))
    spec = specs.pipeline({"for-loop-1": {**specs.task("comp-outer"), **specs.loop_over("[10, 20]", "i")}},
                          {"comp-maker": step, "comp-inner": inner, "comp-outer": outer})

    def program(node: Node) -> Outcome:
        name = f"{node.parameters['i']}-{node.parameters['j']}"
        return Outcome(state=rows.SUCCEEDED, outputs=TaskIO(
            parameters={"Output": name}, artifacts={"thing": (artifact(name),)}))

    loop = unfold(spec, program).nodes["root/for-loop-1"]
    assert loop.out_parameters == {"Output": [["10-1", "10-2"], ["20-1", "20-2"]]}
    assert [thing.name for thing in loop.out_artifacts["thing"]] == ["10-1", "10-2", "20-1", "20-2"]


def test_struct_items_keep_their_ints_and_give_their_parts() -> None:
    step = specs.component("step", inputs=specs.parameters(x="NUMBER_INTEGER"))
    body = specs.sub_dag({"step": specs.task("comp-step", inputs={"x": {
        **specs.input_of_parent("item"), "parameterExpressionSelector": 'parseJson(string_value)["a"]'}})},
        inputs=specs.parameters(item="STRUCT"))
    spec = specs.pipeline({"for-loop-1": {**specs.task("comp-loop"), **specs.loop_over('[{"a": 1}, {"a": 2.0}]')}},
                          {"comp-loop": body, "comp-step": step})
    seen: list[Any] = []
    unfold(spec, lambda node: seen.append(node.parameters["x"]) or gives())
    assert seen == [1, 2] and all(isinstance(value, int) for value in seen)


def test_optional_inputs_without_a_value_are_left_out_and_defaults_fill_in() -> None:
    step = specs.component("step", inputs=specs.parameters(
        a={"parameterType": "STRING", "isOptional": True},
        b={"parameterType": "NUMBER_DOUBLE", "isOptional": True, "defaultValue": 2.0}))
    spec = specs.pipeline({"s": specs.task("comp-step", inputs={"a": specs.input_of_parent("a")})},
                          {"comp-step": step}, inputs=specs.parameters(
        a={"parameterType": "STRING", "isOptional": True}))
    unfolded = begun(spec)
    assert unfolded.nodes["root/s"].parameters == {"b": 2}


@pytest.mark.parametrize("optional", [True, False])
def test_a_condition_hands_an_optional_input_down_which_only_steps_may_need(optional: bool) -> None:
    """The compiler does not mark what it hands down as optional."""
    handed = specs.parameters(**{"pipelinechannel--a": "STRING"})
    step = specs.component("step", inputs=specs.parameters(x={"parameterType": "STRING", "isOptional": optional}))
    inner = specs.sub_dag({"s": specs.task("comp-step", inputs={"x": specs.input_of_parent("pipelinechannel--a")})},
                          inputs=handed)
    condition = "inputs.parameter_values['pipelinechannel--a'] != 'x'"
    spec = specs.pipeline(
        {"condition-1": specs.task("comp-condition-1", inputs={"pipelinechannel--a": specs.input_of_parent("a")},
                                   **specs.when(condition))},
        {"comp-step": step, "comp-condition-1": inner},
        inputs=specs.parameters(a={"parameterType": "STRING", "isOptional": True}))
    unfolded = begun(spec)
    found = unfolded.nodes["root/condition-1/s"]
    assert found.parameters == {}
    assert optional or 'the input "x" of "root/condition-1/s" has no value' in found.error


@pytest.mark.parametrize(("parameters", "words"), [
    ({}, "has no value"), ({"x": 1, "y": 2}, 'no parameter "y"'), ({"x": [1]}, "NUMBER_INTEGER")])
def test_wrong_parameters_fail_the_run_with_a_reason(parameters: dict[str, Any], words: str) -> None:
    spec = specs.pipeline({"s": specs.task("comp-step")}, {"comp-step": STEP},
                          inputs=specs.parameters(x="NUMBER_INTEGER"))
    unfolded = begun(spec, parameters)
    assert unfolded.root.state == rows.FAILED and words in unfolded.root.error


def test_a_run_that_would_grow_too_large_fails_and_says_so() -> None:
    unfolded = begun(_loop(BODY, json.dumps(["a"] * 50)), max_tasks=30)
    while unfolded.ready:
        unfolded.settle(next(iter(unfolded.ready)), gives(Output="a"))
    assert unfolded.root.state == rows.FAILED and "30 tasks" in unfolded.root.error


def test_constants_name_other_inputs_and_the_job() -> None:
    step = specs.component("step", inputs=specs.parameters(a="STRING", b="STRING", c="STRUCT"))
    spec = specs.pipeline({"s": specs.task("comp-step", inputs={
        "a": specs.constant("Hello, {{$.inputs.parameters['pipelinechannel--name']}}!"),
        "b": specs.constant("{{$.pipeline_task_name}}"),
        "c": specs.constant({"k": ["{{$.inputs.parameters['pipelinechannel--name']}}"]}),
        "pipelinechannel--name": specs.input_of_parent("name")})},
        {"comp-step": step}, inputs=specs.parameters(name="STRING"))
    found = begun(spec, {"name": "Ada"}).nodes["root/s"].parameters
    assert found["a"] == "Hello, Ada!" and found["b"] == "s" and found["c"] == {"k": ["Ada"]}


TERMINATED = Outcome(state=rows.CANCELED, error="the run was terminated")


def stop(unfolded: dag.Dag) -> None:
    unfolded.stop(TERMINATED.error)
    unfolded.end_ready()


def test_a_stopped_run_begins_nothing_and_ends_with_what_has_begun() -> None:
    unfolded = begun(_loop(BODY, '["a", "b", "c", "d"]', parallelism=2))
    first, second = list(unfolded.ready)
    unfolded.settle(first, gives(Output="a"))
    unfolded.take(second)
    stop(unfolded)
    assert not unfolded.ready and not unfolded.root.ended
    assert unfolded.nodes["root/for-loop-1[2]/step"].state == rows.CANCELED, "it was ready, and had not begun"
    unfolded.settle(second, TERMINATED)
    assert states(unfolded) == {
        "root": rows.CANCELED, "root/for-loop-1": rows.CANCELED, "root/use": rows.SKIPPED,
        "root/for-loop-1[0]": rows.SUCCEEDED, "root/for-loop-1[0]/step": rows.SUCCEEDED,
        **{f"root/for-loop-1[{n}]{step}": rows.CANCELED for n in (1, 2) for step in ("", "/step")}}
    assert unfolded.nodes["root/for-loop-1"].out_parameters == {"Output": ["a"]}


def test_a_stopped_run_whose_steps_all_ended_well_meanwhile_is_cut_short_all_the_same() -> None:
    unfolded = begun(specs.pipeline({"a": specs.task("comp-step"), "b": specs.task("comp-step", after=["a"])},
                                    {"comp-step": STEP}))
    unfolded.take("root/a")
    stop(unfolded)
    unfolded.settle("root/a", gives(Output="a"))
    assert states(unfolded) == {"root": rows.CANCELED, "root/a": rows.SUCCEEDED, "root/b": rows.SKIPPED}


def test_a_stopped_run_still_runs_the_exit_tasks_of_what_has_begun() -> None:
    status = specs.component("last", inputs=specs.parameters(status="TASK_FINAL_STATUS"))
    told = {"status": {"taskFinalStatus": {"producerTask": "handled"}}}
    unfolded = begun(specs.pipeline(
        {"handled": specs.task("comp-body"),
         "exit": specs.task("comp-last", after=["handled"], inputs=told, **specs.RUN_ALWAYS),
         "later": specs.task("comp-body", after=["handled"]),
         "exit-2": specs.task("comp-step", after=["later"], **specs.RUN_ALWAYS)},
        {"comp-body": specs.sub_dag({"step": specs.task("comp-step")}), "comp-step": STEP, "comp-last": status}))
    unfolded.take("root/handled/step")
    stop(unfolded)
    unfolded.settle("root/handled/step", TERMINATED)
    assert list(unfolded.ready) == ["root/exit"], "what never began has no exit"
    assert unfolded.nodes["root/exit"].parameters["status"]["state"] == "CANCELLED"
    unfolded.settle("root/exit", gives())
    assert states(unfolded) == {"root": rows.CANCELED, "root/handled": rows.CANCELED, "root/later": rows.SKIPPED,
                                "root/handled/step": rows.CANCELED, "root/exit": rows.SUCCEEDED,
                                "root/exit-2": rows.SKIPPED}


def test_a_pipeline_that_is_an_exit_task_runs_to_its_end_in_a_stopped_run() -> None:
    body = specs.sub_dag({"one": specs.task("comp-step"), "two": specs.task("comp-step", after=["one"])})
    unfolded = begun(specs.pipeline(
        {"a": specs.task("comp-step"), "exit": specs.task("comp-body", after=["a"], **specs.RUN_ALWAYS)},
        {"comp-body": body, "comp-step": STEP}))
    unfolded.settle("root/a", fails())
    unfolded.take("root/exit/one")
    stop(unfolded)
    unfolded.settle("root/exit/one", gives(Output="1"))
    unfolded.settle("root/exit/two", gives(Output="2"))
    assert unfolded.root.state == rows.FAILED and unfolded.nodes["root/exit"].state == rows.SUCCEEDED


def _random_spec(draw: random.Random) -> specs.Spec:
    """Steps in random order of dependency, some conditional, looped, nested or running always."""
    components = {"comp-step": STEP, "comp-body": BODY}
    tasks: dict[str, specs.Spec] = {}
    for number in range(draw.randint(1, 9)):
        after = [name for name in tasks if draw.random() < 0.35]
        kind = draw.choice(["step", "loop", "condition", "always"])
        task = specs.task("comp-step" if kind != "loop" else "comp-body", after=after)
        if kind == "loop":
            task |= specs.loop_over(json.dumps(["i"] * draw.randint(0, 3)), parallelism=draw.randint(0, 2))
        elif kind == "condition":
            task |= specs.when(draw.choice(["true", "false", "1 == 1"]))
        elif kind == "always":
            task |= specs.RUN_ALWAYS
        tasks[f"t{number}"] = task
    return specs.pipeline(tasks, components)


@pytest.mark.parametrize("seed", range(60))
def test_random_runs_end_the_same_in_any_order_and_after_any_restart(seed: int) -> None:
    draw = random.Random(seed)
    spec = _random_spec(draw)
    failing = {f"root/t{number}" for number in range(10) if draw.random() < 0.25}

    def program(node: Node) -> Outcome:
        return fails() if any(node.path.startswith(path) for path in failing) else gives(Output="v")

    first = unfold(spec, program)
    assert all(node.ended for node in first.nodes.values()), f"seed {seed}"
    assert states(unfold(spec, program, order=draw)) == states(first), f"seed {seed}"
    _check_rules(first, f"seed {seed}")

    known = {}
    unfolded = begun(spec)
    for _ in range(draw.randint(0, 6)):
        if unfolded.ready:
            path = draw.choice(list(unfolded.ready))
            unfolded.settle(path, program(unfolded.ready[path]))
            node = unfolded.nodes[path]
            known[path] = projection.row(node, None, run_id="run", namespace="default", now=SYSTEM.now())
    again = dag.Dag(parse.spec(spec), run_id="run")
    again.begin({})
    projection.replay(again, known)
    assert states(again) == states(unfolded), f"seed {seed}"


def _check_rules(done: dag.Dag, seed: str) -> None:
    for node in done.nodes.values():
        if node.children:
            failed = any(child.state == rows.FAILED for child in node.children.values())
            assert (node.state == rows.FAILED) == failed, (seed, node.path)
        if node.task is not None and node.parent is not None and node.parent.type != "LOOP":
            upstream = [node.parent.children[name] for name in node.task.upstream]
            if not node.task.run_always and not all(one.good for one in upstream):
                assert node.state == rows.SKIPPED, (seed, node.path)
