"""What pipelines needs from ``app``."""

from __future__ import annotations

from dataclasses import dataclass

from lightship.domains.pipelines import reconciler, rest
from lightship.runtime.manager import Manager


@dataclass(frozen=True, kw_only=True)
class PipelineDeps:
    """``routes`` is what the REST side shares with the engine: database, notices, artifacts, clock, ids."""

    manager: Manager
    routes: rest.Deps
    options: reconciler.Options = reconciler.Options()
    resync_seconds: float = 30.0
