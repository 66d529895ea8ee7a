"""What is said of a Pod that failed."""

from __future__ import annotations

from typing import Any

from lightship.domains.pipelines import observe


def failed(*containers: dict[str, Any], **status: Any) -> str:
    return observe.view({"metadata": {}, "spec": {}, "status": {
        "phase": "Failed", "containerStatuses": list(containers), **status}}).failure


LATE = {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}
WAITING = {"name": "main", "state": {"waiting": {
    "reason": "CreateContainerConfigError", "message": 'secret "nope" not found'}}}
KILLED = {"name": "main", "state": {"terminated": {"exitCode": 143, "reason": "Error"}}}


def test_a_deadline_that_passed_while_the_step_waited_tells_what_for() -> None:
    assert failed(WAITING, **LATE) == (
        "DeadlineExceeded: Pod was active on the node longer than the specified deadline; "
        'CreateContainerConfigError: secret "nope" not found')


def test_how_the_command_ended_goes_before_what_others_wait_for() -> None:
    assert failed({**WAITING, "name": "other"}, KILLED, **LATE).endswith("exit code 143 (killed by signal 15)")


def test_a_pod_that_says_nothing_failed() -> None:
    assert failed() == "the Pod failed"
