"""What the demo submits."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lightship.demo import submission


@pytest.mark.parametrize("cache", [True, False])
def test_without_the_cache_no_step_is_cached_however_deep(tmp_path: Path, cache: bool) -> None:
    file = tmp_path / "pipeline.yaml"
    submission.compile_to(file, cache=cache)

    spec = next(yaml.safe_load_all(file.read_text()))
    graphs = [spec["root"]["dag"], *(each["dag"] for each in spec["components"].values() if "dag" in each)]
    cached = {name for graph in graphs for name, task in graph["tasks"].items()
              if task.get("cachingOptions", {}).get("enableCache")}
    assert {"ingest", "train"} <= cached if cache else cached == set()
