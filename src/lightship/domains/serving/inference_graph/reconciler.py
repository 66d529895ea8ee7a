"""Brings an InferenceGraph's router to what its spec and its services say, and tells how it is.

``runtime.manager`` calls me with keys. I read informers, call ``decide``, and write through ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.serving import kinds, names
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.inference_graph.decide import LABEL, Observed, Plan, decide, services_of
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS, PODS, SERVICES, Resource
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.informer import Informer

_OURS = Selection(labels=LABEL)
BLOCKED_RETRY_SECONDS = 30.0


class InferenceGraphReconciler:
    """One pass: observe, decide, write children, write status last, then events."""

    def __init__(self, deps: ServingDeps) -> None:
        self._deps = deps
        self._graphs = deps.informer(kinds.INFERENCE_GRAPHS, EVERYTHING)
        self._services = deps.informer(kinds.INFERENCE_SERVICES, EVERYTHING)
        self._children = {resource: deps.informer(resource, _OURS) for resource in (
            DEPLOYMENTS, SERVICES, CONFIGMAPS, PODS)}
        self._children[PODS].index_label(LABEL)

    async def reconcile(self, key: Key) -> Result:
        graph = self._graphs.get(key)
        if graph is None or objects.deleting(graph):
            return DONE  # children go by their owner references
        observed = self._observe(key, graph)
        now = self._deps.clock.now()
        plan = decide(observed, self._deps.site, now)
        try:
            await self._write_children(plan)
        except (errors.AlreadyExists, errors.InvalidInput) as problem:
            # A name that another owns, or a Pod that the API refuses: for the user to mend, so the status says it.
            plan = decide(replace(observed, blocked=str(problem)), self._deps.site, now)
            await self._write_status(graph, plan)
            return Result(requeue_after_seconds=BLOCKED_RETRY_SECONDS)
        await self._write_status(graph, plan)
        return DONE

    def naming(self, service: Object) -> Iterable[Key]:
        """A service has changed: every graph that names it looks again."""
        name = objects.name(service)
        return [objects.key(graph) for graph in self._graphs.list(objects.namespace(service))
                if name in services_of(graph)]

    def _observe(self, key: Key, graph: Object) -> Observed:
        found = {name: self._services.get(Key(key.namespace, name)) for name in services_of(graph)}
        return Observed(
            graph=graph, services={name: service for name, service in found.items() if service is not None},
            pods=[pod for pod in self._children[PODS].labelled(LABEL, key.name)
                  if objects.namespace(pod) == key.namespace])

    async def _write_children(self, plan: Plan) -> None:
        for resource, wanted in ((DEPLOYMENTS, plan.deployment), (SERVICES, plan.service), (CONFIGMAPS, plan.route)):
            if wanted is not None:
                await self._ensure(self._children[resource], resource, wanted)

    async def _ensure(self, informer: Informer, resource: Resource, wanted: Object) -> None:
        informer.observe(await apply.ensure(self._deps.client, resource, wanted, informer.get(objects.key(wanted))))

    async def _write_status(self, graph: Object, plan: Plan) -> None:
        before = conditions.find(graph, names.READY) or {}
        self._graphs.observe(
            await apply.patch_status(self._deps.client, kinds.INFERENCE_GRAPHS, graph, plan.status))
        after = conditions.find({"status": plan.status}, names.READY) or {}
        if before.get("status") == after.get("status"):
            return
        name = objects.name(graph)
        if after.get("status") == "True":
            await self._deps.recorder.event(graph, "Normal", "InferenceGraphReady", f"InferenceGraph [{name}] is Ready")
        elif before.get("status") == "True" or after.get("status") == "False":
            await self._deps.recorder.event(graph, "Warning", "InferenceGraphNotReady",
                                            f"InferenceGraph [{name}] is not Ready: {after.get('message')}")


def controller(deps: ServingDeps) -> Controller:
    """The controller of InferenceGraphs."""
    reconciler = InferenceGraphReconciler(deps)
    owned = owner_key(kinds.INFERENCE_GRAPHS.kind)

    def labelled(obj: Object) -> Iterable[Key]:
        name = objects.labels(obj).get(LABEL)
        return (Key(objects.namespace(obj), name),) if name else ()

    return Controller(name="inference-graph", reconciler=reconciler, watches=(
        Watch(resource=kinds.INFERENCE_GRAPHS),
        Watch(resource=kinds.INFERENCE_SERVICES, keys=reconciler.naming),
        *(Watch(resource=resource, keys=owned, label_selector=LABEL) for resource in (
            DEPLOYMENTS, SERVICES, CONFIGMAPS)),
        Watch(resource=PODS, keys=labelled, label_selector=LABEL),
    ))
