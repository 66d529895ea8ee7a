"""What a Trial's Pod gets at its creation, on a real API server: where its maker could not say it, and only there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.domain import TUNING
from lightship.domains.tuning.trial import pods
from lightship.kube.objects import Object
from lightship.kube.resources import PODS
from lightship.testing.embedded import EmbeddedOptions, embedded_api
from tests.unit.tuning.test_sidecar import place, trial


def full(kind: str = "File", **metadata: Any) -> Object:
    made = trial(kind, place("/logs/m.log", format="TEXT"))
    made["spec"] |= {"primaryPodLabels": {"role": "first"}, "runSpec": {"apiVersion": "v1", "kind": "Pod"}}
    return made | {"apiVersion": "kubeflow.org/v1beta1", "kind": "Trial",
                   "metadata": {"name": "t", "namespace": "default"} | metadata}


def pod(name: str, role: str = "first", **labels: str) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {
        "name": name, "namespace": "default", "labels": {"role": role} | labels},
        "spec": {"containers": [{"name": "main", "image": "busybox"}]}}


async def test_a_pod_of_a_trial_gets_its_sidecar_and_no_other_pod_does(tmp_path: Path) -> None:
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=TUNING.kinds)) as api:
        client = api.in_process()
        await client.create(kinds.TRIALS, full())
        mine = {names.TRIAL_LABEL: "t"}
        made = {name: (await client.create(PODS, wanted))["spec"] for name, wanted in {
            "mine": pod("mine", **mine), "second": pod("second", "other", **mine), "free": pod("free"),
            "gone": pod("gone", **{names.TRIAL_LABEL: "gone"})}.items()}
        assert [one["name"] for one in made["mine"]["initContainers"]] == ["metrics-logger-and-collector"]
        assert all("initContainers" not in made[name] for name in ("second", "free", "gone"))


@pytest.mark.parametrize("kind", ["File", "StdOut"])
def test_what_is_there_is_not_added_again(kind: str) -> None:
    checkpoints = {names.CHECKPOINT_FOLDER: "/saved", names.CHECKPOINT_CLAIM: "claim"}
    owner = full(kind, annotations=checkpoints, labels={names.EXPERIMENT_LABEL: "e", names.PARENT_LABEL: "p"})
    once = pods.amend(pod("mine"), owner)
    assert once != pod("mine") and pods.amend(once, owner) == once
