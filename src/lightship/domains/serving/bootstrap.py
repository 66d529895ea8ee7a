"""What serving puts into a cluster at the start: the shipped runtimes, where they are not there yet.

``app`` calls me once the API answers. An object of the same name is left as it is: it may be upstream's, or changed
by an administrator.
"""

from __future__ import annotations

from lightship import errors
from lightship.client.client import Client
from lightship.domains.serving import cluster_gateway, kinds
from lightship.domains.serving.cluster_gateway import ClusterGateway
from lightship.domains.serving.serving_runtime import shipped
from lightship.runtime import apply


async def bootstrap(client: Client, gateway: ClusterGateway | None = None) -> None:
    """Create the shipped ClusterServingRuntimes that are missing, and the gateway where it is to run as Pods."""
    for runtime in shipped.runtimes():
        try:
            await client.create(kinds.CLUSTER_SERVING_RUNTIMES, runtime)
        except errors.AlreadyExists:
            continue  # whoever made it first decides what is in it
    for resource, wanted in cluster_gateway.render(gateway) if gateway is not None else ():
        await apply.ensure(client, resource, wanted, None)
