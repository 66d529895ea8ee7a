"""A running platform as the demo sees it: its REST and Kubernetes APIs over plain HTTP, with its own token.

``command`` and ``summary`` call me; I call the server's public routes and nothing else, as any script could.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from lightship import errors
from lightship.daemon.process import ServerInfo

REQUEST_TIMEOUT_SECONDS = 30
MESSAGE_LIMIT_CHARACTERS = 500
RUNS = "/apis/v2beta1/runs"
REGISTRY = "/api/model_registry/v1alpha3"
INFERENCE_SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices"


class Platform:
    """Reads (and asks for predictions). Raises ``errors.Unavailable`` when the server is gone."""

    def __init__(self, info: ServerInfo) -> None:
        self.info = info
        self.token = Path(info.tokenFile).read_text().strip()
        # The platform is on this machine: no proxy may come between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def rest(self, path: str) -> Any:
        """``GET`` of the REST side: pipelines, registry."""
        return json.loads(self._send(self.info.url + path))

    def kube(self, path: str) -> Any:
        """``GET`` of the Kubernetes API."""
        return json.loads(self._send_kube(path))

    def log_tail(self, namespace: str, pod: str, lines: int) -> str:
        """The last lines of a step's own container; empty where the Pod left none."""
        query = urllib.parse.urlencode({"container": "main", "tailLines": lines})
        try:
            return self._send_kube(f"/api/v1/namespaces/{namespace}/pods/{pod}/log?{query}").decode(errors="replace")
        except errors.NotFound:
            return ""

    def predict(self, url: str, body: bytes) -> Any:
        """``POST`` to the gateway, as the printed curl does."""
        return json.loads(self._send(url, body))

    def _send_kube(self, path: str) -> bytes:
        import ssl

        context = ssl.create_default_context(cafile=str(Path(self.info.dataDir) / "pki" / "ca.crt"))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
        return self._send(self.info.kubeUrl + path, opener=opener)

    def _send(self, url: str, body: bytes | None = None, opener: urllib.request.OpenerDirector | None = None) -> bytes:
        headers = {"authorization": f"Bearer {self.token}", "content-type": "application/json"}
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with (opener or self._opener).open(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            said = error.read()[:MESSAGE_LIMIT_CHARACTERS].decode(errors="replace")
            kind = errors.NotFound if error.code == 404 else errors.LightshipError
            raise kind(f"{url} answered {error.code}: {said}") from error
        except (urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            raise errors.Unavailable(f"the platform at {url} does not answer: {reason}") from error
