"""What tuning puts into a cluster at the start: the Service by which trials find where to report metrics.

``composition`` calls me once the API answers. One that is there is left as it is.
"""

from __future__ import annotations

import contextlib

from lightship import errors
from lightship.client.client import Client
from lightship.domains.tuning.collectors import manager
from lightship.kube.resources import SERVICES


async def bootstrap(client: Client) -> None:
    """Create the Service ``kubeflow/katib-db-manager`` where it is missing."""
    with contextlib.suppress(errors.AlreadyExists):
        await client.create(SERVICES, manager.service())
