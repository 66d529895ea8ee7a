"""The Model Registry: registered models, their versions and artifacts, and where each was made and is served."""

from __future__ import annotations

from lightship.domains.furniture import Domain
from lightship.domains.registry import routes

REGISTRY = Domain(name="registry", routes=routes.routes)
