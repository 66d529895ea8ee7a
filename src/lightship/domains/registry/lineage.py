"""Where a registered model's bytes came from: what the client says of it, checked against what our own records know.

``routes`` calls me when a model artifact is written. The client may say the run (upstream's ``modelSource*`` fields);
whatever our records know of the artifact's URI (its digest, the step that made it) wins, since they saw it made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from lightship.records import registry

_SOURCE_KIND = "kfp"


def columns(connection: Connection, namespace: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The lineage columns of an artifact row that is about to be written with ``values``."""
    fields = values.get("fields") or {}
    said: dict[str, Any] = {}
    if str(fields.get("modelSourceKind") or "").lower() == _SOURCE_KIND and fields.get("modelSourceId"):
        said["run_id"] = str(fields["modelSourceId"])[:64]
    if fields.get("digest"):
        said["digest"] = str(fields["digest"])[:80]
    known = registry.lineage_of(connection, namespace, values["uri"]) if values.get("uri") else {}
    return {name: known.get(name, said.get(name)) for name in registry.LINEAGE if name in known or name in said}
