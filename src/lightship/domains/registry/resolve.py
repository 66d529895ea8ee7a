"""From a registered model's name to where its files lie. ``composition`` hands me to serving, for ``model-registry://``."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from lightship import errors
from lightship.domains.registry import kinds
from lightship.records import registry
from lightship.records.database import Database

_ARCHIVED = "ARCHIVED"


async def resolve(database: Database, namespace: str, name: str) -> tuple[str, str]:
    """``MODEL[/VERSION]``, the newest version where none is named, to the URI of its newest model artifact, and the
    digest of what lies there where our records saw it made. Raises ``errors.NotFound`` and ``errors.InvalidInput``.
    """
    model, _, version = name.partition("/")
    return await database.read(lambda connection: _resolve(connection, namespace, model, version))


def _resolve(connection: Connection, namespace: str, model: str, version: str) -> tuple[str, str]:
    registered = _find(connection, kinds.REGISTERED_MODEL, namespace, {"name": model},
                       f'there is no registered model "{model}"')
    where = {"registered_model_id": registered["id"]} | ({"name": version} if version else {})
    found = _find(connection, kinds.MODEL_VERSION, namespace, where,
                  f'the registered model "{model}" has no version' + (f' "{version}"' if version else ""))
    if found["state"] == _ARCHIVED:
        raise errors.InvalidInput(f'version "{found["name"]}" of the registered model "{model}" is archived',
                                  remedy="Name another version, or make it LIVE again")
    artifact = _find(connection, kinds.MODEL_ARTIFACT, namespace,
                     {"model_version_id": found["id"], "type": "model-artifact"},
                     f'version "{found["name"]}" of the registered model "{model}" has no model artifact')
    if not artifact["uri"]:
        raise errors.NotFound(f'the model artifact of version "{found["name"]}" of "{model}" has no URI',
                              remedy="Register where its files lie")
    return str(artifact["uri"]), str(artifact["digest"] or "")


def _find(connection: Connection, kind: kinds.Kind, namespace: str, where: registry.Row, missing: str) -> registry.Row:
    try:
        return registry.find(connection, kind.table, namespace, where)
    except errors.NotFound as cause:
        raise errors.NotFound(missing, remedy="Register it, or name another") from cause
