"""The README's commands, as a newcomer: a fresh clone at a path with a space, a fresh user, a fresh home directory."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

ROOT = Path(__file__).resolve().parent.parent.parent
USER = "lightship-newcomer"
PLACES = "/usr/local/bin:/usr/bin:/bin"
TIMEOUT_SECONDS = 1200


class Newcomer:
    def __init__(self, home: Path, account: pwd.struct_passwd | None) -> None:
        self.home = home
        self.clone = home / "my clone"
        self.identity: dict[str, Any] = {}
        if account:
            self.identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("LIGHTSHIP_", "PYTEST_", "VIRTUAL_ENV", "XDG_", "UV_CACHE", "CI"))}
        environment = kept | {"HOME": str(self.home), "PATH": PLACES, "LIGHTSHIP_PORT": "0", "LIGHTSHIP_KUBE_PORT": "0",
                              "LIGHTSHIP_GATEWAY_PORT": "0"}
        return subprocess.run(
            words, cwd=self.clone, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=TIMEOUT_SECONDS, check=False, **self.identity)


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    """As root a user made for this; else ourselves in another home."""
    if not os.geteuid() and not shutil.which("useradd"):
        pytest.skip("no useradd here")
    if os.geteuid():
        made = Newcomer(tmp_path_factory.mktemp("newcomer"), None)
        _clone(made)
        yield made
        return
    subprocess.run(["useradd", "--create-home", USER], check=True, capture_output=True)
    try:
        account = pwd.getpwnam(USER)
        made = Newcomer(Path(account.pw_dir), account)
        _clone(made)
        subprocess.run(["chown", "-R", f"{account.pw_uid}:{account.pw_gid}", account.pw_dir], check=True)
        yield made
    finally:
        subprocess.run(["userdel", "--remove", "--force", USER], check=False, capture_output=True)


def _clone(newcomer: Newcomer) -> None:
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(newcomer.clone)], check=True, capture_output=True)
    program = shutil.which("python3", path=PLACES)
    if not program or subprocess.run([program, "-c", "import sys, ensurepip; sys.exit(sys.version_info < (3, 11))"],
                                     check=False).returncode:
        pytest.skip("the system's own Python is older than 3.11 or has no venv module")


def test_the_readme_names_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.findall(r"^(\./dev \w+)", text, re.M)[:2] == ["./dev demo", "./dev test"]


def test_command_one_sets_up_and_shows_the_main_job(newcomer: Newcomer) -> None:
    first = newcomer.run("./dev", "demo")
    assert first.returncode == 0, first.stdout[-6000:]
    assert "each answer the model's own" in first.stdout
    assert ".venv/bin/lightship up --detach" in first.stdout
    again = newcomer.run("./dev", "demo")
    assert again.returncode == 0, again.stdout[-6000:]
    assert "installing" not in again.stdout
    assert re.search(r"from cache +ingest, statistics, validate, transform, train", again.stdout)
    assert newcomer.run("git", "status", "--porcelain").stdout == ""


def test_command_two_runs_the_tests(newcomer: Newcomer) -> None:
    done = newcomer.run("./dev", "test", "tests/unit/lib", "tests/tidy", "-q")
    assert done.returncode == 0, done.stdout[-6000:]
    assert re.search(r"^\d+ passed", done.stdout.splitlines()[-1])
