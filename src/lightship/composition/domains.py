"""What Kubeflow adds: every domain with what it needs, on the embedded cluster or on any other."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.routing import BaseRoute

from lightship.artifacts.local import LocalStore
from lightship.artifacts.routing import Router
from lightship.composition import choice, tuning
from lightship.domains import registry, serving, training
from lightship.domains.furniture import Kind
from lightship.domains.pipelines import budget, providers, reconciler, stagers
from lightship.domains.pipelines import domain as pipelines
from lightship.domains.pipelines import logs as pipelines_logs
from lightship.domains.pipelines import rest as pipelines_rest
from lightship.domains.pipelines.objects.store import Objects
from lightship.domains.registry import routes as registry_routes
from lightship.domains.tuning.collectors.manager import SERVICE
from lightship.domains.tuning.domain import TUNING
from lightship.kube.objects import Key
from lightship.kube.resources import CONFIGMAPS
from lightship.lib import clock as clocks
from lightship.lib import ids
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.settings import Settings

KINDS: tuple[Kind, ...] = (*pipelines.PIPELINES.kinds, *training.TRAINING.kinds, *training.JOBS.kinds, *TUNING.kinds,
                           *serving.SERVING.kinds, *registry.REGISTRY.kinds)
SERVING_CONTROLLER, TRAINING_CONTROLLER, TUNING_CONTROLLER = "serving", "training", tuning.IDENTITY


@dataclass(frozen=True, kw_only=True)
class History:
    """The records and the artifacts of one data directory."""

    database: Database
    artifacts: Router
    notices: Notices


async def open_history(settings: Settings, stack: AsyncExitStack) -> History:
    """Open both and bring the records' schema up to date. Raises ``errors.StateError``."""
    database = Database(settings.records_url)
    stack.push_async_callback(database.close)
    await database.migrate()
    return History(database=database, artifacts=await _open_artifacts(settings), notices=Notices())


async def _open_artifacts(settings: Settings) -> Router:
    """The store that the settings name. Raises ``errors.InvalidInput`` for an endpoint without keys."""
    if settings.artifacts_endpoint:
        from lightship.artifacts import remote, s3

        objects = s3.S3Objects(s3.site({**os.environ, "AWS_ENDPOINT_URL_S3": settings.artifacts_endpoint}))
        # Both schemes are this endpoint's, so the router is not told of another.
        others = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return Router(remote.RemoteStore(objects, frozenset({"minio", "s3"})), others, settings.trusted_namespaces)
    local = LocalStore(settings.artifacts_dir)
    await local.sweep()
    return Router(local, os.environ, settings.trusted_namespaces)


@dataclass(frozen=True, kw_only=True)
class Domains:
    """Controllers and routes of all domains."""

    controllers: Sequence[Controller]
    routes: Sequence[BaseRoute]
    services: Mapping[Key, Callable[[], Callable[[], asyncio.Protocol]]]
    """What answers by itself at Services of these names, where Pods run here."""
    close: Callable[[], Awaitable[None]]
    """Ends what the domains have started beside their controllers."""


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where the domains act."""

    gateway_url: str
    images: Callable[[str], str] | None = None
    """What an image means on this machine, where Pods run here; None on a cluster that others keep."""
    keda: bool = False
    """The cluster has KEDA's ScaledObjects."""
    parts: Collection[str] = choice.EVERYTHING
    """Those of ``choice.PARTS`` that act."""


def _serving_site(settings: Settings, ground: Ground) -> serving.Site:
    site = serving.Site(gateway_url=ground.gateway_url, domain=settings.serving_domain, keda=ground.keda)
    # Where Pods run here the gateway is the way in, whatever other clusters have.
    return site if ground.images is not None else serving.with_entry(site, settings.serving_entry)


def compose(manager: Manager, history: History, settings: Settings, ground: Ground) -> Domains:
    """Give each domain its dependencies."""
    clock, images, parts = clocks.SYSTEM, ground.images, ground.parts
    serving_client = manager.client_for(SERVING_CONTROLLER)
    stores = providers.Providers(manager.client_for(pipelines.CONTROLLER),
                                 manager.informer(CONFIGMAPS, providers.SELECTION), clock,
                                 in_pods=settings.launcher_image != "builtin")
    history.artifacts.attach(stores)
    shared = pipelines_rest.Deps(database=history.database, notices=history.notices, artifacts=history.artifacts,
                                 clock=clock, ids=ids.RandomIds(),
                                 objects=(Objects(client=manager.client_for(pipelines.OBJECTS_IDENTITY))
                                          if choice.PIPELINE_OBJECTS in parts else None),
                                 logs=pipelines_logs.Logs(client=manager.client_for(pipelines.CONTROLLER),
                                                          artifacts=history.artifacts),
                                 providers=stores)
    for_pipelines = pipelines.PipelineDeps(manager=manager, routes=shared, options=_engine(settings),
                                           images=images or str)
    for_serving = serving.ServingDeps(
        client=serving_client, informer=manager.informer, clock=clock,
        recorder=Recorder(serving_client, "inferenceservice-controller"),
        site=_serving_site(settings, ground))
    training_client = manager.client_for(TRAINING_CONTROLLER)
    for_training = training.TrainingDeps(
        client=training_client, informer=manager.informer, clock=clock,
        recorder=Recorder(training_client, "trainjob-controller"),
        site=training.OTHER if images is None else training.EMBEDDED)
    tuned = tuning.Tuning(manager, history.database, settings.launcher_image) if choice.TUNING in parts else None
    for_registry = registry_routes.Deps(database=history.database, notices=history.notices, clock=clock)
    return Domains(
        controllers=(*pipelines.PIPELINES.controllers(for_pipelines), *registry.REGISTRY.controllers(for_registry),
                     *(serving.SERVING.controllers(for_serving) if choice.SERVING in parts else ()),
                     *(training.TRAINING.controllers(for_training) if choice.TRAIN_JOBS in parts else ()),
                     *(training.JOBS.controllers(for_training) if choice.OLD_JOBS in parts else ()),
                     *(tuned.controllers if tuned else ())),
        services={SERVICE: tuned.begin_reports} if tuned else {}, close=tuned.close if tuned else _nothing,
        routes=(*pipelines.PIPELINES.routes(for_pipelines), *serving.SERVING.routes(for_serving),
                *registry.REGISTRY.routes(for_registry)))


async def _nothing() -> None:
    """There is nothing to close."""


def _engine(settings: Settings) -> reconciler.Options:
    """The pipeline engine's limits."""
    return reconciler.Options(steps=budget.Limits(
        all_runs_steps=settings.steps_at_once, one_namespace_steps=settings.steps_at_once_per_namespace,
        one_run_steps=settings.steps_at_once_per_run), exit_seconds=settings.exit_task_seconds,
        launcher=_launcher(settings))


def _launcher(settings: Settings) -> stagers.Launcher:
    """How the Pods of steps move their files."""
    if settings.launcher_image == "builtin":
        return stagers.EMBEDDED
    endpoint = settings.artifacts_endpoint
    return stagers.Launcher(
        image=settings.launcher_image, is_program=True, location=endpoint,
        region=os.environ.get("AWS_REGION", "") if endpoint else "",
        secret=settings.artifacts_secret if endpoint else "", claim="" if endpoint else settings.artifacts_claim)
