"""``lightship recurring`` against a running platform."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.acceptance.commands.conftest import LIMIT_SECONDS, Lightship

pytestmark = pytest.mark.sdk


def test_a_pipeline_runs_by_the_clock_until_it_is_disabled(lightship: Lightship, compiled: dict[str, Path]) -> None:
    made = lightship("recurring", "create", str(compiled["single"]), "-p", "n=1", "--every", "1s", "--name", "ticking",
                     "--experiment", "clock", "-o", "name").strip()

    def runs() -> list[str]:
        return lightship("runs", "list", "--experiment", "clock", "-o", "name").split()

    deadline = time.monotonic() + LIMIT_SECONDS
    while len(runs()) < 2:
        assert time.monotonic() < deadline, lightship("recurring", "get", made)
    assert "ticking" in lightship("recurring", "list")
    lightship("recurring", "disable", "ticking")
    assert json.loads(lightship("recurring", "get", made, "-o", "json"))["status"] == "DISABLED"
    for run in runs():
        lightship("runs", "get", run, "--follow")
    lightship("recurring", "delete", made)
    assert made in lightship("recurring", "get", made, expect=1)
    assert runs()


@pytest.mark.parametrize(("words", "said"), [
    (("--cron", "nonsense"), "cron"), (("--every", "soon"), "'soon' is no time"),
    (("--every", "1h", "--end", "tomorrow"), "--end 'tomorrow' is no time"),
    (("--every", "1h", "--concurrency", "99"), "1 to 10"),
])
def test_a_wrong_schedule_is_refused_with_its_reason(
        lightship: Lightship, compiled: dict[str, Path], words: tuple[str, ...], said: str) -> None:
    assert said in lightship("recurring", "create", str(compiled["single"]), "-p", "n=1", *words, expect=2)
