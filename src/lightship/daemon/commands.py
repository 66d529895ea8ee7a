"""The verbs of a server's life: up, status, down, kubeconfig, controllers.

``app`` registers me and gives me the two coroutines that need every room.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from lightship import __version__
from lightship.cli import exits, flags
from lightship.daemon import datadir, errors, process
from lightship.lib import logs
from lightship.settings import Settings, command


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """What ``up`` may leave out."""

    controllers: bool = True
    """False: the API server and the node alone; reconcilers run elsewhere (``lightship controllers``)."""


@dataclass(frozen=True, kw_only=True)
class Programs:
    """The long-running programs, which only ``app`` can compose. Each runs until it is told to stop."""

    serve: Callable[[Settings, UpOptions, Callable[[process.ServerInfo], None]], Awaitable[None]]
    control: Callable[[Settings, Path | None, str], Awaitable[None]]


def register(verbs: argparse._SubParsersAction[argparse.ArgumentParser], programs: Programs) -> None:
    up = verbs.add_parser(
        "up", help="start the platform",
        description="Start the platform in the foreground and say when it is ready; Ctrl-C stops it.")
    up.add_argument("--detach", action="store_true", help="start in the background, return when ready")
    up.add_argument("--no-controllers", dest="controllers", action="store_false",
                    help="serve the API and the node alone; run the controllers elsewhere")
    up.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to say that it is ready")
    flags.add(up)
    up.set_defaults(handler=lambda arguments: _up(arguments, programs))

    status = verbs.add_parser(
        "status", help="say whether the platform is ready, and where",
        description="Say whether the platform is ready, and where. Exit code 0 only when it is ready; "
                    "3 when none runs, 4 when it is still starting.")
    status.add_argument("-o", "--output", choices=("text", "json"), default="text", help="text, or JSON for scripts")
    flags.add(status, flags.DATA_DIR)
    status.set_defaults(handler=_status)

    down = verbs.add_parser("down", help="stop the platform",
                            description="Stop the platform and its Pods. What was accepted stays on disk.")
    flags.add(down, ("data_dir", "stop_timeout_seconds"))
    down.set_defaults(handler=_down)

    kubeconfig = verbs.add_parser(
        "kubeconfig", help="print a kubeconfig for kubectl and the SDKs",
        description="Print a kubeconfig: lightship kubeconfig > lightship.yaml; export KUBECONFIG=$PWD/lightship.yaml")
    flags.add(kubeconfig, flags.DATA_DIR)
    kubeconfig.set_defaults(handler=_kubeconfig)

    control = verbs.add_parser(
        "controllers", help="run the controllers against any cluster",
        description="Run Lightship's controllers against the cluster that a kubeconfig names, until stopped.")
    control.add_argument("--kubeconfig", type=Path, metavar="FILE",
                         help="which cluster (default: $KUBECONFIG, then ~/.kube/config, then the Pod's own)")
    control.add_argument("--context", default="", help="a context of that file (default: its current one)")
    flags.add(control, ("data_dir", "gateway_port", "log_level", "records", "artifacts", "launcher_image",
                        "artifacts_secret", "artifacts_claim"))
    control.set_defaults(handler=lambda arguments: _control(arguments, programs))


def _up(arguments: argparse.Namespace, programs: Programs) -> int:
    settings = flags.read(arguments)
    if arguments.detach:
        words = list(flags.given(arguments)) + ([] if arguments.controllers else ["--no-controllers"])
        if sys.stderr.isatty():
            sys.stderr.write("starting ...\n")
        _say_up(process.start_detached(settings, words), arguments.output)
        return exits.OK
    logs.to_stderr(settings.log_level)

    def ready(info: process.ServerInfo) -> None:
        _say_up(info, arguments.output)
        process.say_ready(info)

    try:
        _run(programs.serve(settings, UpOptions(controllers=arguments.controllers), ready))
    except Exception as error:
        told = errors.of_server(error, settings.data_dir)
        if told is None:
            raise
        process.say_failed(told)
        raise told from None
    return exits.OK


def _say_up(info: process.ServerInfo, output: str) -> None:
    if output == "json":
        sys.stdout.write(json.dumps(asdict(info)) + "\n")
    else:
        sys.stdout.write(
            f"Lightship {info.version} is ready (pid {info.pid})\n"
            f"  page, REST APIs  {info.url}/login?token={Path(info.tokenFile).read_text().strip()}\n"
            f"  Kubernetes API   {info.kubeUrl}    export KUBECONFIG={shlex.quote(info.kubeconfig)}\n"
            f"  served models    {info.gatewayUrl}\n"
            f"  state            {info.dataDir}\n")
    sys.stdout.flush()


def _status(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments)
    info = process.find(settings)
    ready = info is not None and process.is_ready(info)
    if arguments.output == "json":
        known = asdict(info) if info else {"url": None, "pid": None, "version": __version__,
                                           "dataDir": str(settings.data_dir)}
        sys.stdout.write(json.dumps(known | {"ready": ready, "running": info is not None}, indent=2) + "\n")
    if info is None:
        if arguments.output == "text":
            process.running(settings)
        return exits.NOT_RUNNING
    if arguments.output == "text":
        state = "ready" if ready else "running and not ready"
        sys.stdout.write(f"Lightship {info.version} is {state} (pid {info.pid})\n  url    {info.url}\n"
                         f"  state  {info.dataDir}\n")
    return exits.OK if ready else exits.NOT_READY


def _down(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments)
    info = process.find(settings)
    if info is None:
        sys.stdout.write(f"nothing to stop: no Lightship runs on {settings.data_dir}\n")
        return exits.OK
    # The server takes its own limit to drain; the extra seconds are for closing files after that.
    if process.stop(info, settings.stop_timeout_seconds + 10):
        sys.stdout.write(f"stopped (pid {info.pid})\n")
        return exits.OK
    sys.stderr.write(f"pid {info.pid} did not stop in time and was killed; nothing accepted is lost\n")
    return exits.FAILED


def _kubeconfig(arguments: argparse.Namespace) -> int:
    settings = flags.read(arguments)
    try:
        sys.stdout.write(settings.kubeconfig_file.read_text())
    except PermissionError as error:
        raise errors.not_yours(settings.data_dir) from error
    except OSError as error:
        raise errors.NotRunning(
            f"there is no kubeconfig in {settings.data_dir} yet: no Lightship was started on it",
            remedy=f"start one with '{command(settings, 'up')} --detach', then ask again") from error
    if process.find(settings) is None:
        sys.stderr.write(f"note: that Lightship does not run now; '{command(settings, 'up')}' starts it\n")
    return exits.OK


def _control(arguments: argparse.Namespace, programs: Programs) -> int:
    settings = flags.read(arguments)
    logs.to_stderr(settings.log_level)
    datadir.prepare(settings)
    _run(programs.control(settings, arguments.kubeconfig, arguments.context))
    return exits.OK


def _run(program: Awaitable[None]) -> None:
    """Run on uvloop where there is one."""

    async def main() -> None:
        await program

    if sys.platform == "win32":
        asyncio.run(main())
    else:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
