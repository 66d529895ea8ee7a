"""Seeded storms over Experiments: crashes at any write, lost watches, refused writes, Jobs that end in any order.

Time is virtual and every choice comes from the seed, which a failure prints. When the storm is over each Experiment has
run as many Trials as it was given, each to one end; and what each was given is what the algorithm says after those that
had ended before, in their order, as if nothing had ever gone wrong.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from lightship import errors
from lightship.domains.tuning import kinds, names
from lightship.domains.tuning.algorithms.search import Told
from lightship.domains.tuning.domain import controllers
from lightship.domains.tuning.suggestion import book
from lightship.kube import objects, resources
from lightship.kube.objects import Key, Object
from lightship.lib import ids
from lightship.runtime.manager import Manager, ManagerOptions
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi, Write
from tests.unit.tuning import place

SEEDS = range(16)
TRIALS = 15
LIMIT_STEPS = 800


class World:
    """One server and one manager at a time; a restart throws the manager and all that it knew away."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = FakeClock()
        self.api = MemoryApi(self.clock, ids.SeededIds(seed))
        self.measurements = place.Measurements()
        self.finished: dict[str, list[str]] = {}
        """By the Trial's name: the uids of its Jobs that were let come to their end."""
        self._run: asyncio.Task[None] | None = None
        self.manager = self._manager()

    def _manager(self) -> Manager:
        manager = Manager(self.api.client, self.clock, options=ManagerOptions(random=self.dice.random))
        for controller in controllers(place.deps(manager, self.clock, place.Algorithm(), self.measurements)):
            manager.add(controller)
        return manager

    async def start(self) -> None:
        self._run = asyncio.create_task(self.manager.run())
        await settle()

    async def crash(self) -> None:
        """As ``kill -9``: nothing is finished, nothing is said."""
        assert self._run is not None
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)
        self.manager = self._manager()
        await self.start()

    async def stop(self) -> None:
        await self.manager.stop()
        if self._run is not None:
            await self._run

    def fault(self, write: Write) -> errors.LightshipError | None:
        roll = self.dice.random()
        if roll < 0.1:
            return errors.Unavailable("induced")
        return errors.Conflict("induced") if roll < 0.15 else None

    async def end_a_job(self) -> None:
        """One of the Jobs that run, whichever, comes to its end."""
        running = [job for job in self.api.all(resources.JOBS.path()) if not objects.status(job)]
        if not running:
            return
        job = self.dice.choice(running)
        type = "Failed" if self.dice.random() < 0.15 else "Complete"
        fault, self.api.fault = self.api.fault, None
        try:
            await self.api.client().patch(resources.JOBS, objects.key(job), {
                "status": place.ended(type, reason="Ended")}, subresource="status")
        finally:
            self.api.fault = fault
        self.finished.setdefault(objects.name(job), []).append(objects.uid(job))

    async def act(self) -> None:
        action = self.dice.choice(("end", "end", "end", "break", "forget", "stall", "crash", "wait", "wait"))
        if action == "end":
            await self.end_a_job()
        elif action == "break":
            self.api.break_watches()
        elif action == "forget":
            self.api.forget_history()
        elif action == "stall":
            self.api.stall_watches()
        elif action == "crash":
            await self.crash()
        await self.clock.advance(self.dice.random())
        if self.dice.random() < 0.5:
            self.api.resume_watches()

    def experiment(self) -> Object:
        found = self.api.find(kinds.EXPERIMENTS.path(), Key("default", "sweep"))
        assert found is not None
        return found


async def stormed(seed: int) -> World:
    """A world in which an Experiment has come to its end through a storm."""
    world = World(seed)
    world.api.insert(kinds.EXPERIMENTS.path(), place.experiment(maxTrialCount=TRIALS))
    world.api.fault = world.fault
    await world.start()
    for _ in range(LIMIT_STEPS):
        if "Succeeded" in place.state_of(world.experiment()):
            break
        await world.act()
    world.api.fault = None
    world.api.resume_watches()
    await world.clock.advance(120)
    assert place.state_of(world.experiment()).get("Succeeded") == names.MAX_TRIALS_REACHED, f"seed {seed}"
    await world.stop()
    assert not world.api.all(resources.JOBS.path()), f"seed {seed}: ended runs are left"
    return world


@pytest.mark.parametrize("seed", SEEDS)
async def test_storm(seed: int) -> None:
    check(await stormed(seed), seed)


@pytest.mark.parametrize("seed", range(100, 104))
async def test_storm_over_one_that_lists_little(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Suggestion names few of what it has given out; the Trials know the rest."""
    monkeypatch.setattr(book, "LIMIT_LISTED_ASSIGNMENTS", 2)
    world = await stormed(seed)
    assert len(world.api.all(kinds.TRIALS.path())) == TRIALS, f"seed {seed}"
    assert all(len(uids) == 1 for uids in world.finished.values()), f"seed {seed}: a Trial ran again"
    suggestion = world.api.find(kinds.SUGGESTIONS.path(), Key("default", "sweep"))
    assert suggestion is not None and suggestion["status"]["suggestionCount"] == TRIALS
    assert len(suggestion["status"]["suggestions"]) < TRIALS


def check(world: World, seed: int) -> None:
    """Each Trial once, and its parameter as the algorithm gives it."""
    trials = world.api.all(kinds.TRIALS.path())
    assert len(trials) == TRIALS, f"seed {seed}: {len(trials)} Trials"
    for trial in trials:
        assert len(world.finished[objects.name(trial)]) == 1, f"seed {seed}: {objects.name(trial)} ran again"
    suggestion = world.api.find(kinds.SUGGESTIONS.path(), Key("default", "sweep"))
    assert suggestion is not None
    given = suggestion["status"]["suggestions"]
    assert suggestion["status"]["suggestionCount"] == suggestion["spec"]["requests"] == len(given) == TRIALS
    assert [one["parameterAssignments"][0]["value"] for one in given] == expected(trials, given), f"seed {seed}"


def expected(trials: list[Object], given: list[Object]) -> list[str]:
    """The parameters, asked for one after another as each Trial ended."""
    order = sorted(trials, key=lambda trial: (trial["status"]["completionTime"], objects.name(trial)))
    rates = [place.rate_after([], number) for number in range(3)]
    for ended in range(1, TRIALS - 2):
        told = [told_of(trial) for trial in order[:ended]]
        done = {one.name for one in told}
        running = [Told(name=one["name"], assignments={}) for one in given[:len(rates)] if one["name"] not in done]
        rates.append(place.rate_after([*told, *running], 0))
    return rates


def told_of(trial: Object) -> Told:
    failed = "Failed" in place.state_of(trial)
    value = objects.status(trial)["observation"]["metrics"][0]["min"] if not failed else ""
    return Told(name=objects.name(trial), assignments={}, state="failed" if failed else "succeeded",
                values={"loss": float(value)} if value else {})


async def test_what_a_trial_costs() -> None:
    """Counts of work, that the pace rests on: of each Trial the writes, and of its Experiment those that it brings."""
    world, trials = World(3), 60
    world.api.insert(kinds.EXPERIMENTS.path(), place.experiment(maxTrialCount=trials, parallelTrialCount=4))
    await world.start()
    while "Succeeded" not in place.state_of(world.experiment()):
        await world.end_a_job()
        await world.clock.advance(0.1)
    await world.clock.advance(1)
    counted = Counter(f"{write.verb} {write.plural}{'/' * bool(write.subresource)}{write.subresource}"
                      for write in world.api.writes)
    await world.stop()
    assert {words: count for words, count in counted.items() if words in (
        "create trials", "create jobs", "delete jobs", "patch trials/status", "create suggestions")} == {
        "create trials": trials, "create jobs": trials, "delete jobs": trials, "patch trials/status": 2 * trials,
        "create suggestions": 1}
    assert counted["patch suggestions/status"] <= trials + 5
    assert counted["patch suggestions"] <= trials // 4 + 5
    assert counted["patch experiments/status"] <= trials + 10
