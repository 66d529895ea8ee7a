"""What stands between a valid object and the store, in upstream's order: what others add to Pods, priority, limits,
escalation, quota.

``writes`` calls ``prepared`` before an object is defaulted and ``held`` around its write. A kind that none of this is
about costs a look-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from lightship import errors
from lightship.cluster.apiserver import access
from lightship.cluster.apiserver.access import escalation
from lightship.cluster.apiserver.access.rbac import Rbac
from lightship.cluster.apiserver.backend import Call, decode
from lightship.cluster.apiserver.kinds import pods
from lightship.cluster.apiserver.quota import limits
from lightship.cluster.apiserver.quota.ledger import Ledger
from lightship.cluster.apiserver.registry import AdmittedKind
from lightship.cluster.store.broadcast import Key
from lightship.cluster.store.store import Store
from lightship.kube import objects, quota
from lightship.kube.objects import Object
from lightship.kube.resources import LIMIT_RANGES, PRIORITY_CLASSES, RESOURCE_QUOTAS

_LIMITED = frozenset({quota.PODS, quota.CLAIMS})
_NOTHING: AbstractContextManager[None] = nullcontext()
_PREEMPT = "PreemptLowerPriority"


@dataclass(frozen=True)
class _Priority:
    name: str
    value: int
    policy: str


class Admission:
    """``known`` is None where no RBAC is in force; ``kinds`` may have something to add to Pods."""

    def __init__(self, store: Store, known: Rbac | None, kinds: Iterable[AdmittedKind] = ()) -> None:
        self._store, self._known, self._ledger = store, known, Ledger(store)
        self._amending = [kind for kind in kinds if kind.pod_of is not None and kind.amend_pod is not None]
        self._defaults: tuple[int, _Priority | None] = (-1, None)

    def prepared(self, call: Call, obj: Object) -> Object:
        """A new object with what others decided for it. Raises ``errors.Forbidden``."""
        if call.served.store_resource != quota.PODS:
            return obj
        for kind in self._amending:
            obj = self._amended(kind, obj)
        obj = self._prioritised(obj | {"spec": pods.placed(objects.spec(obj))})
        for limit_range in self._limit_ranges(call.target.namespace):
            obj = limits.filled(obj, limit_range)
        return obj

    def _amended(self, kind: AdmittedKind, pod: Object) -> Object:
        """The Pod with what the object that it belongs to has it get."""
        assert kind.pod_of is not None and kind.amend_pod is not None
        owner = kind.pod_of(pod)
        entry = self._store.get(Key(kind.resource.group_resource, *owner)) if owner is not None else None
        return pod if entry is None else kind.amend_pod(pod, decode(entry.value))

    def held(self, call: Call, new: Object, old: Object | None) -> AbstractContextManager[None]:
        """Judges a write, and holds its share of the quota meanwhile. Raises ``errors.Forbidden``."""
        resource = call.served.store_resource
        if resource in escalation.CONCERNED and self._known is not None:
            escalation.check(self._known, call.user, call.served.resource, new, old)
        namespace = call.target.namespace
        if not namespace or call.target.subresource not in ("", "resize"):
            return _NOTHING
        if resource in _LIMITED and (old is None or resource == quota.CLAIMS):
            faults = [fault for limit_range in self._limit_ranges(namespace)
                      for fault in limits.faults(resource, new, limit_range)]
            if faults:
                text = faults[0] if len(faults) == 1 else f"[{', '.join(faults)}]"
                raise errors.Forbidden(f"{_what(call, new)} is forbidden: {text}")
        if not self._store.any(RESOURCE_QUOTAS.group_resource, namespace):
            return _NOTHING
        return self._ledger.reserved(Key(resource, namespace, objects.name(new)), new, _what(call, new))

    def _limit_ranges(self, namespace: str) -> list[Object]:
        if not self._store.any(LIMIT_RANGES.group_resource, namespace):
            return []
        return [decode(item.entry.value) for item in self._store.snapshot(LIMIT_RANGES.group_resource, namespace).items]

    def _prioritised(self, pod: Object) -> Object:
        spec = objects.spec(pod)
        name = spec.get("priorityClassName")
        found = self._class(str(name)) if name else self._default_class()
        if found is None and name:
            raise errors.Forbidden(f'pods "{objects.name(pod)}" is forbidden: no PriorityClass with name '
                                   f"{str(name)[:253]} was found")
        value, policy = (found.value, found.policy) if found else (0, _PREEMPT)
        for field, known in (("priority", value), ("preemptionPolicy", policy)):
            if spec.get(field) is not None and spec[field] != known:
                text = "integer value of priority" if field == "priority" else "string value of PreemptionPolicy"
                raise errors.Forbidden(
                    f'pods "{objects.name(pod)}" is forbidden: the {text} ({spec[field]}) must not be provided in pod '
                    f"spec; priority admission controller computed {known} from the given PriorityClass name")
        chosen = {"priorityClassName": found.name} if found else {}
        return pod | {"spec": spec | chosen | {"priority": value, "preemptionPolicy": policy}}

    def _class(self, name: str) -> _Priority | None:
        entry = self._store.get(Key(PRIORITY_CLASSES.group_resource, "", name))
        return None if entry is None else _priority(decode(entry.value))

    def _default_class(self) -> _Priority | None:
        """The class of Pods that name none: the globalDefault with the lowest value."""
        revision, found = self._defaults
        if revision < 0 or self._changed(revision):
            classes = [decode(item.entry.value)
                       for item in self._store.snapshot(PRIORITY_CLASSES.group_resource).items]
            found = min((_priority(obj) for obj in classes if obj.get("globalDefault")),
                        key=lambda one: one.value, default=None)
        self._defaults = (self._store.revision, found)
        return found

    def _changed(self, revision: int) -> bool:
        if revision == self._store.revision:
            return False
        try:
            return bool(self._store.changes((PRIORITY_CLASSES.group_resource,), revision))
        except errors.Gone:
            return True


def _priority(obj: Object) -> _Priority:
    return _Priority(objects.name(obj), int(obj.get("value") or 0), obj.get("preemptionPolicy") or _PREEMPT)


def _what(call: Call, obj: Object) -> str:
    return access.what(call.served.resource.group, call.served.resource.plural, objects.name(obj))
