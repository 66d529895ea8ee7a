"""Fixtures that every room's tests may ask for: real servers of other people's making, started and ended here.

pytest calls me. A tool that is absent skips its tests, but never in CI, where ``./dev test --all`` installs it first.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

START_LIMIT_SECONDS = 60.0


def absent(what: str) -> None:
    """Skip for want of ``what``; in CI fail, so that a green run has really run everything."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed, and CI installs it: see ./dev test --all")
    pytest.skip(f"{what} is not installed")


@pytest.fixture
def shared() -> Path:
    """The reference material beside the clone (facts, corpora); only this project's own machines have it."""
    place = Path(__file__).resolve().parent.parent.parent / "shared"
    if not place.is_dir():
        pytest.skip("no ../shared beside this clone")
    return place


@pytest.fixture(scope="session")
def chromium() -> Path:
    """The browser's program. As root it needs ``--no-sandbox``."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not found:
        absent("chromium")
    assert found
    return Path(found)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A private PostgreSQL server on a Unix socket and a free loopback port; the URL of its ``postgres`` database."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    initdb = str(programs[-1]) if programs else shutil.which("initdb")
    if not initdb:
        absent("PostgreSQL")
    assert initdb
    user = _database_user()
    home = Path(tempfile.mkdtemp(prefix="lightship-postgres-", dir="/tmp"))
    port = _free_port()
    postgres = str(Path(initdb).with_name("postgres"))
    try:
        if user:
            os.chown(home, *user)
        _as(user, [initdb, "--pgdata", str(home / "data"), "--username", "lightship", "--auth", "trust", "--no-sync"])
        log = (home / "log").open("w")
        server = subprocess.Popen(
            [postgres, "-D", str(home / "data"), "-p", str(port), "-k", str(home), "-h", "127.0.0.1",
             "-c", "fsync=off"],
            stdout=log, stderr=log, **_identity(user))
        try:
            _wait_for_port(port, server, home / "log")
            yield f"postgresql+psycopg://lightship@127.0.0.1:{port}/postgres"
        finally:
            server.terminate()
            server.wait(timeout=START_LIMIT_SECONDS)
            log.close()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh, empty database of this test's own."""
    import psycopg

    name = f"test_{time.monotonic_ns()}"
    plain = postgres_server.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    yield postgres_server.removesuffix("postgres") + name
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _database_user() -> tuple[int, int] | None:
    """Whom to run PostgreSQL as: it refuses root, so there the package's own user."""
    if os.geteuid():
        return None
    entry = pwd.getpwnam("postgres")
    return entry.pw_uid, entry.pw_gid


def _identity(user: tuple[int, int] | None) -> dict[str, int]:
    return {"user": user[0], "group": user[1]} if user else {}


def _as(user: tuple[int, int] | None, command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd="/tmp", **_identity(user))  # type: ignore[call-overload]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for_port(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        with socket.socket() as probe:
            if not probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.05)
    raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()[-2000:]}")
