"""What became of a run, as plain data that does not change from run to run: to compare, and to expect.

``test_corpus`` and ``test_authored`` call me. A story says of every task its state, the parameters that steps were
given, and the outputs: parameters, and of artifacts the type, the metadata and the content (the digest of large ones).
"""

from __future__ import annotations

import re
from typing import Any

from lightship.domains.pipelines import nodes
from lightship.records import pipeline_rows as rows
from lightship.records.pipeline_rows import ArtifactRow, TaskRow
from tests.acceptance.pipelines.harness import Finished, Platform

LIMIT_SHOWN_BYTES = 400
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
ANY = "*"
"""In what is expected: any value, since the pipeline throws dice."""

Story = dict[str, Any]


async def of(done: Finished, platform: Platform) -> Story:
    """The run's story, by the tasks' paths."""
    run_name = done.run.run_id[:5]
    told = {path: await _told(task, platform) for path, task in sorted(done.tasks.items())}
    plain: Story = _without_ids(told, run_name)
    return plain


async def _told(task: TaskRow, platform: Platform) -> Story:
    told: Story = {"state": rows.SUCCEEDED if task.state == rows.CACHED else task.state}
    if task.type in nodes.LEAVES and task.inputs.parameters:
        told["in"] = dict(task.inputs.parameters)
    if task.outputs.parameters:
        told["out"] = dict(task.outputs.parameters)
    artifacts = {name: [[one.type_title, dict(one.metadata), await _content(one, platform)] for one in listed]
                 for name, listed in task.outputs.artifacts.items() if listed}
    return told | ({"artifacts": artifacts} if artifacts else {})


async def _content(artifact: ArtifactRow, platform: Platform) -> str:
    if not artifact.digest.startswith("sha256:") or artifact.size_bytes > LIMIT_SHOWN_BYTES:
        return artifact.digest
    return (await platform.artifacts.read(artifact.uri, LIMIT_SHOWN_BYTES)).decode()


def _without_ids(value: Any, run_name: str) -> Any:
    if isinstance(value, dict):
        return {key: _without_ids(item, run_name) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_ids(item, run_name) for item in value]
    if isinstance(value, str):
        return re.sub(rf"-{run_name}\b", "-<run>", _IDS.sub("<id>", value))
    return value


def differences(wanted: Any, found: Any, place: str = "") -> list[str]:
    """Where ``found`` is not as wanted."""
    if wanted == ANY:
        return []
    if isinstance(wanted, dict) and isinstance(found, dict):
        return [line for key in sorted(set(wanted) | set(found))
                for line in differences(wanted.get(key), found.get(key), f"{place} {key}")]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        return [line for index, pair in enumerate(zip(wanted, found, strict=True))
                for line in differences(*pair, f"{place}[{index}]")]
    return [] if wanted == found else [f"{place.strip()}: {found!r}, and not {wanted!r}"]
