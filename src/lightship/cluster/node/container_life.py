"""The life of one container of one Pod: starts, probes, ends, restarts with back-off. ``supervisor`` runs me.

I call ``runner`` to start it and write what happens into its ``ContainerView``; the Pod's supervisor decides when all
is over and sets ``stopping``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lightship.cluster.node import logs, plan, probes
from lightship.cluster.node.entrypoints import ContainerExit
from lightship.cluster.node.errors import ImageError, StartError
from lightship.cluster.node.plan import ContainerPlan
from lightship.cluster.node.pod_status import CRASH_LOOP, ContainerView
from lightship.cluster.node.processes import Exit
from lightship.cluster.node.runner import BuildFailed, Occasion, Runner, Started
from lightship.lib import tasks
from lightship.lib.backoff import Backoff
from lightship.lib.clock import Clock

RESTART_BACKOFF = Backoff(initial_seconds=10, maximum_seconds=300)
RESET_SECONDS = 600.0
"""A container that ran this long has its back-off forgiven."""
START_BACKOFF = Backoff(initial_seconds=1, maximum_seconds=60, jitter=0.2)
FALLBACK_LINES = 80
FALLBACK_LIMIT_BYTES = 2048
_SIGTERM = 15
_EXEC_OUTPUT_LIMIT_BYTES = 10 * 1024

_log = logging.getLogger(__name__)

RestartPolicy = Literal["Always", "OnFailure", "Never"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a container's life depends on. ``occasion`` and ``plan`` are asked before each start, for they may change:
    what was missing may have come."""

    container: Mapping[str, Any]
    policy: RestartPolicy
    make_plan: Callable[[], Awaitable[ContainerPlan]]
    occasion: Callable[[int], Awaitable[Occasion]]
    changed: Callable[[bool], None]
    """Tells of a change of the view; the flag says that it is urgent."""
    warn: Callable[[str, str], None]
    """Records a Warning event: reason and message."""
    stopping: asyncio.Event


class ContainerLife:
    """One container from the Pod's start to its end, however often it is restarted."""

    def __init__(self, view: ContainerView, setting: Setting, runner: Runner, clock: Clock) -> None:
        self.view = view
        self.started: Started | None = None
        self.up = asyncio.Event()
        """Set once it has started (and passed its startup probe), or has ended."""
        self.over: asyncio.Future[ContainerExit] = asyncio.get_running_loop().create_future()
        self.idle = asyncio.Event()
        """Set while nothing of it runs."""
        self.idle.set()
        self._setting = setting
        self._runner = runner
        self._clock = clock
        self._failures = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return self.view.name

    def signal(self, number: int) -> None:
        if self.started is not None:
            self.started.handle.signal(number)

    def kill(self) -> None:
        if self.started is not None:
            self.started.handle.kill()

    async def run(self) -> None:
        """Runs until it has ended for good; with ``stopping`` set it is not started again."""
        try:
            while not self._setting.stopping.is_set():
                began = self._clock.monotonic()
                if not await self._once():
                    continue
                if not self._again():
                    return
                await self._back_off(self._clock.monotonic() - began)
        finally:
            self.up.set()
            if not self.over.done():
                self.over.set_result(self._exit())

    def _exit(self) -> ContainerExit:
        terminated = self.view.terminated or self.view.last or {"exitCode": 137, "reason": "ContainerStatusUnknown"}
        return ContainerExit(exit_code=terminated["exitCode"], signal=terminated.get("signal", 0),
                             reason=terminated.get("reason", ""))

    def _again(self) -> bool:
        policy = self._setting.policy
        return not self._setting.stopping.is_set() and (
            policy == "Always" or (policy == "OnFailure" and not self.view.succeeded))

    async def _once(self) -> bool:
        """One start and one end; False where it could not start and may later."""
        try:
            made = await self._setting.make_plan()
            started = await self._runner.start(made, await self._setting.occasion(self.view.restarts))
        except BuildFailed as failure:
            failure.log.close()
            self._ended(Exit(code=1), "Error", failure.message)
            return True
        except StartError as error:
            return await self._could_not_start(error)
        self.idle.clear()
        self.started = started
        self._failures = 0
        self.view.image_id = started.image_id
        self.view.mark_running(self._clock.now(), f"lightship://{_id(started)}")
        watcher = self._watch(started)
        self._setting.changed(False)
        try:
            exit = await started.handle.wait()
            await started.drained
        finally:
            if watcher is not None:
                await tasks.cancel(watcher)
            started.log.close()
        self._conclude(started, made, exit)
        return True

    def _conclude(self, started: Started, made: ContainerPlan, exit: Exit) -> None:
        reason = "Completed" if exit.code == 0 else "Error"
        if started.oom_killed():
            reason = "OOMKilled"
        if started.group is not None:
            started.group.remove()
        message = started.termination_message()
        if not message and exit.code and \
                self._setting.container.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            message = logs.last_text(started.log.path, FALLBACK_LINES, FALLBACK_LIMIT_BYTES)
        self.started = None
        self._ended(exit, reason, message)
        self.idle.set()

    def _ended(self, exit: Exit, reason: str, message: str) -> None:
        self.view.mark_terminated(exit, self._clock.now(), reason, message)
        self._setting.changed(False)

    async def _could_not_start(self, error: StartError) -> bool:
        """A program that cannot be executed has ended with 128; anything else waits for a better moment."""
        if error.waiting == "RunContainerError" and self._setting.policy == "Never":
            self._ended(Exit(code=128), "StartError", error.message)
            return True
        self._failures += 1
        self.view.mark_waiting(error.waiting, str(error))
        self._setting.changed(True)
        self._setting.warn("Failed", str(error))
        await self._pause(START_BACKOFF.delay_seconds(self._failures, random.random))
        if isinstance(error, ImageError) and not self._setting.stopping.is_set():
            self.view.mark_waiting("ImagePullBackOff", str(error))
        return False

    async def _back_off(self, ran_seconds: float) -> None:
        restarts = 0 if ran_seconds >= RESET_SECONDS else self.view.restarts
        if restarts:
            seconds = RESTART_BACKOFF.delay_seconds(restarts, random.random)
            message = f"back-off {seconds:.0f}s restarting failed container={self.name}"
            self.view.mark_waiting(CRASH_LOOP, message)
            self._setting.changed(True)
            self._setting.warn("BackOff", message)
            await self._pause(seconds)
            if self._setting.stopping.is_set():
                return
        else:
            self.view.mark_waiting("ContainerCreating")
        self.view.restarts += 1

    async def _pause(self, seconds: float) -> None:
        await tasks.first(self._setting.stopping.wait, lambda: self._clock.sleep(seconds))

    def _watch(self, started: Started) -> asyncio.Task[None] | None:
        """Probes, if it has any; else it is up and ready as soon as it runs."""
        if not probes.has_any(self._setting.container):
            self.view.started = self.view.ready = True
            self.up.set()
            return None
        return asyncio.create_task(self._probe(started), name=f"probes of {self.name}")

    async def _probe(self, started: Started) -> None:
        async def execute(argv: tuple[str, ...]) -> tuple[Exit, str]:
            output = bytearray()
            result = await started.execute(argv, lambda data: output.extend(data[:_EXEC_OUTPUT_LIMIT_BYTES]))
            return result, output.decode(errors="replace")

        def set_started() -> None:
            self.view.started = True
            self.up.set()
            self._setting.changed(False)

        def set_ready(ready: bool) -> None:
            self.view.ready = ready
            self._setting.changed(True)

        def unhealthy(kind: str, problem: str) -> None:
            self._setting.warn("Killing", f"Container {self.name} failed {kind} probe, will be restarted")
            task = asyncio.create_task(self._end_gracefully(started))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        def failed(kind: str, problem: str) -> None:
            self._setting.warn("Unhealthy", f"{kind} probe failed: {problem}")

        ports = {port["name"]: int(port["containerPort"])
                 for port in self._setting.container.get("ports") or () if port.get("name")}
        occasion = await self._setting.occasion(self.view.restarts)
        target = probes.Target(host=occasion.pod_ip, ports=ports, execute=execute)
        callbacks = probes.Callbacks(started=set_started, ready=set_ready, unhealthy=unhealthy, failed=failed)
        with contextlib.suppress(asyncio.CancelledError):
            await probes.run(self._setting.container, target, callbacks, self._clock)

    async def _end_gracefully(self, started: Started) -> None:
        started.handle.signal(_SIGTERM)
        grace = plan.GRACE_SECONDS
        await tasks.first(self.idle.wait, lambda: self._clock.sleep(grace))
        if self.started is started:
            started.handle.kill()


def _id(started: Started) -> str:
    return f"{started.log.path.parent.parent.parent.name}-{started.log.path.parent.name}-{started.log.path.stem}"
