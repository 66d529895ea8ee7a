"""The root's script is clear in every trouble a newcomer can have, and safe beside another of itself."""

from __future__ import annotations

import fcntl
import importlib.machinery
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent.parent
TIMEOUT_SECONDS = 120


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a clone as set-up reads, at a path with a space."""
    place = tmp_path / "a clone"
    place.mkdir()
    for name in ("dev", "pyproject.toml"):
        shutil.copy(ROOT / name, place / name)
    shutil.copytree(ROOT / "locks", place / "locks")
    shutil.copytree(ROOT / "benchmarks", place / "benchmarks", ignore=shutil.ignore_patterns("__pycache__"))
    return place


def run(clone: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "dev", *words], cwd=clone, env=os.environ | environment, text=True,
                          stderr=subprocess.STDOUT, stdout=subprocess.PIPE, timeout=TIMEOUT_SECONDS, check=False)


def load() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("lightship_dev", str(ROOT / "dev"))
    spec = importlib.util.spec_from_loader("lightship_dev", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return load()


def test_no_network_is_said_and_the_same_command_can_be_run_again(clone: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        index = f"http://127.0.0.1:{closed.getsockname()[1]}/simple"
    nowhere = {"PIP_INDEX_URL": index, "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "",
               "PIP_FIND_LINKS": "", "PIP_NO_CACHE_DIR": "1"}
    for _ in range(2):
        done = run(clone, "demo", **nowhere)
        assert done.returncode == 2, done.stdout
        assert "The package index could not be reached" in done.stdout
        assert "then run the same command again" in done.stdout
    assert "making .venv with" not in done.stdout  # what stood is kept


def test_two_at_once_wait_for_each_other(clone: Path) -> None:
    (clone / ".cache").mkdir()
    with (clone / ".cache" / "dev.lock").open("w") as lock:
        lock.write("demo, process 1234")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen([sys.executable, "dev", "bench", "none-such"], cwd=clone, text=True,
                                  stderr=subprocess.PIPE)
        assert second.stderr
        line = second.stderr.readline()
        assert "another ./dev is at work in this clone (demo, process 1234); waiting for it" in line
        assert second.poll() is None
    rest = second.communicate(timeout=TIMEOUT_SECONDS)[1]
    assert second.returncode == 2
    assert "name a benchmark: apiserver, " in rest


def test_an_old_python_is_told_what_to_do(tmp_path: Path) -> None:
    source = f"compile(open({str(ROOT / 'dev')!r}).read(), 'dev', 'exec')"
    program = f"import sys; sys.version_info = (3, 9, 2); exec({source})"
    done = subprocess.run([sys.executable, "-c", program], env={"PATH": str(tmp_path)}, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 1
    assert "./dev needs Python 3.11 or newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_venv_module_is_named_to_a_plain_user(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(dev.os, "geteuid", lambda: 1000)
    with pytest.raises(dev.Trouble, match=r"apt-get install python3\.\d+-venv"):
        dev.require_venv_module()


@pytest.mark.parametrize(("output", "advice"), [
    ("ERROR: Could not find a version that satisfies the requirement uv", "Check the network"),
    ("OSError: [Errno 28] No space left on device", "make room"),
    ("THESE PACKAGES DO NOT MATCH THE HASHES", "other than the one that locks/ names"),
    ("something new", "The whole output is in"),
])
def test_a_failure_comes_with_its_advice(dev: ModuleType, output: str, advice: str) -> None:
    assert advice in dev.explain("installing failed", [output])


def test_set_up_compiles_even_where_starts_may_not(
        dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "good.py").write_text("x = 1\n")
    (tmp_path / "template.py").write_text("{{ not python }}\n{% at all\n")
    dev.compile_to_bytecode(Path(sys.executable), tmp_path)
    assert [path.name.split(".")[0] for path in (tmp_path / "__pycache__").iterdir()] == ["good"]


def test_the_everyday_tier_leaves_out_every_slow_marker(dev: ModuleType) -> None:
    import tomllib

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
    for marker in declared:
        assert f"not {marker.split(':')[0]}" in dev.EVERYDAY


def test_ci_calls_the_same_script() -> None:
    assert "./dev test --all" in (ROOT / ".ci" / "run").read_text()
    assert os.access(ROOT / "dev", os.X_OK)
