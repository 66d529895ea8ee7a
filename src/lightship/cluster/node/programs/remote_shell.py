#!/usr/bin/env python3
"""``sshd`` and ``ssh`` for MPI's images on a machine that has neither: by my name I am the one or the other.

``mpirun`` calls me as its rsh agent in a launcher, and a node's container runs me as its server. Both prove that they
have the private key of ``~/.ssh``, which a training's Pods share, by an HMAC over nonces of both; what follows is
frames of a kind, a length and bytes. I do not encrypt: on this node's network no Pod sees another's traffic. A session
gets what sshd gives: a clean environment, the user's home, no terminal.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import pwd
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO

DEFAULT_PORT = 2222
"""What upstream's images say in their settings of both."""
HANDSHAKE_SECONDS = 30.0
CONNECT_SECONDS = 30.0
RETRY_SECONDS = 1.0
LIMIT_SESSIONS = 200
LIMIT_FRAME_BYTES = 1024 * 1024
CHUNK_BYTES = 64 * 1024
FAILED = 255
"""The exit code of ssh where it is ssh that failed."""

_RUN, _INPUT, _INPUT_END, _OUTPUT, _ERROR, _EXIT = b"R", b"i", b"e", b"o", b"r", b"x"
_HEADER = struct.Struct(">cI")
_NONCE_BYTES = _PROOF_BYTES = 32
_KEY_FILES = ("id_rsa", "id_ecdsa", "id_ed25519")
_SERVER_VALUES, _CLIENT_VALUES = "bCcEfghkop", "BbcDEeFIiJLlmOopQRSWw"
_KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "TZ", "VIRTUAL_ENV", "MLX_MPI_LIBNAME")
"""What a session has of the server's variables: an image's, not a container's."""


class Refused(Exception):
    """The other side is not who it should be, or does not answer as I do."""


def main() -> int:
    program = os.path.basename(sys.argv[0])
    try:
        return serve(sys.argv[1:]) if program.startswith("sshd") else connect(sys.argv[1:])
    except (OSError, Refused) as problem:
        sys.stderr.write(f"{program}: {problem}\n")
        return FAILED


def parse(words: list[str], with_values: str) -> tuple[dict[str, str], list[str]]:
    """The options by letter, those of ``-o`` by their names in lower case; and the words after them."""
    options: dict[str, str] = {}
    rest = list(words)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        letters = rest.pop(0)[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter not in with_values:
                options[letter] = ""
                continue
            value, letters = letters or (rest.pop(0) if rest else ""), ""
            if letter == "o":
                name, _, value = value.replace("=", " ", 1).partition(" ")
                options[name.lower()] = value.strip()
            else:
                options[letter] = value
    return options, rest


def key_of(named: str = "") -> bytes:
    """What both sides have: the private key of the user's home, or the file that is named. Raises ``Refused``."""
    home = os.path.expanduser("~")
    places = [named] if named else [os.path.join(home, ".ssh", name) for name in _KEY_FILES]
    for place in places:
        try:
            with open(os.path.expanduser(place), "rb") as stream:
                return hashlib.sha256(stream.read().strip()).digest()
        except FileNotFoundError:
            continue
    raise Refused("no private key is at {}".format(" or ".join(places)))


def prove(key: bytes, who: bytes, nonces: bytes) -> bytes:
    return hmac.new(key, who + nonces, hashlib.sha256).digest()


class Channel:
    """Frames over a socket; several threads may send."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")
        self._sending = threading.Lock()

    def send(self, kind: bytes, content: bytes = b"") -> None:
        with self._sending:
            self._connection.sendall(_HEADER.pack(kind, len(content)) + content)

    def receive(self) -> tuple[bytes, bytes] | None:
        """The next frame; None at the end."""
        header = self._reader.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        kind, length = _HEADER.unpack(header)
        if length > LIMIT_FRAME_BYTES:
            raise Refused(f"a frame of {length} bytes")
        return kind, self._reader.read(length)

    def pump(self, source: BinaryIO, kind: bytes) -> None:
        """Everything from ``source``, as it comes."""
        try:
            while True:
                content = os.read(source.fileno(), CHUNK_BYTES)
                if not content:
                    break
                self.send(kind, content)
        except OSError:
            source.close()  # nobody listens: the writer is to hear of it


def _exactly(connection: socket.socket, count: int) -> bytes:
    content = b""
    while len(content) < count:
        more = connection.recv(count - len(content))
        if not more:
            raise Refused("the connection was closed")
        content += more
    return content


def serve(words: list[str]) -> int:
    """``sshd``: a child for each connection, until a signal ends me."""
    options, _ = parse(words, _SERVER_VALUES)
    settings = _settings(options.get("f", ""))
    port = int(options.get("p") or options.get("port") or settings.get("port") or DEFAULT_PORT)
    key = key_of(options.get("h") or settings.get("hostkey", ""))
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(128)
    if "D" not in options and os.fork():
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(FAILED))
    sys.stderr.write(f"Server listening on 0.0.0.0 port {port}.\n")
    sessions: list[int] = []
    while True:
        connection, peer = listener.accept()
        sessions = [pid for pid in sessions if os.waitpid(pid, os.WNOHANG)[0] == 0]
        if len(sessions) >= LIMIT_SESSIONS:
            sys.stderr.write(f"refused {peer[0]}: {len(sessions)} sessions are open\n")
            connection.close()
            continue
        pid = os.fork()
        if pid == 0:
            listener.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os._exit(_attend(connection, key))
        connection.close()
        sessions.append(pid)


def _settings(path: str) -> dict[str, str]:
    """The lines of sshd's settings, if the file is there."""
    found: dict[str, str] = {}
    if not path or not os.path.isfile(path):
        return found
    with open(path) as stream:
        for line in stream:
            words = line.split(None, 1)
            if len(words) == 2 and not words[0].startswith("#"):
                found.setdefault(words[0].lower(), words[1].strip())
    return found


def _attend(connection: socket.socket, key: bytes) -> int:
    """One connection, in a process of its own."""
    try:
        connection.settimeout(HANDSHAKE_SECONDS)
        mine = os.urandom(_NONCE_BYTES)
        connection.sendall(mine)
        theirs = _exactly(connection, _NONCE_BYTES)
        if not hmac.compare_digest(_exactly(connection, _PROOF_BYTES), prove(key, b"client", mine + theirs)):
            sys.stderr.write("refused a client with another key\n")
            return 1
        connection.sendall(prove(key, b"server", mine + theirs))
        channel = Channel(connection)
        asked = channel.receive()
        connection.settimeout(None)
        if asked is not None and asked[0] == _RUN:
            _session(channel, str(json.loads(asked[1].decode()).get("command") or ""))
    except (OSError, Refused, ValueError):
        return 1  # a probe, or a client that went: there is nobody to tell
    return 0


def _session(channel: Channel, command: str) -> None:
    home = os.path.expanduser("~")
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    environment.update({"HOME": home, "SHELL": "/bin/sh"})
    with contextlib.suppress(KeyError):  # a user without a name, as containers have them
        environment["USER"] = environment["LOGNAME"] = pwd.getpwuid(os.getuid()).pw_name
    argv = ["/bin/sh", "-c", command] if command else ["/bin/sh"]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               cwd=home if os.path.isdir(home) else "/", env=environment, start_new_session=True)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    pumps = [threading.Thread(target=channel.pump, args=(source, kind), daemon=True)
             for source, kind in ((process.stdout, _OUTPUT), (process.stderr, _ERROR))]
    for pump in pumps:
        pump.start()
    threading.Thread(target=_feed, args=(channel, process), daemon=True).start()
    code = process.wait()
    for pump in pumps:
        pump.join()
    channel.send(_EXIT, json.dumps(code if code >= 0 else 128 - code).encode())


def _feed(channel: Channel, process: Any) -> None:
    """The client's input to the command, and the client's end to its whole process group."""
    while True:
        try:
            frame = channel.receive()
        except (OSError, Refused):
            frame = None
        if frame is None:
            break
        try:
            if frame[0] == _INPUT:
                process.stdin.write(frame[1])
                process.stdin.flush()
            elif frame[0] == _INPUT_END:
                process.stdin.close()
        except (OSError, ValueError):
            continue  # the command reads no more
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGHUP)
        except ProcessLookupError:
            return  # it ended while we looked


def connect(words: list[str]) -> int:
    """``ssh``: run a command there, and end as it ended."""
    options, rest = parse(words, _CLIENT_VALUES)
    if "V" in options:
        sys.stderr.write("Lightship's stand-in for ssh\n")
        return 0
    if not rest:
        raise Refused("no host is named")
    host, command = rest[0].rpartition("@")[2], rest[1:]
    more, command = parse(command, _CLIENT_VALUES)
    options.update(more)
    port = int(options.get("p") or options.get("port") or DEFAULT_PORT)
    key = key_of(options.get("i") or options.get("identityfile", ""))
    connection = _reach(host, port, int(options.get("connectionattempts") or 1))
    connection.settimeout(HANDSHAKE_SECONDS)
    theirs, mine = _exactly(connection, _NONCE_BYTES), os.urandom(_NONCE_BYTES)
    connection.sendall(mine + prove(key, b"client", theirs + mine))
    try:
        proof = _exactly(connection, _PROOF_BYTES)
    except Refused:
        proof = b""
    if not hmac.compare_digest(proof, prove(key, b"server", theirs + mine)):
        raise Refused(f"{host}: Permission denied (publickey)")
    connection.settimeout(None)
    channel = Channel(connection)
    channel.send(_RUN, json.dumps({"command": " ".join(command)}).encode())
    if "n" in options:
        channel.send(_INPUT_END)
    else:
        threading.Thread(target=_type, args=(channel,), daemon=True).start()
    return _listen(channel, host)


def _reach(host: str, port: int, attempts: int) -> socket.socket:
    for attempt in range(1, attempts + 1):
        try:
            return socket.create_connection((host, port), CONNECT_SECONDS)
        except OSError as problem:
            if attempt == attempts:
                raise Refused(f"connect to host {host} port {port}: {problem}") from problem
            time.sleep(RETRY_SECONDS)
    raise Refused("no attempt was allowed")


def _type(channel: Channel) -> None:
    try:
        channel.pump(sys.stdin.buffer, _INPUT)
        channel.send(_INPUT_END)
    except (OSError, ValueError):
        return  # it has ended meanwhile


def _listen(channel: Channel, host: str) -> int:
    while True:
        frame = channel.receive()
        if frame is None:
            raise Refused(f"Connection to {host} closed by remote host.")
        kind, content = frame
        if kind == _EXIT:
            return int(json.loads(content.decode()))
        stream = sys.stdout.buffer if kind == _OUTPUT else sys.stderr.buffer
        stream.write(content)
        stream.flush()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # a thread may still wait for input
