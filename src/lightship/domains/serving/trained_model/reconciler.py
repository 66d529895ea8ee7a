"""Brings the list of a service's models to its agents, and tells of each model how it is.

``runtime.manager`` calls me with the keys of InferenceServices, so that the list has one writer and a model that goes
needs no finalizer. Whether a model is loaded I ask its servers, through the API server's proxy.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship import errors
from lightship.client.client import EVERYTHING, Selection
from lightship.domains.serving import kinds, names
from lightship.domains.serving.deps import ServingDeps
from lightship.domains.serving.trained_model import pods
from lightship.domains.serving.trained_model.decide import Observed, Plan, decide
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, PODS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

_OURS = Selection(labels=names.INFERENCE_SERVICE_LABEL)
LOOK_SECONDS = 1.0
"""Until a model is loaded. No object changes by that."""
LIMIT_ASKED_PODS = 20


class TrainedModelReconciler:
    """One pass over all models of one service."""

    def __init__(self, deps: ServingDeps) -> None:
        self._deps = deps
        self._models = deps.informer(kinds.TRAINED_MODELS, EVERYTHING)
        self._services = deps.informer(kinds.INFERENCE_SERVICES, EVERYTHING)
        self._configs = deps.informer(CONFIGMAPS, _OURS)
        self._pods = deps.informer(PODS, _OURS)

    async def reconcile(self, key: Key) -> Result:
        service = self._services.get(key)
        models = [model for model in self._models.list(key.namespace)
                  if objects.spec(model).get("inferenceService") == key.name and not objects.deleting(model)]
        if service is not None and objects.deleting(service):
            service = None
        if not models and service is None:
            return DONE
        loaded = {objects.name(model): await self._why_not(key, model) for model in models} if service else {}
        plan = decide(Observed(service=service, models=models, loaded=loaded), self._deps.clock.now())
        await self._write(models, plan)
        waits = service is not None and any(loaded.values()) and conditions.is_true(service, names.READY)
        return Result(requeue_after_seconds=LOOK_SECONDS) if waits else DONE

    async def _write(self, models: Iterable[Object], plan: Plan) -> None:
        if plan.config is not None:
            existing = self._configs.get(objects.key(plan.config))
            self._configs.observe(await apply.ensure(self._deps.client, CONFIGMAPS, plan.config, existing))
        for model in models:
            self._models.observe(await apply.patch_status(
                self._deps.client, kinds.TRAINED_MODELS, model, plan.statuses[objects.name(model)]))

    async def _why_not(self, service: Key, model: Object) -> str:
        """Why a model is not loaded in every ready server; empty where it is."""
        ready = [pod for pod in self._pods.list(service.namespace) if conditions.is_true(pod, "Ready")
                 and objects.labels(pod).get(names.INFERENCE_SERVICE_LABEL) == service.name
                 and objects.labels(pod).get(names.COMPONENT_LABEL) == names.PREDICTOR]
        for pod in ready[:LIMIT_ASKED_PODS]:
            path = PODS.path(service.namespace, f"{objects.name(pod)}:{names.HTTP_PORT}", "proxy")
            model_path = f"{path}/v2/models/{objects.name(model)}"
            for asked in (f"{model_path}/ready", model_path):  # the one says whether, the other why not
                try:
                    await self._deps.client.raw("GET", asked)
                    break
                except errors.LightshipError as problem:
                    why = problem.message
            else:
                return (f'the server in Pod "{objects.name(pod)}" has not loaded it: {why}; '
                        f'the log of its container "{pods.AGENT}" tells of the download')
        return "" if ready else "no server is ready"


def controller(deps: ServingDeps) -> Controller:
    """The controller of TrainedModels."""
    def parent(model: Object) -> Iterable[Key]:
        name = (model.get("spec") or {}).get("inferenceService")
        return (Key(objects.namespace(model), str(name)),) if name else ()

    def labelled(obj: Object) -> Iterable[Key]:
        name = objects.labels(obj).get(names.INFERENCE_SERVICE_LABEL)
        return (Key(objects.namespace(obj), name),) if name else ()

    return Controller(name="trained-model", reconciler=TrainedModelReconciler(deps), watches=(
        Watch(resource=kinds.INFERENCE_SERVICES),
        Watch(resource=kinds.TRAINED_MODELS, keys=parent),
        Watch(resource=CONFIGMAPS, keys=labelled, label_selector=_OURS.labels),
        Watch(resource=PODS, keys=labelled, label_selector=_OURS.labels),
    ))
