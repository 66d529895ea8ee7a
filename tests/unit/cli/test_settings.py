"""Settings: flag over environment over default, and one clear error for each wrong value."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from lightship import errors, settings
from lightship.cli import flags


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_default(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "LIGHTSHIP_PORT": "1", "LIGHTSHIP_KUBE_PORT": "2"}

    read = settings.read({"port": "3"}, environ)

    assert (read.port, read.kube_port, read.gateway_port) == (3, 2, 8782)


def test_the_default_data_directory_is_the_users_own(tmp_path: Path) -> None:
    assert settings.read({}, {"HOME": str(tmp_path)}).data_dir.is_relative_to(tmp_path)
    assert settings.read({}, {"XDG_DATA_HOME": str(tmp_path / "xdg")}).data_dir == tmp_path / "xdg" / "lightship"


def test_a_relative_data_directory_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert settings.read({"data_dir": "here"}, {}).data_dir == tmp_path / "here"


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("port", "eighty", "--port must be a whole number, not 'eighty'"),
        ("port", "70000", "--port must lie between 0 and 65535"),
        ("bind", "0.0.0.0", "--bind 0.0.0.0: only loopback addresses"),
        ("log_level", "loud", "--log-level must be one of"),
        ("max_pods", "0", "--max-pods must be 1 or more"),
    ],
)
def test_a_wrong_value_is_named_with_its_flag(flag: str, value: str, says: str) -> None:
    with pytest.raises(errors.InvalidInput) as raised:
        settings.read({flag: value}, {"HOME": "/nowhere"})

    assert says in raised.value.message
    assert raised.value.field == flag


def test_flags_given_to_a_parent_are_the_same_flags_for_its_child(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    flags.add(parser)

    arguments = parser.parse_args(["--data-dir", str(tmp_path), "--kube-port", "0"])

    assert flags.read(parser.parse_args(list(flags.given(arguments)))) == flags.read(arguments)


def test_a_command_names_the_data_directory_only_where_it_must(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    usual = settings.read({}, home)
    own = settings.read({"data_dir": str(tmp_path / "a b")}, home)

    assert settings.command(usual, "up", home) == "lightship up"
    assert settings.command(own, "up", home) == f"lightship up --data-dir '{tmp_path}/a b'"
    assert settings.command(own, "up", home | {"LIGHTSHIP_DATA_DIR": str(own.data_dir)}) == "lightship up"
