"""What a server's end is told as, and what a directory of another user is told as: one clear word, no traceback."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from lightship import app, settings
from lightship import errors as trunk
from lightship.daemon import errors, process

DIRECTORY = Path("/state")


def test_an_error_inside_groups_is_told_as_itself() -> None:
    wanted = trunk.Unavailable("the gateway did not start")
    group = BaseExceptionGroup("tasks", [ValueError("a bug"), ExceptionGroup("inner", [wanted])])

    assert errors.of_server(group, DIRECTORY) is wanted


def test_a_full_disk_is_told_with_the_directory_and_what_to_do() -> None:
    told = errors.of_server(ExceptionGroup("tasks", [OSError(errno.ENOSPC, "No space left on device")]), DIRECTORY)

    assert isinstance(told, errors.DataDirUnusable)
    assert "/state: No space left on device" in told.message
    assert "make room" in told.remedy


@pytest.mark.parametrize("bug", [
    ValueError("a bug"), ExceptionGroup("tasks", [KeyError("x")]), OSError(errno.EBADF, "Bad file descriptor")])
def test_a_bug_stays_a_bug(bug: Exception) -> None:
    assert errors.of_server(bug, DIRECTORY) is None


def test_the_directory_of_another_user_is_told_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse_reading(monkeypatch)

    with pytest.raises(errors.DataDirUnusable) as raised:
        process.find(settings.read({"data_dir": str(tmp_path)}, {}))

    assert f"you may not read the data directory {tmp_path}" in raised.value.message
    assert "remove" not in raised.value.remedy


@pytest.mark.parametrize("verb", ["status", "down", "kubeconfig", "demo"])
def test_every_verb_tells_the_directory_of_another_user_as_that(
        verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    _refuse_reading(monkeypatch)
    monkeypatch.setattr("lightship.demo.submission.compile_to", lambda file, cache: "compiled")

    assert app.main([verb, "--data-dir", str(tmp_path)]) == 5

    assert "it belongs to another user" in capsys.readouterr().err


def _refuse_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_text", refuse)
