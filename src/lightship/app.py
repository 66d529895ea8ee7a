"""The entry point: the command line, and the verbs that each room brings.

I import only what a short verb needs; ``composition``, which knows every room, is taken in when a server starts.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lightship import __version__, errors
from lightship.cli import exits
from lightship.daemon import commands as lifecycle
from lightship.daemon.process import ServerInfo
from lightship.demo import command as demo
from lightship.domains.pipelines import commands as pipelines
from lightship.domains.tuning import commands as tuning
from lightship.settings import Settings

_DESCRIPTION = """\
Kubeflow's platform on this machine: pipelines, training, tuning and serving, with the same objects, APIs and SDKs as
on a cluster.

  lightship demo              run a whole machine-learning lifecycle and see it served
  lightship up                start the platform and leave it in the foreground
  lightship run train.py      run a pipeline; lightship runs shows what became of it
  lightship tune sweep.yaml   start an Experiment; lightship trials shows what came of it
  lightship status            say whether it is ready, and where
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code (``cli.exits`` has the list)."""
    arguments = parser().parse_args(argv)
    handler: Callable[[argparse.Namespace], int] = arguments.handler
    try:
        return handler(arguments)
    except errors.LightshipError as error:
        return exits.report(error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return exits.INTERRUPTED
    except BrokenPipeError:
        return exits.FAILED


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="lightship", description=_DESCRIPTION,
                                  formatter_class=argparse.RawDescriptionHelpFormatter)
    top.add_argument("--version", action="version", version=f"lightship {__version__}")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo.register(verbs)
    pipelines.register(verbs)
    tuning.register(verbs)
    lifecycle.register(verbs, lifecycle.Programs(serve=_serve, control=_control))
    return top


async def _serve(settings: Settings, options: lifecycle.UpOptions, ready: Callable[[ServerInfo], None]) -> None:
    with _importing():
        from lightship.composition import serve

    await serve(settings, options, ready)


async def _control(settings: Settings, kubeconfig: Path | None, context: str) -> None:
    with _importing():
        from lightship.composition import control

    await control(settings, kubeconfig, context)


@contextmanager
def _importing() -> Iterator[None]:
    """What is imported for a server lives as long as it: no collection looks at it, neither now nor later.

    The collector took a sixth of the imports' time, and every full collection since would walk all they brought.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
