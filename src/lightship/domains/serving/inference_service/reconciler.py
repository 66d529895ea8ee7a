"""Brings an InferenceService's Deployment, Service and route to what its spec says, and tells how it is.

``runtime.manager`` calls me with keys. I read informers, call ``decide``, and write through ``client``.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.serving import kinds, names
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.inference_service.decide import Observed, Plan, blocked, decide
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, DEPLOYMENTS, PODS, SERVICES
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key

_OURS = Selection(labels=names.INFERENCE_SERVICE_LABEL)
_ROUTES = Selection(labels=f"{names.GATEWAY_ROUTE_LABEL}=true")

BLOCKED_RETRY_SECONDS = 30.0


class InferenceServiceReconciler:
    """One pass: observe, decide, write children, write status last, then events."""

    def __init__(self, deps: ServingDeps) -> None:
        self._deps = deps
        self._services = deps.informer(kinds.INFERENCE_SERVICES, EVERYTHING)
        self._runtimes = deps.informer(kinds.SERVING_RUNTIMES, EVERYTHING)
        self._cluster_runtimes = deps.informer(kinds.CLUSTER_SERVING_RUNTIMES, EVERYTHING)
        self._deployments = deps.informer(DEPLOYMENTS, _OURS)
        self._kube_services = deps.informer(SERVICES, _OURS)
        self._pods = deps.informer(PODS, _OURS)
        self._pods.index_label(names.INFERENCE_SERVICE_LABEL)
        self._routes = deps.informer(CONFIGMAPS, _ROUTES)

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
        await self._write_status(service, plan)
        return DONE

    def wake_all(self, runtime: Object) -> Iterable[Key]:
        """A runtime has changed: every service that it may serve looks again."""
        return [objects.key(service) for service in self._services.list(objects.namespace(runtime))]

    def _observe(self, key: Key, service: Object) -> Observed:
        pods = self._pods.labelled(names.INFERENCE_SERVICE_LABEL, key.name)
        return Observed(
            service=service,
            namespace_runtimes=self._runtimes.list(key.namespace),
            cluster_runtimes=self._cluster_runtimes.list(),
            deployment=self._deployments.get(Key(key.namespace, names.predictor(key.name))),
            pods=[pod for pod in pods if objects.namespace(pod) == key.namespace])

    async def _write_children(self, key: Key, plan: Plan) -> None:
        client = self._deps.client
        child = Key(key.namespace, names.predictor(key.name))
        if plan.deployment is not None:
            self._deployments.observe(
                await apply.ensure(client, DEPLOYMENTS, plan.deployment, self._deployments.get(child)))
        if plan.service is not None:
            self._kube_services.observe(
                await apply.ensure(client, SERVICES, plan.service, self._kube_services.get(child)))
        route = Key(key.namespace, names.route(key.name))
        self._routes.observe(await apply.ensure(client, CONFIGMAPS, plan.route, self._routes.get(route)))

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
        Watch(resource=DEPLOYMENTS, keys=owned, label_selector=_OURS.labels),
        Watch(resource=SERVICES, keys=owned, label_selector=_OURS.labels),
        Watch(resource=PODS, keys=labelled, label_selector=_OURS.labels),
        Watch(resource=CONFIGMAPS, keys=owned, label_selector=_ROUTES.labels),
    ))
