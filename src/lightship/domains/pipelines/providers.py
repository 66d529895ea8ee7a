"""The stores that namespaces bring along, by their ConfigMap ``kfp-launcher`` and the Secrets that it names.

``composition`` makes me; the artifacts' ``routing`` asks me for the store of a URI, the routes and the scheduler of
recurring runs for the root of a new run. ConfigMaps come from an informer, so to ask costs nothing where there is none;
a Secret is read when its store is opened, and again from time to time, for keys that were changed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightship import errors
from lightship.artifacts import location, routing
from lightship.artifacts.store import ObjectStore
from lightship.client.client import Client, Selection
from lightship.domains.pipelines import launcher_config
from lightship.domains.pipelines.launcher_config import CONFIG_MAP, Config, Session
from lightship.kube import objects
from lightship.kube.objects import Key
from lightship.kube.resources import SECRETS
from lightship.lib.clock import Clock
from lightship.runtime.informer import Informer

SELECTION = Selection(fields=f"metadata.name={CONFIG_MAP}")
LIMIT_OPEN_STORES = 64
SECRET_SECONDS = 60.0
"""How long a Secret's keys are believed."""


@dataclass(kw_only=True)
class _Opened:
    """A store with the keys that it was opened with."""

    store: ObjectStore
    keys: Mapping[str, str]
    read_at: float


class Providers:
    """``config_maps`` is the informer of ``SELECTION``; ``client`` may get Secrets.

    ``in_pods`` says that steps' own Pods reach the stores, by a launcher that knows nothing of other providers.
    """

    def __init__(self, client: Client, config_maps: Informer, clock: Clock, *, in_pods: bool = False) -> None:
        self._client = client
        self._config_maps = config_maps
        self._clock = clock
        self._in_pods = in_pods
        self._parsed: dict[str, tuple[str, Config]] = {}
        self._opened: OrderedDict[tuple[str, Session], _Opened] = OrderedDict()

    def config(self, namespace: str) -> Config:
        """What the namespace says. Raises ``errors.InvalidInput`` for what cannot be honoured."""
        found = self._config_maps.get(Key(namespace, CONFIG_MAP))
        if found is None:
            self._parsed.pop(namespace, None)
            return launcher_config.NOTHING
        version = str(objects.meta(found).get("resourceVersion"))
        known = self._parsed.get(namespace)
        if known is None or known[0] != version:
            known = (version, launcher_config.parse(found.get("data") or {}))
            if known[1].providers and self._in_pods:
                raise errors.InvalidInput(
                    f'"{launcher_config.PROVIDERS_KEY}" of the ConfigMap "{CONFIG_MAP}" is not honoured where steps\' '
                    "Pods reach the artifact store themselves", field=f"{CONFIG_MAP}.{launcher_config.PROVIDERS_KEY}",
                    remedy="Use the store of --artifacts, and leave the providers out")
            self._parsed[namespace] = known
        return known[1]

    async def store(self, namespace: str, uri: str) -> ObjectStore | None:
        """The namespace's own store of ``uri``, or None where the platform's is meant."""
        try:
            session = self.config(namespace).session(uri)
        except errors.InvalidInput as cause:
            # Runs that began before it was so wait until it is mended; new ones are refused.
            raise errors.Unavailable(str(cause)) from cause
        if session is None or not session.secret:
            return None
        known = self._opened.get((namespace, session))
        now = self._clock.monotonic()
        if known is None or now - known.read_at > SECRET_SECONDS:
            keys = await self._keys(namespace, session)
            if known is not None and known.keys == keys:
                known.read_at = now
            else:
                known = self._open(namespace, session, keys, now)
        return known.store

    def _open(self, namespace: str, session: Session, keys: Mapping[str, str], now: float) -> _Opened:
        # What is let go of ends with its last user, and its threads with it.
        opened = _Opened(store=_store(session, keys), keys=keys, read_at=now)
        self._opened[(namespace, session)] = opened
        self._opened.move_to_end((namespace, session))
        while len(self._opened) > LIMIT_OPEN_STORES:
            self._opened.popitem(last=False)
        return opened

    async def _keys(self, namespace: str, session: Session) -> Mapping[str, str]:
        place = f'the Secret "{session.secret}" that the ConfigMap "{CONFIG_MAP}" of "{namespace}" names'
        try:
            secret = await self._client.get(SECRETS, session.secret, namespace)
        except errors.NotFound as cause:
            raise errors.Forbidden(f"there is no {place[4:]}", remedy="Make the Secret") from cause
        data = secret.get("data") or {}
        missing = next((key for key in session.keys if not data.get(key)), None)
        if missing is not None:
            raise errors.Forbidden(f'{place} has no "{missing}"', remedy="Add the key to the Secret")
        try:
            return {key: base64.b64decode(data[key]).decode().strip() for key in session.keys}
        except (binascii.Error, UnicodeDecodeError, TypeError) as cause:
            raise errors.Forbidden(f"{place} holds no text", remedy="Mend the Secret") from cause


def _store(session: Session, keys: Mapping[str, str]) -> ObjectStore:
    if session.scheme == launcher_config.GCS:
        return routing.open_gcs(_account(session, keys[session.keys[0]]))
    access, secret = (keys[name] for name in session.keys)
    return routing.open_s3(session.scheme, {
        "AWS_ACCESS_KEY_ID": access, "AWS_SECRET_ACCESS_KEY": secret,
        **({"AWS_REGION": session.region} if session.region else {}),
        **({"AWS_ENDPOINT_URL_S3": session.endpoint} if session.endpoint else {})})


def _account(session: Session, text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise errors.Forbidden(f'"{session.keys[0]}" of the Secret "{session.secret}" is no Google account\'s JSON',
                               remedy="Store the key file that Google gave")
    return found


def is_own(providers: Providers | None, namespace: str, uri: str) -> bool:
    """Whether the namespace reaches ``uri`` by keys of its own, and so wherever those let it."""
    if providers is None or not location.scheme(uri):
        return False
    session = providers.config(namespace).session(uri)
    return session is not None and bool(session.secret)
