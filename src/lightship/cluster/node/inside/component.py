"""Runs a lightweight KFP component in this process, just as ``python -m kfp.dsl.executor_main`` would.

``forkserver`` calls ``after_preload`` once, ``container`` calls ``run`` in the forked main process. What upstream's
shell line does around the module (write the source to a file in a new directory, set ``_KFP_RUNTIME``) I do too.
"""

from __future__ import annotations

import atexit
import importlib.util
import io
import json
import logging
import os
import random
import runpy
import sys
import tempfile
import threading
import time
import traceback
import types
from typing import Any

MODULE = "kfp.dsl.executor_main"


_REHEARSAL = """
import kfp
from kfp import dsl
from kfp.dsl import *
from typing import *

def rehearse(word: str) -> str:
    return word
"""
_REHEARSALS = 10  # beyond eight the interpreter has specialised what is hot, and forks no longer write to its pages


def after_preload() -> None:
    """Forgets the main module but keeps what it imported, so that it runs afresh as ``__main__`` in each fork.

    Before that a trivial component is run some times: what a first run compiles, caches and looks up is then done
    once, here. Nothing of it is left but caches.
    """
    _forget()
    if importlib.util.find_spec(MODULE) is not None:
        _rehearse()


def _rehearse() -> None:
    saved = sys.modules["__main__"], sys.argv[:], sys.path[:]
    root = logging.getLogger()
    handlers, level, directory_before = root.handlers[:], root.level, tempfile.tempdir
    with tempfile.TemporaryDirectory() as directory:
        program = os.path.join(directory, "ephemeral_component.py")
        with open(program, "w", encoding="utf-8") as stream:
            stream.write(_REHEARSAL)
        outputs = {"parameters": {"Output": {"outputFile": directory + "/Output"}},
                   "outputFile": directory + "/output_metadata.json"}
        given = json.dumps({"inputs": {"parameterValues": {"word": "x"}}, "outputs": outputs})
        for _ in range(_REHEARSALS):
            sys.modules["__main__"] = types.ModuleType("__main__")
            sys.argv[:] = [MODULE, "--component_module_path", program, "--executor_input", given,
                           "--function_to_execute", "rehearse"]
            runpy._run_module_as_main(MODULE)  # type: ignore[attr-defined]
            root.handlers[:] = handlers
            _forget()
    sys.stdout.flush()  # or every fork would write what is left in the buffer
    root.setLevel(level)
    tempfile.tempdir = directory_before
    sys.modules["__main__"], sys.argv[:], sys.path[:] = saved
    sys.modules.pop("ephemeral_component", None)


def _forget() -> None:
    module = sys.modules.pop(MODULE, None)
    parent = sys.modules.get(MODULE.rpartition(".")[0])
    if module is not None and parent is not None and hasattr(parent, "executor_main"):
        delattr(parent, "executor_main")


def run(component: dict[str, Any], environment: dict[str, str]) -> int:
    """Returns the exit code that the interpreter would have ended with."""
    os.environ.clear()
    os.environ.update(environment)
    os.environ["_KFP_RUNTIME"] = "true"
    os.environ["PWD"] = os.getcwd()  # the shell sets it
    time.tzset()
    random.seed()
    if os.environ.get("PYTHONUNBUFFERED"):
        _unbuffer()
    tempfile._name_sequence = None  # type: ignore[attr-defined]
    tempfile.tempdir = None
    program = os.path.join(tempfile.mkdtemp(prefix="tmp."), "ephemeral_component.py")
    with open(program, "w", encoding="utf-8") as stream:
        stream.write(component["source"])
    arguments = ["--component_module_path", program, *list(component["args"])]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv[:] = [MODULE, *arguments]
    if not sys.path or sys.path[0] != os.getcwd():
        sys.path.insert(0, os.getcwd())
    code = _run_main()
    return _finish(code)


def _unbuffer() -> None:
    """What the interpreter does at its start where it is told not to buffer."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        if before is not None:
            raw: Any = io.FileIO(descriptor, "w", closefd=False)
            stream = io.TextIOWrapper(raw, encoding=before.encoding, errors=before.errors, newline="\n",
                                      write_through=True)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _run_main() -> int:
    try:
        runpy._run_module_as_main(MODULE)  # type: ignore[attr-defined]
    except SystemExit as leaving:
        return _code_of(leaving.code)
    except KeyboardInterrupt:
        _print_exception()
        return 130
    except BaseException:
        _print_exception()
        return 1
    return 0


def _print_exception() -> None:
    kind, error, trace = sys.exc_info()
    # The first frame is mine, and would not be there under ``python -m``.
    frames = trace.tb_next if trace is not None else None
    if sys.excepthook is sys.__excepthook__:
        traceback.print_exception(kind, error, frames)
    else:
        sys.excepthook(kind, error, frames)  # type: ignore[arg-type]


def _code_of(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _finish(code: int) -> int:
    """What the interpreter does at its end: waits for threads, runs exit functions, flushes."""
    steps: list[Any] = [vars(threading)["_shutdown"], atexit._run_exitfuncs]
    for step in steps:
        try:
            step()
        except BaseException:
            traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 120  # as the interpreter does when its last flush fails
    return code
