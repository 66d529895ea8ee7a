"""``lightship tune`` and ``lightship trials`` as a user types them, against a running platform."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import yaml

from tests.acceptance.commands.conftest import Lightship
from tests.acceptance.tuning.sweeps import sweep


def _file(folder: Path, *documents: object) -> str:
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump_all(documents))
    return str(path)


def test_an_experiment_is_started_followed_and_shown(lightship: Lightship, tmp_path: Path) -> None:
    said = lightship("tune", _file(tmp_path, sweep("shown")), "--follow")
    assert "6/6 trials: 6 succeeded" in said
    assert "succeeded: Experiment has succeeded because max trial count has reached" in said

    rows = lightship("trials", "shown").splitlines()
    assert rows[0].split() == ["TRIAL", "RANK", "STATE", "loss", "lr", "TOOK"]
    losses = [float(row.split()[3]) for row in rows[1:]]
    assert len(losses) == 6 and losses == sorted(losses)
    best = rows[1].split()[0]
    assert f"best trial {best}: loss={rows[1].split()[3]}" in said
    assert lightship("trials", "shown", "-o", "name", "--limit", "1").strip() == best

    found = json.loads(lightship("trials", "shown", "-o", "json"))
    assert found["best"]["trial"] == best and len(found["plots"]["history"]) == 6
    assert len(list(csv.reader(io.StringIO(lightship("trials", "shown", "-o", "csv"))))) == 7
    page = lightship("trials", "shown", "-o", "html")
    assert page.startswith("<!doctype html>") and best in page and "<script" not in page


def test_a_larger_budget_goes_on(lightship: Lightship, tmp_path: Path) -> None:
    made = sweep("raised", resumePolicy="LongRunning", maxTrialCount=2, parallelTrialCount=2)
    lightship("tune", _file(tmp_path, made), "--follow")
    made["spec"]["maxTrialCount"] = 4
    ended = json.loads(lightship("tune", _file(tmp_path, made), "--follow", "-o", "json"))
    assert ended["status"]["trialsSucceeded"] == 4


def test_an_experiment_that_fails_is_told_by_the_exit_code(lightship: Lightship, tmp_path: Path) -> None:
    made = sweep("broken", script="exit 3 # ${trialParameters.rate}", parallelTrialCount=1, maxTrialCount=2,
                 maxFailedTrialCount=1)
    said = lightship("tune", _file(tmp_path, made), "--follow", expect=1)
    assert "failed: Experiment has failed because max failed count has reached" in said
    assert "Failed" in lightship("trials", "broken")


def test_what_is_no_experiment_is_refused(lightship: Lightship, tmp_path: Path) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    assert "holds ConfigMap, Experiment, and not one Experiment" in lightship(
        "tune", _file(tmp_path, config, sweep("beside")), expect=2)
    assert "cannot read" in lightship("tune", str(tmp_path / "none.yaml"), expect=2)
    wrong = sweep("wrong", algorithm={"algorithmName": "enas"})
    assert "enas is not served" in lightship("tune", _file(tmp_path, wrong), expect=2)
    assert "wrong" in lightship("trials", "wrong", expect=1)
