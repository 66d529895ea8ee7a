"""Access tokens for Google Cloud Storage: from a service account's key, a user's login, or the machine itself.

``gcs`` asks me for the headers of each request, in its threads; I keep a token until shortly before it ends.
"""

from __future__ import annotations

import base64
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from lightship.launcher.files import StagingError

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
LEAST_SECONDS = 120.0
"""A token that ends sooner is not used any more."""
LIFE_SECONDS = 3600
LIMIT_REQUEST_SECONDS = 20.0
METADATA_HOST = "metadata.google.internal"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"

Ask = Callable[[urllib.request.Request], Mapping[str, Any]]


def ask(request: urllib.request.Request) -> Mapping[str, Any]:
    """One request whose answer is a JSON object. Raises ``StagingError``."""
    try:
        with urllib.request.urlopen(request, timeout=LIMIT_REQUEST_SECONDS) as answer:
            found = json.loads(answer.read(1 << 20))
    except (OSError, ValueError) as cause:
        raise StagingError(f'no access token came from "{request.full_url.partition("?")[0]}": {cause}') from cause
    if not isinstance(found, dict):
        raise StagingError(f'no access token came from "{request.full_url}": the answer is no object')
    return found


class Tokens:
    """``account`` is the content of a credentials file as Google writes it, empty for the machine's own identity, or
    None for an emulator that asks nobody.
    """

    def __init__(self, account: Mapping[str, Any] | None, *, ask: Ask = ask,
                 now: Callable[[], float] = time.time) -> None:
        self._account = account
        self._ask = ask
        self._now = now
        self._lock = threading.Lock()
        self._token = ""
        self._ends_at = 0.0

    def headers(self) -> Mapping[str, str]:
        """Raises ``StagingError`` where no token can be had."""
        if self._account is None:
            return {}
        with self._lock:
            if self._now() + LEAST_SECONDS > self._ends_at:
                found = self._ask(self._request(self._account))
                self._token = str(found["access_token"])
                self._ends_at = self._now() + float(found.get("expires_in") or LIFE_SECONDS)
            return {"Authorization": f"Bearer {self._token}"}

    def _request(self, account: Mapping[str, Any]) -> urllib.request.Request:
        kind = account.get("type")
        if not account:
            return urllib.request.Request(
                f"http://{METADATA_HOST}/computeMetadata/v1/instance/service-accounts/default/token",
                headers={"Metadata-Flavor": "Google"})
        try:
            if kind == "service_account":
                url = str(account.get("token_uri") or "https://oauth2.googleapis.com/token")
                form = {"grant_type": _GRANT, "assertion": assertion(account, url, self._now())}
            elif kind == "authorized_user":
                url = "https://oauth2.googleapis.com/token"
                form = {"grant_type": "refresh_token", **{name: str(account[name]) for name in (
                    "client_id", "client_secret", "refresh_token")}}
            else:
                raise StagingError(f'Google credentials of type "{kind}" are not known here: use a service account\'s '
                                   "key, a user's login, or the machine's own identity")
        except (KeyError, ValueError) as cause:
            raise StagingError(f"the Google credentials cannot be used: {cause}") from cause
        return urllib.request.Request(url, data=urlencode(form).encode())


def assertion(account: Mapping[str, Any], audience: str, now: float) -> str:
    """What a service account signs to be given a token: a JWT of an hour."""
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding, rsa

    key = serialization.load_pem_private_key(str(account["private_key"]).encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("the private key is not an RSA key")
    header = {"alg": "RS256", "typ": "JWT", "kid": str(account.get("private_key_id") or "")}
    claims = {"iss": str(account["client_email"]), "scope": SCOPE, "aud": audience, "iat": int(now),
              "exp": int(now) + LIFE_SECONDS}
    text = ".".join(_encoded(json.dumps(part).encode()) for part in (header, claims))
    return f"{text}.{_encoded(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
