"""The verbs of tuning: ``tune`` and ``trials``. ``app`` registers me.

Both talk to a platform through ``cli.connection``, so to any cluster that serves Katib's kinds, upstream's included.
"""

from __future__ import annotations

import argparse

from lightship.domains.tuning.commands import trials, tune


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune.register(verbs)
    trials.register(verbs)
