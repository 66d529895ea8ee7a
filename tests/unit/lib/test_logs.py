"""Log lines keep their structured fields."""

from __future__ import annotations

import logging

from lightship.lib.logs import FieldsFormatter


def test_a_line_is_its_message_and_its_fields() -> None:
    record = logging.makeLogRecord({"name": "room", "levelname": "ERROR", "msg": "the gateway ended", "exit_code": -9,
                                    "path": "a b"})

    line = FieldsFormatter().format(record)

    assert line.endswith("ERROR room: the gateway ended exit_code=-9 path='a b'")


def test_a_line_without_fields_has_nothing_after_its_message() -> None:
    record = logging.makeLogRecord({"name": "room", "levelname": "INFO", "msg": "done"})

    assert FieldsFormatter().format(record).endswith("INFO room: done")
