"""The launcher on a real cluster: ``python -m lightship.launcher stage-in|stage-out``, in the Pod of a step.

The Pod's spec calls me. Stage-in copies and ends. Stage-out first waits until the container of the step's command has
ended (``own_pod``), then moves the outputs and writes the commit record. A command that failed leaves no record, and I
end well: how the step ended is the command's exit code to tell. What I am told is in the environment:
``LIGHTSHIP_STAGING`` is the plan, ``LIGHTSHIP_ARTIFACTS`` says where artifacts lie (see ``places.open_store``).
"""

import os
import signal
import sys
from typing import Any

from . import own_pod
from .files import StagingError, Volumes
from .places import open_store
from .staging import read_plan, stage_in, stage_out

MINIMUM_PYTHON = (3, 8)
DEFAULT_LOCATION = "/artifacts"

EXIT_STAGING_FAILED = 1
EXIT_USAGE = 2
EXIT_TERMINATED = 128 + signal.SIGTERM


def main() -> int:
    if sys.version_info < MINIMUM_PYTHON:
        log("the launcher needs Python %d.%d or later" % MINIMUM_PYTHON)
        return EXIT_USAGE
    phase = sys.argv[1] if len(sys.argv) == 2 else ""
    if phase not in ("stage-in", "stage-out"):
        log("usage: python -m lightship.launcher stage-in|stage-out")
        return EXIT_USAGE
    # The first process of a container is not ended by a signal that it does not handle.
    signal.signal(signal.SIGTERM, _end)
    try:
        plan = read_plan(os.environ["LIGHTSHIP_STAGING"])
        store = open_store(os.environ.get("LIGHTSHIP_ARTIFACTS") or DEFAULT_LOCATION, os.environ, log)
        volumes = Volumes(plan["mounts"], lambda mount: mount)
        if phase == "stage-in":
            stage_in(plan, store, volumes, log)
            return 0
        # Without a command to wait for I am the step: an importer that downloads.
        code = own_pod.wait_for_end(plan["main"], own_pod.Api(os.environ, log)) if plan["main"] else 0
        if code == 0:
            stage_out(plan, store, volumes, log)
        return 0
    except KeyError as cause:
        log("the environment lacks %s; the launcher runs in Pods that Lightship makes" % cause)
        return EXIT_USAGE
    except (StagingError, OSError) as cause:
        log("could not %s: %s" % (phase.replace("-", " "), cause))
        return EXIT_STAGING_FAILED


def _end(number: int, frame: Any) -> None:
    log("told to end, by signal %d" % number)
    os._exit(EXIT_TERMINATED)


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
