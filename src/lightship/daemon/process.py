"""A server as other processes see it: who it is, whether it is ready, starting one detached, stopping one.

The CLI's verbs and the demo call me. I talk to a server only through ``server.json``, signals and its ``/healthz``.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightship import errors as trunk
from lightship.daemon import datadir, errors
from lightship.lib import private
from lightship.settings import Settings, command

READY_FD_VARIABLE = "LIGHTSHIP_READY_FD"
"""Names the descriptor on which a detached server says that it is ready, or why it is not."""
START_TIMEOUT_SECONDS = 120
HEALTH_TIMEOUT_SECONDS = 5
LOG_TAIL_BYTES = 2_000


@dataclass(frozen=True, kw_only=True)
class ServerInfo:
    """What a running server says of itself; field names are the JSON's."""

    url: str
    pid: int
    version: str
    dataDir: str
    kubeUrl: str
    gatewayUrl: str
    tokenFile: str
    kubeconfig: str
    startedAt: str
    processStart: str
    """The kernel's start time of the pid, so that a reused pid is not mistaken for the server."""


def publish(settings: Settings, info: ServerInfo) -> None:
    private.write(settings.server_file, json.dumps(asdict(info), indent=2).encode() + b"\n")


def find(settings: Settings) -> ServerInfo | None:
    """The server that runs on this data directory, or None. A stale file of a killed server counts as none."""
    try:
        info = ServerInfo(**json.loads(settings.server_file.read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise errors.not_yours(settings.data_dir) from error
    except (OSError, ValueError, TypeError) as error:
        raise errors.DataDirUnusable(
            f"cannot read {settings.server_file}: {error}",
            remedy="remove that file if no Lightship runs on this directory",
        ) from error
    return info if _alive(info) else None


def running(settings: Settings) -> ServerInfo:
    """The running server. Raises ``NotRunning``."""
    info = find(settings)
    if info is None:
        raise errors.NotRunning(
            f"no Lightship runs on the data directory {settings.data_dir}",
            remedy=f"start one with '{command(settings, 'up')}' (with --detach in the background)",
        )
    return info


def is_ready(info: ServerInfo) -> bool:
    """Whether the server says that everything in it has started."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{info.url}/healthz", timeout=HEALTH_TIMEOUT_SECONDS) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start_detached(settings: Settings, arguments: Sequence[str]) -> ServerInfo:
    """Start ``lightship up`` in a session of its own and wait until it is ready.

    Raises ``StartFailed`` with the server's own message, or the end of its log where it died without one.
    """
    datadir.prepare(settings)
    reader, writer = os.pipe()
    log = settings.log_dir / "server.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "lightship", "up", *arguments],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, pass_fds=(writer,),
            env=os.environ | {READY_FD_VARIABLE: str(writer)},
        )
    os.close(writer)
    try:
        message = _read_message(reader, START_TIMEOUT_SECONDS)
    except KeyboardInterrupt:
        process.terminate()  # whoever gives up waiting wants no server that comes up behind their back
        process.wait(timeout=START_TIMEOUT_SECONDS)
        raise
    finally:
        os.close(reader)
    if message is None:
        process.wait(timeout=START_TIMEOUT_SECONDS) if process.poll() is not None else process.terminate()
        tail = log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        raise errors.StartFailed("the server ended before it was ready", remedy=f"its log ({log}) ends:\n{tail}")
    if "error" in message:
        process.wait(timeout=START_TIMEOUT_SECONDS)
        raise _revive(message["error"])
    return ServerInfo(**message["ready"])


def say_ready(info: ServerInfo) -> None:
    """Tell a waiting parent, if there is one, that the server is ready."""
    _say({"ready": asdict(info)})


def say_failed(error: trunk.LightshipError) -> None:
    """Tell a waiting parent, if there is one, why there is no server."""
    _say({"error": {"type": type(error).__name__, "message": error.message, "remedy": error.remedy}})


def stop(info: ServerInfo, timeout_seconds: float) -> bool:
    """Ask the server to stop and wait for its end; after the timeout kill it. Returns whether it ended by itself."""
    try:
        handle = os.pidfd_open(info.pid)
    except ProcessLookupError:
        return True
    try:
        if not _alive(info):
            return True
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        if select.select([handle], [], [], timeout_seconds)[0]:
            return True
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        select.select([handle], [], [], timeout_seconds)
        return False
    finally:
        os.close(handle)


def start_time(pid: int) -> str:
    """The kernel's start time of a process in clock ticks since boot, or empty where there is no such process."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _alive(info: ServerInfo) -> bool:
    return bool(info.processStart) and start_time(info.pid) == info.processStart


def _read_message(reader: int, timeout_seconds: float) -> dict[str, Any] | None:
    deadline = time.monotonic() + timeout_seconds
    data = b""
    while not data.endswith(b"\n"):
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([reader], [], [], left)[0]:
            return None
        chunk = os.read(reader, 65536)
        if not chunk:
            return None
        data += chunk
    message: dict[str, Any] = json.loads(data)
    return message


def _say(message: dict[str, Any]) -> None:
    descriptor = os.environ.pop(READY_FD_VARIABLE, "")
    if not descriptor:
        return
    with os.fdopen(int(descriptor), "w") as pipe:
        pipe.write(json.dumps(message) + "\n")


def _revive(body: dict[str, str]) -> trunk.LightshipError:
    kind = next((known for room in (errors, trunk) for known in vars(room).values()
                 if isinstance(known, type) and known.__name__ == body["type"]), errors.StartFailed)
    revived: trunk.LightshipError = kind(body["message"], remedy=body["remedy"])
    return revived
