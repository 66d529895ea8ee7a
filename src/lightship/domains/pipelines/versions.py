"""Which version of the Secrets and ConfigMaps that steps read is there now. The cache's edge to the Kubernetes API.

``reconciler`` makes one of me a pass and asks me for each step that may be cached; I look at each object once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.resources import Resource

ABSENT = "absent"


class Versions:
    """Of the objects of one namespace."""

    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._seen: dict[tuple[str, str], str] = {}

    async def of(self, named: Sequence[tuple[Resource, str]]) -> Mapping[tuple[str, str], str] | None:
        """By kind and name; None where one may not be seen, so that nothing is known."""
        found: dict[tuple[str, str], str] = {}
        for resource, name in named:
            key = (resource.kind, name)
            if key not in self._seen:
                self._seen[key] = await self._version(resource, name)
            if not self._seen[key]:
                return None
            found[key] = self._seen[key]
        return found

    async def _version(self, resource: Resource, name: str) -> str:
        try:
            meta = objects.meta(await self._client.get(resource, name, self._namespace))
        except errors.NotFound:
            return ABSENT
        except errors.Forbidden:
            return ""
        return f"{meta.get('uid')}:{meta.get('resourceVersion')}"
