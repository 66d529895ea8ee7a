"""The objects of one informer, in memory, with their indexes. Pure: I do no I/O and know no time.

``runtime.informer`` fills me; reconcilers read me through it. Objects are shared: nobody changes one in place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from lightship.kube import objects
from lightship.kube.objects import Key, Object

Objects = list[Object]

IndexFunction = Callable[[Object], Iterable[str]]
"""The index values under which an object is found."""


def by_owner(obj: Object) -> Iterable[str]:
    """The uids of all owners."""
    return [str(reference.get("uid", "")) for reference in objects.meta(obj).get("ownerReferences") or []]


def by_label(label: str) -> IndexFunction:
    """The value of ``label``, where the object has it."""

    def values(obj: Object) -> Iterable[str]:
        value = objects.labels(obj).get(label)
        return () if value is None else (value,)

    return values


class Cache:
    """Objects by key; by namespace; by owner's uid; and by any further index, which is added once and kept up."""

    def __init__(self) -> None:
        self._objects: dict[Key, Object] = {}
        self._namespaces: dict[str, dict[Key, None]] = {}
        self._functions: dict[str, IndexFunction] = {}
        self._indexes: dict[str, dict[str, dict[Key, None]]] = {}
        self.add_index("owner", by_owner)

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, key: Key) -> Object | None:
        return self._objects.get(key)

    def keys(self) -> tuple[Key, ...]:
        return tuple(self._objects)

    def list(self, namespace: str = "") -> Objects:
        """All objects, or those of one namespace, in the order in which they came."""
        if not namespace:
            return list(self._objects.values())
        return [self._objects[key] for key in self._namespaces.get(namespace, ())]

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Keep an index under ``name``; adding one that is there already does nothing."""
        if name in self._functions:
            return
        self._functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._enter(name, function, key, obj)

    def indexed(self, name: str, value: str) -> Objects:
        """The objects that index ``name`` holds under ``value``."""
        return [self._objects[key] for key in self._indexes[name].get(value, ())]

    def index_values(self, name: str) -> tuple[str, ...]:
        """The values under which index ``name`` holds something."""
        return tuple(self._indexes[name])

    def put(self, obj: Object) -> Object | None:
        """Take in ``obj``; returns what it replaces."""
        key = objects.key(obj)
        old = self._objects.get(key)
        if old is not None:
            self._leave(key, old)
        self._objects[key] = obj
        self._namespaces.setdefault(key.namespace, {})[key] = None
        for name, function in self._functions.items():
            self._enter(name, function, key, obj)
        return old

    def remove(self, key: Key) -> Object | None:
        """Forget the object of ``key``; returns it."""
        old = self._objects.pop(key, None)
        if old is not None:
            self._leave(key, old)
            namespace = self._namespaces[key.namespace]
            del namespace[key]
            if not namespace:
                del self._namespaces[key.namespace]
        return old

    def _enter(self, name: str, function: IndexFunction, key: Key, obj: Object) -> None:
        for value in function(obj):
            self._indexes[name].setdefault(value, {})[key] = None

    def _leave(self, key: Key, obj: Object) -> None:
        for name, function in self._functions.items():
            index = self._indexes[name]
            for value in function(obj):
                entries = index.get(value)
                if entries is not None:
                    entries.pop(key, None)
                    if not entries:
                        del index[value]
