"""Metrics in text and JSON lines: upstream's cases as a table, then what users and hostile programs print."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightship import errors
from lightship.domains.tuning.collectors import lines
from lightship.kube import times
from lightship.records.readings import NO_TIME, Reading

BRACES = r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}"
JSON_LINES = '''\
{"checkpoint_path": "", "global_step": "0", "loss": "0.22082142531871796", "timestamp": 1638422847.28721, "trial": "0"}
{"acc": "0.9349666833877563", "checkpoint_path": "", "global_step": "0", "timestamp": 1638422847, "trial": "0"}
{"checkpoint_path": "", "loss": "0.1414974331855774", "timestamp": "2021-12-02T14:27:50.000035161Z", "trial": "0"}
{"loss": "0.22", "timestamp": "invalid", "trial": "0"}
{"acc": 0.95, "timestamp": "2021-12-02T14:27:50Z"}
{"checkpoint_path": "", "global_step": "2", "loss": "0.10683439671993256", "trial": "0"}'''
TEXT = '''\
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: 0.8078};{metricName: loss, metricValue: 0.5183}
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: 100}
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: -0.4759}
invalid INFO     {metricName: loss, metricValue: 0.3634}
{metricName: loss, metricValue: 0.8671}'''
BROKEN = '''\
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: .333}
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: - 345.333}
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: 888.}
2024-03-04T17:55:08Z INFO     {metricName: accuracy, metricValue: 0.6752'''


def read(reader: lines.LineReader, text: str) -> list[tuple[str, str, str]]:
    found: list[Reading] = [reading for line in text.split("\n") for reading in reader.read(line)]
    return [("" if one.time == NO_TIME else times.rfc3339_micro(one.time), one.metric, one.value) for one in found]


def test_json_lines_count_texts_with_their_times() -> None:
    assert read(lines.reader(["acc", "loss"], json_lines=True), JSON_LINES) == [
        ("2021-12-02T05:27:27.287210Z", "loss", "0.22082142531871796"),
        ("2021-12-02T05:27:27.000000Z", "acc", "0.9349666833877563"),
        ("2021-12-02T14:27:50.000035Z", "loss", "0.1414974331855774"),
        ("", "loss", "0.22"),
        ("", "loss", "0.10683439671993256"),
    ]


def test_text_lines_are_read_by_filters_with_a_leading_time() -> None:
    moment = "2024-03-04T17:55:08.000000Z"
    assert read(lines.reader(["accuracy", "loss"], [BRACES]), TEXT) == [
        (moment, "accuracy", "0.8078"), (moment, "loss", "0.5183"), (moment, "accuracy", "100"),
        (moment, "accuracy", "-0.4759"), ("", "loss", "0.3634"), ("", "loss", "0.8671")]
    assert read(lines.reader(["accuracy", "loss"], [BRACES]), BROKEN) == []
    assert read(lines.reader(["accuracy", "loss"]), BROKEN) == []


@pytest.mark.parametrize(("line", "value"), [
    ("loss=0.3", "0.3"), ("epoch 3: loss = .98, x=1", ".98"), ("loss=-7.53e-05", "-7.53e-05"), ("loss=1E0", "1E0"),
    ("loss=+7.53e+05;", "+7.53e+05"), ("loss=1.23E10", "1.23E10"), ("loss=nan", "nan"),
    ("loss = -Infinity!", "-Infinity"),
    ("loss=info", None), ("loss=abc", None), ("loss=", None), ("train-loss=1", None), ("a==loss=3", "3"),
    ("loss==3", None), ("the loss is 3", None), ("{'loss': 0.3}", None), ("loss=1e", "1"), ("loss=12abc", "12"),
])
def test_the_default_filter(line: str, value: str | None) -> None:
    found = lines.reader(["loss"]).read(line)
    assert [one.value for one in found] == ([value] if value else [])


@given(st.text(alphabet="ab|-= \t.+1e0E", max_size=40))
def test_the_default_filter_is_the_expression_that_upstream_documents(line: str) -> None:
    wanted = [(found[1], found[2]) for found in re.finditer(lines.DEFAULT_FILTER, line, re.ASCII)]
    assert list(lines._default(line)) == wanted


def test_several_filters_and_the_moment_of_the_log() -> None:
    moment = times.parse("2026-01-01T00:00:00Z")
    reader = lines.reader(["loss"], [r"(loss): (\S+)", lines.DEFAULT_FILTER])
    assert reader.read("loss: 3 loss=4", moment) == [Reading(time=moment, metric="loss", value="3"),
                                                     Reading(time=moment, metric="loss", value="4")]
    own = times.parse("2025-01-01T00:00:00Z")
    assert reader.read("2025-01-01T00:00:00Z loss=4", moment) == [Reading(time=own, metric="loss", value="4")]


def test_a_filter_that_cannot_be_used_is_refused_with_the_reason() -> None:
    with pytest.raises(errors.InvalidInput, match="two groups"):
        lines.reader(["loss"], [r"loss=(\d+)"])
    assert "error parsing regexp" in lines.check_filter("(a")
    assert lines.check_filter(BRACES) == ""


@pytest.mark.parametrize("line", ["loss" * 100_000, "loss" + "=" * 100_000, "loss " * 50_000, "loss\x00\ufffd" * 9000,
                                  "loss=" + "9" * 50_000, "[" * 50_000 + "loss"])
def test_hostile_lines_are_read_to_their_limit(line: str) -> None:
    for reader in (lines.reader(["loss"]), lines.reader(["loss"], [r"(\w+)+=(\d+)"]),
                   lines.reader(["loss"], json_lines=True)):
        assert len(reader.read(line)) <= 1
