"""Writes of ours that an informer has not shown yet, so that a stale copy never makes a controller act twice.

Reconcilers that make and delete children call me after each write, and look at children through me. What was created or
changed goes into the informer's copy at once (``Informer.observe``); what was deleted I remember until the informer has
dropped it too.
"""

from __future__ import annotations

from collections.abc import Iterable

from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.runtime.informer import Informer


class Expectations:
    """Of one controller on one kind of children. What I remember is bounded by what the informer holds."""

    def __init__(self, informer: Informer) -> None:
        self._informer = informer
        self._gone: set[str] = set()
        informer.subscribe(self._seen)

    def __len__(self) -> int:
        """How many deletions the informer has yet to show."""
        return len(self._gone)

    def wrote(self, obj: Object) -> None:
        """A create or patch of mine was answered with ``obj``."""
        if objects.deleting(obj) and not objects.finalizers(obj) and self._was_removed(obj):
            self.removed(obj)
        else:
            self._informer.observe(obj)

    def deleted(self, obj: Object, answer: Object) -> None:
        """A deletion of ``obj`` was answered: it is gone, or waits with a deletion timestamp."""
        if objects.uid(answer) == objects.uid(obj) and objects.deleting(answer):
            self._informer.observe(answer)
        else:
            self.removed(obj)

    def removed(self, obj: Object) -> None:
        """``obj`` is no longer there."""
        known = self._informer.get(objects.key(obj))
        if known is not None and objects.uid(known) == objects.uid(obj):
            self._gone.add(objects.uid(obj))

    def view(self, found: Iterable[Object]) -> list[Object]:
        """``found`` without what I know to be gone."""
        if not self._gone:
            return list(found)
        return [obj for obj in found if objects.uid(obj) not in self._gone]

    def _was_removed(self, obj: Object) -> bool:
        """Whether a patch that took the last finalizer off was the end of a deleted object."""
        return not objects.meta(obj).get("deletionGracePeriodSeconds")

    def _seen(self, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None:
            self._gone.discard(objects.uid(old))
