"""Suggestions for every Experiment of a server: light searches here and now, the others in processes of their own.

The Suggestion's reconciler calls me; I start ``process`` and talk ``wire`` with it. A study lives where it was begun,
and is nothing but a cache: whenever it may not match what is told (its process died, was idle for long, or had too
many), it is begun anew with everything, which takes milliseconds. So no state is to be kept anywhere but in the Trials.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from lightship.domains.tuning.algorithms import wire
from lightship.domains.tuning.algorithms.engines import ALGORITHMS
from lightship.domains.tuning.algorithms.search import ENDED, Reply, Search, Told
from lightship.domains.tuning.algorithms.telling import Engine
from lightship.errors import DeadlineExceeded, InternalError, InvalidInput, Unavailable, Unsupported

LIMIT_PROCESSES = 2
LIMIT_STUDIES = 64
"""Studies that are kept at once, in the server and in each process."""
LIMIT_REQUEST_SECONDS = 120.0
LIMIT_IDLE_SECONDS = 300.0
_ATTEMPTS = 2  # a process that died is replaced once a request

# One thread each: small matrices are no faster with more, and the Trials want the cores.
_THREADS = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How many processes there are at most, how long one request may take, and when an idle process ends."""

    processes: int = LIMIT_PROCESSES
    request_seconds: float = LIMIT_REQUEST_SECONDS
    idle_seconds: float = LIMIT_IDLE_SECONDS


class Suggesters:
    """All studies of a server. Nothing is started before a search needs it; ``close`` ends what was."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._light: OrderedDict[str, _Light] = OrderedDict()
        self._processes: list[_Process] = []
        self._places: dict[str, _Process] = {}

    async def suggest(self, search: Search, told: Sequence[Told], count: int) -> Reply:
        """At most ``count`` proposals, a function of the search and of ``told`` (see ``search.Told`` for its order).

        Raises ``Unsupported`` where a library is not installed, ``DeadlineExceeded`` and ``Unavailable`` where trying
        again may help, ``InternalError`` where the algorithm itself fails.
        """
        algorithm = ALGORITHMS.get(search.algorithm)
        if algorithm is None:
            raise InvalidInput(f"unknown algorithm name {search.algorithm}", field="spec.algorithm.algorithmName")
        if algorithm.light:
            return self._lightly(search, told, count)
        return await self._place(search).suggest(search, told, count)

    async def prepare(self, search: Search) -> None:
        """Begin a study before its first suggestion is wanted, so that libraries are loaded by then."""
        await self.suggest(search, (), 0)

    async def forget(self, experiment: str) -> None:
        """The Experiment is over. What is still to be asked for it begins a new study."""
        self._light.pop(experiment, None)
        process = self._places.pop(experiment, None)
        if process is not None:
            process.forget(experiment)

    async def close(self) -> None:
        for process in self._processes:
            await process.close()
        self._processes.clear()
        self._places.clear()

    def _lightly(self, search: Search, told: Sequence[Told], count: int) -> Reply:
        ended = [one.name for one in told if one.state in ENDED]
        study = self._light.get(search.experiment)
        if study is None or study.search != search or ended[:len(study.ended)] != study.ended:
            try:
                engine = ALGORITHMS[search.algorithm].make(search)
            except Exception as error:
                raise _failed(search, error) from error
            study = self._light[search.experiment] = _Light(engine=engine, search=search)
        self._light.move_to_end(search.experiment)
        if len(self._light) > LIMIT_STUDIES:
            self._light.popitem(last=False)
        study.ended = ended
        try:
            return study.engine.propose(told, count)
        except Exception as error:
            self._light.pop(search.experiment, None)
            raise _failed(search, error) from error

    def _place(self, search: Search) -> _Process:
        """The process that has, or will have, this study: the one with the fewest."""
        process = self._places.get(search.experiment)
        if process is None:
            free = min(self._processes, key=lambda one: one.studies, default=None)
            if free is None or (free.studies and len(self._processes) < self._limits.processes):
                free = _Process(self._limits)
                self._processes.append(free)
            process = self._places[search.experiment] = free
        return process


def _failed(search: Search, error: object) -> InternalError:
    said = f"{type(error).__name__}: {error}" if isinstance(error, Exception) else str(error)
    return InternalError(f"the algorithm {search.algorithm} failed: {said}")


@dataclass(kw_only=True)
class _Light:
    """A study in the server's own loop."""

    engine: Engine
    search: Search
    ended: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class _Known:
    """What a process was told of one study."""

    search: Search
    ended: list[str] = field(default_factory=list)


class _Process:
    """One worker process and what it knows. It is started by the first request, and again after its end."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._forgotten: list[str] = []
        self._ending: list[asyncio.subprocess.Process] = []
        self._idle: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def studies(self) -> int:
        return len(self._known)

    async def suggest(self, search: Search, told: Sequence[Told], count: int) -> Reply:
        async with self._turn:
            self._stay()
            try:
                answer = await self._answer(search, told, count)
            finally:
                self._leave_when_idle()
        if answer.missing or answer.error:
            self.forget(search.experiment)
        if answer.missing:
            raise Unsupported(f"the algorithm {search.algorithm} needs the Python package {answer.missing}",
                              remedy="Install Lightship's extra: pip install 'lightship[tuning]'")
        if answer.error:
            raise _failed(search, answer.error)
        assert answer.reply is not None
        return answer.reply

    def forget(self, experiment: str) -> None:
        if self._known.pop(experiment, None) is not None:
            self._forgotten.append(experiment)

    async def close(self) -> None:
        self._closed = True
        self._stay()
        self._end()
        await self._taken_in()

    async def _answer(self, search: Search, told: Sequence[Told], count: int) -> wire.Answer:
        for _ in range(_ATTEMPTS):
            if self._closed:
                raise Unavailable("the server ends, and its suggestions with it")
            try:
                async with asyncio.timeout(self._limits.request_seconds):
                    return await self._exchange(self._ask(search, told, count))
            except TimeoutError:
                self._end()
                raise DeadlineExceeded(
                    f"the algorithm {search.algorithm} made no suggestion within {self._limits.request_seconds:g} s",
                    remedy="Fewer parameters or another algorithm take less time; it is tried again") from None
            except (asyncio.IncompleteReadError, ConnectionError):
                self._end()  # it died: with another one everything is told again
            except BaseException:
                self._end()  # the answer that is still to come would be taken for the next one's
                raise
        raise Unavailable(f"the process of the algorithm {search.algorithm} died {_ATTEMPTS} times in a row",
                          remedy="See the server's log; it may lack memory. It is tried again")

    def _ask(self, search: Search, told: Sequence[Told], count: int) -> wire.Ask:
        """Only what this process does not know yet; everything where that does not go on from what it knows."""
        ended = tuple(one for one in told if one.state in ENDED)
        names = [one.name for one in ended]
        known = self._known.get(search.experiment)
        fresh = known is None or known.search != search or names[:len(known.ended)] != known.ended
        news = ended if fresh or known is None else ended[len(known.ended):]
        self._known[search.experiment] = _Known(search=search, ended=names)
        self._known.move_to_end(search.experiment)
        if len(self._known) > LIMIT_STUDIES:
            self._forgotten.append(self._known.popitem(last=False)[0])
        forgotten, self._forgotten = tuple(self._forgotten), []
        return wire.Ask(experiment=search.experiment, search=search if fresh else None, ended=news,
                        running=tuple(one for one in told if one.state not in ENDED), count=count, forget=forgotten)

    async def _exchange(self, ask: wire.Ask) -> wire.Answer:
        child = self._child
        if child is None:
            child = self._child = await self._start()
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write(wire.frame(ask))
        await child.stdin.drain()
        length = int.from_bytes(await child.stdout.readexactly(wire.HEAD_BYTES), "big")
        return wire.read_answer(await child.stdout.readexactly(length))

    async def _start(self) -> asyncio.subprocess.Process:
        await self._taken_in()
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "lightship.domains.tuning.algorithms.process",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env={**os.environ, **_THREADS},
            start_new_session=True)  # a terminal's Ctrl-C is the server's alone

    def _end(self) -> None:
        """Kill it; whoever comes next takes it in."""
        child, self._child = self._child, None
        self._known.clear()
        self._forgotten.clear()
        if child is not None:
            self._ending.append(child)
            if child.returncode is None:
                child.kill()

    async def _taken_in(self) -> None:
        """Wait for those that were killed, and for their pipes."""
        while self._ending:
            child = self._ending.pop()
            await child.wait()
            assert child.stdin is not None
            child.stdin.close()
            with contextlib.suppress(ConnectionError):
                await child.stdin.wait_closed()

    def _stay(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _leave_when_idle(self) -> None:
        self._stay()
        if self._child is not None:
            self._idle = asyncio.get_running_loop().call_later(self._limits.idle_seconds, self._end)
