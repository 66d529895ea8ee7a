"""Which domains act on a cluster that others keep."""

from __future__ import annotations

import pytest

from lightship.composition import choice
from lightship.composition.choice import Found
from lightship.kube.resources import JOB_SETS

ALL = frozenset(need for part in choice.PARTS for need in part.needs)


def test_where_all_is_served_and_upstream_is_not_there_everything_acts() -> None:
    assert choice.choose(Found(served=ALL, rivals=frozenset())) == (choice.EVERYTHING, ())


@pytest.mark.parametrize(("rival", "left_out"), [
    ("kserve/kserve-controller-manager", choice.SERVING), ("kubeflow/training-operator", choice.OLD_JOBS),
    ("kubeflow-system/kubeflow-trainer-controller-manager", choice.TRAIN_JOBS),
    ("kubeflow/katib-controller", choice.TUNING), ("kubeflow/ml-pipeline", choice.PIPELINE_OBJECTS)])
def test_what_upstream_runs_is_left_to_it(rival: str, left_out: str) -> None:
    chosen, refusals = choice.choose(Found(served=ALL, rivals=frozenset({rival})))
    assert choice.EVERYTHING - chosen == {left_out}
    assert refusals == (f"{left_out}: left to upstream's {rival}; remove it to have Lightship act",)


def test_what_is_not_served_is_left_out_with_what_is_missing() -> None:
    chosen, refusals = choice.choose(Found(served=ALL - {JOB_SETS}, rivals=frozenset()))
    assert choice.EVERYTHING - chosen == {choice.TRAIN_JOBS}
    assert refusals == ("trainjobs: the cluster does not serve JobSet (jobset.x-k8s.io); apply their "
                        "CustomResourceDefinitions and start again",)


def test_a_bare_cluster_gets_none_of_them() -> None:
    chosen, refusals = choice.choose(Found(served=frozenset(), rivals=frozenset()))
    assert (chosen, len(refusals)) == (frozenset(), len(choice.PARTS))
