from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from lightship import errors
from lightship.kube import conditions, jsonpath, quantities, times

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_times_round_trip() -> None:
    assert times.rfc3339(NOW) == "2026-01-02T03:04:05Z"
    assert times.parse(times.rfc3339_micro(NOW)) == NOW
    assert times.parse("2026-01-02T05:04:05+02:00") == NOW.replace(microsecond=0)
    assert times.parse("2026-01-02T03:04:05.123456789Z").microsecond == 123456


@pytest.mark.parametrize("text", ["", "now", "2026-13-02T03:04:05Z", "2026-01-02", "2026-01-02T03:04:05",
                                  "0001-01-01T00:00:00+23:00"])
def test_bad_times_are_invalid_input(text: str) -> None:
    with pytest.raises(errors.InvalidInput):
        times.parse(text)


@pytest.mark.parametrize(("seconds", "text"), [
    (-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (330, "5m30s"), (700, "11m"), (3 * 3600, "3h"),
    (9000, "150m"), (3600 * 7 + 60, "7h1m"), (3600 * 30, "30h"), (86400 * 2 + 3600 * 4, "2d4h"), (86400 * 400, "400d"),
    (86400 * 365 * 3, "3y"), (86400 * (365 * 3 + 5), "3y5d"),
])
def test_ages_are_kubectls(seconds: float, text: str) -> None:
    assert times.age(seconds) == text


def test_durations() -> None:
    assert times.parse_duration("1h30m") == 5400
    assert times.parse_duration("1.5s500ms") == 2.0
    assert times.parse_duration("0") == 0
    for text in ("", "5", "1x", "h"):
        with pytest.raises(errors.InvalidInput):
            times.parse_duration(text)


def test_quantities() -> None:
    assert quantities.parse("1Gi") == 2**30
    assert quantities.milli("500m") == 500
    assert quantities.milli("0.1") == 100
    assert quantities.whole("1e3") == 1000
    assert quantities.whole("100m") == 1
    assert quantities.parse(2) == Decimal(2)
    for text in ("", "1Q", "-", "1e999", "Gi", "1 G i"):
        with pytest.raises(errors.InvalidInput):
            quantities.parse(text)


def test_a_condition_keeps_its_transition_time_until_its_status_changes() -> None:
    first = conditions.merge(None, conditions.make("Ready", False, "Starting"), NOW)
    later = NOW + timedelta(minutes=1)
    same = conditions.merge(first, conditions.make("Ready", "False", "StillStarting"), later)
    assert same == [{"type": "Ready", "status": "False", "reason": "StillStarting",
                     "lastTransitionTime": times.rfc3339(NOW)}]
    changed = conditions.merge(same, conditions.make("Ready", True), later)
    assert changed[0]["lastTransitionTime"] == times.rfc3339(later)
    assert conditions.is_true({"status": {"conditions": changed}}, "Ready")
    assert conditions.find({}, "Ready") is None


def test_jsonpaths() -> None:
    obj = {"status": {"conditions": [{"type": "A", "status": "False"}, {"type": "Ready", "status": "True"}],
                      "n": [1, 2]}, "metadata": {"labels": {"a.b/c": "x"}}}
    assert jsonpath.first('.status.conditions[?(@.type=="Ready")].status', obj) == "True"
    assert jsonpath.compile("{.status.n[*]}")(obj) == [1, 2]
    assert jsonpath.first(".status.n[-1]", obj) == 2
    assert jsonpath.compile(".status.n[-1:]")(obj) == [2]
    assert jsonpath.compile(".status.n[:1]")(obj) == [1]
    assert jsonpath.first(r".metadata.labels.a\.b/c", obj) == "x"
    assert jsonpath.first(".metadata.labels['a.b/c']", obj) == "x"
    assert jsonpath.first(".nope.nope", obj) is None
    for path in (".a[", "a b[?(x)]", ".a[1:x]"):
        with pytest.raises(errors.InvalidInput):
            jsonpath.compile(path)
