"""``lightship demo``: starts the platform if none runs, runs the pipeline, shows it, and sums up.

``app`` registers me. I start and stop servers through ``daemon.process``, author with ``submission``, and watch over
the public REST API. Exit code 0 means that every step truly succeeded and that what is served is the model's own.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from lightship import errors
from lightship.cli import exits, flags
from lightship.daemon import process
from lightship.daemon.process import ServerInfo
from lightship.demo import progress, submission, summary, view
from lightship.demo.errors import DemoFailed
from lightship.demo.platform import RUNS, Platform
from lightship.settings import Settings, command

POLL_SECONDS = 0.25
READY_TIMEOUT_SECONDS = 120
RUN_TIMEOUT_SECONDS = 1800
LOG_TAIL_LINES = 15


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    demo = verbs.add_parser(
        "demo", help="run a whole machine-learning lifecycle and see it served",
        description="Start the platform if none runs, and run a real lifecycle on it: data, validation, three "
                    "trainings in parallel, a blessed model, registered, deployed, and asked through the gateway.")
    demo.add_argument("--keep", action="store_true", help="leave the platform up afterwards")
    demo.add_argument("--no-cache", dest="cache", action="store_false", help="run every step, even if nothing changed")
    demo.add_argument("--minimum-accuracy", type=float, default=0.9, metavar="SHARE",
                      help="what a model must reach on unseen rows to be blessed (default 0.9)")
    demo.add_argument("-o", "--output", choices=("text", "json"), default="text",
                      help="how to sum up; with json the progress goes to standard error")
    flags.add(demo)
    demo.set_defaults(handler=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments)
    progress_stream = sys.stderr if arguments.output == "json" else sys.stdout
    with tempfile.TemporaryDirectory(prefix="lightship-demo-") as folder, _ended_by_termination():
        compiled = Path(folder) / "breast-cancer.yaml"
        name = submission.compile_to(compiled, cache=arguments.cache)
        with _platform(settings, arguments, progress_stream) as platform:
            when = datetime.now(UTC)
            run_id = submission.submit(platform, submission.Submission(
                file=compiled, name=f"demo {when:%Y-%m-%d %H:%M:%S}",
                minimum_accuracy=arguments.minimum_accuracy))
            run = _watch(platform, settings, run_id, progress_stream)
            steps = progress.steps(run)
            _require_success(platform, run, steps)
            result = summary.gather(platform, run, name, steps)
    result = summary.replaced(result, kept=_left_running(settings))
    if arguments.output == "json":
        sys.stdout.write(summary.as_json(result))
    else:
        flag = f" --data-dir {shlex.quote(str(settings.data_dir))}" if arguments.data_dir else ""
        sys.stdout.write(summary.as_text(result, _own_command(), flag))
    return exits.OK


def _own_command() -> str:
    """How the reader's shell finds us: by name where that is on the path, else by place."""
    place = Path(sys.executable).parent / "lightship"
    if shutil.which("lightship") == str(place):
        return "lightship"
    return shlex.quote(str(place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place))


@contextlib.contextmanager
def _platform(settings: Settings, arguments: argparse.Namespace, stream: TextIO) -> Iterator[Platform]:
    """A ready platform: the one that runs, or one of our own that ends with us unless ``--keep``."""
    info = process.find(settings)
    ours = info is None
    if info is None:
        stream.write("starting the platform ...\n")
        stream.flush()
        info = process.start_detached(settings, flags.given(arguments))
    try:
        _wait_until_ready(info)
        stream.write(f"the platform is ready at {info.url} (pid {info.pid})\n")
        stream.flush()
        yield Platform(info)
    finally:
        if ours and not arguments.keep:
            process.stop(info, settings.stop_timeout_seconds + 10)


def _wait_until_ready(info: ServerInfo) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not process.is_ready(info):
        if time.monotonic() > deadline:
            raise errors.Unavailable(f"the platform at {info.url} was not ready within {READY_TIMEOUT_SECONDS} s",
                                     remedy=f"see {Path(info.dataDir) / 'logs'}")
        time.sleep(POLL_SECONDS)


def _watch(platform: Platform, settings: Settings, run_id: str, stream: TextIO) -> Mapping[str, Any]:
    """Show the run until it has ended; returns its last REST shape."""
    began = datetime.now(UTC)
    deadline = time.monotonic() + RUN_TIMEOUT_SECONDS
    with view.shown(stream, began) as show:
        while True:
            try:
                run: Mapping[str, Any] = platform.rest(f"{RUNS}/{run_id}")
            except errors.Unavailable as error:
                raise _stopped_midway(settings, run_id, error) from error
            show(progress.steps(run), datetime.now(UTC))
            if run.get("state") in progress.FINAL_RUN_STATES:
                return run
            if time.monotonic() > deadline:
                raise DemoFailed(f"run {run_id} did not end within {RUN_TIMEOUT_SECONDS} s")
            time.sleep(POLL_SECONDS)


def _stopped_midway(settings: Settings, run_id: str, error: errors.Unavailable) -> errors.LightshipError:
    if process.find(settings) is not None:
        return error
    return errors.Unavailable(
        f"the platform ended in the middle of run {run_id}",
        remedy=f"start it again with '{command(settings, 'up')}' and the run goes on; "
               f"why it ended is in {settings.log_dir}")


def _require_success(platform: Platform, run: Mapping[str, Any], steps: list[progress.Step]) -> None:
    """Raise ``DemoFailed``, naming the step and the end of its log, unless every step truly succeeded."""
    for step in steps:
        if step.state in (progress.FAILED, progress.CANCELED):
            raise DemoFailed(f"the step {step.label} {step.state}: {step.message or 'no reason was given'}",
                             remedy=_log_of(platform, step))
    if run.get("state") != "SUCCEEDED":
        reason = (run.get("error") or {}).get("message") or "no reason was given"
        raise DemoFailed(f"the run ended {run.get('state')}: {reason}")
    undone = [step.label for step in steps if step.state not in progress.GOOD]
    if undone:
        raise DemoFailed(f"these steps did not run: {', '.join(undone)}",
                         remedy="no candidate was blessed: its accuracy was too low, see the step evaluate")


def _log_of(platform: Platform, step: progress.Step) -> str:
    if not step.pod or "log" in step.message:  # the engine has quoted it already
        return ""
    try:
        log = platform.log_tail(summary.NAMESPACE, step.pod, LOG_TAIL_LINES)
    except errors.LightshipError as error:
        return f"its log could not be read: {error.message}"
    return f"its log ends:\n{log.rstrip()}" if log else ""


def _left_running(settings: Settings) -> bool:
    return process.find(settings) is not None


@contextlib.contextmanager
def _ended_by_termination() -> Iterator[None]:
    """Let a termination unwind us as an interrupt does, so that a platform of our own is stopped."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
