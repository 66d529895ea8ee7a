"""From msgspec's validation errors to paths as Kubernetes writes them. Pure; admission calls me."""

from __future__ import annotations

import msgspec

from lightship.domains.furniture import FieldError


def error_of(problem: msgspec.ValidationError, root: str) -> FieldError:
    """``Expected `int`, got `str` - at `$.predictor.minReplicas``` as a ``FieldError`` under ``root``."""
    text, _, place = str(problem).partition(" - at `$")
    return FieldError(path=root + place.rstrip("`"), message=text.replace("`", '"'))
