"""Starts Debian's PostgreSQL for the tests that run on both databases, on a socket in a directory of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

URL_VARIABLE = "LIGHTSHIP_TEST_POSTGRES"


@contextlib.contextmanager
def server(factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server's URL: the one that the variable names, or one of our own that ends with the tests."""
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("psycopg is not installed (the extra lightship[postgres])")
    named = os.environ.get(URL_VARIABLE, "")
    if named:
        yield named
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)
    if not binaries:
        pytest.skip(f"no PostgreSQL here: install Debian's postgresql or set {URL_VARIABLE}")
    with tempfile.TemporaryDirectory(prefix="lightship-pg-") as directory:
        yield from _own_server(binaries[0].parent, Path(directory))


def _own_server(binaries: Path, directory: Path) -> Iterator[str]:
    user = _other_user()
    if user is not None:  # PostgreSQL refuses to run as root.
        shutil.chown(directory, user, user)
    data = directory / "data"

    def command(name: str, *arguments: str) -> None:
        subprocess.run([str(binaries / name), *arguments], check=True, user=user, stdout=subprocess.DEVNULL,
                       stderr=subprocess.PIPE, cwd=directory, timeout=60, extra_groups=[] if user else None)

    command("initdb", "-D", str(data), "-U", "lightship", "-A", "trust", "--no-sync")
    options = f"-c listen_addresses= -c unix_socket_directories={directory} -c fsync=off"
    command("pg_ctl", "-D", str(data), "-w", "-l", str(directory / "log"), "-o", options, "start")
    try:
        yield f"postgresql://lightship@/postgres?host={directory}"
    finally:
        command("pg_ctl", "-D", str(data), "-w", "-m", "immediate", "stop")


def _other_user() -> str | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        pytest.skip("PostgreSQL does not run as root and there is no user named postgres")


@contextlib.contextmanager
def database(server_url: str) -> Iterator[str]:
    """A fresh database on the server, dropped afterwards."""
    import psycopg
    from sqlalchemy import make_url

    name = f"test_{uuid.uuid4().hex[:12]}"
    plain = make_url(server_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with psycopg.connect(plain, autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
