"""What each ResourceQuota has left, with the writes that are on their way to the disk counted in.

``admission`` asks me before every write in a namespace that has a quota. I follow the store as it commits, so nothing
is lost between a status that a controller writes and the next request: two creates at once cannot both take the last
place. I call ``kube.quota`` for what an object uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from lightship import errors
from lightship.cluster.apiserver.backend import decode
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.store import Store
from lightship.kube import objects, quantities, quota
from lightship.kube.objects import Object
from lightship.kube.quota import Usage
from lightship.kube.resources import RESOURCE_QUOTAS

_QUOTAS = RESOURCE_QUOTAS.group_resource
_ZERO = Decimal(0)


class Ledger:
    """Of all namespaces; a namespace without quota costs a look-up."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._tallies: dict[Key, _Tally] = {}

    @contextmanager
    def reserved(self, key: Key, obj: Object, what: str) -> Iterator[None]:
        """Holds what ``obj`` will use while it is written. Raises ``errors.Forbidden`` where a quota has not as much.

        ``what`` is the object in the message: ``pods "x"``.
        """
        tallies = [tally for tally in self._of(key.namespace) if tally.concerns(key.resource, obj)]
        for tally in tallies:
            tally.check(key, obj, what)
        for tally in tallies:
            tally.reserve(key, obj)
        try:
            yield
        finally:
            for tally in tallies:
                tally.release(key)

    def _of(self, namespace: str) -> Iterator[_Tally]:
        for item in self._store.snapshot(_QUOTAS, namespace).items if namespace else ():
            key = Key(_QUOTAS, namespace, item.name)
            tally = self._tallies.get(key)
            if tally is None or tally.revision != item.entry.revision:
                self._forget_lost()
                tally = _Tally(self._store, namespace, decode(item.entry.value), tally)
                tally.revision = item.entry.revision
                self._tallies[key] = tally
            yield tally

    def _forget_lost(self) -> None:
        for key in [key for key in self._tallies if self._store.get(key) is None]:
            del self._tallies[key]


class _Tally:
    """One quota's count."""

    def __init__(self, store: Store, namespace: str, obj: Object, before: _Tally | None) -> None:
        self.revision = 0
        self._store, self._namespace = store, namespace
        self._name, self._spec = objects.name(obj), objects.spec(obj)
        self._hard = {name: quantities.parse(amount) for name, amount in (self._spec.get("hard") or {}).items()}
        self._resources = frozenset(map(quota.resource_of, self._hard))
        self._pending: dict[Key, Usage] = before._pending if before else {}
        self._used: Usage = {}
        self._shares: dict[Key, Usage] = {}
        self._seen = 0
        if before is not None and before._spec == self._spec:  # Only its status was written.
            self._used, self._shares, self._seen = before._used, before._shares, before._seen
        else:
            self._load()

    def _load(self) -> None:
        self._used, self._shares = {}, {}
        self._seen = self._store.revision
        for resource in self._resources:
            for item in self._store.snapshot(resource, self._namespace).items:
                self._put(Key(resource, self._namespace, item.name), decode(item.entry.value))

    def _follow(self) -> None:
        try:
            events = self._store.changes(self._resources, self._seen)
        except errors.Gone:
            self._load()
            return
        for event in events:
            if event.key.namespace == self._namespace:
                self._pending.pop(event.key, None)
                self._put(event.key, None if event.type == "DELETED" else decode(event.value))
        self._seen = self._store.revision

    def _put(self, key: Key, obj: Object | None) -> None:
        quota.add(self._used, self._shares.pop(key, {}), -1)
        if obj is not None and quota.concerns(self._spec, key.resource, obj):
            share = self._share(key, obj)
            self._shares[key] = share
            quota.add(self._used, share)

    def _share(self, key: Key, obj: Object) -> Usage:
        return {name: amount for name, amount in quota.usage(key.resource, obj).items() if name in self._hard}

    def concerns(self, resource: str, obj: Object) -> bool:
        return resource in self._resources and quota.concerns(self._spec, resource, obj)

    def check(self, key: Key, obj: Object, what: str) -> None:
        if key.resource == quota.PODS and key not in self._shares:
            unset = quota.unset(self._hard, objects.spec(obj))
            if unset:
                raise errors.Forbidden(f"{what} is forbidden: failed quota: {self._name}: must specify {unset}")
        self._follow()
        before = self._shares.get(key, {})
        asked = {name: amount - before.get(name, _ZERO) for name, amount in self._share(key, obj).items()}
        used = dict(self._used)
        for share in self._pending.values():
            quota.add(used, share)
        over = sorted(name for name, amount in asked.items()
                      if amount > 0 and used.get(name, _ZERO) + amount > self._hard[name])
        if over:
            texts = (",".join(f"{name}={quota.text(name, amounts.get(name, _ZERO))}" for name in over)
                     for amounts in (asked, used, self._hard))
            raise errors.Forbidden(f"{what} is forbidden: exceeded quota: {self._name}, requested: {next(texts)}, "
                                   f"used: {next(texts)}, limited: {next(texts)}")

    def reserve(self, key: Key, obj: Object) -> None:
        before = self._shares.get(key, {})
        more = {name: amount - before.get(name, _ZERO) for name, amount in self._share(key, obj).items()}
        self._pending[key] = {name: amount for name, amount in more.items() if amount > 0}

    def release(self, key: Key) -> None:
        self._pending.pop(key, None)
