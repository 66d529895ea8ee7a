"""How the step's command ended, from the launcher's own Pod: the Kubernetes API with the service account's token.

``__main__`` calls me. I watch the one Pod, so that an end is known at once; the account needs ``get``, ``list`` and
``watch`` on Pods, as Kubeflow's ``default-editor`` has. With ``get`` alone I look every second.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, Iterator, Mapping, Optional
from urllib.parse import urlencode

from .files import StagingError

ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
POLL_SECONDS = 1.0
MAX_FAILURES = 600
"""As long as an upgrade of a control plane takes: what the step has made is not thrown away for it."""
MAX_REFUSALS = 30
TIMEOUT_SECONDS = 30.0
WATCH_SECONDS = 240
MAX_POD_BYTES = 8 * 1024 * 1024

Pod = Dict[str, Any]


class Api:
    """The Kubernetes API, as far as a Pod reads itself. ``KeyError`` where the environment does not say which Pod."""

    def __init__(self, environment: Mapping[str, str], log: Callable[[str], None], account: str = ACCOUNT) -> None:
        host, port = environment["KUBERNETES_SERVICE_HOST"], environment.get("KUBERNETES_SERVICE_PORT", "443")
        self._account = account
        self._name = environment["POD_NAME"]
        namespace = environment.get("POD_NAMESPACE") or self._read("namespace")
        self._pods = "https://%s:%s/api/v1/namespaces/%s/pods" % (
            "[%s]" % host if ":" in host else host, port, namespace)
        self._may_watch = True
        self.log = log

    def get(self) -> Pod:
        with self._open("%s/%s" % (self._pods, self._name), TIMEOUT_SECONDS) as answer:
            return _object(answer.read(MAX_POD_BYTES + 1))

    def watch(self, pod: Pod) -> Iterator[Pod]:
        """The Pod as it changes from now on, until the server ends the watch."""
        if not self._may_watch:
            return
        query = {"watch": "true", "fieldSelector": "metadata.name=" + self._name, "timeoutSeconds": WATCH_SECONDS,
                 "resourceVersion": (pod.get("metadata") or {}).get("resourceVersion", "")}
        try:
            answer = self._open(self._pods + "?" + urlencode(query), WATCH_SECONDS + TIMEOUT_SECONDS)
        except urllib.error.HTTPError as cause:
            self._may_watch = cause.code != 403
            if self._may_watch:
                raise
            cause.close()
            return
        with answer:
            while True:
                line = answer.readline(MAX_POD_BYTES + 1)
                if not line:
                    return
                event = _object(line)
                if event.get("type") == "ERROR":
                    return  # the version is too old: begin anew
                yield _object(event.get("object"))

    def _open(self, url: str, timeout_seconds: float) -> Any:
        # The token is renewed while the Pod lives, so it is read each time.
        request = urllib.request.Request(url, headers={"Authorization": "Bearer " + self._read("token")})
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self._account + "/ca.crt"))
        # The API server of one's own cluster is never behind a proxy.
        opener = urllib.request.build_opener(trust, urllib.request.ProxyHandler({}))
        return opener.open(request, timeout=timeout_seconds)

    def _read(self, name: str) -> str:
        with open("%s/%s" % (self._account, name)) as reader:
            return reader.read().strip()


def wait_for_end(container: str, api: Api, sleep: Callable[[float], None] = time.sleep) -> int:
    """The exit code of ``container`` in my own Pod, once it has ended."""
    failures = refusals = 0
    while True:
        try:
            pod = api.get()
            failures = refusals = 0
            ended = exit_code(pod, container)
            changes = api.watch(pod) if ended is None else iter(())
            for seen in changes:
                ended = exit_code(seen, container)
                if ended is not None:
                    break
            if ended is not None:
                return ended
        except (OSError, http.client.HTTPException, ValueError) as cause:
            failures += 1
            if isinstance(cause, urllib.error.HTTPError):
                cause.close()
                refusals += cause.code in (401, 403)
            if refusals >= MAX_REFUSALS:
                raise StagingError('the Kubernetes API does not let the Pod read itself (%s): let its service account '
                                   '"get" and "watch" Pods, as the role kubeflow-edit does' % cause) from cause
            if failures >= MAX_FAILURES:
                raise StagingError("the Kubernetes API could not be read %d times: %s" % (failures, cause)) from cause
            if failures == 1:
                api.log("the Kubernetes API cannot be read (%s); trying again" % cause)
        sleep(POLL_SECONDS)


def exit_code(pod: Pod, container: str) -> Optional[int]:
    """The exit code of ``container``, or None while it has not ended."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status.get("name") == container:
            ended = (status.get("state") or {}).get("terminated")
            return int(ended.get("exitCode", 1)) if ended else None
    return None


def _object(data: Any) -> Dict[str, Any]:
    found = json.loads(data) if isinstance(data, bytes) else data
    if not isinstance(found, dict):
        raise ValueError("the Kubernetes API did not answer with an object")
    return found
