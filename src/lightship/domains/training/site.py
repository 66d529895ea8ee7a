"""What the cluster around the controllers does for trainings. Pure data; ``composition`` says, ``lower`` goes by it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Site:
    """``gangs``: every training's Pods are admitted together, whether its runtime asks or not. ``progress``: the API
    server takes what a training reports of itself."""

    gangs: bool
    progress: bool


EMBEDDED = Site(gangs=True, progress=True)
OTHER = Site(gangs=False, progress=False)
"""A cluster that others keep: gangs by its own schedulers, where a runtime's ``podGroupPolicy`` asks for one."""
