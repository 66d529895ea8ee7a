"""Copies of requests and answers as files: JSON lines or Parquet, in a directory for each InferenceService.

``payloads`` hands me batches, one at a time; I write in a thread. A file is closed when it is large enough, and the
oldest go when there are too many, so that a service's log takes a bounded part of the disk.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lightship.gateway.options import Limits
from lightship.gateway.payloads import EVENT_TYPE, Event
from lightship.lib import parquet

JSON_LINES, PARQUET = ".jsonl", ".parquet"


class Files:
    """The sink. Files are named by the time and the id of their first copy, so that their names sort by time."""

    def __init__(self, directory: Path | None, format: str, limits: Limits) -> None:
        self._directory = directory
        self._suffix = PARQUET if format == "parquet" else JSON_LINES
        self._limits = limits

    async def take(self, events: Sequence[Event]) -> None:
        if self._directory is None:
            raise OSError("the gateway was given no directory for files (--payload-dir)")
        await asyncio.to_thread(self._write, self._directory, events)

    async def close(self) -> None:
        return

    def _write(self, directory: Path, events: Sequence[Event]) -> None:
        by_service: dict[tuple[str, str], list[Event]] = {}
        for event in events:
            by_service.setdefault((event.namespace, event.name), []).append(event)
        for (namespace, name), own in by_service.items():
            folder = directory / namespace / name
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            there = sorted(path for path in folder.iterdir() if path.suffix in (JSON_LINES, PARQUET))
            fresh = folder / f"{_time(own[0]).strftime('%Y%m%dT%H%M%S.%fZ')}{self._suffix}"
            if self._suffix == PARQUET:
                part = fresh.with_suffix(".part")
                part.write_bytes(table(own))
                part.replace(fresh)
                there.append(fresh)
            else:
                lines = [path for path in there if path.suffix == JSON_LINES]
                room = lines and lines[-1].stat().st_size < self._limits.payload_file_bytes
                with (lines[-1] if room else fresh).open("ab") as file:
                    file.write(b"".join([line(event) + b"\n" for event in own]))
                there = there if room else [*there, fresh]
            self._make_room(there)

    def _make_room(self, files: Sequence[Path]) -> None:
        """Delete the oldest of what is more than may be kept."""
        left = self._limits.payload_file_bytes * self._limits.payload_files
        for path in reversed(files):
            left -= path.stat().st_size
            if left < 0 and path != files[-1]:
                path.unlink(missing_ok=True)


def line(event: Event) -> bytes:
    """A copy as JSON; a payload that is no text is in ``payloadBase64``."""
    record: dict[str, object] = {
        "id": event.id, "type": EVENT_TYPE + event.kind, "time": _time(event).isoformat(),
        "namespace": event.namespace, "inferenceservicename": event.name, "component": event.component,
        "endpoint": event.endpoint, "status": event.status, "contenttype": event.content_type,
        "metadata": event.metadata, "annotations": dict(event.annotations)}
    try:
        record["payload"] = event.body.decode()
    except UnicodeDecodeError:
        record["payloadBase64"] = base64.b64encode(event.body).decode()
    return msgspec.json.encode(record)


def table(events: Sequence[Event]) -> bytes:
    """Copies as a Parquet file."""
    def texts(name: str, values: Sequence[str]) -> parquet.Column:
        return parquet.Column(name, values)

    return parquet.table([
        texts("id", [event.id for event in events]),
        texts("type", [EVENT_TYPE + event.kind for event in events]),
        parquet.Column("time", [int(event.time * 1e6) for event in events], times=True),
        texts("namespace", [event.namespace for event in events]),
        texts("inferenceservicename", [event.name for event in events]),
        texts("component", [event.component for event in events]),
        texts("endpoint", [event.endpoint for event in events]),
        parquet.Column("status", [event.status for event in events]),
        texts("contenttype", [event.content_type for event in events]),
        texts("metadata", [msgspec.json.encode(event.metadata).decode() for event in events]),
        texts("annotations", [msgspec.json.encode(dict(event.annotations)).decode() for event in events]),
        parquet.Column("payload", [event.body for event in events]),
    ])


def _time(event: Event) -> datetime:
    return datetime.fromtimestamp(event.time, UTC)
