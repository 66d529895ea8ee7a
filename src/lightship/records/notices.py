"""Word of a change within this process: a write to the records wakes who waits for it.

REST routes publish, controllers and event streams subscribe; ``app`` makes one. Other processes are not heard here:
whoever must not miss their writes looks again from time to time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from lightship.kube.objects import Key

_log = logging.getLogger(__name__)

RUNS = "runs"
ENDED_RUNS = "ended-runs"
"""A run has ended, or is gone."""
RECURRING = "recurring-runs"
GARBAGE = "garbage"
"""A run was deleted: what only it used can go."""
REGISTRY = "registry"

Listener = Callable[[Key], None]


class Notices:
    """``publish`` calls every listener of the topic at once, in the order in which they subscribed."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[object, Listener]] = {}

    def publish(self, topic: str, key: Key) -> None:
        """Tells the listeners that ``key`` changed. A listener that fails is logged and does not stop the others."""
        for listener in list(self._listeners.get(topic, {}).values()):
            try:
                listener(key)
            except Exception:  # The write that is announced has happened, whatever a listener makes of it.
                _log.exception("a listener of the records failed", extra={"topic": topic, "key": str(key)})

    def subscribe(self, topic: str, listener: Listener) -> Callable[[], None]:
        """Adds a listener, which must not block; calling what is returned takes it away again."""
        token = object()
        self._listeners.setdefault(topic, {})[token] = listener

        def unsubscribe() -> None:
            self._listeners[topic].pop(token, None)

        return unsubscribe
