"""``kubectl exec`` for launchers of MPI: what it understands, how it ends, and that it is delivered as a program."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from lightship.cluster.node import catalogue
from lightship.cluster.node.programs import kubectl
from lightship.cluster.node.stand_ins import placed


@pytest.mark.parametrize(("words", "expected"), [
    (["exec", "one-worker-0", "--", "sh", "-c", "prted --x"], ("one-worker-0", "", ["sh", "-c", "prted --x"])),
    (["exec", "pod/p", "--container", "mpi", "--", "true"], ("p", "mpi", ["true"])),
    (["exec", "-i", "--container=mpi", "p", "--", "true"], ("p", "mpi", ["true"])),
])
def test_words_as_upstreams_script_has_them(words: list[str], expected: tuple[str, str, list[str]]) -> None:
    assert kubectl._parse(words) == expected


@pytest.mark.parametrize("words", [["get", "pods"], ["exec", "p", "true"], ["exec", "--", "true"], ["exec", "p", "--"]])
def test_other_words_are_refused(words: list[str]) -> None:
    with pytest.raises(kubectl.Trouble):
        kubectl._parse(words)


def test_the_commands_end_is_told() -> None:
    assert kubectl._code({"status": "Success"}) == 0
    assert kubectl._code({"status": "Failure", "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}}) == 7
    with pytest.raises(kubectl.Trouble, match="no such container"):
        kubectl._code({"status": "Failure", "message": "no such container"})


def test_frames_of_every_length_and_none_without_an_end() -> None:
    for length, head in ((5, b"\x05"), (300, b"\x7e" + struct.pack(">H", 300)),
                         (70_000, b"\x7f" + struct.pack(">Q", 70_000))):
        assert kubectl._frame(io.BytesIO(b"\x82" + head + b"x" * length)) == (2, b"x" * length)
    with pytest.raises(kubectl.Trouble, match="ended before"):
        kubectl._frame(io.BytesIO(b"\x82\x05abc"))
    with pytest.raises(kubectl.Trouble, match="a frame of"):
        kubectl._frame(io.BytesIO(b"\x82\x7f" + struct.pack(">Q", 2**40)))


def test_upstreams_image_delivers_it() -> None:
    for image in ("kubeflow/kubectl-delivery:latest", "docker.io/mpioperator/kubectl-delivery:v0.1"):
        found = catalogue.resolve(image)
        assert found.programs == {found.command[0]: "kubectl.py"}


def test_without_a_cluster_it_says_what_is_missing(tmp_path: Path) -> None:
    program = placed(["kubectl.py"], tmp_path)["kubectl.py"]
    os.rename(program, tmp_path / "kubectl")
    done = subprocess.run([sys.executable, str(tmp_path / "kubectl"), "exec", "p", "--", "true"], capture_output=True,
                          text=True, check=False, env={"PATH": os.environ["PATH"]})
    assert done.returncode == 1 and done.stderr.startswith("error: ") and "serviceaccount/ca.crt" in done.stderr
