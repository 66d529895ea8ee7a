"""What a namespace may read and write in a store that namespaces share."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightship import errors as trunk
from lightship.artifacts import errors, tenancy
from lightship.artifacts.local import LocalStore


@pytest.mark.parametrize(("uri", "namespace", "read", "write"), [
    ("minio://mlpipeline/private-artifacts/team-a/v2/artifacts/p/r/t/x", "team-a", True, True),
    ("minio://mlpipeline/private-artifacts/team-a/v2/artifacts/p/r/t/x", "team-b", False, False),
    ("minio://mlpipeline/private-artifacts/team-a/x", "default", False, False),
    ("minio://mlpipeline/private-artifacts/team-a-evil/x", "team-a", False, False),
    ("minio://other/private-artifacts/team-a/x", "team-b", False, False),
    ("minio://mlpipeline/v2/artifacts/p/r/t/x", "default", True, True),
    ("minio://mlpipeline/v2/artifacts/p/r/t/x", "team-a", False, False),
    ("minio://mlpipeline/v2/artifacts", "team-a", False, False),
    ("minio://mlpipeline/v2", "team-a", False, False),
    ("minio://mlpipeline/private-artifacts", "team-a", False, False),
    ("minio://mlpipeline/private-artifacts", "default", False, False),
    ("minio://mlpipeline", "team-a", False, False),
    ("minio://mlpipeline", "default", False, False),
    ("minio://mlpipeline/datasets/iris.csv", "team-a", True, False),
    ("minio://mlpipeline/v2-datasets/iris.csv", "team-a", True, False),
    ("minio://mlpipeline/datasets/iris.csv", "default", True, True),
    ("s3://bucket/private-artifacts/team-a/x", "team-b", False, False),
    ("s3://mlpipeline/v2/artifacts/p/r", "team-b", False, False),
    ("gs://bucket", "team-b", True, False),
    ("gs://bucket//odd", "team-b", True, True),
    ("https://example.com//x?y=1", "team-b", True, True),
])
def test_rules(uri: str, namespace: str, read: bool, write: bool) -> None:
    assert tenancy.allowed(uri, namespace, write=False) is read
    assert tenancy.allowed(uri, namespace, write=True) is write


@pytest.mark.parametrize("uri", ["minio://mlpipeline/private-artifacts/team-b/../team-a/x", "minio://../x", "/etc/x"])
def test_what_is_no_uri_is_no_way_round(uri: str) -> None:
    with pytest.raises(errors.BadLocation):
        tenancy.allowed(uri, "team-b", write=False)


async def test_every_act_of_a_view_is_checked(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "artifacts")
    secret = f"{tenancy.default_root('team-a')}/p/r/t/secret"
    await store.within("team-a").put(secret, b"42")
    other = store.within("team-b")

    for attempt in (other.read(secret, 10), other.get(secret, tmp_path / "x"), other.stream(secret),
                    other.exists(secret), other.list(secret), other.put(secret, b"0"), other.delete(secret),
                    other.list("minio://mlpipeline/private-artifacts")):
        with pytest.raises(trunk.Forbidden, match="belongs to another"):
            await attempt
    assert await store.within("team-a").read(secret, 10) == b"42"
    assert not (tmp_path / "x").exists()


def test_each_namespace_has_a_root_that_it_may_write_to() -> None:
    for namespace in ("default", "team-a"):
        assert tenancy.allowed(f"{tenancy.default_root(namespace)}/p/r", namespace, write=True)
    assert tenancy.default_root("default") == "minio://mlpipeline/v2/artifacts"
    assert tenancy.default_root("team-a") == "minio://mlpipeline/private-artifacts/team-a/v2/artifacts"
