"""up, status, down, kubeconfig: what they print, their exit codes, and one clear message for each trouble."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.conftest import ANY_PORTS, Platform, processes_of

New = Callable[[], Platform]


def test_a_life(new_platform: New) -> None:
    platform = new_platform()
    before = platform.run("status", "-o", "json")
    assert (before.returncode, json.loads(before.stdout)["running"]) == (3, False)

    platform.start()
    status = platform.run("status", "-o", "json")
    assert status.returncode == 0
    said = json.loads(status.stdout)
    assert said["dataDir"] == str(platform.data_dir)
    assert said["pid"] == platform.info["pid"]
    assert said["version"] and said["url"].startswith("http://127.0.0.1:")

    down = platform.stop()
    assert down.returncode == 0, down.stderr + platform.server_log()
    assert platform.run("status").returncode == 3
    assert processes_of(platform.data_dir) == []
    again = platform.stop()
    assert (again.returncode, "nothing to stop" in again.stdout) == (0, True)


def test_the_kubeconfig_names_the_server_and_opens_it(platform: Platform) -> None:
    printed = platform.run("kubeconfig")

    assert printed.returncode == 0
    config = yaml.safe_load(printed.stdout)
    assert config["clusters"][0]["cluster"]["server"] == platform.info["kubeUrl"]
    assert config["users"][0]["user"]["token"] == platform.token
    assert platform.kube("GET", "/api/v1/namespaces/default")["status"]["phase"] == "Active"


def test_nothing_lies_outside_the_data_directory(new_platform: New, tmp_path: Path) -> None:
    platform = new_platform()
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run([sys.executable, "-m", "lightship", "up", "--detach", "--data-dir", str(platform.data_dir),
                           *ANY_PORTS], env=os.environ | {"HOME": str(home)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    assert list(home.iterdir()) == []


@pytest.mark.parametrize("path", ["/api/v1/pods", "/apis", "/openapi/v3", "/apis/serving.kserve.io/v1beta1"])
def test_the_kubernetes_api_wants_the_token(platform: Platform, path: str) -> None:
    import ssl

    trust = ssl.create_default_context(cafile=str(platform.data_dir / "pki" / "ca.crt"))
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(platform.info["kubeUrl"] + path, context=trust)

    assert raised.value.code == 401
    raised.value.close()


@pytest.mark.parametrize("flag", ["--port", "--kube-port", "--gateway-port"])
def test_a_port_in_use_is_named_with_its_flag(new_platform: New, flag: str) -> None:
    platform = new_platform()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])

        done = platform.run("up", *ANY_PORTS, flag, port)

    assert done.returncode == 5
    assert f"port {port} of 127.0.0.1 is already in use" in done.stderr
    assert flag in done.stderr
    assert "Traceback" not in done.stderr
    assert processes_of(platform.data_dir) == []


def test_a_second_server_on_the_same_directory_is_refused(platform: Platform) -> None:
    done = platform.run("up", *ANY_PORTS)
    detached = platform.run("up", "--detach", *ANY_PORTS)

    for refused in (done, detached):
        assert refused.returncode == 5
        assert f"pid {platform.info['pid']}" in refused.stderr
        assert "lightship down" in refused.stderr
    assert platform.run("status").returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start it as a user who may not write there")
def test_an_unwritable_data_directory_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "locked"
    directory.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody")

    done = subprocess.run(
        [sys.executable, "-c", "import os, sys; from lightship import composition; from lightship.app import main\n"
         f"os.setgroups([]); os.setgid({nobody.pw_gid}); os.setuid({nobody.pw_uid})\n"
         "sys.exit(main(sys.argv[1:]))",
         "up", "--data-dir", str(directory / "data"), *ANY_PORTS], capture_output=True, text=True)

    assert done.returncode == 5, done.stderr
    assert "cannot write to the data directory" in done.stderr
    assert "--data-dir" in done.stderr


@pytest.mark.parametrize("file", ["cluster.db", "records.db"])
def test_a_corrupt_database_is_named_and_left_as_it_was(new_platform: New, file: str) -> None:
    platform = new_platform().start()
    platform.stop()
    for extra in ("-wal", "-shm"):
        (platform.data_dir / (file + extra)).unlink(missing_ok=True)
    broken = b"this is not a database, whatever its name says" * 200
    (platform.data_dir / file).write_bytes(broken)

    done = platform.run("up", *ANY_PORTS)

    assert done.returncode == 5, done.stderr
    assert file in done.stderr
    assert "Traceback" not in done.stderr
    assert (platform.data_dir / file).read_bytes() == broken


def test_a_database_of_a_newer_lightship_is_refused(new_platform: New) -> None:
    platform = new_platform().start()
    platform.stop()
    with sqlite3.connect(platform.data_dir / "records.db") as records:
        records.execute("UPDATE alembic_version SET version_num = '9999'")
    records.close()

    done = platform.run("up", *ANY_PORTS)

    assert done.returncode == 5, done.stderr
    assert "newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_kubeconfig_is_printed_so_that_a_shell_takes_it(tmp_path: Path) -> None:
    platform = Platform(tmp_path / "a place")
    try:
        done = platform.run("up", "--detach", *ANY_PORTS)
    finally:
        platform.stop()

    assert done.returncode == 0, done.stderr
    assert f"export KUBECONFIG='{platform.kubeconfig}'" in done.stdout


@pytest.mark.parametrize("verb", [("up", "--detach"), ("demo",)])
def test_an_interrupted_start_leaves_no_server(tmp_path: Path, verb: tuple[str, ...]) -> None:
    data_dir = tmp_path / "data"
    starting = subprocess.Popen([sys.executable, "-m", "lightship", *verb, "--data-dir", str(data_dir), *ANY_PORTS],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (data_dir / "lock").exists():  # the server is there, and far from ready
        assert time.monotonic() < deadline
        time.sleep(0.005)

    starting.send_signal(signal.SIGINT)
    _, said = starting.communicate(timeout=60)

    assert (starting.returncode, said) == (130, "interrupted\n")
    assert processes_of(data_dir) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.parametrize("used_before", [True, False])
def test_a_full_disk_is_told_and_nothing_is_lost(small_disk: Path, used_before: bool) -> None:
    platform = Platform(small_disk / "data")
    if used_before:
        platform.start()
        platform.rest("POST", "/apis/v2beta1/experiments", {"display_name": "kept"})
        platform.stop()
    filling = small_disk / "filling"
    with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
        while file.write(bytes(1024)):
            pass

    try:
        for flags in ((), ("--detach",)):
            done = platform.run("up", *flags, *ANY_PORTS, timeout_seconds=30)
            assert done.returncode in (3, 5), done.stdout + done.stderr
            assert "Traceback" not in done.stderr
            assert "what to do:" in done.stderr
            assert processes_of(platform.data_dir) == []
        filling.unlink()
        platform.start()
        if used_before:
            names = [each["display_name"] for each in platform.rest("GET", "/apis/v2beta1/experiments")["experiments"]]
            assert "kept" in names
    finally:
        filling.unlink(missing_ok=True)
        platform.stop()


def test_help_names_every_command_and_says_what_it_does() -> None:
    done = subprocess.run([sys.executable, "-m", "lightship", "--help"], capture_output=True, text=True)

    assert done.returncode == 0
    for verb in ("up", "status", "down", "demo", "kubeconfig", "controllers"):
        assert f"\n    {verb}" in done.stdout
