"""``lightship cache`` and ``lightship lineage`` against a running platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands.conftest import FILE, Lightship
from tests.sdks import sdk_python

pytestmark = pytest.mark.sdk


def _states(lightship: Lightship, file: Path | str, *words: str) -> dict[str, str]:
    run = json.loads(lightship("run", str(file), "-o", "json", "--follow", *words))
    return {task["name"]: task["state"] for task in run["tasks"] if task["type"] == "RUNTIME"}


def test_the_cache_is_listed_and_cleared(lightship: Lightship, compiled: dict[str, Path]) -> None:
    single = compiled["single"]
    lightship("cache", "clear", "--all")
    assert _states(lightship, single, "-p", "n=2") == {"check": "SUCCEEDED"}
    assert _states(lightship, single, "-p", "n=2") == {"check": "CACHED"}

    [entry] = json.loads(lightship("cache", "list", "-o", "json"))
    assert (entry["task_name"], entry["parameters"]) == ("check", {"Output": 2})
    assert "check" in lightship("cache", "list")
    assert lightship("cache", "clear", "--step", "other").startswith("forgot 0")
    assert lightship("cache", "clear", "--older-than", "1h").startswith("forgot 0")
    assert "--all" in lightship("cache", "clear", expect=2)
    assert lightship("cache", "clear", "--step", "check").startswith("forgot 1")
    assert _states(lightship, single, "-p", "n=2") == {"check": "SUCCEEDED"}


def test_lineage_goes_both_ways(lightship: Lightship) -> None:
    made = lightship("run", f"{FILE}:lines", "--python", str(sdk_python("kfp==2.17.0")), "--follow", "-o", "name",
                     "--name", "lines")
    run_id = made.strip()

    shown = lightship("lineage", f"{run_id}/double/data")
    above, below = shown.split("used by")
    assert "write in lines, succeeded" in above and "double in lines, succeeded" in above
    assert "count in lines, succeeded" in below
    assert "nothing that is recorded" not in shown

    found: dict[str, Any] = json.loads(lightship("lineage", f"{run_id}/write/data", "-o", "json"))
    assert {task["display_name"] for task in found["tasks"]} == {"write", "double", "count"}
    upstream = lightship("lineage", found["artifact_id"], "--direction", "upstream")
    assert "count" not in upstream
    graph = lightship("lineage", "lines/write/data", "-o", "dot")
    assert graph.startswith("digraph lineage {") and graph.count("->") == 4
    assert "it has data" in lightship("lineage", f"{run_id}/write/dta", expect=1)
    assert "RUN/STEP/OUTPUT" in lightship("lineage", "nonsense", expect=2)
