"""A web server with files for tests: ETags, ranges, HEAD, tokens, redirects, answers that break off; it counts."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any


@dataclass
class _File:
    data: bytes
    token: str = ""
    breaks_after: int = 0
    """How many bytes the next answers give before they break off; each such answer halves what is left to break."""
    etag: bool = True
    head: bool = True
    gate: threading.Event | None = None


@dataclass
class WebFiles:
    """Files by path. ``asked`` lists every request as ``METHOD path [range]``."""

    asked: list[str] = field(default_factory=list)
    files: dict[str, _File] = field(default_factory=dict)
    away: dict[str, str] = field(default_factory=dict)
    began: threading.Event = field(default_factory=threading.Event)
    """Whether an answer with content was begun."""

    def __enter__(self) -> WebFiles:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def serve(self, path: str, data: bytes, **how: Any) -> None:
        self.files[path] = _File(data, **how)

    def redirect(self, path: str, to: str) -> None:
        self.away[path] = to

    def got(self, path: str) -> int:
        """How many times the content was asked for."""
        return sum(line.startswith(f"GET {path}") for line in self.asked)


def _handler(files: WebFiles) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_GET(self) -> None:
            self._answer(body=True)

        def log_message(self, format: str, *args: Any) -> None:
            return

        def _answer(self, *, body: bool) -> None:
            path, wanted = self.path, self.headers.get("Range", "")
            files.asked.append(f"{self.command} {path} {wanted}".strip())
            if path in files.away:
                self._say(302, {"Location": files.away[path]})
                return
            file = files.files.get(path)
            if file is None:
                self._say(404)
                return
            if file.token and self.headers.get("Authorization") != file.token:
                self._say(401)
                return
            if not body and not file.head:
                self._say(405)
                return
            if body:
                files.began.set()
            if body and file.gate is not None:
                file.gate.wait(30)
            self._file(file, wanted, body=body)

        def _file(self, file: _File, wanted: str, *, body: bool) -> None:
            etag = f'"{hashlib.sha256(file.data).hexdigest()[:12]}"'
            start, status = 0, 200
            headers = {"ETag": etag} if file.etag else {}
            if wanted.startswith("bytes=") and self.headers.get("If-Range") == etag:
                start, status = int(wanted[6:].rstrip("-")), 206
                headers["Content-Range"] = f"bytes {start}-{len(file.data) - 1}/{len(file.data)}"
            data = file.data[start:]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if not body:
                return
            if file.breaks_after:
                self.wfile.write(data[:file.breaks_after])
                file.breaks_after = 0
                self.close_connection = True
                return
            self.wfile.write(data)

        def _say(self, status: int, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": "0"}.items():
                self.send_header(name, value)
            self.end_headers()

    return Handler
