"""Who a client's certificate says that it is: the common name is the user, each organisation a group. Pure.

``listener`` calls me with what the handshake has checked against our own authority.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightship.client.transport import User
from lightship.cluster.apiserver.access import AUTHENTICATED


def user_of(certificate: Mapping[str, Any] | None) -> User | None:
    """The user of a certificate as ``ssl`` shows it; None without one, or where it names nobody."""
    names: dict[str, list[str]] = {}
    for part in (certificate or {}).get("subject") or ():
        for key, value in part:
            names.setdefault(key, []).append(value)
    if not names.get("commonName"):
        return None
    groups = [*names.get("organizationName", ()), AUTHENTICATED]
    return User(name=names["commonName"][0], groups=tuple(dict.fromkeys(groups)))
