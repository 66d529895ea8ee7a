"""Brings an InferenceService's Deployments, Services and route to what its spec says, and tells how it is.

``runtime.manager`` calls me with keys. I read informers, call ``decide``, and write through ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.serving import kinds, names
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.inference_service.components import Observed
from lightship.domains.serving.inference_service.decide import Plan, blocked, decide
from lightship.domains.serving.site import Entry, Site
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import (
    CONFIGMAPS,
    CONTROLLER_REVISIONS,
    DEPLOYMENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    PODS,
    SERVICES,
    Resource,
)
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key
from lightship.runtime.informer import Informer

_OURS = Selection(labels=names.INFERENCE_SERVICE_LABEL)
_ROUTES = Selection(labels=f"{names.GATEWAY_ROUTE_LABEL}=true")

_CHILDREN = (CONTROLLER_REVISIONS, DEPLOYMENTS, SERVICES, HORIZONTAL_POD_AUTOSCALERS)
"""In the order in which they are written."""

BLOCKED_RETRY_SECONDS = 30.0


def others(site: Site) -> tuple[Resource, ...]:
    """The kinds of children that this site's cluster has beside those of every cluster."""
    found = {Entry.HTTP_ROUTE: (kinds.HTTP_ROUTES,), Entry.INGRESS: (kinds.INGRESSES,)}.get(site.entry, ())
    return (*found, kinds.SCALED_OBJECTS) if site.keda else found


class InferenceServiceReconciler:
    """One pass: observe, decide, write children, take away what is over, write status last, then events."""

    def __init__(self, deps: ServingDeps) -> None:
        self._deps = deps
        self._services = deps.informer(kinds.INFERENCE_SERVICES, EVERYTHING)
        self._runtimes = deps.informer(kinds.SERVING_RUNTIMES, EVERYTHING)
        self._cluster_runtimes = deps.informer(kinds.CLUSTER_SERVING_RUNTIMES, EVERYTHING)
        self._routes = deps.informer(CONFIGMAPS, _ROUTES)
        self._others = others(deps.site)
        self._children = {resource: deps.informer(resource, _OURS) for resource in (*_CHILDREN, *self._others, PODS)}
        self._children[PODS].index_label(names.INFERENCE_SERVICE_LABEL)

    async def reconcile(self, key: Key) -> Result:
        service = self._services.get(key)
        if service is None or objects.deleting(service):
            return DONE  # children go by their owner references
        observed = self._observe(key, service)
        now = self._deps.clock.now()
        plan = decide(observed, self._deps.site, now)
        try:
            await self._write_children(key, plan)
        except (errors.AlreadyExists, errors.InvalidInput) as problem:
            # A name that another owns, or a Pod that the API refuses: for the user to mend, so the status says it.
            plan = decide(blocked(observed, str(problem)), self._deps.site, now)
            await self._write_status(service, plan)
            return Result(requeue_after_seconds=BLOCKED_RETRY_SECONDS)
        await self._take_away(service, plan)
        await self._write_status(service, plan)
        return DONE

    def wake_all(self, runtime: Object) -> Iterable[Key]:
        """A runtime has changed: every service that it may serve looks again."""
        return [objects.key(service) for service in self._services.list(objects.namespace(runtime))]

    def _observe(self, key: Key, service: Object) -> Observed:
        return Observed(
            service=service,
            namespace_runtimes=self._runtimes.list(key.namespace),
            cluster_runtimes=self._cluster_runtimes.list(),
            deployments={objects.name(each): each for each in self._own(DEPLOYMENTS, service)},
            revisions=self._own(CONTROLLER_REVISIONS, service),
            keda=self._deps.site.keda,
            http_routes=self._own(kinds.HTTP_ROUTES, service) if kinds.HTTP_ROUTES in self._others else (),
            pods=[pod for pod in self._children[PODS].labelled(names.INFERENCE_SERVICE_LABEL, key.name)
                  if objects.namespace(pod) == key.namespace])

    def _own(self, resource: Resource, service: Object) -> list[Object]:
        """The children of a kind that are this very service's."""
        return list(self._children[resource].owned_by(objects.uid(service)))

    async def _write_children(self, key: Key, plan: Plan) -> None:
        for resource, wanted in zip(_CHILDREN, (plan.revisions, plan.deployments, plan.services, plan.autoscalers),
                                    strict=True):
            for each in wanted:
                await self._ensure(self._children[resource], resource, each)
        for resource, each in plan.others:
            await self._ensure(self._children[resource], resource, each)
        await self._ensure(self._routes, CONFIGMAPS, plan.route)

    async def _ensure(self, informer: Informer, resource: Resource, wanted: Object) -> None:
        informer.observe(await apply.ensure(self._deps.client, resource, wanted, informer.get(objects.key(wanted))))

    async def _take_away(self, service: Object, plan: Plan) -> None:
        """Delete what the plan has no use for; the route no longer leads there."""
        if plan.keep is not None:
            scaled = {objects.name(each) for each in plan.autoscalers}
            extra = [(resource, {objects.name(each) for found, each in plan.others if found is resource})
                      for resource in self._others]
            for resource, keep in (*extra, (HORIZONTAL_POD_AUTOSCALERS, scaled), (DEPLOYMENTS, plan.keep),
                                   (SERVICES, plan.keep)):
                for child in self._own(resource, service):
                    if objects.name(child) not in keep and not objects.deleting(child):
                        await apply.delete_if_there(self._deps.client, resource, child)
        for child in self._own(CONTROLLER_REVISIONS, service):
            if objects.name(child) in plan.drop_revisions:
                await apply.delete_if_there(self._deps.client, CONTROLLER_REVISIONS, child)

    async def _write_status(self, service: Object, plan: Plan) -> None:
        before = conditions.find(service, names.READY) or {}
        self._services.observe(
            await apply.patch_status(self._deps.client, kinds.INFERENCE_SERVICES, service, plan.status))
        after = conditions.find({"status": plan.status}, names.READY) or {}
        if (before.get("status"), before.get("reason")) == (after.get("status"), after.get("reason")):
            return
        if after.get("status") == "True":
            await self._deps.recorder.event(service, "Normal", "InferenceServiceReady",
                                            f"it is served at {plan.status['url']}")
        elif after.get("status") == "False":
            await self._deps.recorder.event(service, "Warning", str(after.get("reason") or "NotReady"),
                                            str(after.get("message") or "it is not ready"))


def controller(deps: ServingDeps) -> Controller:
    """The controller of InferenceServices."""
    reconciler = InferenceServiceReconciler(deps)
    owned = owner_key(kinds.INFERENCE_SERVICES.kind)

    def labelled(obj: Object) -> Iterable[Key]:
        name = objects.labels(obj).get(names.INFERENCE_SERVICE_LABEL)
        return (Key(objects.namespace(obj), name),) if name else ()

    return Controller(name="inference-service", reconciler=reconciler, watches=(
        Watch(resource=kinds.INFERENCE_SERVICES),
        Watch(resource=kinds.SERVING_RUNTIMES, keys=reconciler.wake_all),
        Watch(resource=kinds.CLUSTER_SERVING_RUNTIMES, keys=reconciler.wake_all),
        *(Watch(resource=resource, keys=owned, label_selector=_OURS.labels)
          for resource in (*_CHILDREN, *others(deps.site))),
        Watch(resource=PODS, keys=labelled, label_selector=_OURS.labels),
        Watch(resource=CONFIGMAPS, keys=owned, label_selector=_ROUTES.labels),
    ))
