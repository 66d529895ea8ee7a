"""What pipelines needs from ``app``."""

from __future__ import annotations

from dataclasses import dataclass

from lightship.domains.pipelines import cache, reconciler, rest
from lightship.runtime.manager import Manager


@dataclass(frozen=True, kw_only=True)
class PipelineDeps:
    """``routes`` is what the REST side shares with the engine: database, notices, artifacts, clock, ids."""

    manager: Manager
    routes: rest.Deps
    options: reconciler.Options = reconciler.Options()
    images: cache.Images = str
    """What an image means where steps run; see ``cache``."""
    resync_seconds: float = 30.0
