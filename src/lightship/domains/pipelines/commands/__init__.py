"""The verbs of pipelines: ``run``, ``runs``, ``debug``, ``lineage``, ``cache``, ``recurring``. ``app`` registers me.

Each talks to a platform through ``cli.connection``: the same from this machine or from any other.
"""

from __future__ import annotations

import argparse

from lightship.domains.pipelines.commands import cache, debug, lineage, recurring, run, runs


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run.register(verbs)
    runs.register(verbs)
    debug.register(verbs)
    lineage.register(verbs)
    cache.register(verbs)
    recurring.register(verbs)
