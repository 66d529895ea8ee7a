"""The embedded cluster's API server for tests: store, server and listener in a directory, with clients to them.

Suites and acceptance tests call me; I build what ``app`` builds, less the node and the controllers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lightship.client import kubeconfig
from lightship.client.client import Client
from lightship.client.http import Http
from lightship.client.inprocess import InProcess
from lightship.client.transport import User
from lightship.cluster.apiserver import bootstrap, pki, tokens
from lightship.cluster.apiserver.listener import Address, Listener, tls
from lightship.cluster.apiserver.registry import AdmittedKind
from lightship.cluster.apiserver.server import ApiServer, ApiServerOptions
from lightship.cluster.store.store import Store
from lightship.lib import private
from lightship.lib.clock import SYSTEM, Clock
from lightship.lib.ids import IdSource, RandomIds

CONTROLLER = User(name="system:test", groups=("system:masters", "system:authenticated"))


@dataclass(frozen=True, kw_only=True)
class EmbeddedOptions:
    """What may differ between tests."""

    kinds: Sequence[AdmittedKind] = ()
    clock: Clock = SYSTEM
    ids: IdSource | None = None


@dataclass(frozen=True, kw_only=True)
class EmbeddedApi:
    """A running server."""

    server: ApiServer
    store: Store
    listener: Listener
    directory: Path
    token: str
    ca_pem: str

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.listener.port}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of the admin, for kubectl and the SDKs."""
        path = self.directory / "kubeconfig"
        path.write_text(kubeconfig.render(self.url, self.ca_pem, self.token), encoding="utf-8")
        return path

    def in_process(self, user: User = CONTROLLER) -> Client:
        return Client(InProcess(self.server.handle, user))

    def over_http(self) -> Client:
        return Client(Http(kubeconfig.load(self.kubeconfig)))


@asynccontextmanager
async def embedded_api(directory: Path, options: EmbeddedOptions | None = None) -> AsyncIterator[EmbeddedApi]:
    """A server in ``directory``, on a free port; stopped when the context ends."""
    chosen = options or EmbeddedOptions()
    files = pki.ensure(directory / "pki", chosen.clock)
    token = private.secret(directory / "token")
    authority = tokens.TokenAuthority(files.service_account_key, chosen.clock, files.service_account_signing)
    store = await Store.open(directory / "cluster.db")
    try:
        server = ApiServer(ApiServerOptions(
            store=store, authenticator=tokens.TokenAuthenticator(token, authority, chosen.clock), kinds=chosen.kinds,
            tokens=authority, clock=chosen.clock, ids=chosen.ids or RandomIds()))
        await bootstrap.ensure(Client(InProcess(server.handle, CONTROLLER)))
        await server.definitions.ensure()
        context = tls(files.server_certificate, files.server_key, files.ca_certificate)
        listener = Listener(server.handle, Address(), context)
        await listener.start()
        try:
            yield EmbeddedApi(server=server, store=store, listener=listener, directory=directory, token=token,
                              ca_pem=files.ca_pem)
        finally:
            await listener.stop()
    finally:
        await store.close()
