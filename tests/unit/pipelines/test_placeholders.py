"""Placeholders, values and expressions: what replaces what, and what never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.domains.pipelines import expressions, ir, placeholders, values
from lightship.domains.pipelines.errors import InvalidPipeline, StepError
from lightship.domains.pipelines.execution import local_path
from lightship.domains.pipelines.placeholders import Job, Scope

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2**53, 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3), max_leaves=8)


def scope(**parameters: Any) -> Scope:
    artifact = {"name": "in", "uri": "minio://b/in", "metadata": {"rows": 3}}
    return Scope(local_path=local_path, job=Job(name="my run", uuid="u-1", task_name="fit"), executor_input={
        "inputs": {"parameterValues": parameters, "artifacts": {"data": {"artifacts": [artifact]}}},
        "outputs": {"parameters": {"n": {"outputFile": "/tmp/kfp/outputs/n/data"}},
                    "artifacts": {"model": {"artifacts": [{"uri": "minio://b/r/model"}]}}, "outputFile": "/minio/o"}})


@pytest.mark.parametrize(("written", "meant"), [
    ("{{$.inputs.parameters['x']}}", "hi"),
    ('{{$.inputs.parameters["x"]}}', "hi"),
    ("a-{{$.inputs.parameters['x']}}-{{$.inputs.parameters['n']}}", "a-hi-2"),
    ("{{$.inputs.parameters['absent']}}", ""),
    ("{{$.inputs.parameters['s']}}", '{"k":[1,true,null]}'),
    ("{{$.inputs.artifacts['data'].uri}}", "minio://b/in"),
    ("{{$.inputs.artifacts['data'].path}}", "/minio/b/in"),
    ("{{$.inputs.artifacts['data'].metadata['rows']}}", "3"),
    ("{{$.outputs.parameters['n'].output_file}}", "/tmp/kfp/outputs/n/data"),
    ("{{$.outputs.artifacts['model'].path}}", "/minio/b/r/model"),
    ("{{$.pipeline_job_name}}/{{$.pipeline_job_uuid}}/{{$.pipeline_task_name}}", "my run/u-1/fit"),
    ("{{$.something.else}} {{ .Values }}", "{{$.something.else}} {{ .Values }}"),
])
def test_a_placeholder_means(written: str, meant: str) -> None:
    found = scope(x="hi", n=2.0, s={"k": [1.0, True, None]})
    assert placeholders.command_line([written], found) == [meant]


@given(st.dictionaries(st.text(min_size=1, max_size=5), VALUES, max_size=3))
def test_the_executor_input_is_json(parameters: dict[str, Any]) -> None:
    found = scope(x=1) if not parameters else Scope(
        executor_input={"inputs": {"parameterValues": values.normal(parameters)}}, local_path=local_path)
    [text] = placeholders.command_line(["{{$}}"], found)
    assert json.loads(text) == found.executor_input


@given(st.text(max_size=60))
def test_what_replaces_is_not_searched_again(value: str) -> None:
    assert placeholders.command_line(["{{$.inputs.parameters['x']}}"], scope(x=value)) == [value]


def test_concat_and_if_present() -> None:
    concat = placeholders.decode('{"Concat": ["--x=", "{{$.inputs.parameters[\'x\']}}", {"IfPresent": '
                                 '{"InputName": "y", "Then": "!", "Else": "?"}}]}')
    present = placeholders.decode('{"IfPresent": {"InputName": "x", "Then": ["--a", '
                                  '"{{$.inputs.parameters[\'x\']}}"]}}')
    absent = placeholders.decode('{"IfPresent": {"InputName": "y", "Then": ["--a"]}}')
    assert placeholders.command_line([concat, present, absent, "end"], scope(x="hi")) == ["--x=hi?", "--a", "hi", "end"]
    assert placeholders.decode('{"Concat": broken') == '{"Concat": broken'


@given(VALUES)
def test_integral_doubles_are_integers_all_the_way_down(value: Any) -> None:
    found = values.normal(value)
    assert values.normal(found) == found == value
    assert ".0" not in json.dumps(values.normal(1.0))
    assert values.canonical(value) == values.canonical(json.loads(json.dumps(found)))


@pytest.mark.parametrize(("kind", "given_value", "result"), [
    (ir.NUMBER_INTEGER, 2.0, 2), (ir.NUMBER_INTEGER, "7", 7), (ir.NUMBER_INTEGER, "1.0", 1),
    (ir.NUMBER_DOUBLE, "1.5", 1.5),
    (ir.STRING, {"a": 1.0}, '{"a":1}'), (ir.STRING, True, "true"), (ir.BOOLEAN, "True", True),
    (ir.LIST, "[1, 2.0]", [1, 2]), (ir.STRUCT, '{"a": 1}', {"a": 1}), (ir.STRING, None, None),
])
def test_a_value_becomes_its_declared_type(kind: str, given_value: Any, result: Any) -> None:
    found = values.typed(given_value, ir.ParameterSpec(type=kind), "x")
    assert found == result and type(found) is type(result)


@pytest.mark.parametrize(("kind", "wrong"), [
    (ir.NUMBER_INTEGER, 1.5), (ir.NUMBER_INTEGER, "many"), (ir.NUMBER_INTEGER, True), (ir.NUMBER_DOUBLE, "nan"),
    (ir.BOOLEAN, 1), (ir.LIST, {"a": 1}), (ir.STRUCT, "text"), (ir.LIST, "[1,")])
def test_a_value_of_another_type_is_refused(kind: str, wrong: Any) -> None:
    with pytest.raises(StepError, match=kind):
        values.typed(wrong, ir.ParameterSpec(type=kind), "x")


def test_literals_bind() -> None:
    with pytest.raises(StepError, match="literals"):
        values.typed("c", ir.ParameterSpec(type=ir.STRING, literals=("a", "b")), "x")


@pytest.mark.parametrize(("expression", "holds"), [
    ("int(inputs.parameter_values['n']) > 1", True), ("inputs.parameter_values['s'] == 'x'", True),
    ("!(inputs.parameter_values['s'] == 'x')", False), ("inputs.parameter_values['none'] == null", True),
    ("inputs.parameter_values['b'] == true && inputs.parameter_values['n'] != 3", True),
    ("bool('true')", True), ("'x' in ['x', 'y']", True)])
def test_conditions(expression: str, holds: bool) -> None:
    parameters = {"n": 2, "s": "x", "b": True, "none": None}
    assert expressions.condition(expression, parameters, "t") is holds


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.integers(-1000, 1000) | st.text(max_size=5),
                       min_size=1, max_size=3))
def test_a_selector_takes_the_part_it_names(struct: dict[str, Any]) -> None:
    key = next(iter(struct))
    assert expressions.select(f'parseJson(string_value)["{key}"]', struct, "t") == struct[key]
    assert expressions.select(f'parseJson(string_value)["{key}"]', json.dumps(struct), "t") == struct[key]


def test_an_expression_cannot_hold_the_server() -> None:
    endless = "inputs.parameter_values['l']"
    for name in "abcd":
        endless = f"inputs.parameter_values['l'].all({name}, {endless if name != 'a' else 'a >= 0.0'})"
    with pytest.raises(StepError, match="cost limit"):
        expressions.condition(endless, {"l": list(range(1000))}, "root/t")


def test_conditions_see_artifacts_and_numbers_are_doubles() -> None:
    model = {"model": [{"uri": "minio://m", "metadata": {"accuracy": 0.95}}]}
    assert expressions.condition("inputs.artifacts['model'].artifacts[0].metadata['accuracy'] * 100.0 > 90.0", {}, "t",
                                 model)
    assert expressions.condition("inputs.parameter_values['n'] / 2.0 == 1.5", {"n": 3}, "t")
    assert expressions.select("struct_value.list[1]", {"list": [1, 2 ** 60 + 1]}, "t") == 2 ** 60 + 1
    with pytest.raises(StepError, match="struct_value"):
        expressions.select("struct_value", "text", "t")


def test_expressions_that_fail_say_where() -> None:
    with pytest.raises(StepError, match="root/t"):
        expressions.condition("inputs.parameter_values['s'] > 1", {"s": "x"}, "root/t")
    with pytest.raises(StepError, match="neither true nor false"):
        expressions.condition("1 + 1", {}, "root/t")
    with pytest.raises(InvalidPipeline, match="CEL"):
        expressions.check("1 +", "root.t")
