"""The cache of downloads over a real web server, a real git and real files: nothing twice, nothing lost."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightship import errors
from lightship.artifacts import git, sources, web
from lightship.artifacts.cache import ROOM_LEFT_BYTES, Cache, Options, Wish
from lightship.artifacts.local import LocalStore
from lightship.artifacts.sources import Found, Limits, Source
from lightship.artifacts.store import Entry
from tests.web_files import WebFiles

PLENTY = 1 << 40


def quiet(line: str) -> None:
    """Nobody reads the log."""


class Place:
    """Folders of Pods, a cache, and a web server."""

    def __init__(self, root: Path, files: WebFiles) -> None:
        self.root, self.files = root, files
        self.now, self.free = 1_000_000.0, PLENTY
        self.cache = self.open()
        self._pods = 0

    def open(self, options: Options | None = None) -> Cache:
        return Cache(self.root / "cache", options, now=lambda: self.now, free=lambda path: self.free)

    def pod(self) -> Path:
        self._pods += 1
        made = self.root / f"pod-{self._pods}"
        made.mkdir()
        return made

    def file(self, path: str, limits: Limits | None = None) -> Source:
        return web.WebFile(self.files.url(path), web.Web(anywhere=True), {}, limits or Limits())

    async def bring(self, source: Source, folder: Path | None = None, owner: str = "team") -> tuple[Path, bool]:
        target = folder or self.pod()
        brought = await self.cache.bring(Wish(source=source, owner=owner, folder=target), quiet)
        return target, brought.downloaded

    def left(self) -> list[str]:
        """What the cache holds, by path."""
        return sorted(str(path.relative_to(self.root / "cache")) for path in (self.root / "cache").rglob("*")
                      if path.is_file())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with WebFiles() as files:
        yield Place(tmp_path, files)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_nothing_is_downloaded_twice(place: Place) -> None:
    place.files.serve("/m.bin", b"model")
    first, downloaded = await place.bring(place.file("/m.bin"))
    second, again = await place.bring(place.file("/m.bin"))
    assert (downloaded, again, place.files.got("/m.bin")) == (True, False, 1)
    assert tree(first) == tree(second) == {"m.bin": b"model"}
    assert (first / "m.bin").stat().st_ino == (second / "m.bin").stat().st_ino
    place.files.serve("/m.bin", b"other")
    third, _ = await place.bring(place.file("/m.bin"))
    assert tree(third) == {"m.bin": b"other"}
    assert tree(first) == {"m.bin": b"model"}
    assert place.files.got("/m.bin") == 2


async def test_pods_at_once_wait_for_one_download(place: Place) -> None:
    gate = threading.Event()
    place.files.serve("/m.bin", b"model", gate=gate)
    waiting = [asyncio.ensure_future(place.bring(place.file("/m.bin"))) for _ in range(8)]
    await asyncio.to_thread(place.files.began.wait, 30)
    gate.set()
    brought = await asyncio.gather(*waiting)
    assert [tree(folder) for folder, _ in brought] == [{"m.bin": b"model"}] * 8
    assert sorted(downloaded for _, downloaded in brought) == [False] * 7 + [True]
    assert place.files.got("/m.bin") == 1


async def test_a_pod_that_goes_leaves_the_download_to_the_next(place: Place) -> None:
    gate = threading.Event()
    place.files.serve("/m.bin", b"model", gate=gate)
    first, second = (asyncio.ensure_future(place.bring(place.file("/m.bin"))) for _ in range(2))
    await asyncio.to_thread(place.files.began.wait, 30)
    first.cancel()
    gate.set()
    folder, _ = await second
    assert tree(folder) == {"m.bin": b"model"}


async def test_namespaces_share_nothing(place: Place) -> None:
    place.files.serve("/m.bin", b"model")
    one, _ = await place.bring(place.file("/m.bin"), owner="one")
    two, downloaded = await place.bring(place.file("/m.bin"), owner="two")
    assert downloaded
    assert (one / "m.bin").stat().st_ino != (two / "m.bin").stat().st_ino


async def test_what_tells_no_version_comes_each_time_and_stays_nowhere(place: Place) -> None:
    place.files.serve("/m.bin", b"model", etag=False, head=False)
    for _ in range(2):
        folder, downloaded = await place.bring(place.file("/m.bin"))
        assert downloaded
        assert tree(folder) == {"m.bin": b"model"}
    assert place.left() == []


async def test_a_download_that_breaks_off_goes_on_where_it_was(place: Place) -> None:
    place.files.serve("/m.bin", bytes(range(256)) * 64, breaks_after=1000)
    folder, _ = await place.bring(place.file("/m.bin"))
    assert (folder / "m.bin").read_bytes() == bytes(range(256)) * 64
    assert place.files.asked[-1] == "GET /m.bin bytes=1000-"


async def test_another_process_goes_on_where_a_killed_one_was(place: Place) -> None:
    """A part of one file, and of several files those that were whole."""
    place.files.serve("/m.bin", b"x" * 5000)
    source = place.file("/m.bin")
    await source.look()

    class Half:
        uri = source.uri

        async def look(self) -> Found:
            return await source.look()

        async def fill(self, folder: Path) -> None:
            (folder / f"m.bin{sources.PART}").write_bytes(b"x" * 2000)
            raise errors.Unavailable("killed")

    with pytest.raises(errors.Unavailable):
        await place.bring(Half())
    place.cache = place.open()
    folder, _ = await place.bring(place.file("/m.bin"))
    assert tree(folder) == {"m.bin": b"x" * 5000}
    assert place.files.asked[-1] == "GET /m.bin bytes=2000-"

    got: list[str] = []

    async def listing(limit: int) -> list[Entry]:
        return [Entry(uri=f"s3://b/m/{name}", size_bytes=1, version=f"etag:{name}") for name in "abc"]

    async def get(uri: str, target: Path) -> None:
        got.append(uri[-1])
        if uri.endswith("c") and got.count("c") == 1:
            raise errors.Unavailable("the store went away")
        await asyncio.to_thread(target.write_bytes, uri[-1:].encode())

    bucket = sources.Listed("s3://b/m", listing, get, Limits())
    with pytest.raises(errors.Unavailable):
        await place.bring(bucket)
    folder, _ = await place.bring(bucket)
    assert tree(folder) == {"a": b"a", "b": b"b", "c": b"c"}
    assert sorted(got) == ["a", "b", "c", "c"]


async def test_what_was_changed_behind_our_back_is_fetched_anew(place: Place) -> None:
    place.files.serve("/m.bin", b"model")
    folder, _ = await place.bring(place.file("/m.bin"))
    (folder / "m.bin").write_bytes(b"evil!")  # through the link that the Pod had
    again, downloaded = await place.bring(place.file("/m.bin"))
    assert downloaded
    assert tree(again) == {"m.bin": b"model"}


async def test_sizes_and_digests_are_checked(place: Place) -> None:
    told = "a" * 64

    async def listing(limit: int) -> list[Entry]:
        return [Entry(uri="hf://o/m/f", size_bytes=3, version=f"sha256:{told}")]

    async def wrong(uri: str, target: Path) -> None:
        await asyncio.to_thread(target.write_bytes, b"abc")

    async def short(uri: str, target: Path) -> None:
        await asyncio.to_thread(target.write_bytes, b"ab")

    for get, words in ((wrong, "not what its digest says"), (short, "2 of 3 bytes")):
        with pytest.raises(errors.Unavailable, match=words):
            await place.bring(sources.Listed("hf://o/m", listing, get, Limits()))


async def test_an_etag_that_is_no_digest_is_believed_the_second_time(place: Place) -> None:
    tries: list[str] = []

    async def listing(limit: int) -> list[Entry]:
        return [Entry(uri="s3://b/m", size_bytes=3, version="etag:" + "0" * 32)]

    async def get(uri: str, target: Path) -> None:
        tries.append(uri)
        await asyncio.to_thread(target.write_bytes, b"abc")

    folder, _ = await place.bring(sources.Listed("s3://b/m", listing, get, Limits()))
    assert tree(folder) == {"m": b"abc"}
    assert len(tries) == 2


# ---- disks


async def test_a_disk_without_room_is_told_before_anything_comes(place: Place) -> None:
    place.files.serve("/m.bin", b"model")
    place.free = ROOM_LEFT_BYTES
    with pytest.raises(errors.Unavailable, match="the disk has"):
        await place.bring(place.file("/m.bin"))
    assert place.files.got("/m.bin") == 0


async def test_room_is_made_of_what_nobody_uses(place: Place) -> None:
    place.files.serve("/used.bin", b"used")
    place.files.serve("/old.bin", b"old")
    place.files.serve("/new.bin", b"new")
    used, _ = await place.bring(place.file("/used.bin"))
    old, _ = await place.bring(place.file("/old.bin"))
    (old / "old.bin").unlink()
    state = iter([0, 0, PLENTY])
    place.cache = Cache(place.root / "cache", now=lambda: place.now, free=lambda path: next(state, PLENTY))
    await place.bring(place.file("/new.bin"))
    _, again = await place.bring(place.file("/old.bin"))
    _, kept = await place.bring(place.file("/used.bin"), used)
    assert (again, kept) == (True, False)


async def test_a_disk_that_fills_up_ends_clearly_and_loses_nothing(place: Place) -> None:
    place.files.serve("/here.bin", b"here")
    await place.bring(place.file("/here.bin"))

    class Full:
        uri = "s3://b/m"

        async def look(self) -> Found:
            return Found(version="1", size_bytes=10)

        async def fill(self, folder: Path) -> None:
            (folder / "half").write_bytes(b"h")
            raise errors.Unavailable("could not write") from OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(errors.Unavailable, match="the disk was full before all of s3://b/m was there"):
        await place.bring(Full())
    assert [path for path in place.left() if path.startswith("partial")] == []
    _, downloaded = await place.bring(place.file("/here.bin"))
    assert not downloaded


async def test_a_real_disk_that_is_full(tmp_path: Path) -> None:
    """A file system of one MiB, in a namespace of its own where this machine gives one."""
    script = Path(__file__).with_name("full_disk_script.py")
    done = await asyncio.to_thread(subprocess.run, [
        "unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
        f"mount -t tmpfs -o size=1m tmpfs {tmp_path} && exec $PYTHON {script} {tmp_path}"],
        env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True, timeout=60)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no file system of our own: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert "the disk was full" in done.stdout


async def test_unused_entries_go_after_their_time_and_beyond_their_size(place: Place) -> None:
    place.files.serve("/a.bin", b"a" * 10)
    place.files.serve("/b.bin", b"b" * 10)
    place.files.serve("/used.bin", b"u" * 10)
    await place.bring(place.file("/used.bin"))
    for name in ("a", "b"):
        folder, _ = await place.bring(place.file(f"/{name}.bin"))
        (folder / f"{name}.bin").unlink()
        place.now += 10
    place.cache = place.open(Options(unused_bytes=10))
    assert place.cache.collect() == 10  # the one that was asked for longer ago
    place.now += Options().unused_seconds + 100
    assert place.open().collect() == 10
    assert len([path for path in place.left() if path.endswith("entry.json")]) == 1
    (place.root / "cache" / "partial" / "x").mkdir(parents=True)
    os.utime(place.root / "cache" / "partial" / "x", (0, 0))
    place.open().collect()
    assert list((place.root / "cache" / "partial").iterdir()) == []


# ---- archives


def tar_of(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        fill(archive)
    return buffer.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **facts: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    for fact, value in facts.items():
        setattr(entry, fact, value)
    archive.addfile(entry, io.BytesIO(data))


async def test_archives_are_unpacked(place: Place) -> None:
    place.files.serve("/m.zip", zip_of({"a/model.pkl": b"p", "b.json": b"{}"}))
    place.files.serve("/m.tar.gz", tar_of(lambda archive: add(archive, "./a/model.pkl", b"p")))
    zipped, _ = await place.bring(place.file("/m.zip"))
    assert tree(zipped) == {"a/model.pkl": b"p", "b.json": b"{}"}
    tarred, _ = await place.bring(place.file("/m.tar.gz"))
    assert tree(tarred) == {"a/model.pkl": b"p"}


@pytest.mark.parametrize(("name", "data", "words"), [
    ("up.zip", zip_of({"../../evil": b"x"}), "leads out of it"),
    ("abs.tgz", tar_of(lambda archive: add(archive, "/etc/evil", b"x")), "leads out of it"),
    ("link.tgz", tar_of(lambda archive: add(archive, "l", type=tarfile.SYMTYPE, linkname="/etc/passwd")), "is a link"),
    ("hard.tgz", tar_of(lambda archive: add(archive, "l", type=tarfile.LNKTYPE, linkname="x")), "is a link"),
    ("pipe.tgz", tar_of(lambda archive: add(archive, "p", type=tarfile.FIFOTYPE)), "a device or a pipe"),
    ("self.zip", zip_of({"self.zip": b"x"}), "its own name"),
    ("no.zip", b"PK no", "cannot be read"),
    ("no.tar", b"no", "cannot be read"),
    ("bomb.zip", zip_of({"zeros": bytes(3_000_000)}), "more than 1000000 bytes"),
    ("many.zip", zip_of({str(number): b"" for number in range(30)}), "more than 20 files"),
])
async def test_archives_that_are_not(place: Place, name: str, data: bytes, words: str) -> None:
    place.cache = place.open(Options(archive_bytes=1_000_000, archive_files=20))
    place.files.serve(f"/{name}", data)
    with pytest.raises(errors.InvalidInput, match=words):
        await place.bring(place.file(f"/{name}"))
    assert not list(place.root.rglob("evil*"))
    assert [path for path in place.left() if path.startswith("entries")] == []


# ---- other places


async def test_a_redirect_leads_on_without_the_keys(place: Place) -> None:
    with WebFiles() as other:
        other.serve("/m.bin", b"model")
        place.files.redirect("/m.bin", other.url("/m.bin"))
        folder, _ = await place.bring(place.file("/m.bin"))
    assert tree(folder) == {"m.bin": b"model"}


async def test_the_local_store_is_copied_once(place: Place, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", durable=False)
    await store.put("minio://b/m/model", b"one")
    first, downloaded = await place.bring(sources.of_store("minio://b/m", store, Limits()))
    _, again = await place.bring(sources.of_store("minio://b/m", store, Limits()))
    assert (downloaded, again) == (True, False)
    await store.put("minio://b/m/model", b"two")
    second, _ = await place.bring(sources.of_store("minio://b/m", store, Limits()))
    assert (tree(first), tree(second)) == ({"model": b"one"}, {"model": b"two"})


async def test_a_repository_at_its_head_and_at_a_branch(place: Place, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    """git itself, with the URL led to a repository of this machine by its own rewriting of URLs."""
    work = tmp_path / "work"

    def run(*arguments: str) -> None:
        subprocess.run(["git", "-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b", *arguments], check=True,
                       capture_output=True)

    work.mkdir()
    run("init", "-q", "-b", "main")
    (work / "model.txt").write_text("one")
    (work / "link").symlink_to("/etc/passwd")
    run("add", ".")
    run("commit", "-qm", "one")
    run("branch", "old")
    (work / "model.txt").write_text("two")
    run("commit", "-qam", "two")
    own = git.Repository._environment

    def rewritten(self: git.Repository, environ: dict[str, str]) -> dict[str, str]:
        made = own(self, environ)
        count = int(made["GIT_CONFIG_COUNT"])
        return made | {"GIT_CONFIG_COUNT": str(count + 1), f"GIT_CONFIG_KEY_{count}": f"url.file://{work}.insteadOf",
                       f"GIT_CONFIG_VALUE_{count}": "https://git.test/m.git",
                       "GIT_ALLOW_PROTOCOL": "file:https"}

    monkeypatch.setattr(git.Repository, "_environment", rewritten)
    head, _ = await place.bring(git.Repository("https://git.test/m.git", git.Login(), Limits()))
    assert (head / "model.txt").read_text() == "two"
    assert (head / "link").read_text() == "/etc/passwd"  # a file: no link of a repository's is made here
    assert not (head / ".git").exists()
    old, _ = await place.bring(git.Repository("git://git.test/m.git@old", git.Login(), Limits()))
    assert (old / "model.txt").read_text() == "one"
    _, downloaded = await place.bring(git.Repository("https://git.test/m.git", git.Login(), Limits()))
    assert not downloaded
    with pytest.raises(errors.NotFound):
        await place.bring(git.Repository("https://git.test/m.git@none", git.Login(), Limits()))
    secret = git.Repository("https://u@git.test/m.git", git.Login(password="p"), Limits())
    assert secret.uri == "https://git.test/m.git"
    assert not git.is_repository("https://git.test/m.zip")
