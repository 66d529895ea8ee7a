"""Who may have a stream to a Pod, and how a browser says who it is."""

from __future__ import annotations

import base64

import pytest

from lightship.client.transport import Request, User
from lightship.testing.embedded import EmbeddedApi
from tests.unit.apiserver.test_streams import EXEC, Node, node

__all__ = ["node"]


def _bearer(token: str) -> str:
    return f"base64url.bearer.authorization.k8s.io.{base64.urlsafe_b64encode(token.encode()).decode().rstrip('=')}"


@pytest.mark.parametrize(("protocols", "status"), [
    ("{good}, v4.channel.k8s.io", 101), ("v4.channel.k8s.io, {good}", 101), ("{good}", 401),
    ("{good}, {good}, v4.channel.k8s.io", 401), ("{bad}, v4.channel.k8s.io", 401),
    ("base64url.bearer.authorization.k8s.io.%, v4.channel.k8s.io", 401), ("v4.channel.k8s.io", 401)])
async def test_a_browser_gives_its_token_as_a_subprotocol(api: EmbeddedApi, node: Node, protocols: str,
                                                          status: int) -> None:
    path, _, query = EXEC.partition("?")
    asked = protocols.format(good=_bearer(api.token), bad=_bearer("other"))
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
               "sec-websocket-key": "x", "sec-websocket-protocol": asked}
    answer = await api.server.handle(Request(method="GET", path=path, query=query, headers=headers))
    assert answer.status == status
    assert answer.headers.get("sec-websocket-protocol") == ("v4.channel.k8s.io" if status == 101 else None)


@pytest.mark.parametrize(("verbs", "status"), [(["get"], 403), (["create"], 403), (["get", "create"], 101)])
async def test_a_websocket_needs_the_right_to_create_too(api: EmbeddedApi, node: Node, verbs: list[str],
                                                         status: int) -> None:
    """As upstream since 1.35: who may only look must not run commands, though a WebSocket asks with GET."""
    client = api.in_process()
    base = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    about = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "x", "namespace": "default"}}
    await client.raw("POST", f"{base}/roles", body=about | {
        "kind": "Role", "rules": [{"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}]})
    await client.raw("POST", f"{base}/rolebindings", body=about | {
        "kind": "RoleBinding", "subjects": [{"kind": "User", "name": "eve", "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "Role", "name": "x", "apiGroup": "rbac.authorization.k8s.io"}})
    path, _, query = EXEC.partition("?")
    headers = {"upgrade": "websocket", "connection": "Upgrade", "sec-websocket-version": "13",
               "sec-websocket-key": "x", "sec-websocket-protocol": "v5.channel.k8s.io"}
    answer = await api.server.handle(Request(method="GET", path=path, query=query, headers=headers,
                                             user=User(name="eve", groups=("system:authenticated",))))
    assert answer.status == status
