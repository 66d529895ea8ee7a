"""From a storageUri to the source of its files: who is asked, with whose keys. ``entrypoints`` and ``agent`` call me.

What a namespace brings of its own (the ServiceAccount's Secrets, ``storage.key``) comes first, then the platform's
artifact store as the namespace may see it; buckets that neither has are asked without keys, as public ones allow.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lightship import errors
from lightship.artifacts import routing, sources
from lightship.artifacts.errors import NotServed
from lightship.artifacts.sources import Limits, Source
from lightship.artifacts.store import ObjectStore, Stores
from lightship.domains.serving import credentials, storage
from lightship.domains.serving.errors import StorageRefused
from lightship.domains.serving.storage import Registered

_LATER = {
    "abfss": "Azure", "hdfs": "HDFS", "webhdfs": "HDFS", "oci": "an image registry", "pvc": "a claim at this place",
}
_AZURE_HOSTS = (".blob.core.windows.net", ".file.core.windows.net")
EVERY_NAMESPACE = "*"


Resolve = Callable[[str, str], Awaitable[Registered]]
"""A namespace and ``MODEL[/VERSION]`` to what is registered. Raises ``errors.NotFound``."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What this place has to fetch with. ``folders`` are those of the machine that file:// may name."""

    stores: Stores
    resolve: Resolve | None = None
    trusted: Collection[str] = ()
    """Namespaces that act with the platform's identity, and may have this machine itself asked."""
    folders: tuple[Path, ...] = ()
    limits: Limits = Limits()

    def trusts(self, namespace: str) -> bool:
        return namespace in self.trusted or EVERY_NAMESPACE in self.trusted


@dataclass(frozen=True, kw_only=True)
class Place:
    """A source, and the digest that its content must have where one is registered."""

    source: Source
    digest: str = ""


async def find(uri: str, namespace: str, env: Mapping[str, str], platform: Platform) -> Place:
    """Where ``uri`` leads a Pod of ``namespace``, whose variables are ``env``. Raises ``errors.LightshipError``."""
    uri, brought = credentials.located(uri, env)
    env = {**env, **brought}
    parsed = storage.parse(uri)
    if parsed.scheme == "model-registry":
        registered = await _registered(uri, namespace, platform)
        if storage.parse(registered.uri).scheme == "model-registry":
            raise StorageRefused(f"{uri} is registered at {registered.uri}, which leads to the registry again")
        place = await find(registered.uri, namespace, env, platform)
        return Place(source=place.source, digest=registered.digest)
    return Place(source=await _source(uri, parsed, namespace, env, platform))


async def _source(uri: str, parsed: storage.StorageUri, namespace: str, env: Mapping[str, str],
                  platform: Platform) -> Source:
    if parsed.scheme in ("http", "https", "git"):
        return await _web(uri, namespace, env, platform)
    if parsed.scheme == "file":
        if not platform.folders or not platform.trusts(namespace):
            raise StorageRefused(f"{uri}: file:// is off here, since it reads the host's own files",
                                 remedy="Name its folder in --model-folders, or put the model into the artifact store "
                                        "and use its minio:// URI")
        return sources.Folder(Path("/") / parsed.root / parsed.path, platform.folders, platform.limits)
    if parsed.scheme == "hf":
        return _hub(parsed, env, platform)
    if parsed.scheme not in storage.OBJECT_STORE_SCHEMES:
        raise StorageRefused(f"{uri}: this version does not fetch from {_LATER.get(parsed.scheme, parsed.scheme)}",
                             remedy="Put the model into the artifact store and use its minio:// or s3:// URI")
    store = await _own_store(parsed.scheme, namespace, env, platform)
    if store is None:
        store = await _platforms(uri, parsed.scheme, namespace, platform)
    return sources.of_store(uri, store, platform.limits)


async def _platforms(uri: str, scheme: str, namespace: str, platform: Platform) -> ObjectStore:
    """The platform's own store; a bucket of Google's that it has no identity for is asked as anybody may."""
    store = platform.stores.within(namespace)
    try:
        await store.list(uri.rstrip("/"), limit=1)
    except NotServed as problem:
        if scheme == "gs":
            return routing.open_gcs(None)
        raise StorageRefused(f"{uri}: no store for {scheme}:// is set up here for this namespace",
                             remedy="Give the ServiceAccount a Secret with its keys, or put the model into the "
                                    "artifact store and use its minio:// URI") from problem
    return store


async def _own_store(scheme: str, namespace: str, env: Mapping[str, str], platform: Platform) -> ObjectStore | None:
    """The bucket by keys that the Pod brings; None where it brings none."""
    if scheme == "gs" and env.get(credentials.GCS_CONTENT):
        try:
            account = json.loads(env[credentials.GCS_CONTENT])
        except ValueError as cause:
            raise errors.InvalidInput("the Google credentials in the Secret are no JSON") from cause
        if not isinstance(account, dict):
            raise errors.InvalidInput("the Google credentials in the Secret are no JSON object")
        return routing.open_gcs(account)
    anonymous = env.get("awsAnonymousCredential", "").lower() == "true"
    if scheme != "s3" or not (env.get("AWS_ACCESS_KEY_ID") or anonymous):
        return None
    endpoint = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    if endpoint and not platform.trusts(namespace):
        await _outside(endpoint)
    variables = {name: value for name, value in env.items() if name.startswith("AWS_") and name != "AWS_CA_BUNDLE"}
    if anonymous and not env.get("AWS_ACCESS_KEY_ID"):
        variables["AWS_ANONYMOUS"] = "true"
    return routing.open_s3("s3", variables)


async def _outside(url: str) -> None:
    from lightship.artifacts import web

    parts = urlsplit(url)
    await asyncio.to_thread(web.require_outside, parts.hostname or "", parts.port or 443)


async def _web(uri: str, namespace: str, env: Mapping[str, str], platform: Platform) -> Source:
    from lightship.artifacts import git, web

    anywhere = platform.trusts(namespace)
    if git.is_repository(uri):
        made = git.Repository(uri, git.Login(user=env.get("GIT_USERNAME", ""), password=env.get("GIT_PASSWORD", "")),
                              platform.limits)
        if not anywhere:
            await asyncio.to_thread(web.require_outside, *made.host)
        return made
    parts = urlsplit(uri)
    host = parts.hostname or ""
    if host.endswith(_AZURE_HOSTS) and not parts.query:
        raise StorageRefused(f"{uri}: this version does not fetch from Azure by its keys",
                             remedy="Use a URL of the file with a shared access signature, or put the model into the "
                                    "artifact store and use its minio:// URI")
    return web.WebFile(uri, web.Web(anywhere=anywhere), credentials.headers_for(host, env), platform.limits)


def _hub(parsed: storage.StorageUri, env: Mapping[str, str], platform: Platform) -> Source:
    from lightship.artifacts import hub

    name, _, revision = parsed.text.removeprefix("hf://").rstrip("/").partition(":")
    repository = hub.Hub("models", name, env.get("HF_TOKEN", ""), revision=revision or "main")
    return sources.of_streams(f"hf://{name}", repository.files, repository.stream, platform.limits)


async def _registered(uri: str, namespace: str, platform: Platform) -> Registered:
    """``model-registry://[HOST/]MODEL[/VERSION]``: of our own registry, or of another one's REST."""
    from lightship.domains.serving import other_registries

    parts = [part for part in uri.removeprefix("model-registry://").split("/") if part]
    if not 1 <= len(parts) <= 3:
        raise errors.InvalidInput(f"{uri} names no model", remedy="Write model-registry://[HOST/]MODEL[/VERSION]")
    named = len(parts) == 3 or (len(parts) == 2 and other_registries.is_host(parts[0]))
    if named and not other_registries.is_ours(parts[0]):
        return await other_registries.resolve(parts[0], parts[1:], anywhere=platform.trusts(namespace))
    if platform.resolve is None:
        raise StorageRefused(f"{uri}: there is no model registry here", remedy="Give the model's own URI")
    return await platform.resolve(namespace, "/".join(parts[1:] if named else parts))
