"""The shipped runtimes against upstream's own files."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.training.objects_of import cluster_runtime

CORPUS = Path(__file__).parents[2] / "corpus" / "trainer"


@pytest.mark.parametrize("framework", ["torch", "jax", "xgboost", "deepspeed"])
def test_a_shipped_runtime_is_upstreams(framework: str) -> None:
    upstream = yaml.safe_load((CORPUS / f"runtime_{framework}_distributed.yaml").read_text())
    ours = cluster_runtime(f"{framework}-distributed")
    assert ours["spec"] == upstream["spec"]
    assert upstream["metadata"]["labels"].items() <= ours["metadata"]["labels"].items()
