"""Whoever puts Pods on the host's network is told what that gives them."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.cluster.apiserver import baseline
from lightship.kube.resources import CONFIGMAPS, PODS, Resource

CRON_JOBS = Resource(group="batch", version="v1", kind="CronJob", plural="cronjobs")
ON_HOST = {"hostNetwork": True, "containers": []}


@pytest.mark.parametrize(("resource", "obj", "told"), [
    (PODS, {"spec": ON_HOST}, True),
    (PODS, {"spec": {"containers": []}}, False),
    (PODS, {}, False),
    (CRON_JOBS, {"spec": {"jobTemplate": {"spec": {"template": {"spec": ON_HOST}}}}}, True),
    (CRON_JOBS, {"spec": {"jobTemplate": None}}, False),
    (CONFIGMAPS, {"spec": ON_HOST}, False),
])
def test_the_hosts_network_is_warned_of(resource: Resource, obj: dict[str, Any], told: bool) -> None:
    said = baseline.warnings(resource, obj, ("system:authenticated",))
    assert [text.startswith('would violate PodSecurity "baseline:latest": host namespaces') for text in said] == [
        True] * told
    assert baseline.warnings(resource, obj, ("system:masters",)) == []
