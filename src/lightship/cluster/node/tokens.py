"""ServiceAccount tokens for Pods, minted by the API and bound to the Pod, so that each dies with its own.

``volumes`` calls me through the agent. A token lives in memory here and in the Pods' own volumes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.kube.resources import SERVICE_ACCOUNTS
from lightship.lib.clock import Clock

TOKENS_LIMIT = 1024
_FRESH = 0.5
"""The part of its life in which a token is still given to its Pod, whose volumes may ask again."""


class ServiceAccountTokens:
    """Raises ``errors.NotFound`` where there is no such account."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._tokens: OrderedDict[tuple[str, str, str, int], tuple[float, str]] = OrderedDict()

    async def get(self, pod: Object, audience: str, seconds: int) -> str:
        """A token for the Pod's account that lasts at least half of ``seconds``."""
        account = str(objects.spec(pod).get("serviceAccountName") or "default")
        key = (objects.namespace(pod), objects.uid(pod), audience, seconds)
        now = self._clock.monotonic()
        if key in self._tokens and self._tokens[key][0] > now:
            return self._tokens[key][1]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": objects.name(pod), "uid": objects.uid(pod)}
        spec: dict[str, Any] = {"expirationSeconds": seconds, "boundObjectRef": bound}
        if audience:
            spec["audiences"] = [audience]
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                   "metadata": {"namespace": key[0]}, "spec": spec}
        answer: Mapping[str, Any] = await self._client.create(SERVICE_ACCOUNTS, request, subresource="token",
                                                              name=account)
        token = str(answer["status"]["token"])
        self._tokens[key] = (now + seconds * _FRESH, token)
        while len(self._tokens) > TOKENS_LIMIT:
            self._tokens.popitem(last=False)
        return token
