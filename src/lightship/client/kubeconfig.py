"""Kubeconfig files: reading how a cluster is reached, and writing the one that ``lightship kubeconfig`` prints.

``app``, the gateway and tests call me. I read files and start no process: an exec plugin is described here and run by
``client.http``, when a token is wanted. An error names the file and the field.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping, Sequence
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
class OidcLogin:
    """An OpenID Connect login: the ID token is sent while it lasts, and renewed by the refresh token."""

    issuer: str
    client_id: str
    client_secret: str = ""
    id_token: str = ""
    refresh_token: str = ""
    issuer_ca_pem: bytes = b""
    user: str = ""
    """The name of the user's entry in ``file``, into which renewed tokens are written, as kubectl does."""
    file: Path | None = None


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
    oidc: OidcLogin | None = None
    impersonate: tuple[tuple[str, str], ...] = ()
    """Headers that ask to act as somebody else: ``as``, ``as-uid``, ``as-groups``, ``as-user-extra``."""
    proxy_url: str = ""
    namespace: str = "default"
    source: str = "kubeconfig"
    """Where this came from, for messages."""


Cluster = ClusterConfig


def load(path: Path | None = None, context: str = "") -> ClusterConfig:
    """The cluster of ``context`` (or the file's current one).

    Without a path: the files of ``$KUBECONFIG`` merged as kubectl does (who names something first wins), else
    ``~/.kube/config``, else the service account of the Pod that this runs in. Raises ``InvalidKubeconfig``.
    """
    paths = [path] if path is not None else _default_paths()
    if not paths:
        return in_cluster()
    return _chosen(_Documents([_Document(_yaml(_read(one), one), one) for one in paths]), context)


def parse(text: str, path: Path, context: str = "") -> ClusterConfig:
    """``load`` of text that was read from ``path``, against which relative file names in it are resolved."""
    return _chosen(_Documents([_Document(_yaml(text, path), path)]), context)


def _chosen(documents: _Documents, context: str) -> ClusterConfig:
    name = context or documents.current()
    chosen, at = documents.entry("contexts", name, "context")
    cluster_name = at.text(chosen, "cluster", f'contexts["{name}"].context')
    cluster, home = documents.entry("clusters", cluster_name, "cluster")
    where = f'clusters["{cluster_name}"].cluster'
    server = home.text(cluster, "server", where)
    if not server.startswith(("https://", "http://")):
        raise home.error(f"{where}.server", f"{server!r} is no http or https URL")
    return ClusterConfig(
        server=server.rstrip("/"),
        ca_pem=home.data(cluster, "certificate-authority", where),
        insecure_skip_tls_verify=bool(cluster.get("insecure-skip-tls-verify")),
        tls_server_name=str(cluster.get("tls-server-name") or ""),
        proxy_url=str(cluster.get("proxy-url") or ""),
        namespace=str(chosen.get("namespace") or "default"),
        source=f"{at.path}, context {name}",
        **(_login(documents, str(chosen["user"])) if chosen.get("user") else {}),
    )


def _login(documents: _Documents, name: str) -> dict[str, Any]:
    """What ``ClusterConfig`` says of the user."""
    user, home = documents.entry("users", name, "user")
    at = f'users["{name}"].user'
    if user.get("username"):
        raise home.error(f"{at}.username", "Kubernetes has removed this way of logging in",
                         remedy="Use an exec plugin, a token or a client certificate")
    return {
        "token": str(user.get("token") or ""),
        "token_file": home.file(user["tokenFile"]) if user.get("tokenFile") else None,
        "client_certificate_pem": home.data(user, "client-certificate", at),
        "client_key_pem": home.data(user, "client-key", at),
        "exec_plugin": _exec_plugin(home, user["exec"], f"{at}.exec") if user.get("exec") else None,
        "oidc": _oidc(home, user["auth-provider"], name) if user.get("auth-provider") else None,
        "impersonate": _impersonation(home, user, at),
    }


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


class _Documents:
    """Several kubeconfigs as one: who names something first wins."""

    def __init__(self, documents: Sequence[_Document]) -> None:
        self._documents = documents

    def current(self) -> str:
        for document in self._documents:
            if name := document.text(document.root, "current-context", ""):
                return name
        raise self._documents[0].error(
            "current-context", "it is not set",
            remedy=f"Choose one of {', '.join(self._names('contexts')) or 'none that exist'}")

    def entry(self, section: str, name: str, inner: str) -> tuple[dict[str, Any], _Document]:
        """What ``section`` holds under ``name``, and the document that says so."""
        for document in self._documents:
            found = document.entry(section, name, inner)
            if found is not None:
                return found, document
        raise self._documents[0].error(f'{section}["{name}"]', "there is no such entry",
                                       remedy=f"There are: {', '.join(self._names(section)) or 'none'}")

    def _names(self, section: str) -> list[str]:
        return [name for document in self._documents for name in document.names(section)]


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

    def entry(self, section: str, name: str, inner: str) -> dict[str, Any] | None:
        for entry in self._entries(section):
            if entry.get("name") == name:
                value = entry.get(inner)
                if not isinstance(value, dict):
                    raise self.error(f'{section}["{name}"].{inner}', "it is missing or no mapping")
                return value
        return None

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


def _oidc(document: _Document, provider: Any, user: str) -> OidcLogin:
    where = f'users["{user}"].user.auth-provider'
    if not isinstance(provider, dict) or provider.get("name") != "oidc":
        raise document.error(f"{where}.name", "Kubernetes has removed all login providers but oidc",
                             remedy="Use an exec plugin, a token or a client certificate")
    config = provider.get("config")
    if not isinstance(config, dict):
        raise document.error(f"{where}.config", "it is missing or no mapping")
    at = f"{where}.config"
    return OidcLogin(
        issuer=document.text(config, "idp-issuer-url", at).rstrip("/"),
        client_id=document.text(config, "client-id", at),
        client_secret=str(config.get("client-secret") or ""), id_token=str(config.get("id-token") or ""),
        refresh_token=str(config.get("refresh-token") or ""),
        issuer_ca_pem=document.data(config, "idp-certificate-authority", at), user=user, file=document.path)


def _impersonation(document: _Document, user: Mapping[str, Any], where: str) -> tuple[tuple[str, str], ...]:
    groups, extra = user.get("as-groups") or [], user.get("as-user-extra") or {}
    if not isinstance(groups, list) or not isinstance(extra, dict):
        raise document.error(f"{where}.as-groups, as-user-extra", "they are no list and no mapping")
    headers = [("Impersonate-User", user.get("as")), ("Impersonate-Uid", user.get("as-uid")),
               *(("Impersonate-Group", group) for group in groups),
               *((f"Impersonate-Extra-{name}", value) for name, values in extra.items() for value in values)]
    return tuple((name, str(value)) for name, value in headers if value)


def _default_paths() -> list[Path]:
    named = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    if named:
        return [path for path in named if path.exists()] or named[:1]
    usual = Path.home() / ".kube" / "config"
    return [usual] if usual.exists() else []


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
