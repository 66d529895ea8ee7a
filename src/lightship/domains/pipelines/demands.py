"""What a step asks of the cluster, and what the cluster has: for ``budget``. Pure; ``reconciler`` calls me."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lightship import errors
from lightship.domains.pipelines import budget, children, execution, ir, placeholders
from lightship.domains.pipelines.budget import Demand
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.execution import Execution
from lightship.domains.pipelines.nodes import IMPORTER
from lightship.kube import objects, quantities
from lightship.kube.objects import Object

_UNASKED = ir.Resources()


def of_step(step: Execution, job: placeholders.Job) -> Demand:
    """The requests of the step's own container; what it does not say is taken as the scheduler takes it."""
    if step.node.type == IMPORTER:
        return budget.UNSAID
    wanted = step.container.resources
    if wanted == _UNASKED:
        return budget.UNSAID
    try:
        asked = children.resources_of(wanted, execution.scope(step, job), step.node.path)
    except (StepError, errors.InvalidInput):
        return budget.UNSAID  # it fails when its Pod is made, which says why
    return Demand(
        cpu_millis=_asked(asked, "cpu", quantities.milli, budget.UNSAID.cpu_millis),
        memory_bytes=_asked(asked, "memory", quantities.whole, budget.UNSAID.memory_bytes))


def _asked(resources: Mapping[str, Any], name: str, read: Any, otherwise: int) -> int:
    """A request, or the limit where only that is said, as Kubernetes completes it."""
    for kind in ("requests", "limits"):
        if name in resources.get(kind, {}):
            return int(read(resources[kind][name]))
    return otherwise


def of_nodes(nodes: Iterable[Object]) -> Demand | None:
    """What the nodes that take Pods have to give, all of them together; None where there is none."""
    found = [objects.status(node).get("allocatable") or {} for node in nodes if _takes_pods(node)]
    if not found:
        return None
    return Demand(cpu_millis=sum(quantities.milli(has.get("cpu", 0)) for has in found),
                  memory_bytes=sum(quantities.whole(has.get("memory", 0)) for has in found))


def _takes_pods(node: Object) -> bool:
    ready = any(each.get("type") == "Ready" and each.get("status") == "True"
                for each in objects.status(node).get("conditions") or ())
    return ready and not objects.spec(node).get("unschedulable")
