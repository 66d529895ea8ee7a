"""Real clients inside running Pods: exec, attach, cp, port-forward, logs, over WebSockets and over SPDY."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.acceptance.conftest import Platform
from tests.acceptance.kubectl.test_kubectl import installed, newest
from tests.sdks import sdk_python

pytestmark = [pytest.mark.sdk, pytest.mark.timeout(120)]

LIMIT_SECONDS = 60
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: busy, labels: {app: busy}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - {name: one, image: busybox, command: [sh, -c, "echo first; echo second; exec sleep 1000"]}
  - {name: two, image: "python:3.11", workingDir: /tmp,
     command: [sh, -c, "echo other; exec python3 -m http.server 8088"]}
"""


@dataclass
class Kubectl:
    program: Path
    platform: Platform
    spdy: bool = False

    @property
    def environment(self) -> dict[str, str]:
        old = {"KUBECTL_REMOTE_COMMAND_WEBSOCKETS": "false", "KUBECTL_PORT_FORWARD_WEBSOCKETS": "false"}
        return {"KUBECONFIG": str(self.platform.kubeconfig), "PATH": os.environ["PATH"],
                "HOME": str(self.platform.data_dir), **(old if self.spdy else {})}

    def run(self, *arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        done = subprocess.run([self.program, *arguments], input=stdin, capture_output=True, check=False,
                              timeout=LIMIT_SECONDS, env=self.environment)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def __call__(self, *arguments: str, stdin: bytes = b"") -> str:
        code, out, error = self.run(*arguments, stdin=stdin)
        assert code == 0, f"kubectl {' '.join(arguments)}: {error}{out}{self.platform.server_log()}"
        return out

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([self.program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env=self.environment)


@pytest.fixture(scope="module", params=["newest", "newest-spdy", "installed"])
def kubectl(request: pytest.FixtureRequest, platform: Platform) -> Iterator[Kubectl]:
    find: Callable[[], Path] = installed if request.param == "installed" else newest
    made = Kubectl(find(), platform, spdy=request.param == "newest-spdy")
    made("apply", "-f", "-", stdin=PODS.encode())
    made("wait", "--for=condition=Ready", "pod/busy", "--timeout=60s")
    yield made
    made("delete", "pod", "busy", "--now")


def test_exec(kubectl: Kubectl) -> None:
    assert kubectl.run("exec", "busy", "-c", "two", "--", "sh", "-c", "pwd; echo wrong >&2; exit 5") == (
        5, "/tmp\n", "wrong\ncommand terminated with exit code 5\n")
    data = os.urandom(1_000_000)
    out = kubectl("exec", "-i", "busy", "-c", "one", "--", "sha256sum", stdin=data)
    assert out.split()[0] == hashlib.sha256(data).hexdigest()
    code, _, error = kubectl.run("exec", "busy", "-c", "one", "--", "no-such-program")
    assert (code, 'exec: "no-such-program": executable file not found in $PATH' in error) == (127, True)
    code, _, error = kubectl.run("exec", "none", "--", "true")
    assert (code, 'pods "none" not found' in error) == (1, True)
    code, _, error = kubectl.run("exec", "busy", "-c", "three", "--", "true")
    assert code == 1
    assert "container" in error


def test_a_terminal(kubectl: Kubectl) -> None:
    if not (script := shutil.which("script")):
        pytest.skip("no script(1) here to have a terminal from")
    sized = 'until stty size | grep -qv "^0 0"; do sleep 0.02; done; stty size; tty; exit 6'  # it comes by itself
    command = f"stty rows 33 cols 99; {kubectl.program} exec -it busy -c one -- sh -c '{sized}'"
    done = subprocess.run([script, "-qec", command, "/dev/null"], capture_output=True, text=True, check=False,
                          env=kubectl.environment, timeout=LIMIT_SECONDS)
    assert done.returncode == 6, done.stdout
    assert "33 99" in done.stdout
    assert "/dev/pts/" in done.stdout


def test_cp_both_ways(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(os.urandom(3_000_000))
    kubectl("cp", str(tmp_path / "there"), "busy:/tmp/there", "-c", "one")
    kubectl("cp", "busy:/tmp/there", str(tmp_path / "back"), "-c", "one")
    assert (tmp_path / "there").read_bytes() == (tmp_path / "back").read_bytes()


def test_run_attached(kubectl: Kubectl) -> None:
    code, out, error = kubectl.run(
        "run", "once", "-i", "--rm", "--restart=Never", "--image=busybox", "--", "sh", "-c",
        "read line; echo you said $line; exit 3", stdin=b"hello\n")
    assert code == 3, error
    assert "you said hello" in out
    assert "deleted" in out + error


def test_port_forward(kubectl: Kubectl) -> None:
    with _forwarding(kubectl, "pod/busy", ":8088") as port:
        for _ in range(3):
            with urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT_SECONDS) as answer:
                assert b"Directory listing" in answer.read()
    with _forwarding(kubectl, "pod/busy", ":9") as port, pytest.raises(OSError):
        urlopen(f"http://127.0.0.1:{port}/", timeout=LIMIT_SECONDS)


@contextlib.contextmanager
def _forwarding(kubectl: Kubectl, *arguments: str) -> Iterator[int]:
    process = kubectl.start("port-forward", *arguments)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Forwarding from 127.0.0.1:"), line
        yield int(line.split(":")[1].split()[0])
    finally:
        process.kill()
        process.communicate()


def test_logs(kubectl: Kubectl) -> None:
    assert kubectl("logs", "busy", "-c", "one") == "first\nsecond\n"
    assert kubectl("logs", "busy", "-c", "one", "--tail=1") == "second\n"
    assert kubectl("logs", "busy", "-c", "one", "--limit-bytes=3").strip() == "fir"
    assert kubectl("logs", "busy", "-c", "one", "--since=1h").startswith("first")
    stamped = kubectl("logs", "busy", "-c", "one", "--timestamps").splitlines()[0]
    assert (stamped[10], stamped.split()[1]) == ("T", "first")
    assert "[pod/busy/two] other" in kubectl("logs", "-l", "app=busy", "--prefix", "--all-containers")
    code, _, error = kubectl.run("logs", "busy", "-c", "one", "--previous")
    assert (code, 'previous terminated container "one" in pod "busy" not found' in error) == (1, True)


def test_following_ends_with_its_pod(kubectl: Kubectl) -> None:
    kubectl("run", "talks", "--image=busybox", "--restart=Never", "--command",
            "--", "sh", "-c", "echo begun; exec sleep 1000")
    kubectl("wait", "--for=condition=Ready", "pod/talks", "--timeout=60s")
    following = kubectl.start("logs", "-f", "talks")
    assert following.stdout is not None
    assert following.stdout.readline() == b"begun\n"
    kubectl("delete", "pod", "talks", "--now")
    out, _ = following.communicate(timeout=LIMIT_SECONDS)
    assert (following.returncode, out) == (0, b"")


def test_debug_says_that_it_cannot(kubectl: Kubectl) -> None:
    code, _, error = kubectl.run("debug", "busy", "--image=busybox")
    assert (code, "ephemeral containers are disabled for this cluster" in error) == (1, True), error


SCRIPT = textwrap.dedent('''
    import json
    from kubernetes import client, config
    from kubernetes.stream import portforward, stream

    config.load_kube_config()
    api = client.CoreV1Api()
    run = lambda command, **more: stream(api.connect_get_namespaced_pod_exec, "busy", "default", container="one",
                                         command=command, stderr=True, stdout=True, tty=False, **more)
    found = {"whole": run(["sh", "-c", "echo out; echo wrong >&2"], stdin=False)}
    shell = run(["sh"], stdin=True, _preload_content=False)
    shell.write_stdin("echo $((40 + 2)); exit 9\\n")
    shell.run_forever(timeout=30)
    found |= {"out": shell.read_stdout(), "code": shell.returncode}
    ports = portforward(api.connect_get_namespaced_pod_portforward, "busy", "default", ports="8088")
    connection = ports.socket(8088)
    connection.setblocking(True)
    connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    answer = b""
    while more := connection.recv(4096):
        answer += more
    found |= {"answer": answer[:15].decode(), "error": ports.error(8088)}
    print(json.dumps(found))
''')


@pytest.mark.parametrize("version", ["kubernetes==30.1.0", "kubernetes==37.0.2"])
def test_the_python_client(kubectl: Kubectl, version: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sdk_python(version), script], capture_output=True, text=True, check=False,
                          timeout=LIMIT_SECONDS, env=kubectl.environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found == {"whole": "out\nwrong\n", "out": "42\n", "code": 9, "answer": "HTTP/1.0 200 OK", "error": None}
