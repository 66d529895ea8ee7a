"""All functions that an expression may call, by name: CEL's own, its extensions', Kubernetes'. Pure data."""

from __future__ import annotations

from lightship.kube.cel import functions, networks
from lightship.kube.cel.functions import Function

FUNCTIONS: dict[str, Function] = functions.FUNCTIONS | networks.FUNCTIONS
KEEPING = frozenset(FUNCTIONS[name] for name in ("distinct", "sort", "slice", "reverse", "math.abs"))
"""Those that give what they got in type."""
PICKING = frozenset(FUNCTIONS[name] for name in ("sum", "min", "max", "orValue", "value"))
"""Those that give an item of what they got."""
