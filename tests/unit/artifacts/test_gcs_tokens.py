"""Access tokens for Google Cloud Storage: asked for once, kept while they last, signed so that Google can check it."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from lightship.artifacts.gcs_tokens import Tokens
from lightship.launcher.files import StagingError

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ACCOUNT = {
    "type": "service_account", "client_email": "me@project", "private_key_id": "id-1",
    "token_uri": "https://tokens.example/token",
    "private_key": KEY.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                     serialization.NoEncryption()).decode()}


class Google:
    def __init__(self) -> None:
        self.asked: list[urllib.request.Request] = []

    def __call__(self, request: urllib.request.Request) -> Mapping[str, Any]:
        self.asked.append(request)
        return {"access_token": f"token-{len(self.asked)}", "expires_in": 3600}


def decoded(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_service_account_signs_who_it_is() -> None:
    google = Google()
    assert Tokens(ACCOUNT, ask=google, now=lambda: 1000.0).headers() == {"Authorization": "Bearer token-1"}

    assert google.asked[0].full_url == "https://tokens.example/token"
    data = google.asked[0].data
    assert isinstance(data, bytes)
    head, claims, signature = parse_qs(data.decode())["assertion"][0].split(".")
    KEY.public_key().verify(base64.urlsafe_b64decode(signature + "=="), f"{head}.{claims}".encode(),
                            padding.PKCS1v15(), hashes.SHA256())
    assert decoded(head) == {"alg": "RS256", "typ": "JWT", "kid": "id-1"}
    assert decoded(claims)["iss"] == "me@project"
    assert (decoded(claims)["iat"], decoded(claims)["exp"]) == (1000, 4600)


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    google, now = Google(), [0.0]
    tokens = Tokens({}, ask=google, now=lambda: now[0])
    seen = []
    for moment in (0.0, 3000.0, 3470.0, 3500.0, 7000.0):
        now[0] = moment
        seen.append(tokens.headers()["Authorization"].removeprefix("Bearer "))
    assert seen == ["token-1", "token-1", "token-1", "token-2", "token-3"]


@pytest.mark.parametrize("account", [
    {"type": "external_account"}, {"type": "service_account", "client_email": "x"},
    {**ACCOUNT, "private_key": "no key"}, {"type": "authorized_user"},
])
def test_credentials_that_are_none_are_refused(account: Mapping[str, Any]) -> None:
    with pytest.raises(StagingError):
        Tokens(account, ask=Google()).headers()
