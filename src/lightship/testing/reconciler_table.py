"""Tables of reconciler passes: objects in; writes, status, events and requeue out.

A room's tests call me with a way to build its controller. For each case I run one pass and then hold the reconciler to
what every one owes (invariant 6): a second pass writes nothing, and a write that fails, whichever it is, leaves nothing
that later passes do not put right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lightship import errors
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import EVENTS, Resource
from lightship.lib import ids
from lightship.runtime.controller import Controller, Result
from lightship.runtime.manager import Manager
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi, Write

LIMIT_PASSES = 25
_VOLATILE_METADATA = ("uid", "resourceVersion", "creationTimestamp", "generation")

Build = Callable[[Manager, FakeClock, ids.IdSource], Controller]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one pass did. ``writes`` leaves events out; ``words`` says each as ``verb plural[/subresource] key``."""

    state: Mapping[str, Mapping[Key, Object]]
    """The objects as they were after the pass, by the collection's path."""
    result: Result
    writes: tuple[Write, ...]
    events: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        return [_words(write) for write in self.writes]

    def body(self, words: str) -> Any:
        """The body of the one write that says ``words``."""
        found = [write.body for write in self.writes if _words(write) == words]
        assert len(found) == 1, f"{len(found)} writes say {words!r}; there were {self.words}"
        return found[0]

    def object(self, resource: Resource, name: str, namespace: str = "default") -> Object:
        """The object as it is after the pass."""
        found = self.state.get(resource.path(), {}).get(Key(namespace if resource.namespaced else "", name))
        assert found is not None, f"there is no {resource.plural} {namespace}/{name}"
        return found

    def all(self, resource: Resource) -> list[Object]:
        """All objects of a kind as they are after the pass."""
        return list(self.state.get(resource.path(), {}).values())


@dataclass(kw_only=True)
class ReconcilerTable:
    """``build`` makes the controller under test; ``kinds`` are the kinds that cases may use."""

    build: Build
    kinds: Sequence[Resource]
    seed: int = 1
    _paths: dict[tuple[str, str], str] = field(init=False)

    def __post_init__(self) -> None:
        self._paths = {(resource.api_version, resource.kind): resource.path() for resource in self.kinds}

    async def run(self, key: Key, *there: Object) -> Outcome:
        """One pass over the objects ``there``, with the checks that every reconciler must stand."""
        stage = await self._stage(there)
        outcome = await stage.once(key)
        again = await stage.until_silent(key)
        assert again < LIMIT_PASSES, f"after {LIMIT_PASSES} passes it still writes: {stage.last}"
        wanted = _state(stage.api)
        await stage.stop()
        for number in range(len(outcome.writes)):
            await self._fail_one(key, there, number, wanted)
        return outcome

    async def rest(self, key: Key, *there: Object) -> Outcome:
        """Passes until one writes nothing: the state then, and all writes and events until then."""
        stage = await self._stage(there)
        writes: list[Write] = []
        events: list[str] = []
        for _ in range(LIMIT_PASSES):
            outcome = await stage.once(key)
            writes += outcome.writes
            events += outcome.events
            if not outcome.writes:
                break
        await stage.stop()
        assert not outcome.writes, f"after {LIMIT_PASSES} passes it still writes: {outcome.words}"
        return Outcome(state=outcome.state, result=outcome.result, writes=tuple(writes), events=tuple(events))

    async def second_pass(self, key: Key, *there: Object) -> list[str]:
        """What a second pass writes, on its own: nothing, unless the first could only take one step of several."""
        stage = await self._stage(there)
        await stage.once(key)
        second = await stage.once(key)
        await stage.stop()
        return second.words

    async def _fail_one(self, key: Key, there: Sequence[Object], number: int, wanted: Any) -> None:
        stage = await self._stage(there)
        seen = 0

        def fault(write: Write) -> errors.LightshipError | None:
            nonlocal seen
            if write.plural == EVENTS.plural:
                return None
            seen += 1
            return errors.Unavailable("induced") if seen == number + 1 else None

        stage.api.fault = fault
        try:
            await stage.once(key)
        except errors.LightshipError as error:
            assert "induced" in str(error), error
        else:
            raise AssertionError(f"write {number} failed and the pass did not say so, so it would not be retried")
        finally:
            stage.api.fault = None
        passes = await stage.until_silent(key)
        assert passes < LIMIT_PASSES, f"after write {number} had failed it never came to rest"
        assert _state(stage.api) == wanted, f"after write {number} had failed the outcome differs"
        await stage.stop()

    async def _stage(self, there: Sequence[Object]) -> _Stage:
        clock = FakeClock()
        api = MemoryApi(clock, ids.SeededIds(self.seed))
        for obj in there:
            api.insert(self._paths[str(obj.get("apiVersion")), str(obj.get("kind"))], obj)
        manager = Manager(api.client, clock)
        controller = self.build(manager, clock, ids.SeededIds(self.seed))
        manager.add(controller)
        stage = _Stage(api, manager, controller)
        await stage.start()
        return stage


class _Stage:
    """A server in memory and one controller, whose passes are made by hand."""

    def __init__(self, api: MemoryApi, manager: Manager, controller: Controller) -> None:
        self.api = api
        self.last: list[str] = []
        self._manager = manager
        self._controller = controller

    async def start(self) -> None:
        for informer in self._manager.informers:
            await informer.start()
        for informer in self._manager.informers:
            await informer.synced.wait()
        await settle()

    async def stop(self) -> None:
        for informer in self._manager.informers:
            await informer.stop()
        await self._manager.stop()

    async def once(self, key: Key) -> Outcome:
        self.api.writes.clear()
        result = await self._controller.reconciler.reconcile(key)
        await settle()
        writes = tuple(write for write in self.api.writes if write.plural != EVENTS.plural)
        events = tuple(f"{write.body['type']} {write.body['reason']} {write.body['message']}"
                       for write in self.api.writes if write.plural == EVENTS.plural and write.verb == "create")
        outcome = Outcome(state=self.api.snapshot(), result=result, writes=writes, events=events)
        self.last = outcome.words
        return outcome

    async def until_silent(self, key: Key) -> int:
        """Passes until one writes nothing; ``LIMIT_PASSES`` if none does."""
        for number in range(LIMIT_PASSES):
            if not (await self.once(key)).writes:
                return number
        return LIMIT_PASSES


def _words(write: Write) -> str:
    place = f"{write.plural}/{write.subresource}" if write.subresource else write.plural
    return f"{write.verb} {place} {write.key}"


def _state(api: MemoryApi) -> Any:
    """All objects but for what differs from run to run, and events."""
    state = []
    for path in api.collections():
        if path.endswith("/events"):
            continue
        for obj in api.all(path):
            metadata = {name: value for name, value in obj["metadata"].items() if name not in _VOLATILE_METADATA}
            metadata["ownerReferences"] = [reference.get("name") for reference in metadata.get("ownerReferences") or ()]
            if metadata.get("generateName"):
                metadata.pop("name")
            status = objects.status(obj)
            if isinstance(status.get("active"), list):  # references, with uids
                obj = obj | {"status": status | {"active": [reference["name"] for reference in status["active"]]}}
            state.append((path, msgspec.json.encode(obj | {"metadata": metadata}, order="deterministic")))
    return sorted(state)
