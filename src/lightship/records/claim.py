"""One cluster to a PostgreSQL: whose controllers are at work on these records, held by the session of a connection.

``Database.claim`` calls me, for a platform that starts and for ``lightship controllers``. Every process of one cluster
holds the same advisory lock, shared; whoever sees another cluster's beside it gives up. PostgreSQL lets go of a lock
with the connection that holds it, so that a killed process leaves nothing behind. SQLite needs none: the data
directory has a lock.
"""

from __future__ import annotations

import zlib

from sqlalchemy import text
from sqlalchemy.engine import Connection

from lightship import errors

LOCKS = 0x4C53
"""The first half of our locks' keys, which nobody else's should have."""

_ALIVE = ("SET tcp_keepalives_idle = 30", "SET tcp_keepalives_interval = 10", "SET tcp_keepalives_count = 3")
"""So that a machine that fell silent holds nothing for longer than a minute."""
_HOLD = text("SELECT pg_advisory_lock_shared(:locks, :cluster)")
_LET_GO = text("SELECT pg_advisory_unlock_shared(:locks, :cluster)")
_OTHERS = text("""
    SELECT count(*) FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid = :locks AND objid <> :cluster
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""")


class ClaimedElsewhere(errors.StateError):
    """Another cluster's platform is at work on these records."""


def hold(connection: Connection, cluster: str, place: str) -> None:
    """Hold the claim of the cluster with the id ``cluster`` while ``connection`` (which commits by itself) is open.

    Raises ``ClaimedElsewhere`` where another cluster holds one.
    """
    # 31 bits: what PostgreSQL shows of a key has no sign.
    key = {"locks": LOCKS, "cluster": zlib.crc32(cluster.encode()) & 0x7FFFFFFF}
    for setting in _ALIVE:
        connection.exec_driver_sql(setting)
    connection.execute(_HOLD, key)
    if connection.execute(_OTHERS, key).scalar_one():
        connection.execute(_LET_GO, key)
        raise ClaimedElsewhere(
            f'the records at "{place}" belong to a platform of another cluster that is running: two would take up each '
            "other's runs", remedy="Stop that one, or give this one a database of its own (--records)")
