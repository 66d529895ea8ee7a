"""What every cluster has from the start: namespaces, their default ServiceAccounts, and the default policy.

``composition`` calls me once the store is open, with the client of somebody who may do everything; I write through
``handle``, like everybody else. A second start finds all in place and writes nothing; what an upgrade adds to a
default role is added, and what an administrator took in hand (``autoupdate: "false"``) is left alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.client.transport import User
from lightship.cluster.apiserver.access import AUTHENTICATED, MASTERS, platform_policy, policy
from lightship.kube import objects, rbac, resources
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

IDENTITY = User(name="system:apiserver", groups=(MASTERS, AUTHENTICATED))
"""Who bootstraps: there are no roles yet that could allow it."""

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "kubeflow")
ACCOUNTS = ("default", "default-editor")
"""In every namespace: one that may nothing beyond discovery, and Kubeflow's, as which pipeline steps run."""
PRIORITY_CLASSES = (("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the "
                                                               "cluster, but can be moved to another node if "
                                                               "necessary."),
                    ("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved from "
                                                            "their current node."))


async def ensure(client: Client) -> None:
    """Make what is missing; harmless to repeat."""
    await _create_missing(client, resources.NAMESPACES, [{"metadata": {"name": name}} for name in NAMESPACES])
    await _create_missing(client, resources.SERVICE_ACCOUNTS, [
        {"metadata": {"name": account, "namespace": name}} for account in ACCOUNTS for name in NAMESPACES])
    await _create_missing(client, resources.PRIORITY_CLASSES, [
        {"metadata": {"name": name}, "value": value, "description": text}
        for name, value, text in PRIORITY_CLASSES])
    roles = [*policy.cluster_roles(), *platform_policy.cluster_roles()]
    await _reconcile(client, resources.CLUSTER_ROLES, filled(roles))
    await _reconcile(client, resources.CLUSTER_ROLE_BINDINGS,
                     [*policy.cluster_role_bindings(), *platform_policy.cluster_role_bindings()])


def filled(roles: Sequence[Object]) -> list[Object]:
    """The roles with aggregated ones filled in, those that are aggregated from aggregated ones as well."""
    while True:
        rules = {objects.name(role): rbac.aggregated_rules(role, roles) for role in roles if rbac.is_aggregated(role)}
        if all(role["rules"] == rules.get(objects.name(role), role["rules"]) for role in roles):
            return list(roles)
        roles = [role | {"rules": rules.get(objects.name(role), role["rules"])} for role in roles]


async def _create_missing(client: Client, resource: Resource, wanted: Sequence[Object]) -> None:
    there = {objects.key(obj) for obj in (await client.list(resource)).items}
    await _together([ensure_object(client, resource, obj) for obj in wanted if objects.key(obj) not in there])


async def _reconcile(client: Client, resource: Resource, wanted: Sequence[Object]) -> None:
    there = {objects.name(obj): obj for obj in (await client.list(resource)).items}
    writes = []
    for obj in wanted:
        found = there.get(objects.name(obj))
        if found is None:
            writes.append(ensure_object(client, resource, obj))
        elif (change := _change(obj, found)) is not None:
            writes.append(_apply(client, resource, objects.name(obj), change))
    await _together(writes)


def _change(wanted: Object, found: Object) -> Object | None:
    """What a default role or binding lacks, as a merge patch; None where nothing, or where it is somebody's own."""
    annotations = objects.annotations(found)
    if annotations.get(rbac.AUTOUPDATE) == "false":
        return None
    change: Object = {}
    labels = {key: value for key, value in objects.labels(wanted).items() if objects.labels(found).get(key) != value}
    if labels:
        change["metadata"] = {"labels": labels}
    for field in ("rules", "subjects"):
        missing = rbac.uncovered(wanted.get(field) or (), found.get(field) or [])
        if missing and not (field == "rules" and rbac.is_aggregated(found)):
            change[field] = [*(found.get(field) or ()), *missing]
    if wanted.get("aggregationRule") and not found.get("aggregationRule"):
        change |= {"aggregationRule": wanted["aggregationRule"]}
    return change or None


async def _apply(client: Client, resource: Resource, name: str, change: Object) -> None:
    await client.patch(resource, objects.Key("", name), change)


async def _together(writes: Sequence[Any]) -> None:
    """All at once, so that they reach the disk in one transaction."""
    if writes:
        await asyncio.gather(*writes)


async def ensure_object(client: Client, resource: Resource, obj: Object) -> None:
    """Make ``obj``, which need not say its kind, unless one of its name is there."""
    try:
        await client.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind} | obj)
    except errors.AlreadyExists:
        return
