"""What models are fetched with on our own node: the stores, the registry, the accounts' Secrets, and the cache."""

from __future__ import annotations

from lightship.artifacts.cache import Cache, Options
from lightship.artifacts.sources import Limits
from lightship.client.client import Client
from lightship.composition.domains import History
from lightship.domains.registry import resolve
from lightship.domains.serving import account_secrets, entrypoints, places
from lightship.domains.serving.storage import Registered
from lightship.settings import Settings

REGISTRY_NAMESPACE = "default"
"""The one registry of a platform, as its REST has it."""
_DAY_SECONDS, _GIB = 86_400.0, 1024**3


def fetching(settings: Settings, history: History, client: Client) -> entrypoints.Fetching:
    """``client`` acts as ``account_secrets.IDENTITY``."""
    async def registered(namespace: str, name: str) -> Registered:
        # What a namespace may fetch is decided where the files lie, not by who knows their names.
        return Registered(*await resolve.resolve(history.database, REGISTRY_NAMESPACE, name))

    cache = Cache(settings.data_dir / "model-cache", Options(
        unused_seconds=settings.model_cache_days * _DAY_SECONDS, unused_bytes=settings.model_cache_gib * _GIB))
    return entrypoints.Fetching(cache=cache, secrets=account_secrets.AccountSecrets(client), platform=places.Platform(
        stores=history.artifacts, resolve=registered, trusted=settings.trusted_namespaces,
        folders=settings.model_folder_paths, limits=Limits()))
