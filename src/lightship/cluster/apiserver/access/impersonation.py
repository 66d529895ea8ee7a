"""``kubectl --as``: for whom a request says that it acts, and the reviews that this needs. ``gate`` calls me."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import unquote

from lightship import errors
from lightship.client.transport import User
from lightship.cluster.apiserver.access import ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, Attributes

PREFIX = "impersonate-"
_USER, _GROUP, _UID, _EXTRA = "impersonate-user", "impersonate-group", "impersonate-uid", "impersonate-extra-"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATION = "authentication.k8s.io"
SEPARATOR = "\n"
"""Between the values of a header that came more than once; no header's value can hold it."""
LIMIT_VALUES = 100


def wanted(headers: Mapping[str, str]) -> User | None:
    """Whom the headers name; None where they name nobody. Raises ``errors.BadRequest``."""
    given = {name: value for name, value in headers.items() if name.startswith(PREFIX)}
    if not given:
        return None
    name = given.get(_USER, "")
    if not name:
        raise errors.BadRequest(f"requested impersonation by {sorted(given)[0][:100]} without impersonating a user",
                                remedy="Name the user too: kubectl --as")
    groups = _values(given.get(_GROUP))
    extra = {unquote(key.removeprefix(_EXTRA)): tuple(_values(value)) for key, value in given.items()
             if key.startswith(_EXTRA)}
    if sum(map(len, extra.values()), len(groups)) > LIMIT_VALUES:
        raise errors.BadRequest(f"a request may name {LIMIT_VALUES} groups and extra values to impersonate")
    return User(name=name, groups=tuple(groups), uid=given.get(_UID, ""), extra=extra)


def _values(value: str | None) -> list[str]:
    return [part for part in (value or "").split(SEPARATOR) if part]


def reviews(user: User) -> Iterator[Attributes]:
    """What the true user must be allowed, for all that is named."""
    account = _account(user.name)
    if account:
        yield Attributes("impersonate", "", "serviceaccounts", "", *account)
    else:
        yield Attributes("impersonate", "", "users", name=user.name)
    for group in user.groups:
        yield Attributes("impersonate", "", "groups", name=group)
    if user.uid:
        yield Attributes("impersonate", _AUTHENTICATION, "uids", name=user.uid)
    for key, values in user.extra.items():
        for value in values:
            yield Attributes("impersonate", _AUTHENTICATION, "userextras", key, name=value)


def complete(user: User) -> User:
    """The user with the groups that everybody of his sort has."""
    groups = list(user.groups)
    account = _account(user.name)
    if account and not groups:
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{account[0]}"]
    if user.name == ANONYMOUS.name:
        groups = groups or [UNAUTHENTICATED]
    elif AUTHENTICATED not in groups and UNAUTHENTICATED not in groups:
        groups.append(AUTHENTICATED)
    return User(name=user.name, groups=tuple(groups), uid=user.uid, extra=user.extra)


def _account(name: str) -> tuple[str, str] | None:
    if not name.startswith(_ACCOUNT):
        return None
    namespace, colon, account = name.removeprefix(_ACCOUNT).partition(":")
    return (namespace, account) if colon and namespace and account and ":" not in account else None
