"""The Secrets of a Pod's ServiceAccount, read when its model is fetched. ``entrypoints`` and ``agent`` call me.

Upstream looks when the Pod is created and writes references into it; here a key that was changed counts for the next
start, and no Pod holds it. I act as the account ``kubeflow/storage``, which may read Secrets and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship import errors
from lightship.client.client import Client
from lightship.domains.serving import credentials
from lightship.kube import objects
from lightship.kube.resources import SECRETS, SERVICE_ACCOUNTS

IDENTITY = "storage"
_DEFAULT_ACCOUNT = "default"


class AccountSecrets:
    """What the accounts of a cluster's namespaces bring along."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of(self, pod: Mapping[str, Any]) -> dict[str, str]:
        """The variables for a Pod. Raises ``errors.InvalidInput`` for a Secret that is not there."""
        namespace = str(pod["metadata"]["namespace"])
        name = str((pod.get("spec") or {}).get("serviceAccountName") or _DEFAULT_ACCOUNT)
        try:
            account = await self._client.get(SERVICE_ACCOUNTS, name, namespace)
        except errors.NotFound:
            account = None  # as upstream has it: there is nothing to bring then
        found: dict[str, str] = {}
        for secret in credentials.secret_names(account, objects.annotations(dict(pod))):
            try:
                found |= credentials.environment(await self._client.get(SECRETS, secret, namespace))
            except errors.NotFound as cause:
                raise errors.InvalidInput(f'the ServiceAccount "{name}" names a Secret that is not there: "{secret}"',
                                          remedy="Create it, or take it off the account's secrets") from cause
        return found
