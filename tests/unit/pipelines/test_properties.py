"""What holds for any condition, any nest of loops, any run that is stopped: tried with what hypothesis thinks up."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lightship.domains.pipelines import dag, expressions, parse, placeholders, projection, values
from lightship.domains.pipelines.nodes import Outcome
from lightship.lib.clock import SYSTEM
from lightship.records import pipeline_rows as rows
from tests.unit.pipelines import specs
from tests.unit.pipelines.unfolding import begun, fails, gives, unfold

NAMES = "abc"
PARAMETERS = st.fixed_dictionaries({name: st.integers(-5, 5) | st.floats(-5, 5) for name in NAMES})
STEP = specs.component("step", inputs=specs.parameters(x={"parameterType": "STRING", "isOptional": True}),
                       outputs=specs.STRING_OUT)


@st.composite
def comparisons(draw: st.DrawFn, depth: int = 3) -> tuple[str, str]:
    """A condition, in CEL and in Python."""
    if depth and draw(st.booleans()):
        left, right = draw(comparisons(depth - 1)), draw(comparisons(depth - 1))
        kind = draw(st.sampled_from(["&&", "||", "!"]))
        if kind == "!":
            return f"!({left[0]})", f"(not ({left[1]}))"
        return f"({left[0]} {kind} {right[0]})", f"({left[1]} {'and' if kind == '&&' else 'or'} {right[1]})"
    name, operator = draw(st.sampled_from(NAMES)), draw(st.sampled_from(["==", "!=", "<", "<=", ">", ">="]))
    other = draw(st.integers(-5, 5).map(str) | st.sampled_from(NAMES))
    right = f"inputs.parameter_values['{other}']" if other in NAMES else other
    return f"inputs.parameter_values['{name}'] {operator} {right}", f"{name} {operator} {other}"


@given(comparisons(), PARAMETERS)
def test_a_condition_holds_when_python_says_so(condition: tuple[str, str], parameters: dict[str, Any]) -> None:
    assert expressions.condition(condition[0], parameters, "t") is bool(eval(condition[1], {}, dict(parameters)))


@given(st.text(max_size=30))
def test_any_text_can_be_compared(value: str) -> None:
    quoted = json.dumps(value, ensure_ascii=False)
    if all(character.isprintable() for character in value):
        assert expressions.condition(f"inputs.parameter_values['s'] == {quoted}", {"s": value}, "t")
    assert expressions.condition("inputs.parameter_values['s'] == inputs.parameter_values['t']",
                                 {"s": value, "t": value}, "t")


@given(st.lists(st.one_of(st.tuples(st.just("text"), st.text("abc {}$", max_size=5)),
                          st.tuples(st.just("input"), st.sampled_from(NAMES)))), PARAMETERS)
def test_concatenated_placeholders_are_the_texts_in_a_row(parts: list[tuple[str, str]],
                                                          parameters: dict[str, Any]) -> None:
    scope = placeholders.Scope(executor_input={"inputs": {"parameterValues": parameters}}, local_path=str)
    written = [part if kind == "text" else f"{{{{$.inputs.parameters['{part}']}}}}" for kind, part in parts]
    meant = "".join(part if kind == "text" else values.text(parameters[part]) for kind, part in parts)
    assert placeholders.command_line([{"Concat": written}], scope) == [meant]


@given(st.lists(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=3), max_size=3), st.integers(0, 9),
       st.integers(0, 2), st.integers())
def test_nested_loops_give_lists_of_lists_of_what_was_made(
        cube: list[list[list[int]]], skipped: int, parallelism: int, seed: int) -> None:
    """Three loops deep; where an item is ``skipped`` its condition is false, and it gives nothing."""
    made = unfold(_nest(cube, skipped, parallelism), lambda node: gives(Output=node.parameters["x"]),
                  order=random.Random(seed))
    assert made.root.state == rows.SUCCEEDED
    assert made.root.out_parameters["Output"] == [
        [[item for item in row if item != skipped] for row in plane] for plane in cube]


def _nest(cube: Any, skipped: int, parallelism: int) -> specs.Spec:
    number = specs.component("step", inputs=specs.parameters(x="NUMBER_INTEGER"),
                             outputs=specs.parameters(Output="NUMBER_INTEGER"))
    chosen = specs.sub_dag({"step": specs.task("comp-step", inputs={"x": specs.input_of_parent("item")})},
                           inputs=specs.parameters(item="NUMBER_INTEGER"),
                           outputs=specs.parameters(Output="NUMBER_INTEGER"), gives=_from("step"))
    components = {"comp-step": number, "comp-chosen": chosen}
    components["comp-0"] = specs.sub_dag(
        {"chosen": specs.task("comp-chosen", inputs={"item": specs.input_of_parent("item")},
                              **specs.when(f"int(inputs.parameter_values['item']) != {skipped}"))},
        inputs=specs.parameters(item="NUMBER_INTEGER"), outputs=specs.parameters(Output="NUMBER_INTEGER"),
        gives=_from("chosen"))
    for level in (1, 2, 3):
        loop = {"parameterIterator": {"itemInput": "item", "items": {"inputParameter": "items"}},
                "iteratorPolicy": {"parallelismLimit": parallelism}}
        components[f"comp-{level}"] = specs.sub_dag(
            {"loop": specs.task(f"comp-{level - 1}", inputs={"items": specs.input_of_parent("item")}, **loop)},
            inputs=specs.parameters(item="LIST"), outputs=specs.parameters(Output="LIST"), gives=_from("loop"))
    for name in ("comp-0", "comp-1", "comp-2"):
        components[name]["inputDefinitions"]["parameters"]["items"] = {"parameterType": "LIST"}
    return specs.pipeline({"all": specs.task("comp-3", inputs={"item": specs.constant(cube)})}, components,
                          outputs=specs.parameters(Output="LIST"), gives=_from("all"))


def _from(task: str) -> specs.Spec:
    return {"parameters": {"Output": {"valueFromParameter": specs.selector(task)}}}


@settings(max_examples=200)
@given(st.integers())
def test_a_run_that_is_stopped_anywhere_ends_the_same_taken_up_again_or_not(seed: int) -> None:
    """Nothing but exit tasks begins after the stop; and rows of any moment give back the run that wrote them."""
    draw = random.Random(seed)
    spec = _random_spec(draw)
    unfolded = begun(spec)
    for _ in range(draw.randint(0, 8)):
        _one_ends(unfolded, draw)
    for path in list(unfolded.ready):
        if draw.random() < 0.5:
            unfolded.take(path)
    unfolded.stop("the run was terminated")
    unfolded.end_ready()
    while not unfolded.root.ended:
        if draw.random() < 0.3:
            unfolded = _taken_up(spec, unfolded)
        for path in unfolded.ready:
            assert unfolded.nodes[path].outlives, path
        _one_ends(unfolded, draw)
    again = _taken_up(spec, unfolded)
    assert _states(again) == _states(unfolded)


def _one_ends(unfolded: dag.Dag, draw: random.Random) -> None:
    paths = [*unfolded.ready, *unfolded.begun]
    if not paths:
        return
    path = draw.choice(paths)
    if unfolded.stopped and not unfolded.nodes[path].outlives:
        unfolded.settle(path, Outcome(state=rows.CANCELED, error=unfolded.stopped))
    else:
        unfolded.settle(path, fails() if draw.random() < 0.2 else gives(Output="v"))


def _states(unfolded: dag.Dag) -> dict[str, tuple[str, str]]:
    return {path: (node.state, node.error) for path, node in unfolded.nodes.items() if node.state != "WAITING"}


def _taken_up(spec: specs.Spec, before: dag.Dag) -> dag.Dag:
    """The run as a new engine finds it: of what it wrote, as ``work`` takes a stopped run up."""
    known = {path: projection.row(node, None, run_id="run", namespace="default", now=SYSTEM.now())
             for path, node in before.nodes.items() if node.state != "WAITING"}
    found = dag.Dag(parse.spec(spec), run_id="run")
    found.stop(before.stopped, known)
    found.begin({})
    for _ in range(2):
        projection.replay(found, known)
        for path in [path for path in found.ready if path in before.begun]:
            found.take(path)
        found.end_ready()
    assert _states(found) == _states(before)
    return found


def _random_spec(draw: random.Random) -> specs.Spec:
    """Steps in random order of dependency, some conditional, looped, nested or running always."""
    body = specs.sub_dag({"one": specs.task("comp-step"), "two": specs.task("comp-step", after=["one"])})
    looped = specs.sub_dag({"step": specs.task("comp-step")}, inputs=specs.parameters(item="STRING"))
    tasks: dict[str, specs.Spec] = {}
    for number in range(draw.randint(1, 7)):
        after = [name for name in tasks if draw.random() < 0.35]
        kind = draw.choice(["step", "loop", "condition", "always", "nested"])
        component = {"loop": "comp-looped", "nested": "comp-body"}.get(kind, "comp-step")
        task = specs.task(component, after=after)
        if kind == "loop":
            task |= specs.loop_over(json.dumps(["i"] * draw.randint(0, 4)), "item", parallelism=draw.randint(0, 2))
        elif kind == "condition":
            task |= specs.when(draw.choice(["true", "false"]))
        elif kind == "always" or draw.random() < 0.1:
            task |= specs.RUN_ALWAYS
        tasks[f"t{number}"] = task
    return specs.pipeline(tasks, {"comp-step": STEP, "comp-body": body, "comp-looped": looped})

