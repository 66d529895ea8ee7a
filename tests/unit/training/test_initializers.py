"""The initializers: what they bring, what they leave out, and how they say what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lightship.artifacts.local import LocalStore
from lightship.domains import training


@dataclass
class Context:
    """A container whose ``/workspace`` is a folder."""

    workspace: Path
    env: Mapping[str, str]
    pod: Mapping[str, object] = field(default_factory=lambda: {"metadata": {"namespace": "default"}})
    lines: list[str] = field(default_factory=list)

    def path(self, container_path: str) -> Path:
        return self.workspace / container_path.removeprefix("/workspace/")

    def log(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
async def store(tmp_path: Path) -> LocalStore:
    made = LocalStore(tmp_path / "artifacts")
    for name in ("a.csv", "deep/b.csv", "weights.bin"):
        await made.put(f"minio://mlpipeline/data/{name}", name.encode())
    return made


async def run(kind: str, store: LocalStore, tmp_path: Path, **env: str) -> tuple[int, list[str], list[str]]:
    context = Context(tmp_path / "workspace", env)
    code = await training.entrypoints(store)[kind](context)
    there = sorted(str(path.relative_to(context.workspace)) for path in context.workspace.rglob("*") if path.is_file())
    return code, there, context.lines


async def test_a_data_set_comes_whole_and_again(store: LocalStore, tmp_path: Path) -> None:
    for _ in range(2):
        code, there, lines = await run("dataset-initializer", store, tmp_path,
                                       STORAGE_URI="minio://mlpipeline/data/")
        assert (code, there) == (0, ["dataset/a.csv", "dataset/deep/b.csv", "dataset/weights.bin"]), lines


async def test_a_model_comes_without_what_upstream_leaves_out(store: LocalStore, tmp_path: Path) -> None:
    code, there, _ = await run("model-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data")
    assert (code, there) == (0, ["model/a.csv", "model/deep/b.csv"])
    code, there, _ = await run("model-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data",
                               IGNORE_PATTERNS="*.csv")
    assert code == 0 and "model/weights.bin" in there


async def test_a_single_file_keeps_its_name(store: LocalStore, tmp_path: Path) -> None:
    code, there, _ = await run("dataset-initializer", store, tmp_path, STORAGE_URI="minio://mlpipeline/data/a.csv")
    assert (code, there) == (0, ["dataset/a.csv"])


@pytest.mark.parametrize(("uri", "words"), [
    ("", "STORAGE_URI is not set"), ("minio://mlpipeline/nothing", "nothing lies"), ("hf://o/d", "hf")])
async def test_what_goes_wrong_is_the_last_line(store: LocalStore, tmp_path: Path, uri: str, words: str) -> None:
    code, there, lines = await run("dataset-initializer", store, tmp_path, STORAGE_URI=uri)
    assert (code, there) == (1, []) and words in lines[-1]
