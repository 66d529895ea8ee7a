"""Trials that tell their loss each in another way: ``events``, ``served`` or ``pushed``, and then the loss.

Run inside a Pod by plain Python; ``test_collectors`` hands my source over.
"""

from __future__ import annotations

import http.server
import os
import socket
import struct
import sys
import threading
import time


def sized(number: int, data: bytes) -> bytes:
    """A field of a protobuf message."""
    return bytes([number << 3 | 2, len(data)]) + data


def events(loss: str) -> None:
    """An event file as tensorboardX writes it."""
    os.makedirs("/logs/train", exist_ok=True)
    with open("/logs/train/events.out.tfevents.1", "wb") as file:
        for step, value in enumerate((9.0, float(loss))):
            scalar = sized(1, b"loss") + bytes([2 << 3 | 5]) + struct.pack("<f", value)
            event = bytes([1 << 3 | 1]) + struct.pack("<d", 1e9 + step) + sized(5, sized(1, scalar))
            file.write(struct.pack("<Q", len(event)) + bytes(4) + event + bytes(4))


def served(loss: str) -> None:
    """A page that is fetched once."""
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'# TYPE loss gauge\nloss{{of="x"}} {loss}\n'.encode())
            threading.Thread(target=server.shutdown).start()

    server = http.server.HTTPServer(("", 9090), Page)
    server.serve_forever()
    time.sleep(0.3)


def pushed(loss: str) -> None:
    """A report by gRPC, and one for a trial that is not in this namespace."""
    assert report(os.environ["KATIB_TRIAL_NAME"].encode(), b"7", loss.encode()) == b"0"
    assert report(b"of-another-namespace", b"0") == b"5"


def report(trial: bytes, *values: bytes) -> bytes:
    logs = b"".join(sized(1, sized(1, b"2026-01-01T00:00:00Z") + sized(2, sized(1, b"loss") + sized(2, value)))
                    for value in values)
    message = sized(1, trial) + sized(2, logs)
    head = b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in (
        (b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"katib"), (b"te", b"trailers"),
        (b":path", b"/api.v1.beta1.DBManager/ReportObservationLog"), (b"content-type", b"application/grpc")))
    with socket.create_connection(("katib-db-manager.kubeflow", 6789)) as line:
        line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b"") + frame(1, 4, 1, head)
                     + frame(0, 1, 1, b"\0" + len(message).to_bytes(4, "big") + message))
        seen = b""
        while b"grpc-status" not in seen:
            more = line.recv(65536)
            assert more, seen
            seen += more
    return seen[seen.index(b"grpc-status") + 12:][:1]


def frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


if __name__ == "__main__":
    {"events": events, "served": served, "pushed": pushed}[sys.argv[1]](sys.argv[2])
