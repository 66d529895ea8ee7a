"""The engine over a real API server, node, artifact store and records, in one process and without listeners.

Tests of this folder call me: a compiled pipeline goes in, the rows of its run come out. Steps are real processes.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from lightship.artifacts.local import LocalStore
from lightship.client.client import Client
from lightship.client.inprocess import InProcess
from lightship.cluster import builtin
from lightship.cluster.apiserver import bootstrap, metrics, tokens
from lightship.cluster.apiserver.server import ApiServer, ApiServerOptions
from lightship.cluster.apiserver.tokens import TokenAuthenticator, TokenAuthority
from lightship.cluster.builtin import claim_plan
from lightship.cluster.node.agent import Node, NodeOptions
from lightship.cluster.store.store import Store
from lightship.domains.pipelines import document, parse, reconciler, rest
from lightship.domains.pipelines import domain as pipelines
from lightship.kube.objects import Key
from lightship.kube.resources import EVENTS, STORAGE_CLASSES
from lightship.lib import clock as clocks
from lightship.lib import ids
from lightship.records import experiments, notices, run_history
from lightship.records import pipeline_rows as rows
from lightship.records.database import Database
from lightship.records.pipeline_rows import RunRow, TaskRow
from lightship.records.rows import Experiment, Run
from lightship.records.runs import Runs
from lightship.runtime.manager import Manager

WAIT_SECONDS = 120.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that has ended, with its rows by path."""

    run: RunRow
    tasks: Mapping[str, TaskRow]

    def task(self, path: str) -> TaskRow:
        return self.tasks[f"root/{path}"]

    @property
    def outputs(self) -> Mapping[str, Any]:
        return self.tasks["root"].outputs.parameters


class Platform:
    """Everything that a run needs, in one process."""

    def __init__(self, folder: Path, server: ApiServer, options: reconciler.Options) -> None:
        self.server = server
        self.folder = folder
        self.database = Database(f"sqlite:///{folder / 'records.db'}")
        self.artifacts = LocalStore(folder / "artifacts")
        self.notices = notices.Notices()
        self.runs = Runs(self.database)
        self.manager = Manager(self.client)
        self.node = Node(NodeOptions(directory=folder / "node"), self.client("node"),
                         {pipelines.ENTRYPOINT_NAME: pipelines.launcher(self.artifacts)}, clocks.SYSTEM)
        self._options = options

    def client(self, name: str) -> Client:
        user = bootstrap.IDENTITY if name in ("tests", "bootstrap") else tokens.service_account("kubeflow", name)
        return Client(InProcess(self.server.handle, user), field_manager=name)

    async def start(self) -> None:
        await self.database.migrate()
        self.experiment = await self.database.run(_experiment)
        deps = pipelines.PipelineDeps(manager=self.manager, options=self._options, routes=rest.Deps(
            database=self.database, notices=self.notices, artifacts=self.artifacts, clock=clocks.SYSTEM,
            ids=ids.RandomIds()))
        for controller in pipelines.PIPELINES.controllers(deps):
            self.manager.add(controller)
        served = [one.resource for one in self.server.registry.served
                  if one.persistent and one.resource.kind != EVENTS.kind and one.resource.group != metrics.GROUP]
        for controller in builtin.controllers(builtin.Deps(manager=self.manager, resources=served)):
            self.manager.add(controller)
        await bootstrap.ensure(self.client("bootstrap"))
        await bootstrap.ensure_object(self.client("bootstrap"), STORAGE_CLASSES, claim_plan.STANDARD)
        await self.node.start()
        self.server.logs = _Logs(self.node)

    async def submit(self, data: bytes | Mapping[str, Any], parameters: Mapping[str, Any] | None = None, *,
                     namespace: str = "default") -> Key:
        """Create a run of a pipeline file, as the REST route does."""
        spec = parse.combine(document.load(data)) if isinstance(data, bytes) else dict(data)
        parsed = parse.spec(spec)
        now = clocks.SYSTEM.now()
        run_id = ids.RandomIds().uid()
        await self.database.run(lambda connection: run_history.create(connection, Run(
            id=run_id, namespace=namespace, experiment_id=self.experiment, display_name=parsed.name, spec=spec,
            state=rows.PENDING, parameters=dict(parameters or {}), created_at=now, scheduled_at=now)))
        key = Key(namespace, run_id)
        self.notices.publish(notices.RUNS, key)
        return key

    async def finish(self, key: Key) -> Finished:
        """Wait for the run's end."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                head = await self.runs.head(key)
                assert head is not None
                if head.state in rows.FINAL:
                    loaded = await self.runs.load(key)
                    assert loaded is not None
                    return Finished(run=loaded[0], tasks={task.path: task for task in loaded[1]})
                await asyncio.sleep(0.02)

    async def run(self, data: bytes | Mapping[str, Any], parameters: Mapping[str, Any] | None = None) -> Finished:
        return await self.finish(await self.submit(data, parameters))


class _Logs:
    """The node's logs as the API server asks for them."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def logs(self, key: Key, query: Any) -> AsyncIterator[bytes]:
        given = {"container": query.container}
        if query.tail_lines is not None:
            given["tailLines"] = str(query.tail_lines)
        return await self._node.logs(key, given)


@asynccontextmanager
async def platform(folder: Path, *, options: reconciler.Options | None = None) -> AsyncIterator[Platform]:
    """A platform that runs inside the block; a folder that was used before is taken up again."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    store = await Store.open(folder / "cluster.db")
    authority = TokenAuthority(b"0" * 32, clocks.SYSTEM)
    server = ApiServer(ApiServerOptions(store=store, tokens=authority, authenticator=TokenAuthenticator(
        "admin-token", authority, clocks.SYSTEM)))
    made = Platform(folder, server, options or reconciler.Options())
    await made.start()
    running = asyncio.create_task(made.manager.run())
    try:
        await made.manager.synced.wait()
        yield made
    finally:
        await made.manager.stop()
        await running
        await made.node.stop()
        await made.database.close()
        await store.close()


def _experiment(connection: Any) -> str:
    known = experiments.by_name(connection, "default", "Default")
    if known is None:
        known = experiments.create(connection, Experiment(
            id=ids.RandomIds().uid(), namespace="default", name="Default",
            created_at=clocks.SYSTEM.now()))
    return known.id
