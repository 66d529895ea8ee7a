"""The engine killed at every write it makes, before and after: a run with a loop, a condition, retries, an exit.

The outcome is always that of the undisturbed run: the same states and outputs, no attempt twice, no Pod still held.
Time is virtual; the records are real SQLite, Pods are objects that a program moves, and the artifacts are real files.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from lightship.artifacts.local import LocalStore
from lightship.client.client import Client
from lightship.client.transport import Request, Response
from lightship.domains.pipelines import dag, execution, names, parse, reconciler
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import PODS
from lightship.records import experiments, run_history
from lightship.records import pipeline_rows as rows
from lightship.records.database import Database
from lightship.records.pipeline_rows import Batch, RunHead
from lightship.records.rows import Experiment, Run
from lightship.records.runs import Runs
from lightship.runtime.informer import Informer
from lightship.testing.clock import FakeClock
from lightship.testing.memory import MemoryApi
from tests.unit.pipelines import specs

KEY = Key("default", "run-1")
MAX_PASSES = 200
MAX_KILLS = 200


class Killed(BaseException):
    """The process is gone."""


class Killer:
    """Kills at the n-th write, before it happens or after."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self._at = at
        self._after = after
        self.writes = 0

    def before(self) -> None:
        self.writes += 1
        if self.writes == self._at and not self._after:
            raise Killed

    def after(self) -> None:
        if self.writes == self._at and self._after:
            raise Killed


class KillingStore(Runs):
    """The records, whose writes may be the engine's last."""

    def __init__(self, database: Database, killer: Killer) -> None:
        super().__init__(database)
        self._killer = killer

    async def commit(self, batch: Batch) -> RunHead | None:
        self._killer.before()
        head = await super().commit(batch)
        self._killer.after()
        return head


class KillingTransport:
    """The API, whose writes may be the engine's last."""

    def __init__(self, api: MemoryApi, killer: Killer) -> None:
        self._api = api
        self._killer = killer

    async def send(self, request: Request) -> Response:
        if request.method == "GET":
            return await self._api.send(request)
        self._killer.before()
        response = await self._api.send(request)
        self._killer.after()
        return response

    async def close(self) -> None:
        return None


class Mirror:
    """What an informer would show, as of the last ``refresh``."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[Key, Object] = {}

    async def refresh(self) -> None:
        listed = await self._client.list(PODS)
        self._found = {objects.key(pod): pod for pod in listed.items}

    def get(self, key: Key) -> Object | None:
        return self._found.get(key)

    def index_label(self, label: str) -> None:
        return None

    def labelled(self, label: str, value: str) -> Sequence[Object]:
        return [pod for pod in self._found.values() if objects.labels(pod).get(label) == value]

    def observe(self, pod: Object) -> None:
        self._found[objects.key(pod)] = pod


def _spec() -> specs.Spec:
    """first -> loop over 2 (flaky -> if it gave "1": extra); an exit task after the loop; one step that fails."""
    step = specs.component("step", inputs=specs.parameters(x={"parameterType": "STRING", "isOptional": True}),
                           outputs=specs.STRING_OUT)
    retried = {"retryPolicy": {"maxRetryCount": 2, "backoffDuration": "5s"}}
    body = specs.sub_dag(
        {"flaky": {**specs.task("comp-step", inputs={"x": specs.input_of_parent("item")}), **retried},
         "condition-1": specs.task("comp-extra", inputs={"y": specs.output_of("flaky")},
                                   **specs.when("inputs.parameter_values['y'] == '1'"))},
        inputs=specs.parameters(item="STRING"), outputs=specs.parameters(Output="LIST"),
        gives={"parameters": {"Output": {"valueFromParameter": specs.selector("flaky")}}})
    extra = specs.sub_dag({"extra": specs.task("comp-step")}, inputs=specs.parameters(y="STRING"))
    return specs.pipeline(
        {"first": specs.task("comp-step", cachingOptions={"enableCache": True}),
         "for-loop-1": {**specs.task("comp-body", after=["first"]), **specs.loop_over('["1", "2"]')},
         "doomed": specs.task("comp-step", after=["first"]),
         "never": specs.task("comp-step", after=["doomed"]),
         "exit": specs.task("comp-step", after=["for-loop-1", "doomed"], **specs.RUN_ALWAYS)},
        {"comp-step": step, "comp-body": body, "comp-extra": extra},
        outputs=specs.parameters(Output="LIST"),
        gives={"parameters": {"Output": {"valueFromParameter": specs.selector("for-loop-1")}}})


class World:
    """What outlives the engine: records, objects, artifacts, and the node that runs Pods."""

    def __init__(self, folder: Path, terminated_at: str = "", spec: specs.Spec | None = None) -> None:
        self.folder = folder
        self.terminated_at = terminated_at
        """The run is terminated when a Pod of this step runs; nothing else of what runs then has ended."""
        self.spec = spec or _spec()
        self.clock = FakeClock()
        self.database = Database(f"sqlite:///{folder / 'records.db'}")
        self.artifacts = LocalStore(folder / "artifacts", durable=False)
        self.api = MemoryApi(self.clock)
        self.client = self.api.client("world")
        self.runs = Runs(self.database)
        self.pipeline = parse.spec(self.spec)
        self.created: list[str] = []
        self.options = reconciler.Options()
        self.doomed = "/doomed"
        """How the path of a step ends that always fails."""

    async def submit(self) -> None:
        await self.database.migrate()
        template = self.folder.parent / "template.db"
        if not await asyncio.to_thread(template.exists):
            await asyncio.to_thread(shutil.copyfile, self.folder / "records.db", template)
        now = self.clock.now()

        def create(connection: Any) -> None:
            experiments.create(connection, Experiment(id="e", namespace="default", name="Default", created_at=now))
            run_history.create(connection, Run(
                id=KEY.name, namespace="default", experiment_id="e", display_name="r", spec=self.spec,
                state=rows.PENDING, created_at=now, scheduled_at=now))

        await self.database.run(create)

    def engine(self, killer: Killer,
               options: reconciler.Options | None = None) -> tuple[reconciler.RunReconciler, Mirror]:
        client = Client(KillingTransport(self.api, killer))
        mirror = Mirror(client)
        engine = reconciler.RunReconciler(reconciler.Engine(
            store=KillingStore(self.database, killer), artifacts=self.artifacts, client=client,
            pods=cast(Informer, mirror), clock=self.clock, wake=lambda key: None,
            options=options or self.options))
        return engine, mirror

    async def run_pods(self) -> None:
        """Every Pod that has not ended ends, as its task and attempt say."""
        loaded = await self.runs.load(KEY)
        assert loaded is not None
        known = {row.pod: row for row in loaded[1] if row.pod}
        pods = (await self.client.list(PODS)).items
        if any(objects.annotations(pod)[names.PATH_ANNOTATION] == self.terminated_at for pod in pods):
            self.terminated_at = ""
            await self.database.run(lambda connection: run_history.terminate(connection, KEY.name, self.clock.now()))
            return
        for pod in pods:
            if objects.status(pod).get("phase") in ("Succeeded", "Failed"):
                continue
            if objects.deleting(pod):
                await self.ended(pod, code=143)
                continue
            row = known[objects.name(pod)]
            attempt = int(objects.annotations(pod)[names.ATTEMPT_ANNOTATION])
            assert row.attempt == attempt, "a Pod runs whose intent row is not the current one"
            self.created.append(f"{row.path}#{attempt}")
            fails = (self.doomed and row.path.endswith(self.doomed)) or (row.path.endswith("/flaky") and attempt == 0)
            if not fails:
                await self.commit(loaded[0], row)
            await self.ended(pod, code=1 if fails else 0)

    async def commit(self, run: rows.RunRow, row: rows.TaskRow) -> None:
        value = str(row.inputs.parameters.get("x", "v"))
        unfolded = dag.Dag(self.pipeline)
        step = execution.of(run, self.pipeline, _node_named(unfolded, row), row)
        record = {"version": 1, "parameterFiles": {"Output": value}, "parameterValues": {}, "artifacts": {}}
        await self.artifacts.put(step.commit_uri, json.dumps(record).encode())

    async def ended(self, pod: Object, *, code: int) -> None:
        status = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [
            {"name": names.MAIN, "state": {"terminated": {"exitCode": code}}}]}
        await self.client.patch(PODS, objects.key(pod), {"status": status}, subresource="status")


def _node_named(unfolded: dag.Dag, row: rows.TaskRow) -> Any:
    """A node with the row's name, which is all that an attempt's place needs."""
    node = unfolded.root
    node.name = row.name
    return node


async def live(world: World, kills: Iterable[Killer]) -> int:
    """Run to the end, with one engine after another; returns the writes of the last."""
    pending = list(kills)
    killer = pending.pop(0)
    engine, mirror = world.engine(killer)
    quiet = 0
    for _ in range(MAX_PASSES):
        try:
            await mirror.refresh()
            result = await engine.reconcile(KEY)
        except Killed:
            killer = pending.pop(0)
            engine, mirror = world.engine(killer)
            continue
        await world.run_pods()
        engine.touch(KEY)
        if result.requeue_after_seconds:
            await world.clock.advance(result.requeue_after_seconds)
        head = await world.runs.head(KEY)
        assert head is not None
        quiet = quiet + 1 if head.state in rows.FINAL else 0
        if quiet == 3:
            return killer.writes
    raise AssertionError("the run does not end")


async def outcome_of(world: World) -> dict[str, Any]:
    loaded = await world.runs.load(KEY)
    assert loaded is not None
    pods = (await world.client.list(PODS)).items
    return {
        "run": (loaded[0].state, loaded[0].error),
        "tasks": {row.path: (row.state, row.attempt, row.retries, row.error.partition("\n")[0],
                             dict(row.outputs.parameters))
                  for row in loaded[1]},
        "pods": sorted(objects.name(pod) for pod in pods),
        "held": [objects.name(pod) for pod in pods if objects.finalizers(pod)],
        "ran": sorted(world.created),
    }


def prepare(folder: Path) -> None:
    """A folder with a migrated database: the first story's of the test, copied."""
    folder.mkdir()
    template = folder.parent / "template.db"
    if template.exists():
        shutil.copyfile(template, folder / "records.db")


async def _story(folder: Path, *kills: Killer, terminated_at: str = "") -> tuple[dict[str, Any], int]:
    await asyncio.to_thread(prepare, folder)
    world = World(folder, terminated_at)
    try:
        await world.submit()
        writes = await live(world, [*kills, Killer()])
        return await outcome_of(world), writes
    finally:
        await world.database.close()


async def test_the_undisturbed_run_is_as_it_should_be(tmp_path: Path) -> None:
    outcome, _ = await _story(tmp_path / "calm")
    assert outcome["run"] == (rows.FAILED, 'step "root/doomed": exit code 1')
    states = {path: found[0] for path, found in outcome["tasks"].items()}
    assert states["root/exit"] == rows.SUCCEEDED and states["root/never"] == rows.SKIPPED
    assert states["root/for-loop-1[0]/condition-1"] == rows.SUCCEEDED
    assert states["root/for-loop-1[1]/condition-1"] == rows.SKIPPED
    assert outcome["tasks"]["root"][4] == {"Output": ["1", "2"]}
    assert outcome["tasks"]["root/for-loop-1[0]/flaky"][1:3] == (1, 1)
    assert not outcome["held"]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_an_engine_killed_at_any_write_changes_nothing(tmp_path: Path, after: bool) -> None:
    calm, writes = await _story(tmp_path / "calm")
    assert 0 < writes < MAX_KILLS
    for at in range(1, writes + 1):
        outcome, _ = await _story(tmp_path / f"kill-{at}", Killer(at, after=after))
        _same(outcome, calm, f"killed {'after' if after else 'before'} write {at} of {writes}")


async def test_engines_killed_again_and_again_still_finish(tmp_path: Path) -> None:
    calm, _ = await _story(tmp_path / "calm")
    outcome, _ = await _story(tmp_path / "often", *(Killer(1 + number % 3, after=bool(number % 2))
                                                  for number in range(12)))
    _same(outcome, calm, "killed often")


async def test_a_run_that_is_terminated_ends_the_same_wherever_the_engine_is_killed(tmp_path: Path) -> None:
    """What runs when the terminate comes is canceled, and the exit task of what had begun runs, once."""
    at = "root/doomed"
    calm, writes = await _story(tmp_path / "calm", terminated_at=at)
    assert calm["run"] == (rows.CANCELED, "the run was terminated")
    found = {path: task[0] for path, task in calm["tasks"].items()}
    assert found["root/first"] == found["root/exit"] == rows.SUCCEEDED and found["root/never"] == rows.SKIPPED
    assert found["root/doomed"] == found["root/for-loop-1"] == rows.CANCELED
    assert calm["ran"] == ["root/exit#0", "root/first#0"] and not calm["held"]
    for number in range(1, writes + 1):
        for after in (False, True):
            outcome, _ = await _story(tmp_path / f"kill-{number}-{after}", Killer(number, after=after),
                                      terminated_at=at)
            assert {**outcome, "pods": calm["pods"]} == calm, f"killed at write {number} of {writes}, after: {after}"


def _same(outcome: dict[str, Any], calm: dict[str, Any], story: str) -> None:
    for path, found in calm["tasks"].items():
        assert outcome["tasks"].get(path) == found, f"{story}: {path}"
    assert outcome == calm, story


