"""One Pod from its start to its end. ``agent`` makes me for each Pod that is bound to this node and runs me as a task.

I make volumes, run init containers in order and then all containers (each a ``ContainerLife``), keep the ``PodView``
and its writer, and end everything when the Pod is deleted, has been active too long, or the node stops.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.cluster.node import commons, plan, pod_status, references, restarts, usage, variables, volumes
from lightship.cluster.node.announcer import Announcer
from lightship.cluster.node.container_life import ContainerLife, Setting
from lightship.cluster.node.entrypoints import ContainerExit
from lightship.cluster.node.errors import StartError
from lightship.cluster.node.logs import ContainerLog
from lightship.cluster.node.network.pod_network import Attachment, PodNetwork
from lightship.cluster.node.pod_status import ContainerView
from lightship.cluster.node.references import References
from lightship.cluster.node.runner import Machinery, Occasion, Runner, Started
from lightship.cluster.node.status_writer import Pace, StatusWriter
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, PODS, SECRETS
from lightship.lib import tasks
from lightship.lib.backoff import Backoff
from lightship.runtime.events import Recorder

PREPARE_RETRY_SECONDS = 2.0
MOUNT_BACKOFF = Backoff(initial_seconds=0.5, maximum_seconds=122.0)
"""Between two tries to make volumes, as kubelet has it; that what was missing has come ends the wait."""
EVICTION_GRACE_SECONDS = 1.0
REFRESH_SECONDS = volumes.TOKEN_SECONDS * 0.4
"""How often a Pod's token is made anew: one that is given out has at least half of its life before it."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Services:
    """What supervisors share."""

    client: Client
    machinery: Machinery
    volume_source: volumes.VolumeSource
    network: PodNetwork
    recorder: Recorder
    announcer: Announcer
    surroundings: Callable[[variables.Sources], plan.Surroundings]
    references: References
    allocatable: dict[str, str] = field(default_factory=dict)
    pace: Pace = field(default_factory=Pace)
    back_off: restarts.CrashBackOff = restarts.CrashBackOff()


class Supervisor:
    """The life of one Pod on this node."""

    def __init__(self, pod: Object, services: Services) -> None:
        self._pod = pod
        self._services = services
        self._clock = services.machinery.clock
        self._runner = Runner(services.machinery)
        self._view = pod_status.view_of(pod)
        self._writer = StatusWriter(services.client, self._clock, pod, self._render, services.pace)
        self._lives: dict[str, ContainerLife] = {}
        self._volumes: dict[str, volumes.Volume] = {}
        self._attachment = Attachment(ip="", api=("", 0))
        self._service_account: volumes.Volume | None = None
        self._commons = commons.Commons()
        self._stop = asyncio.Event()
        """Somebody wants the Pod to end."""
        self._stopping = asyncio.Event()
        """It is ending: nothing starts any more."""
        self._vanished = False
        self._evicted = asyncio.Event()
        """It has taken more than it may; the view says what."""
        self._stale = asyncio.Event()
        """What the Pod's volumes show may have changed."""
        self._hurry = asyncio.Event()
        """There is no grace (any more)."""
        self._background = tasks.Tasks(f"Pod {objects.key(pod)}")

    @property
    def uid(self) -> str:
        return objects.uid(self._pod)

    @property
    def pod(self) -> Object:
        return self._pod

    @property
    def evicted(self) -> bool:
        return self._evicted.is_set()

    def memory_files_bytes(self) -> int:
        """The memory that the Pod's files take in what its containers share."""
        return self._commons.used_bytes()

    def evict(self, message: str) -> None:
        """Ends the Pod as failed, for what it has taken."""
        if not self._stop.is_set() and not self._evicted.is_set():
            self._view.failure = (pod_status.EVICTED, message)
            self._warn("Evicted", message)
            self._evicted.set()

    def observe(self, pod: Object) -> None:
        """A newer version of the Pod."""
        before, self._pod = self._pod, pod
        if objects.deleting(pod):
            self._stop.set()
            if self._grace_seconds() <= 0:
                self._hurry.set()
        if objects.labels(before) != objects.labels(pod) or \
                objects.meta(before).get("annotations") != objects.meta(pod).get("annotations"):
            self._stale.set()
        if objects.spec(pod).get("readinessGates") and \
                objects.status(before).get("conditions") != objects.status(pod).get("conditions"):
            self._writer.mark()

    def vanish(self) -> None:
        """The Pod is no longer in the API: end it, and write nothing."""
        self._vanished = True
        self._hurry.set()
        self._stop.set()

    async def run(self) -> None:
        """From start to end; the Pod's directory keeps its logs only."""
        writer = asyncio.create_task(self._writer.run(), name=f"status of {objects.key(self._pod)}")
        if self._services.machinery.zygotes.cold:
            self._background.spawn(self._warm(), name="warm")
        self._attachment = await self._attach()
        self._view.pod_ip = self._attachment.ip
        self._view.start_time = self._clock.now()
        self._writer.mark()
        if objects.deleting(self._pod):
            self._stop.set()
        try:
            try:
                await self._live()
            except Exception as crash:  # a bug of the node: this Pod fails, and the others run on
                self._view.failure = (pod_status.INTERNAL_ERROR, f"the node could not run the Pod: {crash!r}")
                _log.error("a Pod's supervisor crashed", exc_info=crash, extra={"pod": str(objects.key(self._pod))})
                self._warn(pod_status.INTERNAL_ERROR, self._view.failure[1])
            self._view.over = True
            self._view.prepared = False
            if not self._vanished:
                self._writer.mark(urgent=True)
                await self._writer.flush()
        finally:
            await self._background.close()
            await tasks.cancel(writer)
            self._services.network.detach(self._pod)
            self._commons.close()
            self._clean()

    async def _warm(self) -> None:
        """The first Pod after a start: what its programs and its credentials need is started beside its network, which
        starts, too. Only time is won here: what cannot be had is asked for again where it is wanted, which then says
        why."""
        try:
            sources = await self._sources()
            made = [plan.make(self._pod, container, self._services.surroundings(sources))
                    for container in plan.containers(self._pod)]
            asked = [self._runner.warm(each) for each in made]
            if self._wants_credentials():
                asked.append(volumes.warm_credentials(self._pod, self._services.volume_source))
            await asyncio.gather(*asked)
        except (errors.LightshipError, OSError) as error:
            _log.debug("not warmed", extra={"pod": str(objects.key(self._pod)), "cause": str(error)})

    async def _attach(self) -> Attachment:
        """The Pod's place in the network; waits, and says so, while it cannot be had."""
        while True:
            try:
                return await self._services.network.attach(self._pod, shared=self._must_share_network())
            except errors.Unavailable as error:
                self._warn("FailedCreatePodSandBox", f"the Pod's network cannot be made: {error}")
            await self._clock.sleep(PREPARE_RETRY_SECONDS)

    def _must_share_network(self) -> bool:
        """An engine that cannot join the node's networks puts all of the Pod on the host's."""
        engine = self._services.machinery.engine
        return engine is not None and not engine.joins_networks and self._uses_engine()

    def _uses_engine(self) -> bool:
        return self._services.machinery.engine is not None and plan.uses_engine(
            self._pod, self._services.surroundings(variables.Sources()))

    async def shut_down(self) -> None:
        """Ends every process at once, for a node that stops."""
        self._stopping.set()
        for life in self._lives.values():
            life.kill()
        await asyncio.gather(*(life.idle.wait() for life in self._lives.values()))

    def live_log(self, container: str) -> ContainerLog | None:
        """The open log of a container that runs."""
        life = self._lives.get(container)
        return life.started.log if life is not None and life.started is not None else None

    def running(self, container: str) -> Started | None:
        """The life that a container has now."""
        life = self._lives.get(container)
        return life.started if life is not None else None

    def stdin_once(self, container: str) -> bool:
        """Whether a container's input ends with the first client that was attached to it."""
        return any(found["name"] == container and bool(found.get("stdinOnce")) for found in plan.containers(self._pod))

    @property
    def address(self) -> str:
        return self._view.pod_ip

    def waiting_reason(self, container: str) -> str:
        """Why a container does not run."""
        waiting = [view.waiting for view in (*self._view.init, *self._view.main) if view.name == container]
        return waiting[0] if waiting and waiting[0] else pod_status.CREATING

    def _render(self) -> dict[str, Any]:
        return pod_status.build(self._pod, self._view, self._clock.now())

    async def _live(self) -> None:
        work = asyncio.create_task(self._work(), name=f"containers of {objects.key(self._pod)}")
        deadline = objects.spec(self._pod).get("activeDeadlineSeconds")
        stop = asyncio.create_task(self._stop.wait())
        evicted = asyncio.create_task(self._evicted.wait())
        waits: set[asyncio.Task[Any]] = {work, stop, evicted}
        if deadline is not None:
            waits.add(asyncio.create_task(self._past(float(deadline))))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                if not stop.done() and not evicted.done():
                    self._view.failure = (pod_status.DEADLINE_EXCEEDED,
                                          "Pod was active on the node longer than the specified deadline")
                grace = self._grace_seconds()
                await self._terminate(min(grace, EVICTION_GRACE_SECONDS) if evicted.done() else grace)
                await tasks.cancel(work)
            else:
                work.result()
        finally:
            await self.shut_down()  # first: a life that still runs something must see its end
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def _past(self, seconds: float) -> None:
        await self._clock.sleep(seconds)

    def _grace_seconds(self) -> float:
        asked = objects.meta(self._pod).get("deletionGracePeriodSeconds")
        if asked is None:
            asked = objects.spec(self._pod).get("terminationGracePeriodSeconds")
        return plan.GRACE_SECONDS if asked is None else float(asked)

    async def _terminate(self, grace_seconds: float) -> None:
        """Ends the main containers together, then the sidecars in reverse order; returns when nothing runs."""
        self._stopping.set()
        sidecars = {view.name for view in self._view.init if view.sidecar}
        until = self._clock.monotonic() + grace_seconds
        await self._end([life for name, life in self._lives.items() if name not in sidecars], grace_seconds)
        for life in reversed([life for name, life in self._lives.items() if name in sidecars]):
            await self._end([life], max(until - self._clock.monotonic(), 0.0))

    async def _end(self, lives: list[ContainerLife], grace_seconds: float) -> None:
        async def gracefully() -> None:
            await asyncio.gather(*(life.end(grace_seconds) for life in lives))

        await tasks.first(gracefully, self._hurry.wait)
        for life in lives:
            life.kill()
        await asyncio.gather(*(life.idle.wait() for life in lives))

    async def _work(self) -> None:
        await self._prepare()
        for container, view in zip(plan.init_containers(self._pod), self._view.init, strict=True):
            life = self._life(container, view, init=True)
            if view.sidecar:
                self._background.spawn(life.run(), name=life.name)
                await life.up.wait()
                continue
            await life.run()
            if not view.succeeded:
                await self._terminate(self._grace_seconds())
                return
        self._view.initialized = True
        for view in self._view.main:
            view.mark_waiting(pod_status.CREATING)
        self._writer.mark()
        lives = [self._life(container, view, init=False)
                 for container, view in zip(plan.containers(self._pod), self._view.main, strict=True)]
        async with asyncio.TaskGroup() as group:
            for life in lives:
                group.create_task(life.run(), name=life.name)
        if any(view.sidecar for view in self._view.init):
            await self._terminate(self._grace_seconds())

    def _life(self, container: dict[str, Any], view: ContainerView, *, init: bool) -> ContainerLife:
        policy = restarts.policy_of(objects.spec(self._pod), container, init=init)

        async def make_plan() -> plan.ContainerPlan:
            sources = await self._sources()
            host, port = self._attachment.api
            surroundings = replace(self._services.surroundings(sources), api_host=host, api_port=port,
                                   service_links=self._attachment.service_links)
            return plan.make(self._with_address(), container, surroundings)

        async def occasion(restarts: int) -> Occasion:
            return Occasion(pod=self._with_address(), container=container, restarts=restarts, volumes=self._volumes,
                            service_account=self._service_account, attachment=self._attachment,
                            commons=self._commons, dial=self._services.network.dial, wait_for=self._wait_for)

        def changed(urgent: bool) -> None:
            self._writer.mark(urgent=urgent)

        setting = Setting(container=container, policy=policy, make_plan=make_plan, occasion=occasion, changed=changed,
                          warn=self._warn, tell=self._tell, stopping=self._stopping, grace_seconds=self._grace_seconds,
                          back_off=self._services.back_off,
                          pod_label=f"{objects.name(self._pod)}_{objects.namespace(self._pod)}({self.uid})")
        life = ContainerLife(view, setting, self._runner, self._clock)
        self._lives[life.name] = life
        return life

    async def _wait_for(self, name: str) -> ContainerExit:
        life = self._lives.get(name)
        if life is None:
            raise errors.NotFound(f'Pod "{objects.key(self._pod)}" has no container "{name}"')
        return await asyncio.shield(life.over)

    def _tell(self, reason: str, message: str) -> None:
        self._services.announcer.tell(self._pod, reason, message)

    def _warn(self, reason: str, message: str) -> None:
        self._background.spawn(self._services.recorder.event(self._pod, "Warning", reason, message))

    async def _prepare(self) -> None:
        """Volumes and credentials; waits, and says for what, while something is missing."""
        leave: Callable[[], None] | None = None
        failures = 0
        try:
            while problem := await self._mount():
                if leave is None:  # followed before the next look, so that nothing comes unseen between the two
                    leave = self._services.references.follow(references.of(self._pod, claims=True), self._stale.set)
                failures += 1
                for view in (*self._view.init, *self._view.main):
                    view.mark_waiting(problem.waiting, str(problem))
                self._writer.mark(urgent=True)
                self._warn("FailedMount", str(problem))
                seconds = MOUNT_BACKOFF.delay_seconds(failures, random.random)
                await tasks.first(self._stale.wait, partial(self._clock.sleep, seconds))
                self._stale.clear()
        finally:
            if leave is not None:
                leave()
        self._view.prepared = True
        for volume in commons.memory_volumes(self._pod):
            if self._volumes[volume["name"]].path and not self._commons.descriptors:
                self._warn("MemoryVolumeOnDisk", f'the emptyDir volume "{volume["name"]}" lies on disk: this node '
                           "cannot make memory that the containers of this Pod share")
        if usage.is_limited(self._pod):
            self._background.spawn(self._watch_disk(), name="disk")
        if volumes.changes(self._pod) or self._service_account is not None:
            self._background.spawn(self._keep_volumes(), name="volumes")

    async def _mount(self) -> StartError | None:
        """Makes the volumes, and what else the containers share; what is missing, if anything."""
        by_engine = self._uses_engine()
        source = replace(self._services.volume_source, own_memory=by_engine)
        try:
            self._volumes = await volumes.make(self._with_address(), source)
            if self._wants_credentials():
                self._service_account = await volumes.service_account_volume(self._pod, source)
            if self._services.machinery.isolation.available and not by_engine \
                    and commons.wanted(self._pod, self._services.surroundings(variables.Sources())):
                self._commons = await self._runner.share(self._pod, self._attachment)
        except StartError as error:
            return error
        return None

    async def _keep_volumes(self) -> None:
        """Keeps what the volumes show up to date until cancelled."""
        leave = self._services.references.follow(references.of(self._pod), self._stale.set)
        try:
            while True:
                await tasks.first(self._stale.wait, lambda: self._clock.sleep(REFRESH_SECONDS))
                self._stale.clear()
                try:
                    await volumes.refresh(self._with_address(), self._services.volume_source,
                                          credentials=self._service_account is not None)
                except errors.LightshipError as error:
                    _log.warning("could not refresh a Pod's volumes; will try again",
                                 extra={"pod": str(objects.key(self._pod)), "cause": str(error)})
                    await self._clock.sleep(PREPARE_RETRY_SECONDS)
                    self._stale.set()
        finally:
            leave()

    async def _watch_disk(self) -> None:
        """Looks now and then at what the Pod has written, and evicts it if that is too much."""
        directory = self._services.machinery.pods_directory / self.uid
        while True:
            await self._clock.sleep(usage.LOOK_SECONDS)
            message = await asyncio.to_thread(usage.excess, self._pod, directory)
            if message:
                self.evict(message)
                return

    def _wants_credentials(self) -> bool:
        automount = objects.spec(self._pod).get("automountServiceAccountToken")
        return automount is not False and self._services.machinery.isolation.available

    async def _sources(self) -> variables.Sources:
        config_maps, secrets = variables.referred(objects.spec(self._pod))
        namespace = objects.namespace(self._pod)

        async def get(resource: Any, name: str) -> Object | None:
            try:
                return await self._services.client.get(resource, name, namespace)
            except errors.NotFound:
                return None

        return variables.Sources(
            config_maps={name: await get(CONFIGMAPS, name) for name in sorted(config_maps)},
            secrets={name: await get(SECRETS, name) for name in sorted(secrets)},
            allocatable=self._services.allocatable)

    def _with_address(self) -> Object:
        """The Pod with its address, which the API may not have yet."""
        status = objects.status(self._pod) | {"podIP": self._view.pod_ip, "hostIP": self._view.host_ip}
        return self._pod | {"status": status}

    def _clean(self) -> None:
        directory = self._services.machinery.pods_directory / self.uid
        for name in ("volumes", "containers", "shm"):
            self._services.machinery.trash.put(directory / name)


async def confirm_deletion(client: Client, pod: Object) -> None:
    """Tells the API that nothing of a deleted Pod runs any more, which lets it go."""
    try:
        await client.delete(PODS, objects.key(pod), uid=objects.uid(pod), grace_seconds=0)
    except (errors.NotFound, errors.Conflict):
        _log.debug("a deleted Pod has gone before it was confirmed", extra={"pod": str(objects.key(pod))})
