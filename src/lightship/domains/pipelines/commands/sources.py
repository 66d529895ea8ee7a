"""What ``lightship run`` is given: a compiled pipeline, or Python that defines one, as a specification.

``run`` calls me. Python is compiled by a Python that has kfp, the user's own, in a process of its own: what the file
imports and prints is the user's affair.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lightship import errors
from lightship.domains.pipelines import document, ir, parse
from lightship.kube.objects import Object

COMPILED = (".yaml", ".yml", ".json")
COMPILE_LIMIT_SECONDS = 300
LIMIT_FILE_BYTES = 50 * 1024 * 1024
_HAS_KFP = "import importlib.util as u, sys; sys.exit(0 if u.find_spec('kfp') else 3)"
_COMPILER = Path(__file__).with_name("compiler.py")


class DoesNotCompile(errors.InvalidInput):
    """The user's Python does not define a pipeline that compiles."""

    reason = "DoesNotCompile"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A specification in the shape that runs are stored with, and what to call a run of it."""

    spec: Object
    name: str
    parameters: Mapping[str, ir.ParameterSpec]


def load(target: str, python: str = "") -> Source:
    """The pipeline of ``FILE.yaml``, ``FILE.py``, ``FILE.py:NAME`` or ``MODULE:NAME``.

    Raises ``errors.InvalidInput``.
    """
    if target.lower().endswith(COMPILED):
        return _compiled(Path(target), target)
    if not target.endswith(".py") and ":" not in target:
        raise errors.InvalidInput(f"{target} is neither a compiled pipeline nor Python that defines one",
                                  remedy="name a .yaml file, a .py file, FILE.py:NAME or MODULE:NAME")
    with tempfile.TemporaryDirectory(prefix="lightship-compile-") as folder:
        output = Path(folder) / "pipeline.yaml"
        _compile(target, output, python or _python_with_kfp(os.environ))
        return _compiled(output, target)


def _compiled(path: Path, target: str) -> Source:
    try:
        if path.stat().st_size > LIMIT_FILE_BYTES:
            raise errors.TooLarge(f"{target} is larger than {LIMIT_FILE_BYTES // 1024 // 1024} MiB")
        data = path.read_bytes()
    except OSError as error:
        raise errors.InvalidInput(f"could not read {target}: {error.strerror}") from error
    stored = parse.combine(document.load(data))
    pipeline = parse.spec(stored)
    return Source(spec=stored, name=pipeline.name, parameters=pipeline.root.inputs.parameters)


def _compile(target: str, output: Path, python: str) -> None:
    try:
        done = subprocess.run([python, str(_COMPILER), target, str(output)], timeout=COMPILE_LIMIT_SECONDS,
                              stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False)
    except OSError as error:
        raise errors.InvalidInput(f"could not run {python}: {error.strerror}",
                                  remedy="name a Python that has kfp with --python") from error
    except subprocess.TimeoutExpired as error:
        raise DoesNotCompile(f"{target} did not compile within {COMPILE_LIMIT_SECONDS} s") from error
    try:
        answer: Mapping[str, str] = json.loads(Path(f"{output}.json").read_text())
    except (OSError, ValueError):
        raise DoesNotCompile(f"{target} ended {python} with {done.returncode} before it was compiled") from None
    if "error" in answer:
        trace = f":\n{answer['trace'].rstrip()}" if answer.get("trace") else ""
        raise DoesNotCompile(answer["error"] + trace, remedy=answer.get("remedy", ""))


def _python_with_kfp(environ: Mapping[str, str]) -> str:
    """The first Python that has kfp: the active environment's, the shell's, our own. Raises ``errors.InvalidInput``."""
    tried = list(dict.fromkeys(_pythons(environ)))
    for python in tried:
        if subprocess.run([python, "-c", _HAS_KFP], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL, check=False).returncode == 0:
            return python
    raise errors.InvalidInput(f"no Python here has the kfp SDK, which compiles pipelines (tried {', '.join(tried)})",
                              remedy="install it with: pip install kfp, or name a Python that has it with --python")


def _pythons(environ: Mapping[str, str]) -> Iterator[str]:
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if environ.get(variable):
            yield str(Path(environ[variable]) / "bin" / "python")
    for name in ("python3", "python"):
        found = shutil.which(name)
        if found:
            yield found
    yield sys.executable
