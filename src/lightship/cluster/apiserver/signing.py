"""How ServiceAccount tokens are signed: ES256, so that anybody can check them by our public keys, or HS256 for our own
child processes, so that a start need not load a cryptographic library.

``tokens`` calls me. ``cryptography`` is imported when the first ES256 token is signed or checked; a token that was
checked is remembered by ``tokens``, so a request costs no signature.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightship import errors
from lightship.lib import private

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_COORDINATE_BYTES = 32


def encode(data: bytes) -> str:
    """Base64 as JWTs have it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    """Raises ``ValueError``."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Shared:
    """HS256: whoever can check can sign."""

    algorithm, key_id = "HS256", "lightship"

    def __init__(self, key: bytes) -> None:
        assert len(key) >= _COORDINATE_BYTES, "the key is too short"
        self._key = key

    def sign(self, text: bytes) -> bytes:
        return hmac.digest(self._key, text, "sha256")

    def verify(self, text: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(self.sign(text), signature)


class Public:
    """ES256, with a key that lies in ``path`` and is made where it is missing. Raises ``errors.StateError``."""

    algorithm = "ES256"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._loaded: ec.EllipticCurvePrivateKey | None = None

    @property
    def key_id(self) -> str:
        x, y = self._point()
        return encode(hashlib.sha256(x + y).digest())

    def sign(self, text: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        r, s = utils.decode_dss_signature(self._key().sign(text, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")

    def verify(self, text: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        if len(signature) != 2 * _COORDINATE_BYTES:
            return False
        r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE_BYTES], signature[_COORDINATE_BYTES:]))
        try:
            self._key().public_key().verify(utils.encode_dss_signature(r, s), text, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def key_set(self) -> dict[str, Any]:
        """The public key as a JSON Web Key Set."""
        x, y = self._point()
        return {"keys": [{"use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": self.algorithm,
                          "x": encode(x), "y": encode(y)}]}

    def _point(self) -> tuple[bytes, bytes]:
        numbers = self._key().public_key().public_numbers()
        return numbers.x.to_bytes(_COORDINATE_BYTES, "big"), numbers.y.to_bytes(_COORDINATE_BYTES, "big")

    def _key(self) -> ec.EllipticCurvePrivateKey:
        if self._loaded is None:
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ec

            try:
                if not self._path.exists():
                    made = ec.generate_private_key(ec.SECP256R1())
                    private.write(self._path, made.private_bytes(
                        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
                loaded = serialization.load_pem_private_key(self._path.read_bytes(), password=None)
            except (OSError, ValueError) as e:
                raise errors.StateError(f"could not use the key of ServiceAccount tokens in {self._path}: {e}",
                                        remedy="Check that you may write there; without the file a new one is made, "
                                               "and tokens that Pods hold are renewed") from e
            assert isinstance(loaded, ec.EllipticCurvePrivateKey), f"{self._path} holds another kind of key"
            self._loaded = loaded
        return self._loaded
