"""Exit codes, and how an error looks on a terminal. One map for every verb.

====  =========================================================
0     it worked
1     it failed: a step, a check, something that should not happen
2     the command line or another input is wrong
3     no server runs on that data directory
4     the server is there and not ready
5     the data directory or a port cannot be used
130   interrupted
====  =========================================================
"""

from __future__ import annotations

import sys
from typing import TextIO

from lightship import errors

OK, FAILED, WRONG_INPUT, NOT_RUNNING, NOT_READY, STATE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130


def code_of(error: errors.LightshipError) -> int:
    if isinstance(error, errors.StateError):
        return STATE
    if isinstance(error, errors.InvalidInput):
        return WRONG_INPUT
    if isinstance(error, errors.Unavailable):
        return NOT_RUNNING
    return FAILED


def report(error: errors.LightshipError, stream: TextIO | None = None) -> int:
    """Write the error and its remedy for a person; return the exit code."""
    stream = stream or sys.stderr
    red, plain = ("\033[31m", "\033[0m") if stream.isatty() else ("", "")
    stream.write(f"{red}error:{plain} {error.message}\n")
    if error.remedy:
        stream.write(f"  what to do: {error.remedy}\n")
    stream.flush()
    return code_of(error)
