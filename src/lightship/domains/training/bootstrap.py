"""What training puts into a cluster at the start, where it is not there yet: shipped runtimes, and the version.

``composition`` calls me once the API answers. An object of the same name is left as it is: it may be upstream's, or
changed by an administrator.
"""

from __future__ import annotations

from collections.abc import Iterator

from lightship import errors
from lightship.client.client import Client
from lightship.domains.training import kinds, names
from lightship.domains.training.runtimes import shipped
from lightship.kube.objects import Object
from lightship.kube.resources import CONFIGMAPS, NAMESPACES, Resource


async def bootstrap(client: Client) -> None:
    """Create what is missing."""
    for resource, obj in _wanted():
        try:
            await client.create(resource, obj)
        except errors.AlreadyExists:
            continue  # whoever made it first decides what is in it


def _wanted() -> Iterator[tuple[Resource, Object]]:
    for runtime in shipped.runtimes():
        yield kinds.CLUSTER_TRAINING_RUNTIMES, runtime
    yield NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.SYSTEM_NAMESPACE}}
    yield CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap",
                       "metadata": {"name": names.PUBLIC_CONFIG_MAP, "namespace": names.SYSTEM_NAMESPACE},
                       "data": {names.VERSION_KEY: names.TRAINER_VERSION}}
