"""AWS's Signature Version 4, as S3 and what speaks like it want it. Pure: keys and the time are arguments.

``s3`` calls me for every request. Paths are encoded once, as S3 has it (other services of AWS encode twice).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Dict, List, NamedTuple, Tuple
from urllib.parse import quote

SERVICE = "s3"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"


class Credentials(NamedTuple):
    """``token`` belongs to keys that were lent for a time, and is empty for lasting ones."""

    access_key: str
    secret_key: str
    token: str = ""


class Request(NamedTuple):
    """What is signed. ``path`` is encoded already; ``query`` has plain names and values."""

    method: str
    host: str
    path: str
    query: Tuple[Tuple[str, str], ...]
    payload_sha256: str


def encoded_path(*parts: str) -> str:
    """The path of a bucket and a key, which keeps its slashes."""
    return "/" + "/".join(quote(part, safe="/~") for part in parts if part)


def encoded_query(query: Tuple[Tuple[str, str], ...]) -> str:
    """The query in the order and encoding that are signed, so that what is sent is what was signed."""
    pairs = sorted((quote(name, safe="~"), quote(value, safe="~")) for name, value in query)
    return "&".join("%s=%s" % pair for pair in pairs)


def headers(request: Request, credentials: Credentials, region: str, now_seconds: float) -> Dict[str, str]:
    """The headers to send with ``request``, the signature among them."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_seconds))
    signed = {"host": request.host, "x-amz-content-sha256": request.payload_sha256, "x-amz-date": moment}
    if credentials.token:
        signed["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(signed))
    canonical = "\n".join([
        request.method, request.path, encoded_query(request.query),
        *("%s:%s" % (name, signed[name]) for name in sorted(signed)), "", names, request.payload_sha256])
    scope = [moment[:8], region, SERVICE, "aws4_request"]
    text = "\n".join([_ALGORITHM, moment, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    signature = hmac.new(_key(credentials.secret_key, scope), text.encode(), hashlib.sha256).hexdigest()
    signed["authorization"] = "%s Credential=%s/%s, SignedHeaders=%s, Signature=%s" % (
        _ALGORITHM, credentials.access_key, "/".join(scope), names, signature)
    return signed


def _key(secret: str, scope: List[str]) -> bytes:
    key = ("AWS4" + secret).encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
