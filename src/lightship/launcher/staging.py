"""What happens before and after a step's command: ``stage_in`` and ``stage_out``, over a ``Store`` and ``Volumes``.

The in-process entrypoints of the embedded node and ``__main__`` call me. The plan is the JSON in ``LIGHTSHIP_STAGING``,
written by the engine (``domains/pipelines/staging.py``)::

    stage-in   {"mounts": [...], "directories": [path], "inputs": [{"uri", "path", "required"}]}
    stage-out  {"mounts": [...], "main": container, "commit": uri, "root": uri, "outputFile": path,
                "parameters": [{"name", "path"}], "artifacts": [{"name", "uri", "path", "type", "metadata"}],
                "roots": [["minio://", "/minio/"]]}

``stage_out`` ends by writing the commit record, whole and last: a step has succeeded only when it is there. The record
is ``{"version": 1, "parameterFiles": {name: text}, "parameterValues": {name: JSON}, "artifacts": {name: [{"uri",
"metadata", "digest", "sizeBytes", ...}]}}``; what the values mean is the engine's affair.
"""

from __future__ import annotations

import base64
import json
import os
import uuid
import zlib
from typing import Any, Callable, Dict, List, NamedTuple

from .files import StagingError, Volumes, digest_of, make_folders
from .stores import MAX_RECORD_BYTES, Store

VERSION = 1
PACKED = "zlib:"
"""Before a plan that is packed: base64 of zlib of the JSON."""
MAX_PLAN_BYTES = 64 * 1024 * 1024
MAX_PARAMETER_BYTES = 16 * 1024 * 1024
MAX_OUTPUT_FILE_BYTES = 32 * 1024 * 1024

Log = Callable[[str], None]


class _Move(NamedTuple):
    """One stage-out under way."""

    plan: Dict[str, Any]
    store: Store
    volumes: Volumes
    log: Log


def read_plan(text: str) -> Dict[str, Any]:
    """The plan from ``LIGHTSHIP_STAGING``. Raises ``StagingError`` for what is none."""
    try:
        if text.startswith(PACKED):
            unpacking = zlib.decompressobj()
            text = unpacking.decompress(base64.b64decode(text[len(PACKED):]), MAX_PLAN_BYTES).decode()
        plan = json.loads(text)
    except (ValueError, zlib.error) as cause:
        raise StagingError("LIGHTSHIP_STAGING is not a plan: %s" % cause) from cause
    if not isinstance(plan, dict):
        raise StagingError("LIGHTSHIP_STAGING is not a plan: it is not a JSON object")
    return plan


def stage_in(plan: Dict[str, Any], store: Store, volumes: Volumes, log: Log) -> None:
    """Make the folders that outputs go to, and copy the inputs to their paths."""
    for path in plan.get("directories") or []:
        make_folders(volumes.resolve(path))
    done = set()
    for entry in plan.get("inputs") or []:
        uri, path = entry["uri"], entry["path"]
        if path in done:
            continue
        done.add(path)
        if not store.handles(uri):
            if entry.get("required"):
                raise StagingError('"%s" is not in the artifact store, so it cannot be downloaded' % uri)
            log('"%s" is not in the artifact store: the step gets its URI, and no file at "%s"' % (uri, path))
            continue
        destination = volumes.resolve(path)
        if os.path.exists(destination):
            continue
        make_folders(os.path.dirname(destination))
        # Whole or not at all: others may read the volume, or find in it what a killed one left.
        arriving = "%s.%s" % (destination, uuid.uuid4().hex)
        store.fetch(uri, arriving)
        os.rename(arriving, destination)


def stage_out(plan: Dict[str, Any], store: Store, volumes: Volumes, log: Log) -> Dict[str, Any]:
    """Keep the outputs of a command that ended well, and then the commit record, which is returned."""
    written = _executor_output(plan, volumes)
    record: Dict[str, Any] = {
        "version": VERSION,
        "parameterFiles": _parameter_files(plan, volumes),
        "parameterValues": _plain_parameters(written),
        "artifacts": _artifacts(_Move(plan, store, volumes, log), written),
    }
    data = json.dumps(record, ensure_ascii=False).encode()
    if len(data) > MAX_RECORD_BYTES:
        raise StagingError("the outputs' record has %d bytes; the limit is %d. Put large values in artifacts"
                           % (len(data), MAX_RECORD_BYTES))
    store.write(plan["commit"], data)
    return record


def _executor_output(plan: Dict[str, Any], volumes: Volumes) -> Dict[str, Any]:
    path = plan.get("outputFile")
    if not path:
        return {}
    text = _bounded_text(volumes.resolve(path), MAX_OUTPUT_FILE_BYTES, "the executor's output file")
    if not text:
        return {}
    try:
        written = json.loads(text)
    except ValueError as cause:
        raise StagingError("the executor's output file is not JSON: %s" % cause) from cause
    if not isinstance(written, dict):
        raise StagingError("the executor's output file is not a JSON object")
    return written


def _plain_parameters(written: Dict[str, Any]) -> Dict[str, Any]:
    """The executor's parameter values, and its deprecated typed ones."""
    found: Dict[str, Any] = {}
    for name, value in (written.get("parameters") or {}).items():
        if isinstance(value, dict):
            found[name] = next(iter(value.values()), None)
    found.update(written.get("parameterValues") or {})
    return found


def _parameter_files(plan: Dict[str, Any], volumes: Volumes) -> Dict[str, str]:
    found = {}
    for entry in plan.get("parameters") or []:
        text = _bounded_text(volumes.resolve(entry["path"]), MAX_PARAMETER_BYTES,
                             'the output parameter "%s"' % entry["name"])
        if text is not None:
            found[entry["name"]] = text
    return found


def _bounded_text(path: str, limit_bytes: int, what: str) -> "str | None":
    try:
        with open(path, "rb") as reader:
            data = reader.read(limit_bytes + 1)
    except FileNotFoundError:
        return None
    except OSError as cause:
        raise StagingError("%s cannot be read: %s" % (what, cause)) from cause
    if len(data) > limit_bytes:
        raise StagingError("%s is larger than the limit of %d bytes" % (what, limit_bytes))
    try:
        return data.decode()
    except UnicodeDecodeError as cause:
        raise StagingError("%s is not UTF-8 text" % what) from cause


def _artifacts(move: _Move, written: Dict[str, Any]) -> Dict[str, List[Dict[str, Any]]]:
    """Every declared output, as the executor describes it or else as planned."""
    described = written.get("artifacts") or {}
    found: Dict[str, List[Dict[str, Any]]] = {}
    for entry in move.plan.get("artifacts") or []:
        name = entry["name"]
        given = (described.get(name) or {}).get("artifacts")
        listed = given if isinstance(given, list) else [{}]
        found[name] = [_artifact(move, entry, one) for one in listed]
    return found


def _artifact(move: _Move, entry: Dict[str, Any], given: Dict[str, Any]) -> Dict[str, Any]:
    plan, store, volumes, log = move
    uri = str(given.get("uri") or entry["uri"])
    custom = str(given.get("custom_path") or given.get("customPath") or "")
    result: Dict[str, Any] = {"uri": uri, "metadata": given.get("metadata") or entry.get("metadata") or {}}
    if given.get("type") or entry.get("type"):
        result["type"] = given.get("type") or entry["type"]
    if given.get("name"):
        result["name"] = given["name"]
    own = uri.startswith(plan["root"].rstrip("/") + "/") and ".." not in uri.split("/")
    path = custom or (entry["path"] if uri == entry["uri"] else _local_path(plan, uri))
    if not path:
        log('the output "%s" is at "%s", which is not in the artifact store' % (entry["name"], uri))
        return result
    if custom and not volumes.covers(custom):
        raise StagingError('the output "%s" has the custom_path "%s", which is on none of the step\'s shared volumes'
                           % (entry["name"], custom))
    source = volumes.resolve(path)
    if not os.path.exists(source):
        if not result["metadata"]:
            log('the output "%s" wrote nothing to "%s"' % (entry["name"], path))
        return result
    # What lies outside the step's own folder is somebody else's (an input passed on): named, never overwritten.
    stored = store.put(uri, source) if own else digest_of(source)
    result.update(digest=stored.digest, sizeBytes=stored.size_bytes)
    return result


def _local_path(plan: Dict[str, Any], uri: str) -> str:
    for prefix, folder in plan.get("roots") or []:
        if uri.startswith(prefix):
            return str(folder + uri[len(prefix):])
    return ""
