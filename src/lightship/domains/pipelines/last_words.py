"""The user's own last lines of a failed step's log. Pure.

``pods`` calls me for the error that a task keeps, ``commands/follow`` for what a terminal shows. KFP's executor writes
into the same log: which component it loads, and the whole executor input as JSON of dozens of lines. A step that ends
itself (``SystemExit``, a killed process) would be told by those; what its own code logs bears the executor's head, too,
and so the executor's lines are known by their words. Of a traceback its frames go, which lead to the user's.
"""

from __future__ import annotations

import re

LIMIT_SOUGHT_LINES = 4_000
"""Lines of a log among whose last the user's own are looked for."""
LIMIT_SOUGHT_BYTES = 256 * 1024

_EXECUTORS = re.compile(
    r"\[KFP Executor \d[^\]]* INFO\]: (?:Looking for component `|--component_module_path is not specified|"
    r"Loading KFP component \"|Got executor_input:$|Wrote executor output file to |Did not write output file\.$)")
_FRAME = re.compile(r'  File "(?:<frozen runpy>|[^"]*/kfp/dsl/executor(?:_main)?\.py)", line \d+, in ')
_OF_FRAME = "    "
_INPUT = "Got executor_input:"
_INPUT_ENDS = "}"
_LAST_FIELD = '        "outputFile": '


def own(text: str, limit_lines: int) -> list[str]:
    """The last lines of ``text`` without the executor's; empty where it has no others."""
    lines = text.splitlines()
    kept: list[str] = []
    within = framed = False
    for number, line in enumerate(lines):
        framed = bool(_FRAME.match(line)) or (framed and line.startswith(_OF_FRAME))
        if framed:
            continue
        if within:
            within = line != _INPUT_ENDS
        elif _EXECUTORS.match(line):
            within = line.endswith(_INPUT)
        elif line == _INPUT_ENDS and number > 1 and lines[number - 2].startswith(_LAST_FIELD):
            kept.clear()  # The text began within an input, which ends here.
        else:
            kept.append(line)
    while kept and not kept[0].strip():
        del kept[0]
    while kept and not kept[-1].strip():
        del kept[-1]
    return kept[-limit_lines:]
