"""The node's own tests once more as a normal user, when they run as root: in a user namespace a container."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FREE_UIDS = range(61000, 61100)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="these tests already run as a normal user")


@pytest.fixture
def user() -> Iterator[tuple[int, Path]]:
    """A uid that nobody has, with a home."""
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    uid = next(number for number in FREE_UIDS if number not in taken)
    home = Path(tempfile.mkdtemp(prefix="lightship-user-", dir="/tmp"))
    os.chown(home, uid, uid)
    yield uid, home
    shutil.rmtree(home)


def interpreter(uid: int) -> str:
    """A Python of our version that the user may execute: ours may lie in root's home."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        probe = [path, "-c", "import ctypes, sqlite3"]
        try:
            if subprocess.run(probe, user=uid, group=uid, extra_groups=[], capture_output=True).returncode == 0:
                return path
        except OSError:
            continue
    pytest.skip("no Python that a normal user may execute")


@pytest.mark.timeout(180)
def test_isolation_holds_for_a_normal_user(user: tuple[int, Path]) -> None:
    run_as(user, "test_isolation.py", "test_security.py", "test_hostile.py", "test_sharing.py",
           "test_memory_pressure.py")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_holds_for_a_normal_user(user: tuple[int, Path]) -> None:
    run_as(user, "test_containers.py", "test_lives.py", "test_lifecycle.py", "test_volumes.py", "test_kills.py")


def run_as(user: tuple[int, Path], *names: str) -> None:
    uid, home = user
    site = next(path for path in sys.path if path.endswith("site-packages"))
    environment = {"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", "TMPDIR": str(home),
                   "PYTHONPATH": f"{ROOT / 'src'}:{site}", "PYTHONDONTWRITEBYTECODE": "1"}
    tests = [str(ROOT / "tests" / "cluster" / "node" / name) for name in names]
    result = subprocess.run(
        [interpreter(uid), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml"),
         "--rootdir", str(ROOT), "-m", "not slow", *tests],
        user=uid, group=uid, extra_groups=[], env=environment, cwd=home, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "skipped" not in result.stdout, result.stdout
