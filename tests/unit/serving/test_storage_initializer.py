"""The storage initializer over real stores and servers: files where they belong, or one line that says why not."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lightship import errors
from lightship.artifacts.cache import Cache
from lightship.artifacts.digests import of_bytes
from lightship.artifacts.local import LocalStore
from lightship.artifacts.sources import Limits
from lightship.domains.serving import credentials, storage_initializer
from lightship.domains.serving.entrypoints import Fetching, only_readers
from lightship.domains.serving.places import Platform
from lightship.domains.serving.storage import Registered
from tests.web_files import WebFiles

MOUNT = {"name": "kserve-provision-location", "mountPath": "/mnt/models"}


class Context:
    """A container with one mount, in a Pod whose server reads it."""

    def __init__(self, host: Path, *arguments: str, namespace: str = "default", writes: bool = False) -> None:
        self.container: Any = {"name": "storage-initializer", "image": "lightship.dev/storage-initializer:1",
                               "volumeMounts": [MOUNT]}
        self.pod: Any = {"metadata": {"namespace": namespace, "name": "p"}, "spec": {
            "initContainers": [self.container],
            "containers": [{"name": "kserve-container", "image": "x",
                            "volumeMounts": [MOUNT | ({} if writes else {"readOnly": True})]}]}}
        self.env: dict[str, str] = {}
        self.arguments = arguments
        self.lines: list[str] = []
        self._host = host

    def path(self, container_path: str) -> Path:
        assert container_path.startswith("/mnt/models")
        found = self._host / container_path.removeprefix("/mnt/models").lstrip("/")
        found.mkdir(exist_ok=True)
        return found

    def log(self, line: str) -> None:
        self.lines.append(line)


class Accounts:
    """The keys of every account."""

    def __init__(self, **variables: str) -> None:
        self.variables = variables

    async def of(self, pod: Mapping[str, Any]) -> dict[str, str]:
        return self.variables


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store", schemes=frozenset({"minio", "s3"}), durable=False)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def web() -> Iterator[WebFiles]:
    with WebFiles() as files:
        yield files


def fetching(store: LocalStore, cache: Cache, **more: Any) -> Fetching:
    secrets = more.pop("secrets", None)
    return Fetching(cache=cache, secrets=secrets, platform=Platform(stores=store, **more))


async def test_a_directory_keeps_its_tree(store: LocalStore, models: Path, cache: Cache) -> None:
    await store.put("minio://b/iris/model.joblib", b"one")
    await store.put("minio://b/iris/sub/more.json", b"two")
    await store.put("minio://b/iris-2/other", b"three")
    for _ in range(2):  # a container that is started again fetches again
        context = Context(models, "minio://b/iris/", "/mnt/models")
        assert await storage_initializer(fetching(store, cache))(context) == 0, context.lines
        assert tree(models) == {"model.joblib": b"one", "sub/more.json": b"two"}
    assert "all from the cache" in context.lines[-1]


async def test_a_single_file_keeps_its_name(store: LocalStore, models: Path, cache: Cache) -> None:
    await store.put("s3://b/run/model", b"one")
    context = Context(models, "s3://b/run/model", "/mnt/models")
    assert await storage_initializer(fetching(store, cache))(context) == 0, context.lines
    assert (models / "model").read_bytes() == b"one"


async def test_several_locations_in_one_container(store: LocalStore, models: Path, cache: Cache) -> None:
    await store.put("minio://b/a", b"a")
    await store.put("minio://b/b", b"b")
    context = Context(models, "minio://b/a", "/mnt/models", "minio://b/b", "/mnt/models/adapter")
    assert await storage_initializer(fetching(store, cache))(context) == 0, context.lines
    assert tree(models) == {"a": b"a", "adapter/b": b"b"}


@pytest.mark.parametrize(("uri", "words"), [
    ("minio://b/nothing", "nothing lies at minio://b/nothing"),
    ("hdfs://h/x", "does not fetch from HDFS"),
    ("abfss://c@a.dfs.core.windows.net/x", "does not fetch from Azure"),
    ("https://a.blob.core.windows.net/c/x.pkl", "does not fetch from Azure"),
    ("oci://r/i:1", "does not fetch from an image registry"),
    ("model-registry://m/1", "there is no model registry here"),
    ("file:///etc", "file:// is off here"),
    ("nonsense", "has no scheme"),
    ("minio://b/../../etc", '".."'),
    ("<scheme-placeholder>://m", "has no type"),
])
async def test_the_last_line_says_why(store: LocalStore, models: Path, cache: Cache, uri: str, words: str) -> None:
    context = Context(models, uri, "/mnt/models")
    assert await storage_initializer(fetching(store, cache))(context) == 1
    assert words in context.lines[-1]
    assert tree(models) == {}


async def test_too_large(store: LocalStore, models: Path, cache: Cache) -> None:
    await store.put("minio://b/big", b"x" * 100)
    context = Context(models, "minio://b/big", "/mnt/models")
    assert await storage_initializer(fetching(store, cache, limits=Limits(size_bytes=99)))(context) == 1
    assert "at most" in context.lines[-1]


async def test_files_where_the_operator_allows_them(store: LocalStore, models: Path, cache: Cache,
                                                    tmp_path: Path) -> None:
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "m.pkl").write_bytes(b"p")
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "local" / "sly").symlink_to(tmp_path / "secret")
    run = storage_initializer(fetching(store, cache, folders=(tmp_path / "local",), trusted=("default",)))
    assert await run(Context(models, f"file://{tmp_path}/local/m.pkl", "/mnt/models")) == 0
    assert tree(models) == {"m.pkl": b"p"}
    for uri, namespace in ((f"file://{tmp_path}/none", "default"), (f"file://{tmp_path}/secret", "default"),
                           (f"file://{tmp_path}/local/sly", "default"), (f"file://{tmp_path}/local", "default"),
                           (f"file://{tmp_path}/local/m.pkl", "team")):
        assert await run(Context(models, uri, "/mnt/models", namespace=namespace)) == 1, uri
    assert tree(models) == {"m.pkl": b"p"}


async def test_wrong_arguments(store: LocalStore, models: Path, cache: Cache) -> None:
    context = Context(models, "minio://b/x")
    assert await storage_initializer(fetching(store, cache))(context) == 1
    assert "two arguments" in context.lines[-1]


async def test_no_link_in_the_volume_leads_out_of_it(store: LocalStore, models: Path, cache: Cache,
                                                     tmp_path: Path) -> None:
    """An init container of the user's may have been there before."""
    (tmp_path / "victim").mkdir()
    (models / "sub").symlink_to(tmp_path / "victim")
    await store.put("minio://b/m/sub/x", b"evil")
    context = Context(models, "minio://b/m", "/mnt/models")
    assert await storage_initializer(fetching(store, cache))(context) == 1
    assert tree(tmp_path / "victim") == {}


async def test_a_pod_that_may_write_gets_its_own_copies(store: LocalStore, models: Path, cache: Cache,
                                                        tmp_path: Path) -> None:
    await store.put("minio://b/m", b"model")
    for writes, names in ((False, 2), (True, 1)):
        folder = tmp_path / f"pod-{writes}"
        folder.mkdir()
        context = Context(folder, "minio://b/m", "/mnt/models", writes=writes)
        assert await storage_initializer(fetching(store, cache))(context) == 0
        assert (folder / "m").stat().st_nlink == names
    sly = Context(models, writes=False)
    sly.pod["spec"]["containers"].append({"image": "lightship.dev/lightship:1", "volumeMounts": [MOUNT]})
    assert not only_readers(sly.pod, sly.container, "/mnt/models")


async def test_the_web_with_the_headers_of_an_account(store: LocalStore, models: Path, cache: Cache,
                                                      web: WebFiles) -> None:
    web.serve("/m/model.joblib", b"model", token="Bearer t")
    refused = Context(models, web.url("/m/model.joblib"), "/mnt/models")
    assert await storage_initializer(fetching(store, cache, trusted=("default",)))(refused) == 1
    assert "https-host" in refused.lines[-1]
    accounts = Accounts(**{"127.0.0.1-headers": '{"Authorization": "Bearer t"}'})
    context = Context(models, web.url("/m/model.joblib"), "/mnt/models")
    assert await storage_initializer(fetching(store, cache, trusted=("*",), secrets=accounts))(context) == 0
    assert tree(models) == {"model.joblib": b"model"}


async def test_others_cannot_have_this_machine_asked(store: LocalStore, models: Path, cache: Cache,
                                                     web: WebFiles) -> None:
    web.serve("/x.bin", b"x")
    web.redirect("/away.bin", web.url("/x.bin"))
    for url in (web.url("/x.bin"), web.url("/x.bin").replace("127.0.0.1", "localhost"),
                web.url("/x.bin").replace("127.0.0.1", "[::ffff:127.0.0.1]"), "http://169.254.169.254/latest/x",
                web.url("/x.git")):
        context = Context(models, url, "/mnt/models", namespace="team")
        assert await storage_initializer(fetching(store, cache, trusted=("default",)))(context) == 1
        assert "this machine itself" in context.lines[-1], context.lines
    assert web.asked == []


async def test_a_registered_version_is_what_was_registered(store: LocalStore, models: Path, cache: Cache) -> None:
    await store.put("minio://b/m", b"model")
    asked: list[tuple[str, str]] = []
    digest = of_bytes(b"model").digest

    async def resolve(namespace: str, name: str) -> Registered:
        asked.append((namespace, name))
        if name == "none":
            raise errors.NotFound('no registered model with name "none"')
        return Registered("minio://b/m", digest)

    run = storage_initializer(fetching(store, cache, resolve=resolve))
    for uri in ("model-registry://iris/v1", "model-registry://iris",
                "model-registry://model-registry-service.kubeflow:8080/iris/v1"):
        context = Context(models, uri, "/mnt/models")
        assert await run(context) == 0, context.lines
    assert asked == [("default", "iris/v1"), ("default", "iris"), ("default", "iris/v1")]
    context = Context(models, "model-registry://none", "/mnt/models")
    assert await run(context) == 1
    assert "no registered model" in context.lines[-1]
    await store.put("minio://b/m", b"other")
    context = Context(models, "model-registry://iris/v1", "/mnt/models")
    assert await run(context) == 1
    assert "not what was registered" in context.lines[-1]


def test_storage_by_key() -> None:
    spec = {"type": "s3", "bucket": "b", "access_key_id": "k", "secret_access_key": "s", "endpoint_url": "http://m:9"}
    uri, variables = credentials.located("<scheme-placeholder>://models/iris", {"STORAGE_CONFIG": json.dumps(spec)})
    assert uri == "s3://b/models/iris"
    assert variables == {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "http://m:9"}
    uri, _ = credentials.located("<scheme-placeholder>://models/iris", {
        "STORAGE_CONFIG": json.dumps(spec), "STORAGE_OVERRIDE_CONFIG": '{"bucket": "other"}'})
    assert uri == "s3://other/models/iris"
    for env in ({"STORAGE_CONFIG": "{"}, {"STORAGE_CONFIG": "[]"}, {"STORAGE_CONFIG": '{"type": "s3"}'}):
        with pytest.raises(errors.InvalidInput):
            credentials.located("<scheme-placeholder>://m", env)


def test_what_secrets_bring() -> None:
    def secret(annotations: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
        return {"metadata": {"name": "s", "annotations": annotations or {}}, "data": {
            key.replace("__", "-"): base64.b64encode(value.encode()).decode() for key, value in data.items()}}

    s3 = secret({"serving.kserve.io/s3-endpoint": "minio:9000", "serving.kserve.io/s3-usehttps": "0",
                 "serving.kserve.io/s3-region": "eu-1"}, awsAccessKeyID="k", awsSecretAccessKey="s")
    assert credentials.environment(s3) == {
        "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_ENDPOINT_URL": "http://minio:9000",
        "AWS_DEFAULT_REGION": "eu-1"}
    assert credentials.environment(secret(HF_TOKEN="hf")) == {"HF_TOKEN": "hf"}
    assert credentials.environment(secret(GIT_USERNAME="u", GIT_PASSWORD="p")) == {
        "GIT_USERNAME": "u", "GIT_PASSWORD": "p"}
    web = credentials.environment(secret(https__host="h", headers="A: b\nC: d"))
    assert credentials.headers_for("h", web) == {"A": "b", "C": "d"}
    assert credentials.environment(secret(other="x")) == {}
    assert credentials.references(s3)[0]["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "awsAccessKeyID"}}
    assert credentials.secret_names({"secrets": [{"name": "a"}, {"name": "b"}]}, {}) == ["a", "b"]
    assert credentials.secret_names(None, {"serving.kserve.io/storageSecretName": "c"}) == ["c"]
