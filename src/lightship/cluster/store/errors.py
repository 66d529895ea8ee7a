"""The store's branch of the error tree::

    errors.Unavailable
    ├── WriteFailed    the commit failed; nothing of it was stored or published
    ├── Overloaded     more writes wait than the limit allows
    └── WatchEnded     the watch is over: the watcher fell behind, or the store closes; resume from the last revision
    errors.Conflict
    └── RevisionConflict   compare-and-swap lost
"""

from __future__ import annotations

from lightship import errors


class WriteFailed(errors.Unavailable):
    """The commit failed; nothing of it was stored or published."""


class Overloaded(errors.Unavailable):
    """More writes wait for the disk than the limit allows."""


class WatchEnded(errors.Unavailable):
    """The watch is over; it can be resumed from the last revision seen."""


class RevisionConflict(errors.Conflict):
    """The object is not at the revision that the writer expected."""
