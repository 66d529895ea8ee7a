"""Drives runs: observes the Pods of a run's steps, decides, writes rows, then makes and releases Pods.

The manager calls ``reconcile`` with (namespace, run id) when a Pod of the run changes, when REST writes to it, and on
resync. The order of writes is invariant 7's: an intent row with the Pod's name, the Pod, the outcome row, and only then
the finalizer comes off. One pass writes once, whatever ended in it: an ended step costs one read of its commit record,
its share of one transaction, one Pod created for what follows, and one released.

What I keep of a run between passes (``work.Work``) is a copy that the records can rebuild; any error drops it.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

from lightship import errors
from lightship.artifacts import errors as artifact_errors
from lightship.artifacts.store import Stores
from lightship.client.client import Client
from lightship.domains.pipelines import (
    afterwards,
    budget,
    cache,
    children,
    dag,
    decide,
    demands,
    execution,
    logs,
    names,
    observe,
    outcome,
    own_steps,
    parse,
    pods,
    stagers,
    together,
    versions,
    workspace,
)
from lightship.domains.pipelines.errors import StepError
from lightship.domains.pipelines.nodes import Outcome
from lightship.domains.pipelines.ports import RunStore
from lightship.domains.pipelines.work import Work, is_engines_own
from lightship.kube.objects import Key, Object
from lightship.lib.clock import Clock
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import RunHead, TaskIO
from lightship.runtime.controller import DONE, Result
from lightship.runtime.informer import Informer

_log = logging.getLogger(__name__)
T = TypeVar("T")

SOFT_SECONDS = 0.25
"""How long rows that nobody waits for may wait for others to be written with."""
MAX_QUEUED_STEPS = 200
"""Steps of a run that are looked up in the cache ahead of their slot."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Limits of the engine."""

    steps: budget.Limits = budget.Limits()
    run: dag.Limits = dag.Limits()
    exit_seconds: float = 3600.0
    """How long a task that cleans up may run once its run is to end."""
    kept_pods_per_run: int = 200
    """Pods of steps that ended well which stay, for their logs."""
    parallel_requests: int = 16
    launcher: stagers.Launcher = stagers.EMBEDDED


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What the reconciler stands on. ``wake`` puts a run's key in my queue."""

    store: RunStore
    artifacts: Stores
    client: Client
    pods: Informer
    clock: Clock
    wake: Callable[[Key], None]
    options: Options = Options()
    images: cache.Images = str


class RunReconciler:
    """One for all runs; the manager never runs one key twice at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pods = pods.Pods(
            engine.client, engine.pods, logs.Archive(engine.client, engine.artifacts),
            kept=engine.options.kept_pods_per_run, at_once=engine.options.parallel_requests)
        self._budget = budget.Budget(engine.options.steps)
        self._works: dict[Key, Work] = {}
        self._touched: set[Key] = set()
        self._afterwards = afterwards.Afterwards(self._pods, engine.store, engine.clock)

    def touch(self, key: Key) -> None:
        """Others may have changed the run's row: look at it in the next pass, which is asked for."""
        self._touched.add(key)
        self._engine.wake(key)

    def nodes_changed(self, nodes: Iterable[Object]) -> None:
        """The cluster's nodes as they are now: what they have bounds how many steps run."""
        self._budget.capacity(demands.of_nodes(nodes))
        self._wake(self._budget.grant())

    async def reconcile(self, key: Key) -> Result:
        try:
            return await self._pass(key)
        except BaseException:
            self._drop(key)
            raise

    async def _pass(self, key: Key) -> Result:
        work = self._works.get(key)
        if work is None:
            taken = await self._take_up(key)
            if isinstance(taken, Result):
                return taken
            work = taken
        elif key in self._touched:
            self._touched.discard(key)
            if not await self._heed(work, await self._engine.store.head(key)):
                return Result(requeue_after_seconds=0)
        return await self._advance(work)

    # Taking up and letting go of runs.

    async def _take_up(self, key: Key) -> Work | Result:
        """The run as the records have it, or when to look again where there is nothing to do but to clean up."""
        if self._afterwards.knows(key) and key not in self._touched:
            return await self._afterwards.of(key)
        self._touched.discard(key)
        head = await self._engine.store.head(key)
        if head is not None and head.state in rows.FINAL:
            return await self._afterwards.of(key, head.state)
        self._afterwards.forget(key)
        loaded = await self._engine.store.load(key) if head is not None else None
        if loaded is None:
            await self._afterwards.gone(key)
            return DONE
        run, known = loaded
        try:
            pipeline = parse.spec(run.spec)
        except errors.InvalidInput as cause:
            await self._refuse(run, str(cause))
            return DONE
        unfolded = dag.Dag(pipeline, run_id=run.run_id, job=execution.job_of(run, pipeline),
                           limits=self._engine.options.run)
        work = Work(run, unfolded, known)
        work.resume(self._engine.clock.now())
        self._works[key] = work
        for path in work.active:
            self._budget.hold(key, path, demands.of_step(work.step(path), work.job))
        current = {work.rows[path].pod for path in work.active}
        work.ended_pods.update(dict.fromkeys(self._pods.names_of(key) - current))
        return work

    async def _refuse(self, run: rows.RunRow, why: str) -> None:
        """A run whose spec this server cannot read ends at once, with the reason."""
        now = self._engine.clock.now()
        await self._engine.store.commit(rows.Batch(
            namespace=run.namespace, run_id=run.run_id,
            run=rows.RunChange(expected_state=run.state, state=rows.FAILED, error=why, at=now, finished_at=now)))

    async def _heed(self, work: Work, head: RunHead | None) -> bool:
        """Take in what others did to the run. False: start over from the records."""
        if head is None or head.generation != work.run.generation or head.state in rows.FINAL:
            self._drop(work.key)
            return False
        work.canceling = work.canceling or head.state == rows.CANCELING
        work.run = replace(work.run, state=head.state)
        return True

    def _drop(self, key: Key) -> None:
        if self._works.pop(key, None) is not None:
            self._budget.drop(key)
            self._wake(self._budget.grant())

    def _wake(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._engine.wake(key)

    # One pass.

    async def _advance(self, work: Work) -> Result:
        todo, was_stopping = _Todo(), work.stopping
        self._check_deadline(work, todo)
        if work.stopping and not work.dag.stopped:
            self._stop(work)
        for path, verdict in await self._verdicts(work):
            self._take(work, path, verdict, todo)
        self._budget.keep(work.key, work.holding(self._engine.clock.now()))
        todo.create += await self._begin_ready(work)
        if not await self._write(work, todo):
            return Result(requeue_after_seconds=0)
        await self._apply(work, todo)
        if work.dag.root.ended:
            self._drop(work.key)
            return await self._afterwards.of(work.key, work.run.state)
        if work.stopping and not was_stopping:
            return Result(requeue_after_seconds=0)
        return Result(requeue_after_seconds=todo.again_seconds)

    def _stop(self, work: Work) -> None:
        """Of what waits for its turn only exit tasks still do."""
        work.stop(self._engine.clock.now())
        self._budget.withdraw(work.key)
        for path in work.queued:
            self._budget.want(work.key, path, demands.of_step(work.step(path), work.job))

    def _check_deadline(self, work: Work, todo: _Todo) -> None:
        now = self._engine.clock.now()
        left = work.left_seconds(now)
        if left is not None and left > 0:
            todo.look_again(left)
        if not work.stopping:
            return
        for path in work.active:
            left = work.exit_left_seconds(path, now, self._engine.options.exit_seconds)
            if left is not None and left > 0:
                todo.look_again(left)

    async def _verdicts(self, work: Work) -> Sequence[tuple[str, decide.Verdict]]:
        """What to do about each step that has begun. Commit records and logs are read side by side."""
        now = self._engine.clock.now()
        paths = work.active
        seen = await self._side_by_side([self._see(work, path, now) for path in paths])
        return [(path, decide.decide(one, now)) for path, one in zip(paths, seen, strict=True)]

    async def _see(self, work: Work, path: str, now: datetime) -> decide.Seen:
        row, node = work.rows[path], work.dag.nodes[path]
        pod = self._engine.pods.get(Key(work.run.namespace, row.pod))
        view = observe.view(pod) if pod is not None else None
        seen = decide.Seen(row=row, pod=view, retry=node.retry,
                           ends=work.ends(path, now, self._engine.options.exit_seconds))
        if view is None and row.state != rows.RUNNING and not seen.ends:
            return seen
        if view is not None and not view.ended:
            return seen
        outputs, defect = await self._committed(work.step(path))
        if pod is not None and view is not None and view.failure and outputs is None \
                and view.reason != names.NODE_RESTARTED and not seen.ends:
            seen = replace(seen, last_lines=await self._pods.last_lines(pod))
        return replace(seen, outputs=outputs, defect=defect)

    async def _committed(self, step: execution.Execution) -> tuple[TaskIO | None, str]:
        """What the commit record says, or None where there is none, and what is wrong with it."""
        try:
            own = self._engine.artifacts.within(step.run.namespace)
            data = await own.read(step.commit_uri, outcome.MAX_RECORD_BYTES)
            return outcome.outputs(data, step), ""
        except artifact_errors.NoSuchArtifact:
            return None, ""
        except (StepError, errors.InvalidInput, errors.Unsupported, errors.Forbidden) as cause:
            return None, str(cause)

    def _take(self, work: Work, path: str, verdict: decide.Verdict, todo: _Todo) -> None:
        clock = self._engine.clock
        match verdict:
            case decide.Settle():
                ended = Outcome(state=verdict.state, outputs=verdict.outputs, error=verdict.error)
                work.settle(path, ended, clock.now())
            case decide.Again():
                work.again(path, counts=verdict.counts, at=verdict.at, why=verdict.why)
                todo.look_again((verdict.at - clock.now()).total_seconds())
            case decide.Create():
                # One that waited for its next attempt had let its share go: it does not queue a second time.
                self._budget.hold(work.key, path, demands.of_step(work.step(path), work.job))
                todo.create.append(path)
            case decide.Delete():
                todo.delete.append(work.rows[path].pod)
            case decide.Running():
                work.soften(path, clock.monotonic(), state=rows.RUNNING)
            case decide.Wait():
                if verdict.note is not None and work.rows[path].state == rows.PENDING:
                    work.soften(path, clock.monotonic(), note=verdict.note or work.rows[path].error)
                todo.look_again(verdict.seconds)

    async def _begin_ready(self, work: Work) -> list[str]:
        """Begin what may begin: the engine's own steps and cached ones end at once, which may make others ready."""
        while True:
            settled = False
            fresh = list(itertools.islice(work.dag.ready, max(0, MAX_QUEUED_STEPS - len(work.queued))))
            for path in fresh:
                work.dag.take(path)
            own = [path for path in fresh if is_engines_own(work, path)]
            for path in own:
                work.queued[path] = ""
                work.touch_row(path, self._engine.clock.now())
            for path, ended in zip(own, await self._side_by_side([self._run_own(work, path) for path in own]),
                                   strict=True):
                work.settle(path, ended, self._engine.clock.now())
                settled = True
            settled = await self._from_cache(work, [path for path in fresh if path not in set(own)]) or settled
            if not settled:
                return self._start(work)

    async def _run_own(self, work: Work, path: str) -> Outcome:
        return await own_steps.run(
            work.step(path), work.job, self._engine.artifacts.within(work.run.namespace), self._engine.client)

    async def _from_cache(self, work: Work, paths: Sequence[str]) -> bool:
        """Settle the steps that the cache has; queue the others. Says whether it settled any."""
        now = self._engine.clock.now()
        keys: dict[str, str] = {}
        seen = versions.Versions(self._engine.client, work.run.namespace)
        for path in paths:
            work.touch_row(path, now)
            try:
                step = work.step(path)
                read = await seen.of(cache.reads(step, work.job))
                keys[path] = cache.key(step, work.job, self._engine.images, read) if read is not None else ""
            except StepError as cause:
                work.settle(path, Outcome(state=rows.FAILED, error=str(cause)), now)
        wanted = sorted({key for key in keys.values() if key})
        entries = await self._engine.store.cached(work.run.namespace, wanted) if wanted else {}
        whole = dict(zip(entries, await self._side_by_side(
            [self._is_whole(work.run.namespace, entry.outputs) for entry in entries.values()]), strict=True))
        gone = [key for key, there in whole.items() if not there]
        if gone:
            await self._engine.store.forget_cached(work.run.namespace, gone)
        for path, key in keys.items():
            if whole.get(key):
                entry = entries[key]
                work.settle(path, Outcome(state=rows.CACHED, outputs=entry.outputs), now, cached_from=entry.task_id,
                            cache_key=key)
            else:
                work.queued[path] = key
                self._budget.want(work.key, path, demands.of_step(work.step(path), work.job))
        return any(whole.get(key) for key in keys.values()) or len(keys) < len(paths)

    async def _is_whole(self, namespace: str, outputs: TaskIO) -> bool:
        """Whether every artifact that had content is still there."""
        store = self._engine.artifacts.within(namespace)
        for listed in outputs.artifacts.values():
            for artifact in listed:
                try:
                    if artifact.digest and not await store.exists(artifact.uri):
                        return False
                except artifact_errors.NotServed:
                    continue
                except errors.Forbidden:
                    return False
        return True

    def _start(self, work: Work) -> list[str]:
        """Begin the waiting steps that the budget lets begin: their intents."""
        self._wake(key for key in self._budget.grant() if key != work.key)
        started = self._budget.granted(work.key)
        for path in started:
            work.intend(path, work.queued.pop(path), self._engine.clock.now())
        return list(started)

    async def _write(self, work: Work, todo: _Todo) -> bool:
        """The pass's one transaction. False: the run is not what it was; look at it anew."""
        clock = self._engine.clock
        due = work.soft_since is not None and clock.monotonic() - work.soft_since >= SOFT_SECONDS
        if not work.has_hard_changes and not due:
            if work.soft_since is not None:
                todo.look_again(SOFT_SECONDS)
            return True
        batch = work.batch(clock.now())
        if work.dag.changed:
            todo.look_again(0)
        head = await self._engine.store.commit(batch)
        if head is None or head.generation != work.run.generation:
            self._drop(work.key)
            return False
        if batch.run is not None and head.state == batch.run.state:
            work.moved(batch.run)
            return True
        return await self._heed(work, head) and (batch.run is None or not work.dag.root.ended)

    async def _apply(self, work: Work, todo: _Todo) -> None:
        """What the written rows call for: new Pods first, since steps wait for those."""
        acts: list[Awaitable[None]] = [self._create(work, path) for path in todo.create if path in work.dag.begun]
        acts += [self._pods.delete(Key(work.run.namespace, pod)) for pod in todo.delete]
        await self._side_by_side(acts)
        ended = list(work.ended_pods)
        await self._side_by_side([self._pods.release(Key(work.run.namespace, pod)) for pod in ended])
        for pod in ended:
            work.ended_pods.pop(pod, None)
        if work.trim_due(len(ended)):
            await self._pods.trim(work.key)

    async def _create(self, work: Work, path: str) -> None:
        try:
            pod = children.make_pod(work.step(path), work.job, self._engine.options.launcher)
            if workspace.mounted_in(pod, work.run.run_id) and not work.has_workspace:
                await self._pods.make_workspace(workspace.make_claim(
                    work.dag.pipeline, work.run.run_id, work.run.namespace))
                work.has_workspace = True
            await self._pods.create(pod)
        except (StepError, errors.InvalidInput, errors.Forbidden) as cause:
            # What the step asks for cannot be: that is its outcome, written by the pass that this asks for.
            work.settle(path, Outcome(state=rows.FAILED, error=str(cause)), self._engine.clock.now())
            self._engine.wake(work.key)

    async def _side_by_side(self, acts: Sequence[Awaitable[T]]) -> list[T]:
        return await together.side_by_side(acts, self._engine.options.parallel_requests)


class _Todo:
    """What a pass found to do after its write."""

    def __init__(self) -> None:
        self.create: list[str] = []
        self.delete: list[str] = []
        self.again_seconds: float | None = None

    def look_again(self, seconds: float | None) -> None:
        if seconds is not None:
            seconds = max(0.0, seconds)
            self.again_seconds = seconds if self.again_seconds is None else min(self.again_seconds, seconds)
