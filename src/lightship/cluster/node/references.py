"""Watches the ConfigMaps and Secrets that running Pods show as files: one watch an object, however many Pods show it.

``supervisor`` calls ``follow`` for Pods whose volumes can change, and undoes it at the Pod's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from lightship.client.client import Client, Selection
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, PERSISTENT_VOLUME_CLAIMS, SECRETS, Resource
from lightship.lib import tasks
from lightship.lib.clock import Clock
from lightship.runtime.informer import Informer


class Reference(NamedTuple):
    """One object that a Pod's volumes show."""

    resource: Resource
    namespace: str
    name: str


def of(pod: Object, *, claims: bool = False) -> set[Reference]:
    """What the Pod's volumes show of ConfigMaps and Secrets, and its claims if asked."""
    found: set[Reference] = set()
    namespace = objects.namespace(pod)
    for volume in objects.spec(pod).get("volumes") or ():
        found |= _of_source(namespace, volume)
        if claims and (claim := volume.get("persistentVolumeClaim")):
            found.add(Reference(PERSISTENT_VOLUME_CLAIMS, namespace, claim["claimName"]))
        elif claims and volume.get("ephemeral") is not None:
            found.add(Reference(PERSISTENT_VOLUME_CLAIMS, namespace, f"{objects.name(pod)}-{volume['name']}"))
        for part in (volume.get("projected") or {}).get("sources") or ():
            found |= _of_source(namespace, part)
    return found


def _of_source(namespace: str, source: dict[str, Any]) -> set[Reference]:
    found = set()
    if reference := source.get("configMap"):
        found.add(Reference(CONFIGMAPS, namespace, reference.get("name") or ""))
    if reference := source.get("secret"):
        found.add(Reference(SECRETS, namespace, reference.get("secretName") or reference.get("name") or ""))
    return found


class References:
    """All watches of one node."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._informers: dict[Reference, Informer] = {}
        self._followers: dict[Reference, list[Callable[[], None]]] = {}
        self._tasks = tasks.Tasks("references of volumes")

    def follow(self, references: Iterable[Reference], changed: Callable[[], None]) -> Callable[[], None]:
        """Calls ``changed`` for each change from now on; returns what undoes it."""
        wanted = list(references)
        for reference in wanted:
            self._followers.setdefault(reference, []).append(changed)
            if reference not in self._informers:
                self._informers[reference] = self._watch(reference)

        def leave() -> None:
            for reference in wanted:
                followers = self._followers[reference]
                followers.remove(changed)
                if not followers:
                    del self._followers[reference]
                    self._tasks.spawn(self._informers.pop(reference).stop())

        return leave

    def _watch(self, reference: Reference) -> Informer:
        informer = Informer(self._client, reference.resource, Selection(
            namespace=reference.namespace, fields=f"metadata.name={reference.name}"), self._clock)

        def tell(old: Object | None, new: Object | None) -> None:
            for follower in tuple(self._followers.get(reference, ())):
                follower()

        informer.subscribe(tell)
        self._tasks.spawn(informer.start())
        return informer

    async def close(self) -> None:
        await self._tasks.drain()
        for informer in self._informers.values():
            await informer.stop()
        await self._tasks.close()
