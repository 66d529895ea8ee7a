"""The RBAC authorizer: decides by the Roles and bindings in the store.

``server`` and ``reviews`` ask me at every request, so a question that was asked before is a look-up. My index takes in
what the store committed since the last look, so that a review sees every binding whose write was answered before.
I call ``rules``, and no verb of the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from lightship import errors
from lightship.client.transport import User
from lightship.cluster.apiserver.access import MASTERS, Attributes, Decision, rules
from lightship.cluster.apiserver.access.rules import Rule
from lightship.cluster.apiserver.backend import decode
from lightship.cluster.store.broadcast import Event
from lightship.cluster.store.store import Store
from lightship.kube.objects import Object
from lightship.kube.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES

LIMIT_REMEMBERED = 20_000
LIMIT_REMEMBERED_CHARACTERS = 256
"""Answers that are kept; past it all are dropped and found anew."""

_ALLOWED = Decision(True)
_KINDS = tuple(resource.group_resource for resource in (ROLES, CLUSTER_ROLES, ROLE_BINDINGS, CLUSTER_ROLE_BINDINGS))

Place = tuple[str, str]
"""Namespace (empty for the cluster's) and name."""


class Grant(NamedTuple):
    """A binding as it concerns one of its subjects."""

    binding: Place
    role: Place
    role_kind: str
    subject: str
    """The subject in upstream's words."""

    def __str__(self) -> str:
        namespace, name = self.binding
        kind, label = ("RoleBinding", f"{name}/{namespace}") if namespace else ("ClusterRoleBinding", name)
        return f'{kind} "{label}" of {self.role_kind} "{self.role[1]}" to {self.subject}'


class _Verdict(NamedTuple):
    """The answer to a question, for whatever name: an allowance for all names, and those for some."""

    whole: Decision | None
    named: tuple[tuple[frozenset[str], Decision], ...]
    denied: Decision


class Rbac:
    """An ``Authorizer``; also tells all rules that somebody has."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen = -1
        self._roles: dict[Place, tuple[Rule, ...]] = {}
        self._grants: dict[str, dict[str, dict[Place, Grant]]] = {}
        """Namespace of the binding, subject, binding."""
        self._subjects: dict[Place, tuple[str, ...]] = {}
        self._answers: dict[tuple[Any, ...], _Verdict] = {}

    async def review(self, user: User, attributes: Attributes) -> Decision:
        return self.decide(user, attributes)

    def decide(self, user: User, attributes: Attributes) -> Decision:
        """Like ``review``, without a wait."""
        if MASTERS in user.groups:
            return _ALLOWED
        if self._store.revision != self._seen:
            self._follow()
        verb, group, resource, subresource, namespace, name, path = attributes
        question = (user.name, user.groups, verb, group, resource, subresource, namespace, path)
        verdict = self._answers.get(question)
        if verdict is None:
            verdict = self._judge(user, attributes)
            if len(self._answers) >= LIMIT_REMEMBERED:
                self._answers.clear()
            if len(path) <= LIMIT_REMEMBERED_CHARACTERS:
                self._answers[question] = verdict
        if verdict.whole is not None:
            return verdict.whole
        for names, decision in verdict.named:
            if name in names:
                return decision
        return verdict.denied

    def rules_of(self, user: User, namespace: str) -> tuple[list[Rule], list[str]]:
        """Everything that ``user`` may do in a namespace (empty: the cluster), and the roles that are missing."""
        if self._store.revision != self._seen:
            self._follow()
        found: dict[Rule, None] = {}
        lost: dict[str, None] = {}
        for grant in self._grants_to(user, namespace):
            role = self._roles.get(grant.role)
            if role is None:
                lost[_missing(grant)] = None
            else:
                found.update(dict.fromkeys(role))
        return list(found), list(lost)

    def role(self, place: Place) -> tuple[Rule, ...] | None:
        """The rules of a Role (or, with no namespace, a ClusterRole), or None where there is none."""
        if self._store.revision != self._seen:
            self._follow()
        return self._roles.get(place)

    def _judge(self, user: User, asked: Attributes) -> _Verdict:
        named: list[tuple[frozenset[str], Decision]] = []
        lost: dict[str, None] = {}
        for grant in self._grants_to(user, asked.namespace):
            role = self._roles.get(grant.role)
            if role is None:
                lost[_missing(grant)] = None
                continue
            for rule in role:
                if rules.concerns(rule, asked):
                    decision = Decision(True, f"RBAC: allowed by {grant}")
                    if not rule.names:
                        return _Verdict(decision, (), decision)
                    named.append((rule.names, decision))
        texts = list(lost)
        why = "" if not texts else f"RBAC: {texts[0]}" if len(texts) == 1 else f"RBAC: [{', '.join(texts)}]"
        return _Verdict(None, tuple(named), Decision(False, why))

    def _grants_to(self, user: User, namespace: str) -> Iterator[Grant]:
        """The cluster's grants first, then the namespace's; each by the binding's name."""
        keys = [f"u:{user.name}", *(f"g:{group}" for group in user.groups)]
        for space in ("", namespace) if namespace else ("",):
            subjects = self._grants.get(space)
            if subjects:
                found = {place: grant for key in reversed(keys) for place, grant in subjects.get(key, {}).items()}
                for place in sorted(found):
                    yield found[place]

    def _follow(self) -> None:
        """Take in what was committed since the last look, or everything at the first."""
        try:
            events = self._store.changes(_KINDS, self._seen) if self._seen >= 0 else None
        except errors.Gone:
            events = None
        if events is None:
            self._load()
        for event in events or ():
            self._take(event)
        if events is None or events:
            self._answers.clear()
        self._seen = self._store.revision

    def _load(self) -> None:
        self._roles, self._grants, self._subjects = {}, {}, {}
        for kind in _KINDS:
            for item in self._store.snapshot(kind).items:
                self._put(kind, (item.namespace, item.name), decode(item.entry.value))

    def _take(self, event: Event) -> None:
        place = (event.key.namespace, event.key.name)
        if event.type != "DELETED":
            self._put(event.key.resource, place, decode(event.value))
        elif event.key.resource in _KINDS[:2]:
            self._roles.pop(place, None)
        else:
            self._unbind(place)

    def _put(self, kind: str, place: Place, obj: Object) -> None:
        if kind in _KINDS[:2]:
            self._roles[place] = tuple(map(rules.compile, obj.get("rules") or ()))
        else:
            self._unbind(place)
            self._bind(place, obj)

    def _bind(self, place: Place, obj: Object) -> None:
        namespace, reference = place[0], obj["roleRef"]
        kind = reference["kind"]
        role = (namespace if kind == ROLES.kind else "", reference["name"])
        subjects = self._grants.setdefault(namespace, {})
        keys: dict[str, Grant] = {}
        for subject in obj.get("subjects") or ():
            key, text = _subject(subject, namespace)
            keys.setdefault(key, Grant(place, role, kind, text))
        for key, grant in keys.items():
            subjects.setdefault(key, {})[place] = grant
        self._subjects[place] = tuple(keys)

    def _unbind(self, place: Place) -> None:
        subjects = self._grants.get(place[0], {})
        for key in self._subjects.pop(place, ()):
            del subjects[key][place]
            if not subjects[key]:
                del subjects[key]


def _subject(subject: Object, namespace: str) -> tuple[str, str]:
    kind, name = subject["kind"], subject["name"]
    if kind == "ServiceAccount":
        space = subject.get("namespace") or namespace
        return f"u:system:serviceaccount:{space}:{name}", f'ServiceAccount "{name}/{space}"'
    return f"{'g' if kind == 'Group' else 'u'}:{name}", f'{kind} "{name}"'


def _missing(grant: Grant) -> str:
    resource = ROLES if grant.role_kind == ROLES.kind else CLUSTER_ROLES
    return f'{resource.plural.removesuffix("s")}.{resource.group} "{grant.role[1]}" not found'
