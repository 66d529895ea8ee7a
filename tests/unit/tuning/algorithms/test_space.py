"""Axes: every position is a valid text, and the text's position names the same text again."""

from __future__ import annotations

import math
from statistics import mean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship.domains.tuning.algorithms.search import Parameter
from lightship.domains.tuning.algorithms.space import axis, drawn, seed_of, units

_UNIT = st.floats(0, 1)
_DISTRIBUTIONS = st.sampled_from(["", "uniform", "logUniform", "normal", "logNormal"])


@st.composite
def parameters(draw: st.DrawFn) -> Parameter:
    kind = draw(st.sampled_from(["double", "int", "discrete", "categorical"]))
    if kind in ("discrete", "categorical"):
        numbers = st.integers(-50, 50).map(str) if kind == "discrete" else st.text(min_size=1, max_size=4)
        return Parameter(name="p", type=kind, list=tuple(draw(st.lists(numbers, min_size=1, max_size=6))))
    distribution = draw(_DISTRIBUTIONS)
    least = 1 if distribution.startswith("log") else -1000
    if kind == "int":
        low = draw(st.integers(least, 1000))
        high = draw(st.integers(low, 2000))
        step = draw(st.sampled_from(["", "1", "3"]))
        return Parameter(name="p", type="int", min=str(low), max=str(high), step=step, distribution=distribution)
    low_number = draw(st.floats(0.001 if least == 1 else -1000, 1000))
    high_number = draw(st.floats(low_number, 2000))
    return Parameter(name="p", type="double", min=repr(low_number), max=repr(high_number),
                     step=draw(st.sampled_from(["", "0.1", "0.25"])), distribution=distribution)


@given(parameters(), _UNIT)
def test_a_position_is_a_text_within_bounds_and_steps_and_finds_itself_again(parameter: Parameter, unit: float) -> None:
    one = axis(parameter)
    text = one.text(unit)
    if parameter.list:
        assert text in parameter.list
    else:
        value = int(text) if parameter.type == "int" else float(text)
        assert float(parameter.min) <= value <= float(parameter.max)
        if parameter.step:
            steps = (value - float(parameter.min)) / float(parameter.step)
            assert math.isclose(steps, round(steps), abs_tol=1e-6)
    again = one.text(one.unit(text))
    assert again == text if one.steps is not None else math.isclose(float(again), float(text), rel_tol=1e-6,
                                                                    abs_tol=1e-6)


def test_steps_are_written_as_a_person_would_write_them() -> None:
    one = axis(Parameter(name="p", type="double", min="0.1", max="0.5", step="0.1"))
    assert [one.at(index) for index in range((one.steps or 0) + 1)] == ["0.1", "0.2", "0.3", "0.4", "0.5"]


def test_the_distributions_are_katibs() -> None:
    def values(distribution: str) -> list[float]:
        one = axis(Parameter(name="p", type="double", min="1", max="100", distribution=distribution))
        return [float(drawn([one], seed_of(distribution, number))["p"]) for number in range(4000)]

    assert mean(values("uniform")) == pytest.approx(50.5, rel=0.05)
    assert mean(math.log10(value) for value in values("logUniform")) == pytest.approx(1.0, rel=0.05)
    assert mean(values("normal")) == pytest.approx(50.5, rel=0.03)
    assert pstdev(values("normal")) == pytest.approx(99 / 6, rel=0.05)
    assert pstdev(math.log(value) for value in values("logNormal")) == pytest.approx(math.log(100) / 6, rel=0.05)


def test_each_whole_number_of_a_logarithmic_range_has_its_share() -> None:
    one = axis(Parameter(name="p", type="int", min="1", max="8", distribution="logUniform"))
    found = {drawn([one], number)["p"] for number in range(500)}
    assert found == {str(number) for number in range(1, 9)}


def test_what_is_not_of_the_space_has_no_position() -> None:
    space = [axis(Parameter(name="p", type="double", min="0", max="1")),
             axis(Parameter(name="q", type="categorical", list=("a",)))]
    assert units(space, {"p": "0.5", "q": "a"}) == (0.5, 0.5)
    for strange in ({"p": "0.5"}, {"p": "many", "q": "a"}, {"p": "nan", "q": "a"}, {"p": "0.5", "q": "b"}):
        assert units(space, strange) is None
