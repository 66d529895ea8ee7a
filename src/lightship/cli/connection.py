"""The platform as a verb reaches it: through the Kubernetes API that a kubeconfig names, from any shell or machine.

Verbs of domains call ``add`` for their flags and ``connected`` when they run. KFP's REST API is asked through the
cluster's service proxy, as upstream's own client asks it, so that nothing but a kubeconfig is needed.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.cli import flags
from lightship.client import kubeconfig
from lightship.client.client import Client
from lightship.client.http import Http
from lightship.settings import Settings, command

KFP = "/api/v1/namespaces/kubeflow/services/ml-pipeline:http/proxy"
DEFAULT_NAMESPACE = "default"


def add(parser: argparse.ArgumentParser) -> None:
    """The flags that say which platform, and which namespace."""
    group = parser.add_argument_group("platform", "which platform is asked; without a flag, the one on this machine, "
                                                  "else the one that $KUBECONFIG or ~/.kube/config names")
    group.add_argument("--kubeconfig", type=Path, metavar="FILE", help="the kubeconfig of the platform")
    group.add_argument("--context", default="", metavar="NAME", help="a context of that file (default: its current)")
    group.add_argument("-n", "--namespace", default="", metavar="NAME",
                       help="the namespace (default: the context's, else default)")
    flags.add(parser, flags.DATA_DIR)


def action(actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, help: str,
           act: Act) -> argparse.ArgumentParser:
    """A verb's sub-command that asks a platform: its parser, with our flags and ``act`` as what it does."""
    parser = actions.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")
    add(parser)
    parser.set_defaults(handler=handler(act))
    return parser


def handler(act: Act) -> Callable[[argparse.Namespace], int]:
    """What runs ``act`` with the platform that the arguments mean; its answer is the exit code."""

    async def acted(arguments: argparse.Namespace) -> int:
        async with connected(arguments) as platform:
            return await act(platform, arguments)

    return lambda arguments: asyncio.run(acted(arguments))


class Platform:
    """The two sides of a platform. ``kube`` speaks Kubernetes; ``kfp`` and ``send`` speak KFP's REST v2beta1."""

    def __init__(self, http: Http, namespace: str) -> None:
        self.http, self.namespace = http, namespace
        self.kube = Client(http, field_manager="lightship-cli")

    async def kfp(self, path: str, query: Mapping[str, str] | None = None) -> Any:
        """``GET`` of a path such as ``/apis/v2beta1/runs``. Raises ``errors.NotFound`` and its kin."""
        return await self.kube.raw("GET", KFP + path, query=query)

    async def send(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        return await self.kube.raw(method, KFP + path, query=query, body=body)

    async def log(self, path: str) -> AsyncGenerator[bytes]:
        """Chunks of a log that KFP's REST serves as text."""
        async with aclosing(self.kube.stream(KFP + path)) as chunks:
            async for chunk in chunks:
                yield chunk


Act = Callable[[Platform, argparse.Namespace], Awaitable[int]]


@asynccontextmanager
async def connected(arguments: argparse.Namespace) -> AsyncIterator[Platform]:
    """The platform that the arguments mean. Raises ``errors.Unavailable`` where none answers, saying what to do."""
    settings = flags.read(arguments)
    found = kubeconfig_of(arguments, settings)
    try:
        cluster = kubeconfig.load(found, arguments.context)
    except errors.LightshipError as error:
        if found is not None:
            raise
        raise errors.Unavailable(f"there is no platform to ask: none was started on {settings.data_dir}, and {error}",
                                 remedy=f"start one with '{command(settings, 'up')} --detach', or name a cluster with "
                                        "--kubeconfig") from error
    http = Http(cluster)
    try:
        yield Platform(http, arguments.namespace or cluster.namespace or DEFAULT_NAMESPACE)
    finally:
        await http.close()


def kubeconfig_of(arguments: argparse.Namespace, settings: Settings,
                  environ: Mapping[str, str] = os.environ) -> Path | None:
    """The kubeconfig to use; None for the usual chain of $KUBECONFIG, the home directory and the Pod's own.

    A platform of this machine that runs, or a data directory that was named, comes before that chain.
    """
    if arguments.kubeconfig is not None:
        path: Path = arguments.kubeconfig
        return path
    named = arguments.data_dir is not None or bool(environ.get("LIGHTSHIP_DATA_DIR"))
    if named or settings.server_file.exists():
        return settings.kubeconfig_file
    return None
