"""The cells that people read most, as upstream's printers write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lightship.cluster.apiserver import columns
from lightship.cluster.apiserver.kinds import workload_columns

NOW = datetime(2026, 1, 1, 1, 0, 0, tzinfo=UTC)
ENDED = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": "2026-01-01T00:59:30Z"}}
FAILED = {"terminated": {"exitCode": 3}}
RUNS = {"running": {}}
READY = [{"type": "Ready", "status": "True"}]


def shown(status: dict[str, Any], **spec: Any) -> list[Any]:
    pod = {"metadata": {"name": "p", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": status,
           "spec": {"containers": [{"name": "a"}, {"name": "b"}]} | spec}
    return columns.PODS.cells(pod, NOW)


def told(name: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state} | more


@pytest.mark.parametrize(("status", "cells"), [
    ({"phase": "Pending"}, ["p", "0/2", "Pending", "0", "60m"]),
    ({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
     ["p", "0/2", "SchedulingGated", "0", "60m"]),
    ({"phase": "Running", "conditions": READY, "containerStatuses": [told("a", RUNS, ready=True), told("b", ENDED)]},
     ["p", "1/2", "Running", "0", "60m"]),
    ({"phase": "Running", "containerStatuses": [told("a", RUNS, ready=True), told("b", ENDED)]},
     ["p", "1/2", "NotReady", "0", "60m"]),
    ({"phase": "Failed", "containerStatuses": [told("a", ENDED), told("b", FAILED)]},
     ["p", "0/2", "ExitCode:3", "0", "60m"]),
    ({"phase": "Running", "containerStatuses": [told("a", RUNS, ready=True, restartCount=2, lastState=ENDED)]},
     ["p", "1/2", "Running", "2 (30s ago)", "60m"]),
])
def test_pods(status: Any, cells: list[Any]) -> None:
    assert shown(status)[:5] == cells


def test_sidecars_count_and_init_containers_say_how_far_they_are() -> None:
    inits = [{"name": "side", "restartPolicy": "Always"}, {"name": "one"}]
    status = {"phase": "Pending", "initContainerStatuses": [told("side", RUNS, started=True, ready=True),
                                                            told("one", RUNS)]}
    assert shown(status, initContainers=inits)[1:3] == ["1/3", "Init:1/2"]


def test_jobs_services_and_autoscalers() -> None:
    job = {"metadata": {"name": "j"}, "spec": {"parallelism": 3}, "status": {"succeeded": 1}}
    assert columns.JOBS.cells(job, NOW)[1:3] == ["Running", "1/1 of 3"]
    service = {"metadata": {"name": "s"}, "spec": {"type": "LoadBalancer", "ports": [
        {"port": 80, "nodePort": 30001, "protocol": "TCP"}]}}
    assert columns.SERVICES.cells(service, NOW)[3:5] == ["<pending>", "80:30001/TCP"]
    scaler = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "minReplicas": 1, "scaleTargetRef": {
        "kind": "Deployment", "name": "d"}, "metrics": [{"type": "Resource", "resource": {
            "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]}}
    assert workload_columns.AUTOSCALERS.cells(scaler, NOW)[1:6] == [
        "Deployment/d", "cpu: <unknown>/50%", "1", "3", "0"]
