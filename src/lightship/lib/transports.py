"""What asyncio's transports leave to their users. Protocols that serve connections call me."""

from __future__ import annotations

import asyncio


def half_close(transport: asyncio.Transport) -> None:
    """Say that no more comes, and go on reading; where the client is gone already, let the connection go."""
    try:
        transport.write_eof()
    except OSError:
        transport.abort()
