"""Environments of their own for the SDKs that tests drive: the server's environment never holds them.

Tests and fixtures call ``sdk_python``; I call uv. An environment is made once in ``.cache/sdks/`` and then only read;
several processes that want the same one wait for each other. Where ``locks/sdks/`` has a lock for the requirement it is
installed by hash, so that a new upload to the index changes no test.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks" / "sdks"
CACHE = ROOT / ".cache" / "sdks"
BUILD_LIMIT_SECONDS = 600


def sdk_python(*requirements: str) -> Path:
    """The interpreter of an environment that holds ``requirements``, such as ``sdk_python("kfp==2.17.0")``.

    Raises ``RuntimeError`` with uv's own words where it cannot be made.
    """
    arguments, identity = _what_to_install(requirements)
    home = CACHE / f"{requirements[0].replace('==', '-')}-{identity}"
    python = home / "bin" / "python"
    made = home / "made"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            shutil.rmtree(home, ignore_errors=True)
            _uv("venv", "--quiet", "--python", sys.executable, str(home))
            _uv("pip", "install", "--quiet", "--python", str(python), *arguments)
            made.touch()
    return python


def _what_to_install(requirements: tuple[str, ...]) -> tuple[list[str], str]:
    lock = LOCKS / f"{requirements[0]}.txt"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    if len(requirements) == 1 and lock.exists():
        arguments, identity = ["--require-hashes", "--requirement", str(lock)], lock.read_text()
    else:
        arguments, identity = list(requirements), "\n".join(requirements)
    return arguments, hashlib.sha256(f"{version}\n{identity}".encode()).hexdigest()[:12]


def _uv(*arguments: str) -> None:
    from uv import find_uv_bin

    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    done = subprocess.run(
        [os.fsdecode(find_uv_bin()), *arguments], capture_output=True, text=True, timeout=BUILD_LIMIT_SECONDS,
        env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"could not make an SDK environment: uv {' '.join(arguments)}\n{done.stderr.strip()}")
