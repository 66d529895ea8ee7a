"""Browser sessions: a random cookie that stands for a token, kept in memory, bounded in number and age.

``auth`` calls me. The token itself never reaches the browser's storage; a restart of the server ends all sessions.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from lightship.lib.clock import Clock

SESSION_LIMIT_SECONDS = 12 * 3600
SESSIONS_LIMIT = 1000


class Sessions:
    """``open`` gives a cookie for a token, ``token`` the token for a cookie."""

    def __init__(self, clock: Clock, *, random: Callable[[], str] = lambda: secrets.token_urlsafe(32)) -> None:
        self._clock = clock
        self._random = random
        self._open: dict[str, tuple[str, float]] = {}

    def open(self, token: str) -> str:
        now = self._clock.monotonic()
        self._open = {key: kept for key, kept in self._open.items() if kept[1] > now}
        while len(self._open) >= SESSIONS_LIMIT:
            del self._open[next(iter(self._open))]
        cookie = self._random()
        self._open[_key(cookie)] = (token, now + SESSION_LIMIT_SECONDS)
        return cookie

    def token(self, cookie: str) -> str | None:
        kept = self._open.get(_key(cookie))
        return kept[0] if kept is not None and kept[1] > self._clock.monotonic() else None

    def close(self, cookie: str) -> None:
        self._open.pop(_key(cookie), None)


def _key(cookie: str) -> str:
    # Looked up by its digest, so that comparing takes no longer the more of a guess is right.
    return hashlib.sha256(cookie.encode()).hexdigest()
