"""The worker: the same suggestions in a process of its own, whatever becomes of that process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from lightship.domains.tuning.algorithms.search import Proposal, Search
from lightship.domains.tuning.algorithms.worker import Limits, Suggesters, _Process
from lightship.errors import DeadlineExceeded, InternalError, InvalidInput, Unavailable, Unsupported
from tests.unit.tuning.algorithms._searching import STEPPED, Experiment, search

_SERVER = """
import asyncio
from lightship.domains.tuning.algorithms.worker import Suggesters
from tests.unit.tuning.algorithms._searching import search
async def main():
    suggesters = Suggesters()
    await suggesters.suggest(search("cmaes"), (), 1)
    print(suggesters._processes[0]._child.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


@pytest_asyncio.fixture
async def suggesters() -> AsyncIterator[Suggesters]:
    one = Suggesters()
    yield one
    await one.close()


class Remote(Experiment):
    """An Experiment whose engine is in the worker; one in this process runs beside it, and must not differ."""

    async def ask_worker(self, suggesters: Suggesters, count: int = 1) -> Sequence[Proposal]:
        told = [*self.ended, *self.running]
        reply = await suggesters.suggest(self.search, told, count)
        assert reply.proposals == self.ask(count)
        return reply.proposals


def _child(suggesters: Suggesters) -> asyncio.subprocess.Process:
    [process] = suggesters._processes
    assert process._child is not None
    return process._child


@pytest.mark.parametrize("algorithm", ["tpe", "cmaes", "sobol", "hyperband"])
async def test_the_workers_suggestions_are_the_engines(suggesters: Suggesters, algorithm: str) -> None:
    experiment = Remote(search(algorithm))
    for turn in range(8):
        await experiment.ask_worker(suggesters, 2)
        experiment.end(-1 if turn % 2 else 0)


async def test_light_searches_start_no_process(suggesters: Suggesters) -> None:
    for algorithm in ("random", "hyperband", "pbt", "darts"):
        await suggesters.suggest(search(algorithm), (), 1)
    await suggesters.suggest(search("grid", STEPPED), (), 1)
    assert suggesters._processes == []


async def test_a_killed_worker_is_replaced_and_told_everything(suggesters: Suggesters) -> None:
    experiment = Remote(search("cmaes"))
    for turn in range(30):
        await experiment.ask_worker(suggesters, 2)
        experiment.end()
        if turn in (5, 18):
            _child(suggesters).kill()


async def test_another_order_of_completion_begins_the_study_anew(suggesters: Suggesters) -> None:
    experiment = Remote(search("tpe"))
    for _ in range(8):
        await experiment.ask_worker(suggesters, 1)
        experiment.end()
    experiment.ended[2], experiment.ended[3] = experiment.ended[3], experiment.ended[2]
    experiment.restart()
    await experiment.ask_worker(suggesters, 1)


async def test_what_was_forgotten_begins_anew(suggesters: Suggesters) -> None:
    experiment = Remote(search("cmaes"))
    for _ in range(3):
        await experiment.ask_worker(suggesters, 1)
        experiment.end()
    await suggesters.forget(experiment.search.experiment)
    await experiment.ask_worker(suggesters, 1)


async def test_many_studies_share_few_processes(suggesters: Suggesters) -> None:
    searches = [search("cmaes", experiment=f"e{number}") for number in range(5)]
    replies = await asyncio.gather(*(suggesters.suggest(one, (), 2) for one in searches))
    assert len(suggesters._processes) == 2
    assert all(reply == replies[0] for reply in replies)  # the seed is the search's, not the Experiment's


async def test_an_idle_worker_ends_and_comes_back() -> None:
    suggesters = Suggesters(Limits(idle_seconds=0.05))
    try:
        experiment = Remote(search("cmaes"))
        await experiment.ask_worker(suggesters, 1)
        child = _child(suggesters)
        assert await child.wait() != 0
        experiment.end()
        await experiment.ask_worker(suggesters, 1)
    finally:
        await suggesters.close()


async def test_what_takes_too_long_is_given_up_with_a_reason() -> None:
    suggesters = Suggesters(Limits(request_seconds=0.001))
    try:
        with pytest.raises(DeadlineExceeded, match=r"the algorithm tpe made no suggestion within 0\.001 s"):
            await suggesters.suggest(search("tpe"), (), 1)
    finally:
        await suggesters.close()


async def test_a_cancelled_request_leaves_nothing_for_the_next_one(suggesters: Suggesters) -> None:
    await suggesters.suggest(search("cmaes"), (), 1)
    first = asyncio.ensure_future(suggesters.suggest(search("cmaes"), (), 3))
    await asyncio.sleep(0)  # it has asked, and waits for the answer
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert len((await suggesters.suggest(search("cmaes"), (), 2)).proposals) == 2


async def test_a_missing_library_is_named_with_its_remedy(
        suggesters: Suggesters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optuna.py").write_text("raise ModuleNotFoundError(\"No module named 'optuna'\", name='optuna')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(Unsupported, match=r"tpe needs the Python package optuna\. .*lightship\[tuning\]"):
        await suggesters.suggest(search("tpe"), (), 1)
    assert (await suggesters.suggest(search("cmaes"), (), 1)).proposals  # which does without


async def test_a_worker_that_dies_again_and_again_is_told_of(
        suggesters: Suggesters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optuna.py").write_text("import os; os._exit(9)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with pytest.raises(Unavailable, match=r"the process of the algorithm tpe died 2 times in a row"):
        await suggesters.suggest(search("tpe"), (), 1)


async def test_what_an_algorithm_raises_is_the_answer(suggesters: Suggesters) -> None:
    broken: Search = search("cmaes", STEPPED[:0])  # which checks refuse
    with pytest.raises(InternalError, match="the algorithm cmaes failed: "):
        await suggesters.suggest(broken, (), 1)
    assert (await suggesters.suggest(search("cmaes"), (), 1)).proposals


async def test_so_it_is_with_light_searches(suggesters: Suggesters) -> None:
    with pytest.raises(InternalError, match="the algorithm pbt failed: KeyError: 'n_population'"):
        await suggesters.suggest(search("pbt", settings={}), (), 1)


async def test_an_unknown_algorithm_is_refused(suggesters: Suggesters) -> None:
    with pytest.raises(InvalidInput, match="unknown algorithm name annealing"):
        await suggesters.suggest(search("annealing"), (), 1)


def test_a_worker_ends_with_its_server_however_that_ends() -> None:
    server = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        watch = os.pidfd_open(worker)
    finally:
        server.send_signal(signal.SIGKILL)
        server.wait()
        server.stdout.close()  # type: ignore[union-attr]
    try:
        import select

        assert select.select([watch], [], [], 30)[0], "the worker outlived its server"
    finally:
        os.close(watch)


async def test_the_number_of_studies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightship.domains.tuning.algorithms.worker.LIMIT_STUDIES", 2)
    process = _Process(Limits())
    for number in range(4):
        ask = process._ask(search("tpe", experiment=f"e{number}"), (), 1)
    assert process.studies == 2
    assert ask.forget == ("e1",)
