"""What Kubeflow adds: every domain with what it needs, on the embedded cluster or on any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from starlette.routing import BaseRoute

from lightship.artifacts.local import LocalStore
from lightship.domains import registry, serving
from lightship.domains.furniture import Kind
from lightship.domains.pipelines import budget, reconciler
from lightship.domains.pipelines import domain as pipelines
from lightship.domains.pipelines import rest as pipelines_rest
from lightship.domains.registry import routes as registry_routes
from lightship.lib import clock as clocks
from lightship.lib import ids
from lightship.records.database import Database
from lightship.records.notices import Notices
from lightship.runtime.controller import Controller
from lightship.runtime.events import Recorder
from lightship.runtime.manager import Manager
from lightship.settings import Settings

KINDS: tuple[Kind, ...] = (*pipelines.PIPELINES.kinds, *serving.SERVING.kinds, *registry.REGISTRY.kinds)
SERVING_CONTROLLER = "serving"


@dataclass(frozen=True, kw_only=True)
class History:
    """The records and the artifacts of one data directory."""

    database: Database
    artifacts: LocalStore
    notices: Notices


async def open_history(settings: Settings, stack: AsyncExitStack) -> History:
    """Open both and bring the records' schema up to date. Raises ``errors.StateError``."""
    database = Database(f"sqlite:///{settings.data_dir / 'records.db'}")
    stack.push_async_callback(database.close)
    await database.migrate()
    artifacts = LocalStore(settings.data_dir / "artifacts")
    await artifacts.sweep()
    return History(database=database, artifacts=artifacts, notices=Notices())


@dataclass(frozen=True, kw_only=True)
class Domains:
    """Controllers and routes of all domains."""

    controllers: Sequence[Controller]
    routes: Sequence[BaseRoute]


def compose(manager: Manager, history: History, settings: Settings, gateway_url: str,
            images: Callable[[str], str] = str) -> Domains:
    """Give each domain its dependencies. ``images`` tells what an image means on this machine, where Pods run here."""
    clock = clocks.SYSTEM
    serving_client = manager.client_for(SERVING_CONTROLLER)
    shared = pipelines_rest.Deps(database=history.database, notices=history.notices, artifacts=history.artifacts,
                                 clock=clock, ids=ids.RandomIds())
    for_pipelines = pipelines.PipelineDeps(manager=manager, routes=shared, options=_engine(settings),
                                           images=images)
    for_serving = serving.ServingDeps(
        client=serving_client, informer=manager.informer, clock=clock,
        recorder=Recorder(serving_client, "inferenceservice-controller"), site=serving.Site(gateway_url=gateway_url))
    for_registry = registry_routes.Deps(database=history.database, notices=history.notices, clock=clock)
    return Domains(
        controllers=(*pipelines.PIPELINES.controllers(for_pipelines), *serving.SERVING.controllers(for_serving),
                     *registry.REGISTRY.controllers(for_registry)),
        routes=(*pipelines.PIPELINES.routes(for_pipelines), *serving.SERVING.routes(for_serving),
                *registry.REGISTRY.routes(for_registry)))


def _engine(settings: Settings) -> reconciler.Options:
    """The pipeline engine's limits."""
    return reconciler.Options(steps=budget.Limits(
        all_runs_steps=settings.steps_at_once, one_namespace_steps=settings.steps_at_once_per_namespace,
        one_run_steps=settings.steps_at_once_per_run))
