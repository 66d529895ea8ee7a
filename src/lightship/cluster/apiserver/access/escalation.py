"""Nobody grants more than he holds: what a writer of Roles and bindings must be allowed. ``admission`` calls me.

As upstream: whoever may ``escalate`` a role may write any rules into it, whoever may ``bind`` it may bind it; anybody
else must hold every permission that he hands out. I call ``rbac`` and ``rules``.
"""

from __future__ import annotations

import json

from lightship import errors
from lightship.client.transport import User
from lightship.cluster.apiserver import access
from lightship.cluster.apiserver.access import MASTERS, Attributes, rules
from lightship.cluster.apiserver.access.rbac import Rbac
from lightship.cluster.apiserver.access.rules import Rule
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Resource

_ROLES = frozenset({ROLES.group_resource, CLUSTER_ROLES.group_resource})
_BINDINGS = frozenset({ROLE_BINDINGS.group_resource, CLUSTER_ROLE_BINDINGS.group_resource})
CONCERNED = _ROLES | _BINDINGS
_EVERYTHING = (Rule(frozenset("*"), frozenset("*"), frozenset("*")), Rule(frozenset("*"), urls=("*",)))
_FIELDS = ("rules", "aggregationRule", "roleRef", "subjects")


def check(known: Rbac, user: User, resource: Resource, new: Object, old: Object | None) -> None:
    """Raises ``errors.Forbidden``, and ``errors.NotFound`` for a binding of a role that is not there."""
    if MASTERS in user.groups:
        return
    if old is not None and all(old.get(field) == new.get(field) for field in _FIELDS):
        return  # Labels, finalizers and the like grant nothing.
    if resource.group_resource in _ROLES:
        _check_role(known, user, resource, new, old)
    else:
        _check_binding(known, user, resource, new)


def _check_role(known: Rbac, user: User, resource: Resource, new: Object, old: Object | None) -> None:
    namespace, name = objects.namespace(new), objects.name(new)
    if known.decide(user, Attributes("escalate", resource.group, resource.plural, "", namespace, name)).allowed:
        return
    aggregation = new.get("aggregationRule")
    if aggregation and (old is None or old.get("aggregationRule") != aggregation):
        _require(known, user, namespace, _EVERYTHING, access.what(resource.group, resource.plural, name))
    _require(known, user, namespace, tuple(map(rules.compile, new.get("rules") or ())),
             access.what(resource.group, resource.plural, name))


def _check_binding(known: Rbac, user: User, resource: Resource, new: Object) -> None:
    namespace, reference = objects.namespace(new), new["roleRef"]
    bound = ROLES if reference["kind"] == ROLES.kind else CLUSTER_ROLES
    if known.decide(user, Attributes("bind", bound.group, bound.plural, "", namespace, reference["name"])).allowed:
        return
    place = (namespace if bound is ROLES else "", reference["name"])
    granted = known.role(place)
    if granted is None:
        raise errors.NotFound(f'{bound.group_resource} "{reference["name"][:253]}" not found')
    _require(known, user, namespace, granted, access.what(resource.group, resource.plural, objects.name(new)))


def _require(known: Rbac, user: User, namespace: str, wanted: tuple[Rule, ...], what: str) -> None:
    held, lost = known.rules_of(user, namespace)
    try:
        missing = rules.missing(held, wanted)
    except OverflowError as e:
        raise errors.Forbidden(f"{what} is forbidden: {e}") from e
    if not missing:
        return
    texts = "\n".join(sorted({rules.text(rule) for rule in rules.compact(missing)}))
    resolution = f"; resolution errors: [{', '.join(lost)}]" if lost else ""
    raise errors.Forbidden(
        f"{what} is forbidden: user {json.dumps(user.name)} (groups={rules.quoted(user.groups)}) is attempting to "
        f"grant RBAC permissions not currently held:\n{texts}{resolution}")
