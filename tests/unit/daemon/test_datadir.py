"""The data directory: one server at a time, private, and a clear word when it cannot be used."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lightship import settings
from lightship.daemon import datadir, errors, process


def _settings(directory: Path) -> settings.Settings:
    return settings.read({"data_dir": str(directory)}, {})


def test_a_second_server_on_the_same_directory_is_told_who_holds_it(tmp_path: Path) -> None:
    held = datadir.lock(_settings(tmp_path))

    with pytest.raises(errors.AlreadyRunning) as raised:
        datadir.lock(_settings(tmp_path))

    held.release()
    assert f"pid {os.getpid()}" in raised.value.message
    assert "lightship down" in raised.value.remedy
    datadir.lock(_settings(tmp_path)).release()


def test_a_directory_under_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(errors.DataDirUnusable, match="--data-dir"):
        datadir.prepare(_settings(tmp_path / "file" / "below"))


def test_the_token_is_private_and_stays_the_same(tmp_path: Path) -> None:
    first = datadir.token(_settings(tmp_path))

    assert datadir.token(_settings(tmp_path)) == first
    assert len(first) >= 43
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600


def _info(directory: Path, pid: int, start: str) -> process.ServerInfo:
    return process.ServerInfo(url="http://127.0.0.1:1", pid=pid, version="0", dataDir=str(directory), kubeUrl="",
                              gatewayUrl="", tokenFile="", kubeconfig="", startedAt="", processStart=start)


def test_a_server_file_counts_only_while_that_very_process_lives(tmp_path: Path) -> None:
    here = _settings(tmp_path)
    assert process.find(here) is None

    process.publish(here, _info(tmp_path, os.getpid(), process.start_time(os.getpid())))
    assert process.find(here) is not None

    process.publish(here, _info(tmp_path, os.getpid(), "1"))
    assert process.find(here) is None


def test_no_server_is_an_error_that_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(errors.NotRunning, match="lightship up"):
        process.running(_settings(tmp_path))


def test_a_broken_server_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("{")

    with pytest.raises(errors.DataDirUnusable, match=r"server\.json"):
        process.find(_settings(tmp_path))
