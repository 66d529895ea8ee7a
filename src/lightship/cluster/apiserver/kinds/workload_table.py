"""The served workload kinds beyond those in ``core``, and what scales or guards them. Pure data; ``core`` calls me."""

from __future__ import annotations

from lightship.cluster.apiserver.kinds import batch, groups, scaling, sets
from lightship.cluster.apiserver.kinds import workload_columns as c
from lightship.cluster.apiserver.registry import Served
from lightship.kube import resources as r
from lightship.kube.resources import Resource

POD_TEMPLATES = Resource(group="", version="v1", kind="PodTemplate", plural="podtemplates")
AUTOSCALERS_V1 = Resource(group="autoscaling", version="v1", kind="HorizontalPodAutoscaler",
                          plural="horizontalpodautoscalers", short_names=("hpa",), categories=("all",),
                          subresources=frozenset({"status"}))


def served() -> tuple[Served, ...]:
    return (
        Served(resource=r.STATEFUL_SETS, printing=c.STATEFUL_SETS, default=sets.default_stateful_set,
               validate=sets.validate_stateful_set),
        Served(resource=r.DAEMON_SETS, printing=c.DAEMON_SETS, default=sets.default_daemon_set,
               validate=sets.validate_daemon_set),
        Served(resource=r.CONTROLLER_REVISIONS, printing=c.CONTROLLER_REVISIONS,
               validate=sets.validate_controller_revision),
        Served(resource=r.REPLICATION_CONTROLLERS, printing=c.REPLICATION_CONTROLLERS,
               default=sets.default_replication_controller, validate=sets.validate_replication_controller,
               fields={"status.replicas": ".status.replicas"}),
        Served(resource=POD_TEMPLATES, counted=True, printing=c.POD_TEMPLATES, default=sets.default_pod_template,
               validate=sets.validate_pod_template, returns_deleted=True),
        Served(resource=r.CRON_JOBS, printing=c.CRON_JOBS, default=batch.default_cron_job,
               validate=batch.validate_cron_job),
        Served(resource=r.JOB_SETS, custom=True, printing=c.JOB_SETS, default=batch.default_job_set,
               validate=batch.validate_job_set),
        Served(resource=r.POD_GROUPS, custom=True, validate=groups.validate_pod_group),
        Served(resource=r.HORIZONTAL_POD_AUTOSCALERS, printing=c.AUTOSCALERS, default=scaling.default_autoscaler,
               validate=scaling.validate_autoscaler),
        Served(resource=AUTOSCALERS_V1, printing=c.AUTOSCALERS, default=scaling.default_autoscaler,
               validate=scaling.validate_autoscaler, to_wire=scaling.to_v1, from_wire=scaling.from_v1),
        Served(resource=r.POD_DISRUPTION_BUDGETS, printing=c.BUDGETS, validate=scaling.validate_budget),
    )
