"""A lightweight component gives the same forked from a warm interpreter, spawned, and run by its literal shell line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lightship.kube import objects
from lightship.kube.objects import Object
from lightship.testing.nodes import NodeUnderTest, node_under_test, pod, terminated

BOOTSTRAP = """
if ! [ -x "$(command -v pip)" ]; then
    python3 -m ensurepip || python3 -m ensurepip --user || apt-get install python3-pip
fi

PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet --no-warn-script-location 'kfp==2.14.3' '--no-deps' \
'typing-extensions>=3.7.4,<5; python_version<"3.9"'{more} && "$0" "$@"
"""
RUN = """program_path=$(mktemp -d)

printf "%s" "$0" > "$program_path/ephemeral_component.py"
_KFP_RUNTIME=true python3 -m kfp.dsl.executor_main                         \
--component_module_path                         "$program_path/ephemeral_component.py"                         "$@"
"""
HEADER = """
import kfp
from kfp import dsl
from kfp.dsl import *
from typing import *

"""
BODIES = {
    "returns": "    print('to stdout')\n    return word * 2\n",
    "raises": "    raise ValueError('no ' + word)\n",
    "exits": "    import sys\n    sys.stderr.write('leaving')\n    sys.exit(7)\n",
    "exits with words": "    import sys\n    sys.exit('words')\n",
    "is killed": "    import os, signal\n    os.kill(os.getpid(), signal.SIGKILL)\n",
    "has a thread and an exit function": (
        "    import atexit, threading, time\n    atexit.register(print, 'at exit')\n"
        "    threading.Thread(target=lambda: (time.sleep(0.2), print('from thread'))).start()\n"
        "    return word\n"),
    "looks around": (
        "    import os, sys, signal, __main__\n"
        "    print(sys.argv[0], os.getcwd(), os.environ['WORD'], __main__.__name__,"
        " __main__.__spec__.name, sys.path[0] == os.path.dirname(__file__), signal.getsignal(signal.SIGINT),"
        " signal.getsignal(signal.SIGPIPE), sys.flags, sorted(k for k in os.environ if k != 'PYTHONUNBUFFERED'),"
        " sys.stdout.encoding, sys.executable, sys.prefix)\n    return word\n"),
    "starts a child": (
        "    import subprocess, sys\n"
        "    return subprocess.run([sys.executable, '-c', 'import sys; sys.stdout.write(\"child\")'],"
        " capture_output=True, text=True).stdout\n"),
    "uses multiprocessing": (
        "    import multiprocessing\n    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        return str(pool.map(abs, [-1]))\n"),
}


def component(body: str, *, more: str = "", warm: bool = True, literal: bool = False,
              env: Sequence[dict[str, str]] = ()) -> Object:
    source = HEADER + "def work(word: str) -> str:\n" + body
    executor_input = json.dumps({
        "inputs": {"parameterValues": {"word": "ab"}},
        "outputs": {"parameters": {"Output": {"outputFile": "/tmp/kfp/Output"}},
                    "outputFile": "/tmp/kfp/output_metadata.json"}})
    bootstrap = BOOTSTRAP.format(more=more)
    if literal:
        bootstrap = bootstrap.replace(' && "$0" "$@"', ' && true && "$0" "$@"')
    env = [{"name": "WORD", "value": "declared"}, *env]
    if not warm:
        env.append({"name": "LC_MONETARY", "value": "C.UTF-8"})
    return {"name": "main", "image": "python:3.11", "command": ["sh", "-c", bootstrap, "sh", "-ec", RUN, source],
            "args": ["--executor_input", executor_input, "--function_to_execute", "work"], "env": env,
            "volumeMounts": [{"name": "out", "mountPath": "/tmp/kfp"}]}


async def outcome(node: NodeUnderTest, name: str, container: Object) -> tuple[Any, str, dict[str, Any]]:
    """Exit, log without what differs by nature, and output files."""
    reader = {"name": "reader", "image": "lightship.dev/reader:1",
              "volumeMounts": [{"name": "out", "mountPath": "/tmp/kfp"}]}
    found = await node.finish(pod(name, container, reader, volumes=[{"name": "out", "emptyDir": {}}]))
    end = terminated(found)
    log = await node.log(name, container="main")
    log = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}", "TIME", log)
    log = re.sub(r"/tmp/tmp\.?[A-Za-z0-9_]+", "/tmp/PROGRAM", log).replace("'LC_MONETARY', ", "")
    log = log.replace("Killed\n", "")  # the shell's own word for it
    return (end["exitCode"], end.get("signal")), log, json.loads(await node.log(name, container="reader"))


async def read(context: Any) -> int:
    await context.wait_for("main")
    files = {path.name: path.read_text() for path in sorted(context.path("/tmp/kfp").iterdir())}
    context.log(json.dumps(files))
    return 0


@pytest.fixture(scope="module")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One place of environments for the module, so that each is built once."""
    return tmp_path_factory.mktemp("environments")


@pytest.mark.parametrize("body", BODIES)
async def test_warm_is_as_spawned(environments: Path, tmp_path: Path, body: str) -> None:
    (tmp_path / "node").mkdir()
    os.symlink(environments, tmp_path / "node" / "environments")
    async with node_under_test(tmp_path / "node", entrypoints={"reader": read}) as node:
        warm = await outcome(node, "warm", component(BODIES[body]))
        cold = await outcome(node, "cold", component(BODIES[body], warm=False))
        assert len(node.node.zygote_pids()) == 2  # the second is the warm interpreter: it was really used
    assert warm[0] == cold[0]
    assert warm[2] == cold[2]
    assert sorted(warm[1].splitlines()) == sorted(cold[1].splitlines())


async def test_a_warm_interpreter_that_is_told_so_does_not_buffer(environments: Path, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    os.symlink(environments, tmp_path / "node" / "environments")
    body = ("    import sys\n    print('one')\n    sys.stderr.write('two\\n')\n    print('three', end='')\n"
            "    return ''\n")
    told = [{"name": "PYTHONUNBUFFERED", "value": "1"}]
    async with node_under_test(tmp_path / "node", entrypoints={"reader": read}) as node:
        warm = await outcome(node, "warm", component(body, env=told))
        cold = await outcome(node, "cold", component(body, env=told, warm=False))
        assert len(node.node.zygote_pids()) == 2  # the second is the warm interpreter: it was really used
        buffered = await outcome(node, "buffered", component(body))
    assert warm == cold
    assert "one\ntwo\nthree" in warm[1]
    assert "one\ntwo" not in buffered[1]


async def test_each_fork_has_randomness_of_its_own(environments: Path, tmp_path: Path) -> None:
    (tmp_path / "node").mkdir()
    os.symlink(environments, tmp_path / "node" / "environments")
    body = "    import random, uuid, tempfile\n    return f'{random.random()} {uuid.uuid4()} {tempfile.mktemp()}'\n"
    async with node_under_test(tmp_path / "node", entrypoints={"reader": read}) as node:
        first = _output(await outcome(node, "a", component(body))).split()
        second = _output(await outcome(node, "b", component(body))).split()
    assert all(one != other for one, other in zip(first, second, strict=True))


@pytest.mark.sdk
async def test_the_literal_shell_line_gives_the_same(tmp_path: Path) -> None:
    async with node_under_test(tmp_path / "node", entrypoints={"reader": read}) as node:
        for number, body in enumerate(("returns", "raises")):
            warm = await outcome(node, f"warm-{number}", component(BODIES[body]))
            literal = await outcome(node, f"literal-{number}", component(BODIES[body], literal=True))
            assert (warm[0], warm[2]) == (literal[0], literal[2])
            assert _last(warm[1]) == _last(literal[1])


async def test_what_cannot_be_installed_fails_the_container_with_uvs_words(tmp_path: Path) -> None:
    more = "  &&  python3 -m pip install --quiet --no-warn-script-location 'lightship-no-such-package==1.0'"
    async with node_under_test(tmp_path / "node", entrypoints={"reader": read}) as node:
        found = await node.finish(pod("p", component("    return word\n", more=more),
                                      volumes=[{"name": "out", "emptyDir": {}}]))
        assert objects.status(found)["phase"] == "Failed"
        assert terminated(found)["exitCode"] == 1
        assert "lightship-no-such-package" in terminated(found)["message"]
        assert "UV_FIND_LINKS" in await node.log("p")


def _output(found: tuple[Any, str, dict[str, Any]]) -> str:
    return str(json.loads(found[2]["output_metadata.json"])["parameterValues"]["Output"])


def _last(log: str) -> str:
    return re.sub(r"/\S*/", "", log.strip().splitlines()[-1])
