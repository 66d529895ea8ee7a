"""Fills Secrets that ask for a long-lived token of a ServiceAccount, and takes them away with the account.

``builtin`` builds me; I call ``client``. The token is bound to its Secret: it is worth nothing once that is gone.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable

from lightship import errors
from lightship.client.client import Selection
from lightship.cluster.builtin.deps import Deps
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import SECRETS, SERVICE_ACCOUNTS
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch

NAME = "serviceaccount-token-controller"
TYPE = "kubernetes.io/service-account-token"
ACCOUNT, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
TOKEN_SECONDS = 2**32
"""As long as the server gives."""
_OURS = f"type={TYPE}"


class AccountTokens:
    """The pass over one such Secret."""

    def __init__(self, deps: Deps) -> None:
        self._secrets = deps.manager.informer(SECRETS, Selection(fields=_OURS))
        self._accounts = deps.manager.informer(SERVICE_ACCOUNTS)
        self._client = deps.manager.client_for(NAME)
        self._ca_pem = deps.ca_pem

    async def reconcile(self, key: Key) -> Result:
        secret = self._secrets.get(key)
        if secret is None or objects.deleting(secret):
            return DONE
        name = objects.annotations(secret).get(ACCOUNT, "")
        account = await self._account(Key(key.namespace, name)) if name else None
        known = objects.annotations(secret).get(ACCOUNT_UID)
        if account is None or (known and known != objects.uid(account)):
            await apply.delete_if_there(self._client, SECRETS, secret)
            return DONE
        await self._fill(secret, account)
        return DONE

    async def _account(self, key: Key) -> Object | None:
        """The account, asked for where the informer does not know it: it may be new."""
        found = self._accounts.get(key)
        if found is not None:
            return found
        try:
            return await self._client.get(SERVICE_ACCOUNTS, key.name, key.namespace)
        except errors.NotFound:
            return None

    async def _fill(self, secret: Object, account: Object) -> None:
        data = secret.get("data") or {}
        wanted = {"ca.crt": self._ca_pem, "namespace": objects.namespace(secret)}
        missing = {key: base64.b64encode(text.encode()).decode() for key, text in wanted.items()
                   if text and data.get(key) != base64.b64encode(text.encode()).decode()}
        if not data.get("token"):
            missing["token"] = base64.b64encode((await self._token(secret, account)).encode()).decode()
        if missing:
            patch = {"metadata": {"annotations": {ACCOUNT_UID: objects.uid(account)},
                                  "resourceVersion": objects.meta(secret).get("resourceVersion")}, "data": missing}
            self._secrets.observe(await self._client.patch(SECRETS, objects.key(secret), patch))

    async def _token(self, secret: Object, account: Object) -> str:
        bound = {"kind": SECRETS.kind, "apiVersion": "v1", "name": objects.name(secret), "uid": objects.uid(secret)}
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
                   "metadata": {"namespace": objects.namespace(secret)},
                   "spec": {"expirationSeconds": TOKEN_SECONDS, "boundObjectRef": bound}}
        answer = await self._client.create(SERVICE_ACCOUNTS, request, name=objects.name(account), subresource="token")
        return str(answer["status"]["token"])

    def concerned(self, account: Object) -> Iterable[Key]:
        """The Secrets that name the account."""
        return [objects.key(secret) for secret in self._secrets.list(objects.namespace(account))
                if objects.annotations(secret).get(ACCOUNT) == objects.name(account)]


def controller(deps: Deps) -> Controller:
    """The reconciler, and what wakes it."""
    tokens = AccountTokens(deps)
    return Controller(name=NAME, reconciler=tokens, watches=(
        Watch(resource=SECRETS, field_selector=_OURS), Watch(resource=SERVICE_ACCOUNTS, keys=tokens.concerned)))
