"""What a Pod has written, and which environments go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightship.cluster.node import environment_stamps as stamps
from lightship.cluster.node import usage


def pod(volumes: list[dict[str, Any]], limit: str = "") -> dict[str, Any]:
    resources = {"limits": {"ephemeral-storage": limit}} if limit else {}
    return {"spec": {"volumes": volumes, "containers": [{"name": "main", "resources": resources}]}}


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def test_an_empty_dir_over_its_limit(tmp_path: Path) -> None:
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "64Ki"}}]
    fill(tmp_path / "volumes" / "v" / "deep" / "er" / "a", 32 << 10)
    (tmp_path / "volumes" / "v" / "link").symlink_to("/usr")
    assert usage.is_limited(pod(volumes))
    assert not usage.excess(pod(volumes), tmp_path)
    fill(tmp_path / "volumes" / "v" / "b", 64 << 10)
    assert usage.excess(pod(volumes), tmp_path) == 'Usage of EmptyDir volume "v" exceeds the limit "64Ki". '


def test_a_container_over_its_limit_and_a_pod_over_all(tmp_path: Path) -> None:
    fill(tmp_path / "containers" / "main" / "tmp" / "a", 40 << 10)
    assert "Container main exceeded" in usage.excess(pod([], "16Ki"), tmp_path)
    volumes = [{"name": "v", "emptyDir": {}}]
    assert not usage.excess(pod(volumes, "64Ki"), tmp_path)
    fill(tmp_path / "volumes" / "v" / "a", 40 << 10)
    assert "total limit of containers" in usage.excess(pod(volumes, "64Ki"), tmp_path)
    assert not usage.is_limited(pod(volumes))


def test_the_longest_unused_environments_go_until_the_rest_fits() -> None:
    found = {"old": (1.0, 50), "used": (2.0, 50), "newer": (3.0, 50), "newest": (4.0, 50)}
    assert stamps.to_collect(found, [], 200) == []
    assert stamps.to_collect(found, ["used"], 100) == ["old", "newer"]


def test_a_torn_environment_is_told_from_a_whole_one(tmp_path: Path) -> None:
    for name in ("bin/python3", "lib/python3.11/site-packages/six.py", "lib/python3.11/site-packages/kfp/__init__.py"):
        fill(tmp_path / name, 10)
    assert stamps.is_whole(tmp_path)  # of an older version: it has no stamp
    stamps.write(tmp_path)
    assert stamps.is_whole(tmp_path)
    stamp = stamps.read(tmp_path)
    assert stamp is not None
    assert stamp.size_bytes == 30
    (tmp_path / "lib/python3.11/site-packages/six.py").unlink()
    assert not stamps.is_whole(tmp_path)
