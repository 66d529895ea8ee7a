"""Upstream's own compiled pipelines end in their right states, with right outputs where these follow from the code.

Inputs without defaults are generated from their declared types.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from lightship.domains.pipelines import ir, parse
from lightship.kube.resources import SECRETS
from lightship.records import pipeline_rows as rows
from tests.acceptance.pipelines.harness import Platform

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.sdk]

CORPUS = Path(__file__).resolve().parents[4] / "shared" / "corpus" / "kfp"
FILES = sorted(CORPUS.glob("*/*.yaml"))

NEEDS = {
    "embedded_artifact": "its kfp pin (2.14) lacks dsl.EmbeddedInput, which its source uses",
    "iris_pipeline_compiled": "pandas==2.2.0 from an index that has it",
    "metrics_visualization_v2": "scikit-learn from an index, 20 seconds",
    "pipeline_with_string_machine_fields_task_output": "a GPU; see test_engine for what its user is told",
    "local_execution_pipeline_with_retry": "a counter file that outlives a container; see test_engine for retries",
}
FAILING = {
    "fail_v2", "pipeline_with_exit_handler", "pipeline_with_multiple_exit_handlers", "pipeline_as_exit_task",
    "local_execution_pipeline_with_ignore_upstream_failure", "pipeline_with_task_final_status",
    "pipeline_with_task_using_ignore_upstream_failure",
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "component_with_env_variable": {"Output": "env_var_value"},
    "concat_message": {"Output": "hellohello"},
    "local_execution_pipeline_with_k8s_only_methods": {"Output": "hello"},
    "local_execution_pipeline_with_oneof": {"Output": "selected:A"},
    "pipeline_with_caching": {"Output": 2},
    "pipeline_with_collected_artifacts": {"Output": "0,1,2"},
    "conditional_producer_and_consumers": {"Output": 10},
    "identity": {"Output": "hello"},
    "nested_with_parameters": {"Output": [[4, 6, 8], [6, 8, 10], [8, 10, 12]]},
    "preprocess": {"output_bool_parameter_path": True, "output_dict_parameter_path": {"a": 1},
                   "output_list_parameter_path": [1, 2], "output_parameter_path": "hello"},
}
VALUES: dict[str, Any] = {ir.STRING: "hello", ir.NUMBER_INTEGER: 3, ir.NUMBER_DOUBLE: 1.5, ir.BOOLEAN: True,
                          ir.LIST: [1, 2], ir.STRUCT: {"a": 1}}


@pytest.mark.skipif(not FILES, reason="no ../shared beside this clone")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_a_pipeline_of_the_corpus_ends_as_it_should(path: Path, shared_platform: Platform) -> None:
    if path.stem in NEEDS:
        pytest.skip(f"needs {NEEDS[path.stem]}")
    await _have_secret(shared_platform)
    data = await asyncio.to_thread(path.read_bytes)
    declared = parse.file(data).root.inputs.parameters
    given = {name: VALUES[spec.type] for name, spec in declared.items() if spec.default is None and not spec.optional}
    finished = await shared_platform.run(data, given)
    assert finished.run.state == (rows.FAILED if path.stem in FAILING else rows.SUCCEEDED), finished.run.error
    if path.stem in OUTPUTS:
        assert finished.outputs == OUTPUTS[path.stem]
    states = {task.state for task in finished.tasks.values()}
    assert states <= rows.FINAL, "a run that has ended has no task that has not"


async def _have_secret(platform: Platform) -> None:
    client = platform.client("tests")
    found = await client.list(SECRETS)
    if not any(item["metadata"]["name"] == "test-secret-1" for item in found.items):
        await client.create(SECRETS, {"apiVersion": "v1", "kind": "Secret", "stringData": {"username": "ada"},
                                      "metadata": {"name": "test-secret-1", "namespace": "default"}})
