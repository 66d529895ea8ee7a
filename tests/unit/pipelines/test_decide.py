"""What is done about one step: a table of what is seen and what follows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lightship.domains.pipelines import decide, ir, names, observe
from lightship.domains.pipelines.decide import Again, Create, Delete, PodView, Running, Seen, Settle, Verdict, Wait
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import TaskIO, TaskRow
from lightship.testing.clock import EPOCH

ROW = TaskRow(task_id="t", run_id="r", namespace="default", path="root/s", parent_path="root", name="s",
              display_name="s", type="RUNTIME", state=rows.PENDING, pod="s-1", created_at=EPOCH)
OUT = TaskIO(parameters={"Output": 1})
RETRY = ir.Retry(max_count=2, backoff_seconds=10, factor=3, max_seconds=25)
RUNNING_ROW = replace(ROW, state=rows.RUNNING)
STOPPED = "the run was terminated"
FAILED = PodView(phase="Failed", failure="exit code 1", scheduled=True)
RESTARTED = PodView(phase="Failed", reason=names.NODE_RESTARTED, failure="NodeRestarted", scheduled=True)

TABLE: dict[str, tuple[dict[str, Any], Verdict]] = {
    "an intent without a Pod": ({"pod": None}, Create()),
    "a retry that is not due": (
        {"pod": None, "row": replace(ROW, retry_at=EPOCH + timedelta(seconds=4))}, Wait(seconds=4)),
    "a retry that is due": ({"pod": None, "row": replace(ROW, retry_at=EPOCH)}, Create()),
    "a Pod that starts": ({"pod": PodView(phase="Pending", waiting="ErrImagePull: x")}, Wait(note="ErrImagePull: x")),
    "a Pod that runs": ({"pod": PodView(phase="Running")}, Running()),
    "a Pod that still runs": ({"pod": PodView(phase="Running"), "row": RUNNING_ROW}, Wait(note="")),
    "success": ({"pod": PodView(phase="Succeeded"), "outputs": OUT}, Settle(state=rows.SUCCEEDED, outputs=OUT)),
    "a record wins over what the Pod says": ({"pod": RESTARTED, "outputs": OUT},
                                             Settle(state=rows.SUCCEEDED, outputs=OUT)),
    "a record whose Pod is gone": ({"pod": None, "row": RUNNING_ROW, "outputs": OUT},
                                   Settle(state=rows.SUCCEEDED, outputs=OUT)),
    "failure": ({"pod": FAILED}, Settle(state=rows.FAILED, error="exit code 1")),
    "failure with last words": ({"pod": FAILED, "last_lines": "boom"}, Settle(
        state=rows.FAILED, error="exit code 1\nThe last lines of its log:\nboom")),
    "failure with a retry left": ({"pod": FAILED, "retry": RETRY}, Again(
        counts=True, at=EPOCH + timedelta(seconds=10), why="exit code 1")),
    "the back-off is bounded": ({"pod": FAILED, "retry": RETRY, "row": replace(ROW, retries=1, attempt=1)}, Again(
        counts=True, at=EPOCH + timedelta(seconds=25), why="exit code 1")),
    "retries used up": ({"pod": FAILED, "retry": RETRY, "row": replace(ROW, retries=2, attempt=2)}, Settle(
        state=rows.FAILED, error="exit code 1 (attempt 3 of 3)")),
    "a restart costs nothing": ({"pod": RESTARTED}, Again(
        counts=False, at=EPOCH, why="the node was restarted while it ran")),
    "termination": ({"pod": PodView(phase="Running"), "ends": STOPPED}, Delete()),
    "termination under way": ({"pod": PodView(phase="Running", deleting=True, scheduled=True), "ends": STOPPED},
                              Wait()),
    "terminated": ({"pod": FAILED, "ends": STOPPED},
                   Settle(state=rows.CANCELED, error=STOPPED)),
    "terminated before its Pod was made": ({"pod": None, "ends": STOPPED},
                                           Settle(state=rows.CANCELED, error=STOPPED)),
    "done before the termination came": ({"pod": PodView(phase="Succeeded"), "outputs": OUT, "ends": STOPPED},
                                         Settle(state=rows.SUCCEEDED, outputs=OUT)),
    "a record that is no record": ({"pod": PodView(phase="Succeeded"), "defect": "it has version 9"},
                                   Settle(state=rows.FAILED, error="it has version 9")),
    "deleted before it was placed": ({"pod": PodView(phase="Pending", deleting=True)},
                                     Settle(state=rows.FAILED, error="its Pod was deleted")),
}


@pytest.mark.parametrize("story", TABLE)
def test_what_follows(story: str) -> None:
    seen, verdict = TABLE[story]
    assert decide.decide(Seen(**{"row": ROW, **seen}), EPOCH) == verdict


def test_a_node_that_restarts_for_ever_is_given_up() -> None:
    row = replace(ROW, attempt=decide.MAX_RESTARTS)
    assert isinstance(decide.decide(Seen(row=row, pod=RESTARTED), EPOCH), Settle)


@given(st.builds(ir.Retry, max_count=st.integers(0, 1000), backoff_seconds=st.floats(0, 1e6),
                 factor=st.floats(1, 100), max_seconds=st.floats(0, 1e6)), st.integers(0, 1000))
def test_no_delay_is_longer_than_its_maximum(retry: ir.Retry, used: int) -> None:
    assert 0 <= decide.delay_seconds(retry, used) <= retry.max_seconds


def _pod(phase: str, *containers: dict[str, Any], **status: Any) -> dict[str, Any]:
    return {"spec": {"nodeName": "n"}, "status": {"phase": phase, "containerStatuses": list(containers), **status}}


def _ended(name: str, code: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": {"terminated": {"exitCode": code, **more}}}


@pytest.mark.parametrize(("pod", "told"), [
    (_pod("Failed", _ended("stage-out", 1), _ended("main", 3)), "exit code 3"),
    (_pod("Failed", _ended("main", 137, reason="OOMKilled")), "exit code 137 (out of memory)"),
    (_pod("Failed", _ended("main", 143)), "exit code 143 (killed by signal 15)"),
    (_pod("Failed", _ended("main", 0), _ended("stage-out", 1, message="the disk is full")),
     "its outputs could not be kept: exit code 1: the disk is full"),
    (_pod("Failed", reason="DeadlineExceeded", message="too slow"), "DeadlineExceeded: too slow"),
])
def test_a_failed_pod_is_told_in_words(pod: dict[str, Any], told: str) -> None:
    assert observe.view(pod).failure == told


def test_why_a_pod_waits_is_told() -> None:
    waiting = {"name": "main", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    assert observe.view(_pod("Pending", waiting)).waiting == "ErrImagePull: no such image"
    unplaced = _pod("Pending", conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                                            "message": "no node has a GPU"}])
    assert observe.view(unplaced).waiting == "Unschedulable: no node has a GPU"
