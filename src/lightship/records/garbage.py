"""What nobody refers to any more: artifacts of deleted runs, and the files that those runs left besides.

``run_history.remove`` marks, the collector of ``domains/pipelines`` calls the rest: it dooms what is marked and still
unused (one transaction), deletes the content, and forgets the rows. A doomed artifact can no longer be taken up by a
cache hit, and one that a hit took up is not doomed; so content never goes away under a run. Content that no step of
ours wrote (imported, or passed on) is never deleted, nor what the model registry names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, exists, insert, or_, select, update
from sqlalchemy.engine import Connection

from lightship import errors
from lightship.records import schema
from lightship.records.pipeline_rows import CACHED, Batch

_ARTIFACTS = schema.artifacts
_LEFTOVERS = schema.leftovers
_IDS_AT_ONCE = 500
_USED = exists().where(schema.events.c.artifact_id == _ARTIFACTS.c.id)
_REGISTERED = exists().where(or_(
    schema.model_artifacts.c.artifact_id == _ARTIFACTS.c.id, schema.model_artifacts.c.uri == _ARTIFACTS.c.uri,
    schema.model_artifacts.c.uri.startswith(_ARTIFACTS.c.uri + "/")))


class StaleHit(errors.Conflict):
    """Cached outputs that a run was about to take are being deleted: ``keys`` are their entries' keys."""

    def __init__(self, namespace: str, keys: Sequence[str]) -> None:
        super().__init__("the cached outputs of a step have just been deleted", remedy="The step will run instead")
        self.namespace = namespace
        self.keys = keys


@dataclass(frozen=True, kw_only=True)
class Doomed:
    """An artifact whose row is to go; its content too where ``run_id`` says that a step of ours wrote it."""

    artifact_id: str
    uri: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """The folder of a deleted run."""

    run_id: str
    root: str


def maker(run_id: str, uri: str) -> str:
    """The run, if content at ``uri`` is its own: a run's files lie under a folder of its id. Else an empty string."""
    return run_id if f"/{run_id}/" in uri else ""


def take_up(connection: Connection, batch: Batch) -> None:
    """See to it that what the batch's tasks share with other runs stays. Raises ``StaleHit`` where it is too late."""
    shared: set[str] = set()
    hits: dict[str, str] = {}
    for task in batch.tasks:
        for io in (task.inputs, task.outputs):
            for artifact in (one for listed in io.artifacts.values() for one in listed):
                if not maker(batch.run_id, artifact.uri):
                    shared.add(artifact.artifact_id)
                    if task.state == CACHED and io is task.outputs:
                        hits[artifact.artifact_id] = task.cache_key
    if not shared:
        return
    known: dict[str, tuple[datetime | None, int]] = {}
    for some in _chunks(shared):
        query = (select(_ARTIFACTS.c.id, _ARTIFACTS.c.unused_since, _ARTIFACTS.c.doomed)
                 .where(_ARTIFACTS.c.id.in_(some)).with_for_update())
        known.update({row.id: (row.unused_since, row.doomed) for row in connection.execute(query)})
    gone = {key for artifact_id, key in hits.items() if artifact_id not in known or known[artifact_id][1]}
    if gone:
        raise StaleHit(batch.namespace, sorted(gone))
    for some in _chunks(artifact_id for artifact_id, (unused_since, _) in known.items() if unused_since is not None):
        connection.execute(update(_ARTIFACTS).where(_ARTIFACTS.c.id.in_(some)).values(unused_since=None, doomed=0))


def let_go(connection: Connection, artifact_ids: Iterable[str], at: datetime) -> None:
    """Marks those of the artifacts that no run refers to any more."""
    for some in _chunks(artifact_ids):
        connection.execute(update(_ARTIFACTS).where(_ARTIFACTS.c.id.in_(some), ~_USED).values(unused_since=at))


def leave(connection: Connection, namespace: str, left: Leftover, at: datetime) -> None:
    """Remembers the folder of a run that was deleted."""
    connection.execute(insert(_LEFTOVERS).values(
        run_id=left.run_id, namespace=namespace, root=left.root, removed_at=at))


def doom(connection: Connection, namespace: str, limit: int) -> Sequence[Doomed]:
    """Dooms artifacts of the namespace that are unused, and gives those that are doomed, at most ``limit``."""
    candidates = (select(_ARTIFACTS.c.id).where(
        _ARTIFACTS.c.unused_since.is_not(None), _ARTIFACTS.c.namespace == namespace).limit(limit).with_for_update())
    ids = list(connection.execute(candidates).scalars())
    for some in _chunks(ids):
        kept = or_(_USED, _REGISTERED)
        connection.execute(update(_ARTIFACTS).where(_ARTIFACTS.c.id.in_(some), kept).values(unused_since=None))
        connection.execute(update(_ARTIFACTS).where(
            _ARTIFACTS.c.id.in_(some), _ARTIFACTS.c.unused_since.is_not(None), ~kept).values(doomed=1))
    query = select(_ARTIFACTS.c.id, _ARTIFACTS.c.uri, _ARTIFACTS.c.run_id).where(
        and_(_ARTIFACTS.c.unused_since.is_not(None), _ARTIFACTS.c.doomed == 1, _ARTIFACTS.c.namespace == namespace)
    ).limit(limit)
    return [Doomed(artifact_id=row.id, uri=row.uri, run_id=row.run_id) for row in connection.execute(query)]


def forget(connection: Connection, artifact_ids: Sequence[str]) -> None:
    """Drops the rows of doomed artifacts whose content is gone."""
    for some in _chunks(artifact_ids):
        connection.execute(delete(_ARTIFACTS).where(_ARTIFACTS.c.id.in_(some), _ARTIFACTS.c.doomed == 1))


def leftovers(connection: Connection, namespace: str, limit: int) -> Sequence[tuple[Leftover, datetime]]:
    """Folders of deleted runs of the namespace with the time of the deletion, oldest first."""
    query = (select(_LEFTOVERS).where(_LEFTOVERS.c.namespace == namespace)
             .order_by(_LEFTOVERS.c.removed_at).limit(limit))
    return [(Leftover(run_id=row.run_id, root=row.root), row.removed_at) for row in connection.execute(query)]


def kept_uris(connection: Connection, run_id: str) -> Sequence[str]:
    """Where content of a deleted run lies that others still use."""
    return list(connection.execute(select(_ARTIFACTS.c.uri).where(_ARTIFACTS.c.run_id == run_id)).scalars())


def cleared(connection: Connection, run_id: str) -> None:
    """The run's folder holds nothing any more but what others use."""
    connection.execute(delete(_LEFTOVERS).where(_LEFTOVERS.c.run_id == run_id))


def _chunks(ids: Iterable[str]) -> Iterable[Sequence[str]]:
    listed = sorted(ids)
    for start in range(0, len(listed), _IDS_AT_ONCE):
        yield listed[start:start + _IDS_AT_ONCE]
