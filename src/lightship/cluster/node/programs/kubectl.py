#!/usr/bin/env python3
"""``kubectl exec`` for the launchers of MPIJobs, and the init container that delivers it: by my name I am either.

``/etc/mpi/kubexec.sh``, which ``mpirun`` calls as its rsh agent, runs me with the Pod's own token: ``kubectl exec POD
[--container NAME] -- COMMAND ...``, its output and its exit code, without input. As ``kubectl-delivery`` I copy myself
to ``TARGET_DIR`` and wait until each host of the list runs. Where images bring the real kubectl, nobody calls me.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import socket
import ssl
import struct
import sys
import time
import urllib.parse
from typing import Any

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
HOST_FILE = "/etc/mpi/hostfile"
TIMEOUT_SECONDS = 60.0
POLL_SECONDS = 0.2
LIMIT_WAIT_SECONDS = 600.0
LIMIT_FRAME_BYTES = 4 * 1024 * 1024
PROTOCOL = "v5.channel.k8s.io"
FAILED = 1

_OUTPUT, _ERROR, _STATUS = 1, 2, 3
_BINARY, _CLOSE, _PING, _PONG = 2, 8, 9, 10


class Trouble(Exception):
    """What the user is told, in one line."""


def main() -> int:
    program = os.path.basename(sys.argv[0])
    try:
        if program.startswith("kubectl-delivery"):
            return deliver(os.environ.get("TARGET_DIR", "/opt/kube"))
        return execute(sys.argv[1:])
    except (OSError, Trouble) as problem:
        sys.stderr.write(f"error: {problem}\n")
        return FAILED


class Cluster:
    """The API server, as the Pod's own account reaches it."""

    def __init__(self) -> None:
        self._address = (os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc"),
                         int(os.environ.get("KUBERNETES_SERVICE_PORT", "443")))
        trusted = os.path.join(ACCOUNT, "ca.crt")
        if not os.path.exists(trusted):
            raise Trouble(f"this Pod has no account of its own: {trusted} is not there")
        self._trust = ssl.create_default_context(cafile=trusted)
        self.namespace = os.environ.get("NAMESPACE") or _read("namespace")

    def headers(self) -> dict[str, str]:
        return {"Authorization": "Bearer " + _read("token"), "Host": "{}:{}".format(*self._address)}

    def get(self, path: str) -> Any:
        """The object at a path; None where it is not there."""
        connection = http.client.HTTPSConnection(*self._address, context=self._trust, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("GET", path, headers=self.headers())
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Trouble(f"GET {path}: {answer.status} {_message(content)}")
        return json.loads(content.decode())

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(self._address, TIMEOUT_SECONDS)
        return self._trust.wrap_socket(plain, server_hostname=self._address[0])


def _read(name: str) -> str:
    with open(os.path.join(ACCOUNT, name)) as stream:
        return stream.read().strip()


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content.decode())["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:300]


def deliver(directory: str) -> int:
    """Put me where the launcher will look, then wait for the workers."""
    target = os.path.join(directory, "kubectl")
    shutil.copyfile(os.path.realpath(__file__), target)
    os.chmod(target, 0o755)
    cluster = Cluster()
    limit = time.monotonic() + LIMIT_WAIT_SECONDS
    for host in _hosts():
        path = f"/api/v1/namespaces/{cluster.namespace}/pods/{host}"
        while ((cluster.get(path) or {}).get("status") or {}).get("phase") != "Running":
            if time.monotonic() > limit:
                raise Trouble(f"the worker {host} does not run after {LIMIT_WAIT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
    return 0


def _hosts() -> list[str]:
    """The workers of the list; the launcher itself does not run yet."""
    with open(HOST_FILE) as stream:
        found = [line.split()[0] for line in stream if line.strip()]
    return [host for host in found if host != socket.gethostname()]


def execute(words: list[str]) -> int:
    """``kubectl exec``: the exit code of the command."""
    pod, container, command = _parse(words)
    cluster = Cluster()
    asked = [("command", word) for word in command] + [("stdout", "true"), ("stderr", "true")]
    if container:
        asked.append(("container", container))
    place = f"/api/v1/namespaces/{urllib.parse.quote(cluster.namespace)}/pods/{urllib.parse.quote(pod)}/exec"
    path = f"{place}?{urllib.parse.urlencode(asked)}"
    with cluster.connect() as connection:
        stream = connection.makefile("rb")
        _upgrade(connection, stream, path, cluster.headers())
        connection.settimeout(None)
        return _follow(connection, stream)


def _parse(words: list[str]) -> tuple[str, str, list[str]]:
    if words[:1] != ["exec"] or "--" not in words:
        raise Trouble("this stand-in for kubectl knows only: exec POD [--container NAME] -- COMMAND ...")
    place = words.index("--")
    rest, command, container, names = words[1:place], words[place + 1:], "", []
    while rest:
        word = rest.pop(0)
        if word in ("-c", "--container"):
            container = rest.pop(0) if rest else ""
        elif word.startswith("--container="):
            container = word.partition("=")[2]
        elif not word.startswith("-"):
            names.append(word)
    if len(names) != 1 or not command:
        raise Trouble("name one Pod and a command")
    return names[0].rpartition("/")[2], container, command


def _upgrade(connection: ssl.SSLSocket, stream: Any, path: str, headers: dict[str, str]) -> None:
    asked = dict(headers)
    asked.update({"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
                  "Sec-WebSocket-Protocol": PROTOCOL,
                  "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode()})
    lines = [f"GET {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in asked.items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    status = stream.readline().decode(errors="replace").split(None, 2)
    length = 0
    while True:
        line = stream.readline().decode(errors="replace").strip()
        if not line:
            break
        name, _, value = line.partition(":")
        if name.lower() == "content-length":
            length = int(value)
    if len(status) < 2 or status[1] != "101":
        raise Trouble("exec was refused: {} {}".format(" ".join(status), _message(stream.read(length))).strip())


def _follow(connection: ssl.SSLSocket, stream: Any) -> int:
    """Output as it comes, until the server says how the command ended."""
    while True:
        kind, content = _frame(stream)
        if kind == _CLOSE:
            raise Trouble("the connection ended before the command did")
        if kind == _PING:
            _send(connection, _PONG, content)
        if kind != _BINARY or len(content) < 2:
            continue
        channel, content = content[0], content[1:]
        if channel in (_OUTPUT, _ERROR):
            target = sys.stdout.buffer if channel == _OUTPUT else sys.stderr.buffer
            target.write(content)
            target.flush()
        elif channel == _STATUS:
            return _code(json.loads(content.decode()))


def _code(status: Any) -> int:
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes") or ():
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise Trouble(str(status.get("message")))


def _frame(stream: Any) -> tuple[int, bytes]:
    head = _exactly(stream, 2)
    length = head[1] & 0x7F
    if length == 126:
        length = struct.unpack(">H", _exactly(stream, 2))[0]
    elif length == 127:
        length = struct.unpack(">Q", _exactly(stream, 8))[0]
    if length > LIMIT_FRAME_BYTES:
        raise Trouble(f"a frame of {length} bytes")
    return head[0] & 0x0F, _exactly(stream, length)


def _exactly(stream: Any, count: int) -> bytes:
    content: bytes = stream.read(count)
    if len(content) < count:
        raise Trouble("the connection ended before the command did")
    return content


def _send(connection: ssl.SSLSocket, kind: int, content: bytes) -> None:
    """A frame of a client, which is masked; only answers to pings, so short."""
    mask = os.urandom(4)
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(content[:125]))
    connection.sendall(bytes([0x80 | kind, 0x80 | len(body)]) + mask + body)


if __name__ == "__main__":
    sys.exit(main())
