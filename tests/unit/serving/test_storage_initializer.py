"""The storage initializer over a real store: files where they belong, or one line that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from lightship.artifacts.local import LocalStore
from lightship.domains.serving import storage_initializer
from lightship.domains.serving.entrypoints import StorageOptions


class Context:
    """A container with one mount."""

    pod: ClassVar[Any] = {"metadata": {"namespace": "default"}}

    def __init__(self, host: Path, *arguments: str) -> None:
        self.arguments = arguments
        self.lines: list[str] = []
        self._host = host

    def path(self, container_path: str) -> Path:
        assert container_path == "/mnt/models"
        return self._host

    def log(self, line: str) -> None:
        self.lines.append(line)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store", schemes=frozenset({"minio", "s3"}), durable=False)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


async def test_a_directory_keeps_its_tree(store: LocalStore, models: Path) -> None:
    await store.put("minio://b/iris/model.joblib", b"one")
    await store.put("minio://b/iris/sub/more.json", b"two")
    await store.put("minio://b/iris-2/other", b"three")
    for _ in range(2):  # a container that is started again fetches again
        context = Context(models, "minio://b/iris/", "/mnt/models")
        assert await storage_initializer(store)(context) == 0
        assert tree(models) == {"model.joblib": b"one", "sub/more.json": b"two"}


async def test_a_single_file_keeps_its_name(store: LocalStore, models: Path) -> None:
    await store.put("s3://b/run/model", b"one")
    assert await storage_initializer(store)(Context(models, "s3://b/run/model", "/mnt/models")) == 0
    assert (models / "model").read_bytes() == b"one"


@pytest.mark.parametrize(("uri", "words"), [
    ("minio://b/nothing", "nothing lies at minio://b/nothing"),
    ("gs://b/x", "no store for gs:// is set up here"),
    ("https://h/x", "does not fetch https://"),
    ("hf://org/model", "does not fetch hf://"),
    ("model-registry://m/1", "model-registry://"),
    ("file:///etc", "file:// is off here"),
    ("nonsense", "has no scheme"),
    ("minio://b/../../etc", '".."'),
])
async def test_the_last_line_says_why(store: LocalStore, models: Path, uri: str, words: str) -> None:
    context = Context(models, uri, "/mnt/models")
    assert await storage_initializer(store)(context) == 1
    assert words in context.lines[-1]
    assert tree(models) == {}


async def test_too_large(store: LocalStore, models: Path) -> None:
    await store.put("minio://b/big", b"x" * 100)
    context = Context(models, "minio://b/big", "/mnt/models")
    assert await storage_initializer(store, StorageOptions(model_bytes=99))(context) == 1
    assert "at most" in context.lines[-1]


async def test_files_where_the_operator_allows_them(store: LocalStore, models: Path, tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "m.pkl").write_bytes(b"p")
    allowed = storage_initializer(store, StorageOptions(allow_files=True))
    assert await allowed(Context(models, f"file://{tmp_path}/local", "/mnt/models")) == 0
    assert (models / "m.pkl").read_bytes() == b"p"
    missing = Context(models, f"file://{tmp_path}/none", "/mnt/models")
    assert await allowed(missing) == 1


async def test_wrong_arguments(store: LocalStore, models: Path) -> None:
    context = Context(models, "minio://b/x")
    assert await storage_initializer(store)(context) == 1
    assert "two arguments" in context.lines[-1]
