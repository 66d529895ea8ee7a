"""A real platform for acceptance tests: ``lightship up`` as a process of its own, driven as users drive it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

START_LIMIT_SECONDS = 120
ANY_PORTS = ("--port", "0", "--kube-port", "0", "--gateway-port", "0")


@dataclass
class Platform:
    """A data directory and the commands on it. ``start`` may be called again after ``kill``."""

    data_dir: Path
    info: dict[str, Any] = field(default_factory=dict)

    def run(self, *words: str, timeout_seconds: float = START_LIMIT_SECONDS) -> subprocess.CompletedProcess[str]:
        """One ``lightship`` command on this data directory."""
        command = [sys.executable, "-m", "lightship", words[0], "--data-dir", str(self.data_dir), *words[1:]]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=False,
                              env={k: v for k, v in os.environ.items() if not k.startswith("LIGHTSHIP_")})

    def start(self, *flags: str) -> Platform:
        done = self.run("up", "--detach", "-o", "json", *ANY_PORTS, *flags)
        assert done.returncode == 0, done.stdout + done.stderr + self.server_log()
        self.info = json.loads(done.stdout)
        return self

    def stop(self) -> subprocess.CompletedProcess[str]:
        return self.run("down")

    def kill(self) -> None:
        """``kill -9`` of the server, and wait until the kernel has ended it."""
        handle = os.pidfd_open(self.info["pid"])
        os.kill(self.info["pid"], signal.SIGKILL)
        _wait_end(handle)

    @property
    def token(self) -> str:
        return (self.data_dir / "token").read_text().strip()

    @property
    def kubeconfig(self) -> Path:
        return self.data_dir / "kubeconfig"

    def server_log(self) -> str:
        log = self.data_dir / "logs" / "server.log"
        return log.read_text(errors="replace")[-5000:] if log.exists() else ""

    def rest(self, method: str, path: str, body: Any = None) -> Any:
        """A REST call with the token; raises ``urllib.error.HTTPError``."""
        return self._call(method, self.info["url"] + path, body)

    def kube(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Any:
        """A Kubernetes API call with the token."""
        return self._call(method, self.info["kubeUrl"] + path, body, content_type)

    def gateway(self, method: str, path: str, body: Any = None) -> Any:
        return self._call(method, self.info["gatewayUrl"] + path, body)

    def _call(self, method: str, url: str, body: Any, content_type: str = "application/json") -> Any:
        request = urllib.request.Request(url, method=method, headers={"Authorization": f"Bearer {self.token}"})
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", content_type)
        trust = ssl.create_default_context(cafile=str(self.data_dir / "pki" / "ca.crt")) if url.startswith(
            "https") else None
        with urllib.request.urlopen(request, timeout=60, context=trust) as answer:
            text = answer.read()
        return json.loads(text) if text else None


def processes_of(data_dir: Path) -> list[str]:
    """The command lines of every process that names this data directory in its arguments or environment."""
    return processes_with(str(data_dir))


def processes_with(text: str) -> list[str]:
    """The command lines of every process that has ``text`` in its arguments or environment."""
    mark = text.encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            seen = (entry / "cmdline").read_bytes()
            if mark in seen or mark in (entry / "environ").read_bytes():
                found.append(f"{entry.name} {seen.replace(bytes(1), b' ').decode(errors='replace')}")
        except OSError:  # it ended, or belongs to someone else
            continue
    return found


def _wait_end(handle: int) -> None:
    import select

    try:
        assert select.select([handle], [], [], START_LIMIT_SECONDS)[0], "the server outlived kill -9"
    finally:
        os.close(handle)


@pytest.fixture
def new_platform(tmp_path: Path) -> Iterator[Callable[[], Platform]]:
    """Makes platforms that are not started yet; whatever runs at the end is stopped."""
    made: list[Platform] = []

    def make() -> Platform:
        made.append(Platform(tmp_path / f"data{len(made)}"))
        return made[-1]

    yield make
    for platform in made:
        platform.stop()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One running platform for all tests that do no harm to it."""
    shared = Platform(tmp_path_factory.mktemp("platform") / "data").start()
    yield shared
    done = shared.stop()
    assert done.returncode == 0, done.stdout + done.stderr + shared.server_log()
    shutil.rmtree(shared.data_dir, ignore_errors=True)
