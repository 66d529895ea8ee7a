"""What every cluster has from the start: the namespaces and their default ServiceAccounts.

``app`` calls me once the store is open; I write through ``handle``, like everybody else.
"""

from __future__ import annotations

from lightship import errors
from lightship.client.client import Client
from lightship.kube import resources
from lightship.kube.objects import Object
from lightship.kube.resources import Resource

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "kubeflow")
DEFAULT_ACCOUNT = "default"


async def ensure(client: Client) -> None:
    """Make what is missing; harmless to repeat."""
    for name in NAMESPACES:
        await ensure_object(client, resources.NAMESPACES, {"metadata": {"name": name}})
        account = {"metadata": {"name": DEFAULT_ACCOUNT, "namespace": name}}
        await ensure_object(client, resources.SERVICE_ACCOUNTS, account)


async def ensure_object(client: Client, resource: Resource, obj: Object) -> None:
    """Make ``obj``, which need not say its kind, unless one of its name is there."""
    metadata = obj["metadata"]
    try:
        await client.get(resource, metadata["name"], metadata.get("namespace", ""))
    except errors.NotFound:
        try:
            await client.create(resource, {"apiVersion": resource.api_version, "kind": resource.kind} | obj)
        except errors.AlreadyExists:
            return
