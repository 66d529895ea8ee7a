"""Which steps may begin: within what the cluster has, within limits for all, a namespace and a run, and fairly. Pure.

``reconciler`` puts steps that could begin in their run's queue, takes those that were granted, and says which it still
holds; ``capacity`` tells how much there is. Whoever holds least is next: first among namespaces, then among the runs
of one, and of equals who has waited longest. So a run of five thousand steps takes what others leave, and no more.
A step that does not fit lets smaller ones pass for a while, and then all wait for it.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from lightship.kube.objects import Key

K = TypeVar("K")

LIMIT_PASSED_OVER_TIMES = 64
"""So often others may begin before a step that does not fit."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Steps at once."""

    all_runs_steps: int = 256
    one_namespace_steps: int = 128
    one_run_steps: int = 64


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a step asks for, or what a cluster has to give."""

    cpu_millis: int = 0
    memory_bytes: int = 0


UNSAID = Demand(cpu_millis=100, memory_bytes=200 * 2**20)
"""What a step that asks for nothing is taken to need, as the Kubernetes scheduler takes it."""
NOTHING = Demand()


class Budget:
    """The queues of all runs, and what they hold."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._total: Demand | None = None
        self._used = NOTHING
        self._steps = 0
        self._runs: dict[Key, _Run] = {}
        self._namespaces: dict[str, _Namespace] = {}
        self._turns: _Turns[str] = _Turns()
        self._overdue: _Run | None = None
        """Whose next step has been passed over too often: nobody else begins before it."""

    def capacity(self, total: Demand | None) -> None:
        """What there is for steps from now on; None where nobody can tell."""
        self._total = total

    def want(self, key: Key, path: str, demand: Demand) -> None:
        """The step waits in its run's queue."""
        run = self._run(key)
        if path not in run.held:
            run.waiting[path] = demand
            self._place(run)

    def hold(self, key: Key, path: str, demand: Demand) -> None:
        """A step that has begun already, when a run is taken up again: it counts, whatever the limits."""
        self._add(self._run(key), path, self._charge(demand))

    def granted(self, key: Key) -> Sequence[str]:
        """The run's steps that may begin, each told once."""
        run = self._runs.get(key)
        if run is None:
            return ()
        granted, run.granted = run.granted, []
        return granted

    def keep(self, key: Key, paths: Collection[str]) -> None:
        """Of what the run holds only ``paths`` goes on."""
        run = self._runs.get(key)
        if run is None:
            return
        kept = set(paths)
        for path in [path for path in run.held if path not in kept]:
            self._take_back(run, path)
        run.granted = [path for path in run.granted if path in kept]

    def withdraw(self, key: Key) -> None:
        """None of the run's steps waits any more."""
        run = self._runs.get(key)
        if run is not None:
            run.waiting.clear()
            self._place(run)
            self._forgive(run)

    def drop(self, key: Key) -> None:
        """The run has ended or is forgotten."""
        run = self._runs.pop(key, None)
        if run is None:
            return
        for path in list(run.held):
            self._take_back(run, path)
        run.waiting.clear()
        self._forgive(run)
        namespace = run.namespace
        namespace.turns.remove(key)
        namespace.runs -= 1
        self._place_namespace(namespace)
        if not namespace.runs:
            del self._namespaces[namespace.name]

    def grant(self) -> Sequence[Key]:
        """Let steps begin, as many as may; the runs that have been given some."""
        given: dict[Key, None] = {}
        if self._overdue is not None:
            if self._steps >= self._limits.all_runs_steps or not self._begin_next(self._overdue):
                return ()
            given[self._overdue.key] = None
            self._forgive(self._overdue)
        aside: list[tuple[_Run, int]] = []
        begun = 0
        while self._steps < self._limits.all_runs_steps and (run := self._next()) is not None:
            if self._begin_next(run):
                given[run.key] = None
                begun += 1
            else:
                aside.append((run, begun))
                self._place_namespace(run.namespace)
        for run, before in aside:
            run.passed_over += begun - before
            if run.passed_over > LIMIT_PASSED_OVER_TIMES and self._overdue is None:
                self._overdue = run
            self._place(run)
        return list(given)

    def used(self, key: Key) -> int:
        """Steps that the run holds."""
        run = self._runs.get(key)
        return len(run.held) if run is not None else 0

    def _next(self) -> _Run | None:
        """The run whose turn it is, taken out of its place."""
        name = self._turns.pop()
        if name is None:
            return None
        key = self._namespaces[name].turns.pop()
        assert key is not None, "a namespace has its turn only while one of its runs has"
        return self._runs[key]

    def _begin_next(self, run: _Run) -> bool:
        """Grant the first of the steps that wait, if it fits."""
        path, wanted = next(iter(run.waiting.items()))
        demand = self._charge(wanted)
        if not self._fits(demand):
            return False
        del run.waiting[path]
        run.granted.append(path)
        run.passed_over = 0
        self._add(run, path, demand)
        return True

    def _forgive(self, run: _Run) -> None:
        run.passed_over = 0
        if self._overdue is run:
            self._overdue = None

    def _charge(self, demand: Demand) -> Demand:
        """What a step takes from the budget: nothing where it can never fit, for then its Pod says why it waits."""
        total = self._total
        if total is None or demand.cpu_millis > total.cpu_millis or demand.memory_bytes > total.memory_bytes:
            return NOTHING
        return demand

    def _fits(self, demand: Demand) -> bool:
        total, used = self._total, self._used
        return demand is NOTHING or total is None or (
            used.cpu_millis + demand.cpu_millis <= total.cpu_millis
            and used.memory_bytes + demand.memory_bytes <= total.memory_bytes)

    def _run(self, key: Key) -> _Run:
        run = self._runs.get(key)
        if run is None:
            namespace = self._namespaces.get(key.namespace)
            if namespace is None:
                namespace = self._namespaces[key.namespace] = _Namespace(key.namespace)
            namespace.runs += 1
            run = self._runs[key] = _Run(key, namespace)
        return run

    def _add(self, run: _Run, path: str, demand: Demand) -> None:
        if path in run.held:
            return
        run.held[path] = demand
        self._count(run, demand, 1)

    def _take_back(self, run: _Run, path: str) -> None:
        self._count(run, run.held.pop(path), -1)

    def _count(self, run: _Run, demand: Demand, sign: int) -> None:
        self._used = Demand(cpu_millis=self._used.cpu_millis + sign * demand.cpu_millis,
                            memory_bytes=self._used.memory_bytes + sign * demand.memory_bytes)
        self._steps += sign
        run.namespace.held += sign
        self._place(run)

    def _place(self, run: _Run) -> None:
        """Give the run its place among those of its namespace, or none."""
        if run.waiting and len(run.held) < self._limits.one_run_steps:
            run.namespace.turns.place(run.key, len(run.held))
        else:
            run.namespace.turns.remove(run.key)
        self._place_namespace(run.namespace)

    def _place_namespace(self, namespace: _Namespace) -> None:
        if namespace.turns and namespace.held < self._limits.one_namespace_steps:
            self._turns.place(namespace.name, namespace.held)
        else:
            self._turns.remove(namespace.name)


class _Turns(Generic[K]):
    """Who is next: whoever holds least, and of those who has had this place longest."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, K]] = []
        self._places: dict[K, tuple[int, int]] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._places)

    def place(self, who: K, held: int) -> None:
        known = self._places.get(who)
        if known is not None and known[0] == held:
            return
        place = self._places[who] = (held, next(self._count))
        heapq.heappush(self._heap, (*place, who))
        if len(self._heap) > 2 * len(self._places) + 64:  # most are places that were given up
            self._heap = [(*place, who) for who, place in self._places.items()]
            heapq.heapify(self._heap)

    def remove(self, who: K) -> None:
        self._places.pop(who, None)

    def pop(self) -> K | None:
        while self._heap:
            held, turn, who = heapq.heappop(self._heap)
            if self._places.get(who) == (held, turn):
                del self._places[who]
                return who
        return None


@dataclass(eq=False)
class _Namespace:
    name: str
    runs: int = 0
    held: int = 0
    turns: _Turns[Key] = field(default_factory=_Turns)


@dataclass(eq=False)
class _Run:
    key: Key
    namespace: _Namespace
    waiting: dict[str, Demand] = field(default_factory=dict)
    held: dict[str, Demand] = field(default_factory=dict)
    granted: list[str] = field(default_factory=list)
    """Of ``held``: what the run has not been told yet."""
    passed_over: int = 0
    """How many others began while the first of ``waiting`` did not fit."""
