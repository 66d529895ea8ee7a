"""Log lines for a terminal or a file: a constant message, then the structured fields as ``name=value``.

``daemon``, the gateway and the model server call me at their start.
"""

from __future__ import annotations

import logging
import sys

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class FieldsFormatter(logging.Formatter):
    """Appends what the caller passed as ``extra``, which logging itself leaves out."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        fields = (f" {name}={value!r}" for name, value in vars(record).items() if name not in _STANDARD)
        return super().formatMessage(record) + "".join(fields)


def to_stderr(level: str) -> None:
    """Send the log lines of ``level`` (``debug`` to ``error``) and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FieldsFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
