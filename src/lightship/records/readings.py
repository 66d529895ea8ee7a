"""One reading of a trial's metric, as its log keeps it. Data only: programs without a database use me, too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

NO_TIME = datetime(1, 1, 1, tzinfo=UTC)
"""The time of a reading that came without one, as upstream has it."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One value of one metric, in its author's own words."""

    time: datetime = NO_TIME
    metric: str
    value: str
