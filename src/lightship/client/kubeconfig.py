"""Kubeconfig files: reading how a cluster is reached, and writing the one that ``lightship kubeconfig`` prints.

``app``, the gateway and tests call me. I read files and start no process: an exec plugin is described here and run by
``client.http``, when a token is wanted. An error names the file and the field.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightship.client.errors import InvalidKubeconfig

ENVIRONMENT = "KUBECONFIG"
IN_CLUSTER_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LIMIT_FILE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ExecPlugin:
    """A command that prints an ``ExecCredential``, as cloud providers' clusters want."""

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    api_version: str = "client.authentication.k8s.io/v1"
    provide_cluster_info: bool = False


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """How to reach a cluster, and as whom. Certificates and keys are PEM bytes, empty where there are none."""

    server: str
    ca_pem: bytes = b""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    token: str = ""
    token_file: Path | None = None
    """Read again when it changes: projected tokens are renewed under a running process."""
    client_certificate_pem: bytes = b""
    client_key_pem: bytes = b""
    exec_plugin: ExecPlugin | None = None
    namespace: str = "default"
    source: str = "kubeconfig"
    """Where this came from, for messages."""


Cluster = ClusterConfig


def load(path: Path | None = None, context: str = "") -> ClusterConfig:
    """The cluster of ``context`` (or the file's current one).

    Without a path: ``$KUBECONFIG`` (its first file that exists), else ``~/.kube/config``, else the service account of
    the Pod that this runs in. Raises ``InvalidKubeconfig``.
    """
    if path is None:
        path = _default_path()
        if path is None:
            return in_cluster()
    return parse(_read(path), path, context)


def parse(text: str, path: Path, context: str = "") -> ClusterConfig:
    """``load`` of text that was read from ``path``, against which relative file names in it are resolved."""
    document = _Document(_yaml(text, path), path)
    name = context or document.text(document.root, "current-context", "")
    if not name:
        raise document.error("current-context", "it is not set",
                             remedy=f"Choose one of {', '.join(document.names('contexts')) or 'none that exist'}")
    chosen = document.entry("contexts", name, "context")
    cluster_name = document.text(chosen, "cluster", f'contexts["{name}"].context')
    cluster = document.entry("clusters", cluster_name, "cluster")
    where = f'clusters["{cluster_name}"].cluster'
    server = document.text(cluster, "server", where)
    if not server.startswith(("https://", "http://")):
        raise document.error(f"{where}.server", f"{server!r} is no http or https URL")
    user_name = chosen.get("user")
    user = document.entry("users", str(user_name), "user") if user_name else {}
    at_user = f'users["{user_name}"].user'
    for old in ("auth-provider", "username"):
        if user.get(old):
            raise document.error(f"{at_user}.{old}", "Kubernetes has removed this way of logging in",
                                 remedy="Use an exec plugin, a token or a client certificate")
    return ClusterConfig(
        server=server.rstrip("/"),
        ca_pem=document.data(cluster, "certificate-authority", where),
        insecure_skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        token=str(user.get("token") or ""),
        token_file=document.file(user["tokenFile"]) if user.get("tokenFile") else None,
        client_certificate_pem=document.data(user, "client-certificate", at_user),
        client_key_pem=document.data(user, "client-key", at_user),
        exec_plugin=_exec_plugin(document, user["exec"], f"{at_user}.exec") if user.get("exec") else None,
        namespace=str(chosen.get("namespace") or "default"),
        source=f"{path}, context {name}",
    )


def in_cluster(folder: Path = IN_CLUSTER_FOLDER, environment: Mapping[str, str] | None = None) -> ClusterConfig:
    """The cluster whose Pod this process runs in, as its service account. Raises ``InvalidKubeconfig``."""
    environment = os.environ if environment is None else environment
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    token = folder / "token"
    if not host or not token.is_file():
        raise InvalidKubeconfig(
            "no cluster is configured: there is no kubeconfig, and this is no Pod with a service account",
            remedy=f"Give --kubeconfig FILE, or set {ENVIRONMENT}")
    ca, namespace = folder / "ca.crt", folder / "namespace"
    return ClusterConfig(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ca_pem=ca.read_bytes() if ca.is_file() else b"",
        token_file=token,
        namespace=namespace.read_text().strip() if namespace.is_file() else "default",
        source="the Pod's service account",
    )


def render(server: str, ca_pem: bytes | str, token: str, namespace: str = "default") -> str:
    """A kubeconfig as text, complete in itself: what kubectl and the SDKs take."""
    import yaml  # late: not needed to start the server

    pem = ca_pem.encode() if isinstance(ca_pem, str) else ca_pem
    name = "lightship"
    document = {
        "apiVersion": "v1", "kind": "Config", "current-context": name, "preferences": {},
        "clusters": [{"name": name, "cluster": {
            "server": server, "certificate-authority-data": base64.b64encode(pem).decode()}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": namespace}}],
    }
    text: str = yaml.safe_dump(document, sort_keys=False)
    return text


class _Document:
    """A kubeconfig's tree with errors that say where."""

    def __init__(self, root: Any, path: Path) -> None:
        self.path = path
        if not isinstance(root, dict):
            raise InvalidKubeconfig(f"{path} is no kubeconfig: it holds no mapping",
                                    remedy="Print one with `lightship kubeconfig`")
        self.root = root

    def error(self, place: str, problem: str, *, remedy: str = "") -> InvalidKubeconfig:
        return InvalidKubeconfig(f"{self.path}: {place}: {problem}", field=place, remedy=remedy)

    def names(self, section: str) -> list[str]:
        return [str(entry.get("name")) for entry in self._entries(section)]

    def entry(self, section: str, name: str, inner: str) -> dict[str, Any]:
        for entry in self._entries(section):
            if entry.get("name") == name:
                value = entry.get(inner)
                if not isinstance(value, dict):
                    raise self.error(f'{section}["{name}"].{inner}', "it is missing or no mapping")
                return value
        raise self.error(f'{section}["{name}"]', "there is no such entry",
                         remedy=f"There are: {', '.join(self.names(section)) or 'none'}")

    def text(self, mapping: Mapping[str, Any], key: str, where: str) -> str:
        value = mapping.get(key, "")
        if not isinstance(value, str) or (where and not value):
            raise self.error(f"{where}.{key}".lstrip("."), "it is missing or no text")
        return value

    def data(self, mapping: Mapping[str, Any], key: str, where: str) -> bytes:
        """The bytes of ``KEY-data`` (base64), or of the file that ``KEY`` names."""
        inline = mapping.get(f"{key}-data")
        if inline:
            try:
                return base64.b64decode(str(inline), validate=True)
            except (binascii.Error, ValueError) as cause:
                raise self.error(f"{where}.{key}-data", f"it is not base64: {cause}") from cause
        if not mapping.get(key):
            return b""
        file = self.file(mapping[key])
        try:
            return file.read_bytes()
        except OSError as cause:
            raise self.error(f"{where}.{key}", f"could not read {file}: {cause.strerror}") from cause

    def file(self, name: Any) -> Path:
        return self.path.parent / Path(str(name)).expanduser()

    def _entries(self, section: str) -> list[dict[str, Any]]:
        entries = self.root.get(section) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.error(section, "it is no list of mappings")
        return entries


def _exec_plugin(document: _Document, value: Any, where: str) -> ExecPlugin:
    if not isinstance(value, dict):
        raise document.error(where, "it is no mapping")
    command = document.text(value, "command", where)
    if "/" in command and not command.startswith("/"):
        command = str(document.file(command))  # as kubectl: relative to the kubeconfig
    env = {str(pair["name"]): str(pair["value"]) for pair in value.get("env") or ()}
    return ExecPlugin(command=command, args=tuple(str(arg) for arg in value.get("args") or ()), env=env,
                      api_version=document.text(value, "apiVersion", where),
                      provide_cluster_info=bool(value.get("provideClusterInfo")))


def _default_path() -> Path | None:
    named = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    if named:
        return next((path for path in named if path.exists()), named[0])
    usual = Path.home() / ".kube" / "config"
    return usual if usual.exists() else None


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT_FILE_BYTES + 1)
    except OSError as cause:
        raise InvalidKubeconfig(f"could not read the kubeconfig {path}: {cause.strerror}",
                                remedy=f"Give --kubeconfig FILE, or set {ENVIRONMENT}") from cause
    if len(data) > LIMIT_FILE_BYTES:
        raise InvalidKubeconfig(f"the kubeconfig {path} is larger than {LIMIT_FILE_BYTES} bytes")
    try:
        return data.decode()
    except UnicodeDecodeError as cause:
        raise InvalidKubeconfig(f"the kubeconfig {path} is not UTF-8 text") from cause


def _yaml(text: str, path: Path) -> Any:
    import yaml  # late: not needed to start the server

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        at = f" at line {mark.line + 1}" if mark is not None else ""
        raise InvalidKubeconfig(f"{path} is not YAML{at}: {getattr(cause, 'problem', cause)}") from cause
