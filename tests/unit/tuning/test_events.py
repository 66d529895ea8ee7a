"""TensorFlow's event files and Prometheus' pages."""

from __future__ import annotations

import os
import struct
from datetime import UTC, datetime

import pytest

from lightship.domains.tuning.collectors import events, scraped
from lightship.lib import protowire

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def fixed64(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def varint(number: int, value: int) -> bytes:
    return bytes([number << 3, value])


def record(event: bytes) -> bytes:
    return struct.pack("<Q", len(event)) + b"crc0" + event + b"crc1"


def event(value: bytes, at: float = 1767225600.25) -> bytes:
    return record(fixed64(1, at) + varint(2, 7) + protowire.field(5, protowire.field(1, value)))


def simple(tag: str, value: float) -> bytes:
    return protowire.field(1, tag) + bytes([2 << 3 | 5]) + struct.pack("<f", value)


def tensor(tag: str, kind: int, content: bytes, shape: bytes = b"") -> bytes:
    return protowire.field(1, tag) + protowire.field(8, varint(1, kind) + protowire.field(2, shape)
                                                     + protowire.field(4, content))


VERSION = record(fixed64(1, 1.0) + protowire.field(3, "brain.Event:2"))
FILE = b"".join((
    VERSION, event(simple("accuracy", 0.1)), event(tensor("accuracy", 1, struct.pack("<f", 0.25))),
    event(tensor("loss", 2, struct.pack("<d", 1e-9))), event(tensor("loss", 9, struct.pack("<q", -3))),
    event(tensor("accuracy", 1, struct.pack("<ff", 1, 2), protowire.field(2, varint(1, 2)))),
    event(protowire.field(1, "accuracy") + protowire.field(4, b"an image")), event(simple("other", 9)),
    event(simple("accuracy", float("nan"))), event(simple("accuracy", 3.0))))


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_scalars_old_and_new_however_the_bytes_come(size: int) -> None:
    file = events.EventFile(metrics=("accuracy", "loss"), folder="/logs")
    found = [reading for start in range(0, len(FILE), size) for reading in file.feed(FILE[start:start + size])]
    assert [(one.metric, one.value) for one in found] == [
        ("accuracy", "0.1"), ("accuracy", "0.25"), ("loss", "1e-09"), ("loss", "-3"), ("accuracy", "nan"),
        ("accuracy", "3.0")]
    assert found[0].time == T0.replace(microsecond=250_000) and not file.broken


def test_a_metric_may_name_the_folder_of_its_files() -> None:
    assert events.considers("train/accuracy", "accuracy", "/train/log/train")
    assert not events.considers("train/accuracy", "accuracy", "/train/log/test")
    assert events.considers("accuracy", "accuracy_1", "/anywhere")
    assert not events.considers("accuracy", "val_accuracy", "/anywhere")


def test_large_records_are_passed_over_and_broken_ones_end_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LIMIT_RECORD_BYTES", 200)
    file = events.EventFile(metrics=("loss",), folder="")
    assert [one.value for one in file.feed(record(b"x" * 500) + event(simple("loss", 2.0)))] == ["2.0"]
    assert file.feed(struct.pack("<Q", 1 << 60) + os.urandom(8)) == [] and file.broken
    assert file.feed(event(simple("loss", 2.0))) == []
    file = events.EventFile(metrics=("loss",), folder="")
    assert file.feed(record(b"\xff" * 40)) == [] and file.broken


PAGE = """\
# HELP loss The loss.
# TYPE loss gauge
loss 0.5
loss{phase="a} b", x="\\"quoted"} +Inf 1767225600000
accuracy_total{a="b"} 3
accuracy 1e-3
 accuracy{} NaN
loss{broken 3
loss
accuracy 1 2 3
"""


def test_samples_of_a_page() -> None:
    moment = T0.replace(hour=5)
    found = list(scraped.samples(PAGE, ("loss", "accuracy"), moment))
    assert [(one.metric, one.value, one.time) for one in found] == [
        ("loss", "0.5", moment), ("loss", "+Inf", T0), ("accuracy", "1e-3", moment), ("accuracy", "NaN", moment)]
