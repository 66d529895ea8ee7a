"""Policy rules: whether one matches what is asked, whether some cover others, and how they read. Pure.

``rbac`` matches by me, ``escalation`` compares by me. A rule is compiled once, when its role is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from lightship.cluster.apiserver.access import Attributes

ALL = "*"
LIMIT_SUBRULES = 20_000
"""How many single permissions a rule may be broken into when it is compared with what somebody holds."""


class Rule(NamedTuple):
    """A ``PolicyRule``."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    urls: tuple[str, ...] = ()


def compile(given: Mapping[str, Any]) -> Rule:
    """A rule as the object has it."""
    verbs, groups, resources, names = (frozenset[str](given.get(field) or ()) for field in (
        "verbs", "apiGroups", "resources", "resourceNames"))
    return Rule(verbs, groups, resources, names, tuple(given.get("nonResourceURLs") or ()))


def as_object(rule: Rule) -> dict[str, Any]:
    """The rule as an object has it, less its empty fields."""
    fields = (("verbs", rule.verbs), ("apiGroups", rule.groups), ("resources", rule.resources),
              ("resourceNames", rule.names), ("nonResourceURLs", rule.urls))
    return {name: sorted(values) for name, values in fields if values}


def concerns(rule: Rule, asked: Attributes) -> bool:
    """Whether the rule allows what is asked, for some or all names."""
    if asked.verb not in rule.verbs and ALL not in rule.verbs:
        return False
    if not asked.resource:
        return any(_url_matches(url, asked.path) for url in rule.urls)
    if asked.group not in rule.groups and ALL not in rule.groups:
        return False
    if ALL in rule.resources:
        return True
    if not asked.subresource:
        return asked.resource in rule.resources
    return f"{asked.resource}/{asked.subresource}" in rule.resources or f"*/{asked.subresource}" in rule.resources


def _url_matches(url: str, path: str) -> bool:
    return url in (ALL, path) or (url.endswith("*") and path.startswith(url.rstrip("*")))


def missing(held: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """What of ``wanted`` is not within ``held``, in single permissions. Raises ``OverflowError`` past the limit."""
    found: list[Rule] = []
    for rule in wanted:
        if any(_covers(owner, rule) for owner in held):
            continue
        found += [part for part in _parts(rule) if not any(_covers(owner, part) for owner in held)]
    return found


def _parts(rule: Rule) -> Iterator[Rule]:
    """The rule as rules of one verb on one resource of one group, or on one path."""
    count = len(rule.verbs) * (max(1, len(rule.groups)) * max(1, len(rule.resources)) * max(1, len(rule.names))
                               + len(rule.urls))
    if count > LIMIT_SUBRULES:
        raise OverflowError(f"the rule amounts to {count} single permissions, the limit is {LIMIT_SUBRULES}")
    for verb, group, resource in product(sorted(rule.verbs), sorted(rule.groups), sorted(rule.resources)):
        one = Rule(frozenset({verb}), frozenset({group}), frozenset({resource}))
        if rule.names:
            yield from (one._replace(names=frozenset({name})) for name in sorted(rule.names))
        else:
            yield one
    for verb, url in product(sorted(rule.verbs), rule.urls):
        yield Rule(frozenset({verb}), urls=(url,))


def _covers(owner: Rule, rule: Rule) -> bool:
    return ((ALL in owner.verbs or rule.verbs <= owner.verbs)
            and (ALL in owner.groups or rule.groups <= owner.groups)
            and all(_resource_covered(owner, resource) for resource in rule.resources)
            and (not owner.names or (bool(rule.names) and rule.names <= owner.names))
            and all(any(_url_covers(mine, url) for mine in owner.urls) for url in rule.urls))


def _resource_covered(owner: Rule, resource: str) -> bool:
    if ALL in owner.resources or resource in owner.resources:
        return True
    _, slash, subresource = resource.partition("/")
    return bool(slash) and f"*/{subresource}" in owner.resources


def _url_covers(mine: str, url: str) -> bool:
    return mine in (ALL, url) or (mine.endswith("*") and url.startswith(mine.rstrip("*")))


def compact(rules: Iterable[Rule]) -> list[Rule]:
    """Single permissions on the same resource put together again, as upstream reports them."""
    verbs: dict[tuple[Any, ...], set[str]] = {}
    for rule in rules:
        verbs.setdefault(rule[1:], set()).update(rule.verbs)
    return [Rule(frozenset(found), *rest) for rest, found in verbs.items()]


def text(rule: Rule) -> str:
    """The rule in upstream's short form: ``{APIGroups:[""], Resources:["pods"], Verbs:["get"]}``."""
    fields = (("APIGroups", sorted(rule.groups)), ("Resources", sorted(rule.resources)),
              ("NonResourceURLs", list(rule.urls)), ("ResourceNames", sorted(rule.names)),
              ("Verbs", sorted(rule.verbs)))
    return "{" + ", ".join(f"{name}:{quoted(values)}" for name, values in fields if values) + "}"


def quoted(values: Iterable[str]) -> str:
    """A list of strings as Go prints it with ``%q``."""
    return "[" + " ".join(json.dumps(value, ensure_ascii=False) for value in values) + "]"
