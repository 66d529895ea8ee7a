"""Which container starts again, and when."""

from __future__ import annotations

from lightship.cluster.node import restarts


def test_policies_of_containers() -> None:
    assert restarts.policy_of({}, {}, init=False) == "Always"
    assert restarts.policy_of({"restartPolicy": "Always"}, {}, init=True) == "OnFailure"
    assert restarts.policy_of({"restartPolicy": "Never"}, {}, init=True) == "Never"
    assert restarts.policy_of({"restartPolicy": "Never"}, {"restartPolicy": "Always"}, init=True) == "Always"


def test_rules_come_before_the_policy() -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    assert restarts.again("Never", rules, 42)
    assert not restarts.again("Never", rules, 1)
    assert restarts.again("Never", [{"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [1]}}], 2)
    assert not restarts.again("OnFailure", [], 0)


def test_the_back_off_doubles_up_to_five_minutes() -> None:
    kubelet = restarts.CrashBackOff()
    assert [kubelet.seconds(n) for n in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert kubelet.reset_seconds == 600
    local = restarts.CrashBackOff(first_seconds=1)
    assert [local.seconds(n) for n in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
