"""DaemonSets and CronJobs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from lightship import errors
from lightship.cluster.builtin import controller_revisions, cron_plan, cron_schedule, cronjobs, daemon_plan, daemonsets
from lightship.kube import objects, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CRON_JOBS, DAEMON_SETS, JOBS, PODS
from tests.unit.builtin import build

DAEMONS = build.table(daemonsets.controller)
CRONS = build.table(cronjobs.controller)
AGENT, NIGHTLY = Key("default", "agent"), Key("default", "nightly")


def daemon_set(image: str = "agent:1", **spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "DaemonSet",
            "metadata": {"name": "agent", "namespace": "default", "uid": "agent-uid"},
            "spec": {"selector": {"matchLabels": {"app": "agent"}},
                     "template": {"metadata": {"labels": {"app": "agent"}},
                                  "spec": {"containers": [{"name": "main", "image": image}]}}} | spec}


def daemon(owner: Object, node: str, *, ready: bool = True) -> Object:
    revision = controller_revisions.hash_of(controller_revisions.make(owner, 0))
    made = daemon_plan.make_pod(owner, node, node, revision)
    made["spec"]["nodeName"] = node
    return made | {"status": build.pod("x", phase="Running", ready=ready)["status"]}


async def test_each_node_that_suits_gets_one() -> None:
    tainted = build.node("tainted")
    tainted["spec"]["taints"] = [{"key": "gpu", "effect": "NoSchedule"}]
    cordoned = build.node("cordoned")
    cordoned["spec"]["taints"] = [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    outcome = await DAEMONS.run(AGENT, daemon_set(), build.node("one"), tainted, cordoned)
    assert sorted(daemon_plan.node_of(pod) for pod in outcome.all(PODS)) == ["cordoned", "one"]
    status = outcome.object(DAEMON_SETS, "agent")["status"]
    assert (status["desiredNumberScheduled"], status["currentNumberScheduled"]) == (2, 2)


async def test_a_pod_goes_with_its_node_or_where_it_no_longer_suits() -> None:
    owner = daemon_set()
    evicting = build.node("evicting")
    evicting["spec"]["taints"] = [{"key": "x", "effect": "NoExecute"}]
    outcome = await DAEMONS.run(AGENT, owner, build.node("one"), evicting, daemon(owner, "one"), daemon(owner, "gone"),
                                daemon(owner, "evicting"))
    assert sorted(daemon_plan.node_of(pod) for pod in outcome.all(PODS)) == ["one"]


async def test_a_new_template_replaces_one_at_a_time() -> None:
    old, new = daemon_set(), daemon_set("agent:2")
    there = [build.node("a"), build.node("b"), daemon(old, "a"), daemon(old, "b")]
    outcome = await DAEMONS.run(AGENT, new, *there)
    assert len([word for word in outcome.words if word.startswith("delete pods")]) == 1
    surge = await DAEMONS.run(AGENT, daemon_set("agent:2", updateStrategy={"rollingUpdate": {
        "maxSurge": 1, "maxUnavailable": 0}}), *there)
    assert len([word for word in surge.words if word.startswith("create pods")]) == 1
    assert not [word for word in surge.words if word.startswith("delete pods")]
    on_delete = await DAEMONS.run(AGENT, daemon_set("agent:2", updateStrategy={"type": "OnDelete"}), *there)
    assert not [word for word in on_delete.words if "pods" in word]


def at(text: str) -> datetime:
    return times.parse(text)


@pytest.mark.parametrize(("schedule", "zone", "after", "due"), [
    ("*/15 * * * *", "", "2026-01-01T00:00:00Z", "2026-01-01T00:15:00Z"),
    ("0 9-17/4 * * mon-fri", "", "2026-01-03T00:00:00Z", "2026-01-05T09:00:00Z"),
    ("30 4 1,15 * fri", "", "2026-01-01T05:00:00Z", "2026-01-02T04:30:00Z"),
    ("@monthly", "", "2026-01-31T12:00:00Z", "2026-02-01T00:00:00Z"),
    ("0 0 29 2 ?", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
    ("0 12 * * 7", "", "2026-01-01T00:00:00Z", "2026-01-04T12:00:00Z"),
    ("0 3 * * *", "Europe/Berlin", "2026-07-01T00:00:00Z", "2026-07-01T01:00:00Z"),
    ("30 2 29 3 *", "Europe/Berlin", "2026-03-01T00:00:00Z", "2027-03-29T00:30:00Z"),
    ("@every 90s", "", "2026-01-01T00:00:00Z", "2026-01-01T00:01:30Z"),
])
def test_when_a_schedule_is_due(schedule: str, zone: str, after: str, due: str) -> None:
    assert cron_schedule.parse(schedule, cron_schedule.zone(zone)).after(at(after)) == at(due)


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "@often"])
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(errors.InvalidInput):
        cron_schedule.parse(text)


def test_a_day_that_never_comes() -> None:
    assert cron_schedule.parse("0 0 30 2 *").after(at("2026-01-01T00:00:00Z")) is None


@pytest.mark.parametrize("schedule", ["*/7 * * * *", "* 9 * * *", "0 0 1 * *", "@every 7m"])
def test_the_last_time_is_the_last(schedule: str) -> None:
    parsed = cron_schedule.parse(schedule)
    since, until = at("2026-01-01T00:00:00Z"), at("2026-02-03T20:13:00Z")
    found = parsed.last(since, until)
    assert found is not None and found <= until
    following = parsed.after(found)
    assert following is not None and following > until


def cron_job(created: str = "2025-12-31T23:00:00Z", **spec: Any) -> Object:
    return {"apiVersion": "batch/v1", "kind": "CronJob",
            "metadata": {"name": "nightly", "namespace": "default", "uid": "cron-uid", "creationTimestamp": created},
            "spec": {"schedule": "0 * * * *", "jobTemplate": {"metadata": {"labels": {"a": "b"}},
                                                               "spec": build.job()["spec"]}} | spec}


def run_of(name: str, condition: str = "", **status: Any) -> Object:
    made = build.job()
    made["metadata"] = {"name": name, "namespace": "default", "uid": f"{name}-uid",
                        "ownerReferences": [build.owned_by("CronJob", "nightly", "cron-uid", "batch/v1")]}
    if condition:
        made["status"] = {"conditions": [{"type": condition, "status": "True",
                                          "lastTransitionTime": "2025-12-31T23:30:00Z"}]} | status
    return made


async def test_a_job_is_started_when_it_is_due_and_once_only() -> None:
    outcome = await CRONS.run(NIGHTLY, cron_job())
    due = at("2026-01-01T00:00:00Z")
    made = outcome.object(JOBS, cron_plan.job_name(cron_job(), due))
    assert objects.annotations(made)[cron_plan.SCHEDULED] == "2026-01-01T00:00:00Z"
    status = outcome.object(CRON_JOBS, "nightly")["status"]
    assert status["lastScheduleTime"] == "2026-01-01T00:00:00Z" and len(status["active"]) == 1
    assert outcome.result.requeue_after_seconds == 3600
    assert outcome.events == (f"Normal SuccessfulCreate Created job {objects.name(made)}",)


async def test_it_waits_until_then() -> None:
    outcome = await CRONS.run(NIGHTLY, cron_job("2026-01-01T00:00:00Z", schedule="30 * * * *"))
    assert (outcome.all(JOBS), outcome.result.requeue_after_seconds) == ([], 1800)


@pytest.mark.parametrize(("spec", "started", "left"), [
    ({"concurrencyPolicy": "Forbid"}, False, True), ({"concurrencyPolicy": "Replace"}, True, False),
    ({"concurrencyPolicy": "Allow"}, True, True), ({"suspend": True}, False, True),
])
async def test_what_happens_while_one_runs(spec: dict[str, Any], started: bool, left: bool) -> None:
    outcome = await CRONS.run(NIGHTLY, cron_job(**spec), run_of("before"))
    names = [objects.name(job) for job in outcome.all(JOBS)]
    assert ("before" in names, len(names) - ("before" in names) == 1) == (left, started)


async def test_a_time_that_is_missed_by_too_much_is_not_served() -> None:
    owner = cron_job("2025-12-31T23:00:00Z", schedule="30 * * * *", startingDeadlineSeconds=60)
    outcome = await CRONS.run(NIGHTLY, owner)
    assert outcome.all(JOBS) == [] and outcome.events[0].startswith("Warning MissSchedule")


async def test_history_is_kept_to_its_limits() -> None:
    there = [run_of(f"good-{number}", "Complete", startTime=f"2025-12-31T2{number}:00:00Z",
                    completionTime=f"2025-12-31T2{number}:10:00Z") for number in range(4)]
    bad = [run_of(f"bad-{number}", "Failed", startTime=f"2025-12-31T2{number}:00:00Z") for number in range(2)]
    outcome = await CRONS.run(NIGHTLY, cron_job("2026-01-01T00:00:00Z"), *there, *bad)
    assert sorted(objects.name(job) for job in outcome.all(JOBS)) == ["bad-1", "good-1", "good-2", "good-3"]
    assert outcome.object(CRON_JOBS, "nightly")["status"]["lastSuccessfulTime"] == "2025-12-31T23:10:00Z"


async def test_a_schedule_that_cannot_be_read_is_told_of() -> None:
    outcome = await CRONS.run(NIGHTLY, cron_job(timeZone="Nowhere/Land"))
    assert outcome.events[0].startswith("Warning UnknownTimeZone")


def test_every_counts_from_the_last_time() -> None:
    owner = cron_job("2026-01-01T00:00:00Z", schedule="@every 10m")
    plan = cron_plan.decide(owner, [], at("2026-01-01T00:25:00Z"))
    assert plan.start == at("2026-01-01T00:20:00Z")
    assert plan.requeue_after_seconds == timedelta(minutes=5).total_seconds()
