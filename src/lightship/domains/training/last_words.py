"""The last lines of a replica that has failed: told in the event and the condition by which its training fails.

Reconcilers call ``read``; I call ``client``. A log that cannot be had keeps nobody from failing: the training's end is
told without it.
"""

from __future__ import annotations

import logging
from contextlib import aclosing

from lightship import errors
from lightship.client.client import Client
from lightship.kube.objects import Key

_log = logging.getLogger(__name__)

LIMIT_LINES = 5
LIMIT_CHARACTERS = 500
LIMIT_READ_BYTES = 64 * 1024


async def read(client: Client, pod: Key, container: str) -> str:
    """The end of a container's log; empty where it said nothing, or where it cannot be read."""
    found = bytearray()
    try:
        async with aclosing(client.log(pod, {"container": container, "tailLines": str(LIMIT_LINES)})) as chunks:
            async for chunk in chunks:
                found = (found + chunk)[-LIMIT_READ_BYTES:]
    except errors.LightshipError as cause:
        _log.info("the last lines of a failed replica cannot be read", extra={"pod": str(pod), "error": str(cause)})
        return ""
    return cut(found.decode(errors="replace"))


def cut(text: str) -> str:
    """The last lines, without empty ones at their end, and of those the last characters."""
    lines = text.rstrip().splitlines()[-LIMIT_LINES:]
    whole = "\n".join(line.rstrip() for line in lines)
    return whole if len(whole) <= LIMIT_CHARACTERS else "... " + whole[-(LIMIT_CHARACTERS - 4):]
