"""The fence of the leader's writes: one that was deposed, and does not know it yet, is refused in SQL.

The composition has ``Database.take_lead`` called with the token of the Lease that was won; every write of the leader
goes through ``Database.lead``, which has me compare, in the same transaction, what the database last saw with what this
process holds. A Lease that is another object (the cluster was made anew) begins to count anew.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.engine import Connection

from lightship import errors
from lightship.records import schema, statements

_FENCES = schema.fences


class Deposed(errors.Unavailable):
    """Another process has taken the lead since: what this one decided is not written."""


@dataclass(frozen=True, kw_only=True)
class Fence:
    """The right to write as the leader: the Lease's ``name``, its uid (``lease``), and a ``token`` that grows."""

    name: str
    lease: str
    token: int

    def raise_(self, connection: Connection) -> None:
        """Shut out all earlier leaders. Raises ``Deposed`` where a later one has been here already."""
        query = select(_FENCES.c.lease, _FENCES.c.token).where(_FENCES.c.name == self.name).with_for_update()
        seen = connection.execute(query).one_or_none()
        if seen is not None and seen.lease == self.lease and seen.token > self.token:
            raise self._deposed(seen.token)
        statements.upsert(connection, _FENCES, [{"name": self.name, "lease": self.lease, "token": self.token}],
                          replace=True)

    def check(self, connection: Connection) -> None:
        """Raise ``Deposed`` unless I am the last that was raised; until the transaction ends nobody else can be."""
        query = select(_FENCES.c.lease, _FENCES.c.token).where(_FENCES.c.name == self.name)
        seen = connection.execute(query.with_for_update(read=True)).one_or_none()
        if seen is None or (seen.lease, seen.token) != (self.lease, self.token):
            raise self._deposed(None if seen is None else seen.token)

    def _deposed(self, seen: int | None) -> Deposed:
        return Deposed(f'this process led by "{self.name}" with token {self.token}, and another one leads '
                       f"({'no token' if seen is None else f'token {seen}'} in the records): nothing was written")
