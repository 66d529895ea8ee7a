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
from typing import Any

from lightship.cluster.node import hooks, logs, probes, restarts
from lightship.cluster.node.entrypoints import ContainerExit
from lightship.cluster.node.errors import ImageError, StartError
from lightship.cluster.node.plan import ContainerPlan
from lightship.cluster.node.pod_status import CRASH_LOOP, ContainerView
from lightship.cluster.node.processes import Exit
from lightship.cluster.node.restarts import RestartPolicy
from lightship.cluster.node.runner import BuildFailed, Occasion, Runner, Started
from lightship.lib import tasks
from lightship.lib.backoff import Backoff
from lightship.lib.clock import Clock

START_BACKOFF = Backoff(initial_seconds=1, maximum_seconds=60, jitter=0.2)
FALLBACK_LINES = 80
FALLBACK_LIMIT_BYTES = 2048
MINIMUM_GRACE_SECONDS = 2.0
"""What SIGTERM gets even where preStop has used the whole grace up."""
_SIGTERM = 15
_EXEC_OUTPUT_LIMIT_BYTES = 10 * 1024

_log = logging.getLogger(__name__)

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
    tell: Callable[[str, str], None]
    """Records a Normal event, later."""
    stopping: asyncio.Event
    grace_seconds: Callable[[], float]
    """What the Pod gives its containers between SIGTERM and SIGKILL."""
    back_off: restarts.CrashBackOff = restarts.CrashBackOff()
    pod_label: str = ""
    """The Pod in messages, as NAME_NAMESPACE(UID)."""


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
        self._crashes = 0
        self._pre_stopped: Started | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        return self.view.name

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
        rules = self._setting.container.get("restartPolicyRules") or []
        return not self._setting.stopping.is_set() and restarts.again(
            self._setting.policy, rules, self._exit().exit_code)

    async def _once(self) -> bool:
        """One start and one end; False where it could not start and may later."""
        try:
            made = await self._setting.make_plan()
            occasion = await self._setting.occasion(self.view.restarts)
            started = await self._runner.start(made, occasion)
        except BuildFailed as failure:
            failure.log.close()
            self._ended(Exit(code=1), "Error", failure.message)
            return True
        except StartError as error:
            return await self._could_not_start(error)
        self.idle.clear()
        self.started = started
        self._failures = 0
        logs.prune(started.log.path)
        self.view.image_id = started.image_id
        self._tell_of_start(made)
        watcher = self._watch(started, occasion)
        if self._setting.stopping.is_set():
            started.handle.kill()  # it was being started while the Pod began to end
        try:
            exit = await started.handle.wait()
            await started.drained
        except asyncio.CancelledError:
            started.handle.kill()
            self._conclude(started, made, await started.handle.wait())
            raise
        finally:
            if watcher is not None:
                await tasks.cancel(watcher)
            started.log.close()
            started.let_go()
        self._conclude(started, made, exit)
        return True

    def _tell_of_start(self, made: ContainerPlan) -> None:
        """Of an entrypoint nothing: no image came and no process was made, and a pipeline's step has two of them."""
        if made.entrypoint:
            return
        tell = self._setting.tell
        tell("Pulled", f'Container image "{made.image}" is here as {self.view.image_id}')
        tell("Created", f"Created container: {self.name}")
        tell("Started", f"Started container {self.name}")

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
        if ran_seconds >= self._setting.back_off.reset_seconds:
            self._crashes = 0
        seconds = self._setting.back_off.seconds(self._crashes)
        self._crashes += 1
        if seconds:
            message = (f"back-off {_duration(seconds)} restarting failed container={self.name} "
                       f"pod={self._setting.pod_label}")
            self.view.mark_waiting(CRASH_LOOP, message)
            self._setting.changed(True)
            self._setting.warn("BackOff", f"Back-off restarting failed container {self.name} in pod "
                               f"{self._setting.pod_label}")
            await self._pause(seconds)
            if self._setting.stopping.is_set():
                return
        else:
            self.view.mark_waiting("ContainerCreating")
        self.view.restarts += 1

    async def _pause(self, seconds: float) -> None:
        await tasks.first(self._setting.stopping.wait, lambda: self._clock.sleep(seconds))

    def _watch(self, started: Started, occasion: Occasion) -> asyncio.Task[None] | None:
        """Its postStart hook and its probes; without any it runs, is up and ready at once."""
        target = self._target(started, occasion)
        if hooks.of(self._setting.container, "postStart") is not None:
            return asyncio.create_task(self._start_up(started, target), name=f"postStart of {self.name}")
        self._mark_running(started)
        if not probes.has_any(self._setting.container):
            return None
        return asyncio.create_task(self._probe(started, target), name=f"probes of {self.name}")

    def _mark_running(self, started: Started) -> None:
        self.view.mark_running(self._clock.now(), f"lightship://{_id(started)}")
        if not probes.has_any(self._setting.container):
            self.view.started = self.view.ready = True
            self.up.set()
        self._setting.changed(False)

    async def _start_up(self, started: Started, target: probes.Target) -> None:
        handler = hooks.of(self._setting.container, "postStart")
        assert handler is not None
        with contextlib.suppress(asyncio.CancelledError):
            problem = await hooks.run(handler, target, self._clock)
            if problem:
                self._setting.warn("FailedPostStartHook", f"PostStartHook failed: {problem}")
                self._end_later(started, self._setting.grace_seconds())
                return
            self._mark_running(started)
            if probes.has_any(self._setting.container):
                await self._probe(started, target)

    def _target(self, started: Started, occasion: Occasion) -> probes.Target:
        async def execute(argv: tuple[str, ...]) -> tuple[Exit, str]:
            output = bytearray()
            result = await started.execute(argv, lambda data: output.extend(data[:_EXEC_OUTPUT_LIMIT_BYTES]))
            return result, output.decode(errors="replace")

        ports = {port["name"]: int(port["containerPort"])
                 for port in self._setting.container.get("ports") or () if port.get("name")}
        return probes.Target(host=occasion.attachment.ip, ports=ports, execute=execute, dial=occasion.dial)

    async def _probe(self, started: Started, target: probes.Target) -> None:
        def set_started() -> None:
            self.view.started = True
            self.up.set()
            self._setting.changed(False)

        def set_ready(ready: bool) -> None:
            self.view.ready = ready
            self._setting.changed(True)

        def unhealthy(kind: str, probe: Mapping[str, Any]) -> None:
            if self._setting.stopping.is_set():
                return  # the Pod is ending anyway, with its own grace
            self._setting.tell("Killing", f"Container {self.name} failed {kind} probe, will be restarted")
            grace = probe.get("terminationGracePeriodSeconds")
            self._end_later(started, self._setting.grace_seconds() if grace is None else float(grace))

        def failed(kind: str, problem: str) -> None:
            self._setting.warn("Unhealthy", f"{kind} probe failed: {problem}")

        callbacks = probes.Callbacks(started=set_started, ready=set_ready, unhealthy=unhealthy, failed=failed)
        with contextlib.suppress(asyncio.CancelledError):
            await probes.run(self._setting.container, target, callbacks, self._clock)

    def _end_later(self, started: Started, grace_seconds: float) -> None:
        async def end() -> None:
            if self.started is started:
                await self._end(grace_seconds)

        task = asyncio.create_task(end(), name=f"end of {self.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self, grace_seconds: float) -> None:
        """Ends it with its Pod: preStop, SIGTERM, a wait, SIGKILL, within the grace; returns when nothing of this life
        runs."""
        if self.started is not None:
            self._setting.tell("Killing", f"Stopping container {self.name}")
            await self._end(grace_seconds)

    async def _end(self, grace_seconds: float) -> None:
        started = self.started
        if started is None:
            return
        if grace_seconds > 0:
            until = self._clock.monotonic() + grace_seconds
            await tasks.first(self.idle.wait, lambda: self._pre_stop(started), lambda: self._clock.sleep(grace_seconds))
            if self.started is started:
                started.handle.signal(_SIGTERM)
            left = max(until - self._clock.monotonic(), min(MINIMUM_GRACE_SECONDS, grace_seconds))
            await tasks.first(self.idle.wait, lambda: self._clock.sleep(left))
        if self.started is started:
            started.handle.kill()
            await self.idle.wait()

    async def _pre_stop(self, started: Started) -> None:
        handler = hooks.of(self._setting.container, "preStop")
        if handler is None or self._pre_stopped is started:
            return
        self._pre_stopped = started
        occasion = await self._setting.occasion(self.view.restarts)
        problem = await hooks.run(handler, self._target(started, occasion), self._clock)
        if problem:
            self._setting.warn("FailedPreStopHook", f"PreStopHook failed: {problem}")


def _duration(seconds: float) -> str:
    """As Go writes it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _id(started: Started) -> str:
    return f"{started.log.path.parent.parent.parent.name}-{started.log.path.parent.name}-{started.log.path.stem}"
