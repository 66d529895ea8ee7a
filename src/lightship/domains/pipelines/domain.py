"""What a server composes of this room: the engine and its resync, the scheduler of recurring runs, the collector of
garbage, and the REST routes.

``app`` composes ``PIPELINES`` and gives ``launcher(store)`` to the node as the entrypoint of the image of that name.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute

from lightship.client.client import EVERYTHING, Selection
from lightship.domains.furniture import Domain, Kind
from lightship.domains.pipelines import garbage, names, reconciler, resync, routes
from lightship.domains.pipelines.deps import PipelineDeps
from lightship.domains.pipelines.entrypoints import ENTRYPOINT_NAME, launcher
from lightship.domains.pipelines.objects import admission, kinds, mirror
from lightship.domains.pipelines.recurring import ended, scheduler
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import NAMESPACES, PODS
from lightship.records.notices import GARBAGE, RUNS
from lightship.records.runs import Runs
from lightship.runtime.controller import Controller, Watch

CONTROLLER = "pipeline-runs"
RESYNC_CONTROLLER = "pipeline-runs-resync"
GARBAGE_CONTROLLER = "pipeline-garbage"
OBJECTS_IDENTITY = "pipeline-objects"
VERSIONS_CONTROLLER = "pipeline-versions"
SWEEP_CONTROLLER = "pipeline-objects-sweep"
RECURRING_CONTROLLER = "recurring-runs"
RECURRING_RESYNC_CONTROLLER = "recurring-runs-resync"


def run_key(pod: objects.Object) -> Sequence[Key]:
    """The run that a Pod is a step of."""
    run = objects.labels(pod).get(names.RUN_LABEL)
    return (Key(objects.namespace(pod), run),) if run else ()


def controllers(deps: PipelineDeps) -> Sequence[Controller]:
    """The engine, the collector of garbage, and the scheduler of recurring runs."""
    manager, shared = deps.manager, deps.routes
    engine = reconciler.RunReconciler(reconciler.Engine(
        store=ended.TellingRuns(shared.database, shared.notices),
        artifacts=shared.artifacts,
        client=manager.client_for(CONTROLLER),
        pods=manager.informer(PODS, Selection(labels=names.RUN_LABEL)),
        clock=shared.clock,
        wake=lambda key: manager.wake(CONTROLLER, key),
        options=deps.options,
        images=deps.images,
    ))
    shared.notices.subscribe(RUNS, engine.touch)
    taking_up = resync.Resync(store=Runs(shared.database), touch=engine.touch, period_seconds=deps.resync_seconds)
    collector = garbage.Collector(database=shared.database, artifacts=shared.artifacts, clock=shared.clock)
    shared.notices.subscribe(GARBAGE, lambda key: manager.wake(GARBAGE_CONTROLLER, Key("", key.namespace)))
    return (
        Controller(name=CONTROLLER, reconciler=engine,
                   watches=(Watch(resource=PODS, keys=run_key, label_selector=names.RUN_LABEL),)),
        Controller(name=RESYNC_CONTROLLER, reconciler=taking_up, workers=1, watches=(Watch(resource=NAMESPACES),)),
        Controller(name=GARBAGE_CONTROLLER, reconciler=collector, workers=1, watches=(Watch(resource=NAMESPACES),)),
        *_recurring(deps), *_objects(deps),
    )


def _objects(deps: PipelineDeps) -> Sequence[Controller]:
    """The mirrors of Pipelines and PipelineVersions, which wake each other's."""
    manager, database = deps.manager, deps.routes.database
    if deps.routes.objects is None:
        return ()
    versions = manager.informer(kinds.PIPELINE_VERSIONS, EVERYTHING)
    client = manager.client_for(OBJECTS_IDENTITY)
    parents = mirror.PipelineMirror(client=client, database=database)

    def of_pipeline(obj: objects.Object) -> Sequence[Key]:
        return [objects.key(each) for each in versions.list(objects.namespace(obj))
                if objects.spec(each).get("pipelineName") == objects.name(obj)]

    return (
        Controller(name=OBJECTS_IDENTITY, reconciler=parents, watches=(Watch(resource=kinds.PIPELINES),)),
        Controller(name=VERSIONS_CONTROLLER,
                   reconciler=mirror.VersionMirror(client=client, database=database, parents=parents),
                   watches=(Watch(resource=kinds.PIPELINE_VERSIONS),
                            Watch(resource=kinds.PIPELINES, keys=of_pipeline))),
        Controller(name=SWEEP_CONTROLLER, workers=1, watches=(Watch(resource=NAMESPACES),),
                   reconciler=mirror.Sweep(
                       database=database, wake_pipeline=lambda key: manager.wake(OBJECTS_IDENTITY, key),
                       wake_version=lambda key: manager.wake(VERSIONS_CONTROLLER, key))),
    )


def _recurring(deps: PipelineDeps) -> Sequence[Controller]:
    shared = deps.routes

    def wake(key: Key) -> None:
        deps.manager.wake(RECURRING_CONTROLLER, key)

    return (
        Controller(name=RECURRING_CONTROLLER, watches=(),
                   reconciler=scheduler.Scheduler(shared.database, shared.notices, shared.clock, wake,
                                                  shared.providers)),
        Controller(name=RECURRING_RESYNC_CONTROLLER, workers=1, watches=(Watch(resource=NAMESPACES),),
                   reconciler=scheduler.Resync(database=shared.database, clock=shared.clock, wake=wake)),
    )


def _routes(deps: PipelineDeps) -> Sequence[BaseRoute]:
    return routes.routes(deps.routes)


PIPELINES = Domain(name="pipelines", kinds=(
    Kind(resource=kinds.PIPELINES, validate=admission.pipeline),
    Kind(resource=kinds.PIPELINE_VERSIONS, validate=admission.version),
), controllers=controllers, routes=_routes)

__all__ = ["CONTROLLER", "ENTRYPOINT_NAME", "PIPELINES", "PipelineDeps", "launcher"]
