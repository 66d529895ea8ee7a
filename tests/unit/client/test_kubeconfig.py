"""Kubeconfig files: the kinds that are in the wild, and messages that name file and field."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightship.client import kubeconfig
from lightship.client.errors import InvalidKubeconfig


def document(**changes: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1", "kind": "Config", "current-context": "main",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"} | changes.pop("cluster", {})}],
        "users": [{"name": "u", "user": changes.pop("user", {"token": "t"})}],
        "contexts": [{"name": "main", "context": {"cluster": "c", "user": "u"} | changes.pop("context", {})}],
    } | changes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config"


def write(path: Path, content: dict[str, Any] | str) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_what_it_renders_it_reads(path: Path) -> None:
    write(path, kubeconfig.render("https://127.0.0.1:8781", b"PEM", "secret", "team"))
    found = kubeconfig.load(path)
    assert (found.server, found.ca_pem, found.token, found.namespace) == (
        "https://127.0.0.1:8781", b"PEM", "secret", "team")


def test_certificates_inline_and_in_files_beside_it(path: Path) -> None:
    (path.parent / "ca.crt").write_bytes(b"CA")
    write(path, document(cluster={"certificate-authority": "ca.crt", "tls-server-name": "other"}, user={
        "client-certificate-data": base64.b64encode(b"CERT").decode(),
        "client-key-data": base64.b64encode(b"KEY").decode(), "tokenFile": "token"}))
    found = kubeconfig.load(path)
    assert (found.ca_pem, found.client_certificate_pem, found.client_key_pem) == (b"CA", b"CERT", b"KEY")
    assert found.token_file == path.parent / "token"
    assert found.tls_server_name == "other"


def test_an_exec_plugin(path: Path) -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "bin/login", "args": ["--now"],
              "env": [{"name": "A", "value": "b"}], "provideClusterInfo": True}
    found = kubeconfig.load(write(path, document(user={"exec": plugin}))).exec_plugin
    assert found is not None
    assert (found.command, found.args, found.env) == (str(path.parent / "bin/login"), ("--now",), {"A": "b"})
    assert found.provide_cluster_info


def test_another_context(path: Path) -> None:
    content = document()
    content["contexts"].append({"name": "other", "context": {"cluster": "c", "user": "u", "namespace": "n"}})
    assert kubeconfig.load(write(path, content), "other").namespace == "n"


def test_the_usual_places(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write(path, document())
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'absent'}:{path}")
    assert kubeconfig.load().token == "t"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    with pytest.raises(InvalidKubeconfig, match=r"could not read the kubeconfig .*absent"):
        kubeconfig.load()
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(InvalidKubeconfig, match="no cluster is configured") as raised:
        kubeconfig.load()
    assert "--kubeconfig" in raised.value.remedy


def test_several_files_are_one_and_the_first_to_say_something_wins(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a" / "config", tmp_path / "b" / "config"
    for path in (first, second):
        path.parent.mkdir()
        (path.parent / "ca.crt").write_bytes(f"CA of {path.parent.name}".encode())
    write(first, {"contexts": [{"name": "both", "context": {"cluster": "theirs", "user": "u"}}],
                  "users": [{"name": "u", "user": {"token": "first"}}]})
    write(second, document(cluster={"server": "https://x"}) | {"clusters": [
        {"name": "theirs", "cluster": {"server": "https://127.0.0.1:2", "certificate-authority": "ca.crt"}},
        {"name": "c", "cluster": {"server": "https://127.0.0.1:3"}}]})
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}")
    found = kubeconfig.load(context="both")
    assert (found.server, found.ca_pem, found.token) == ("https://127.0.0.1:2", b"CA of b", "first")
    assert kubeconfig.load().server == "https://127.0.0.1:3", "the current context is the second file's"
    with pytest.raises(InvalidKubeconfig, match="There are: both, main"):
        kubeconfig.load(context="absent")


def test_acting_as_somebody_else(path: Path) -> None:
    user = {"token": "t", "as": "bob", "as-groups": ["a", "b"], "as-user-extra": {"reason": ["x"]}}
    assert kubeconfig.load(write(path, document(user=user))).impersonate == (
        ("Impersonate-User", "bob"), ("Impersonate-Group", "a"), ("Impersonate-Group", "b"),
        ("Impersonate-Extra-reason", "x"))


def test_in_a_pod(tmp_path: Path) -> None:
    for name, text in (("token", "t"), ("ca.crt", "CA"), ("namespace", "team\n")):
        (tmp_path / name).write_text(text)
    found = kubeconfig.in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"})
    assert (found.server, found.ca_pem, found.namespace) == ("https://[fd00::1]:6443", b"CA", "team")
    assert found.token_file == tmp_path / "token"


@pytest.mark.parametrize(("content", "message"), [
    ("[", "is not YAML at line 1"),
    ("- a", "is no kubeconfig"),
    (document(**{"current-context": ""}), "current-context: it is not set. Choose one of main"),
    (document(**{"current-context": "absent"}), r'contexts\["absent"\]: there is no such entry. There are: main'),
    (document(context={"cluster": "x"}), r'clusters\["x"\]: there is no such entry'),
    (document(context={"user": "x"}), r'users\["x"\]: there is no such entry'),
    (document(context={"cluster": ""}), r'contexts\["main"\].context.cluster: it is missing'),
    (document(cluster={"server": ""}), r'clusters\["c"\].cluster.server: it is missing'),
    (document(cluster={"server": "ftp://x"}), "no http or https URL"),
    (document(cluster={"certificate-authority-data": "%%"}), "certificate-authority-data: it is not base64"),
    (document(cluster={"certificate-authority": "absent.crt"}), "certificate-authority: could not read .*absent.crt"),
    (document(user={"exec": {"command": "x"}}), r'users\["u"\].user.exec.apiVersion: it is missing'),
    (document(user={"auth-provider": {"name": "gcp"}}), "Use an exec plugin"),
    (document(user={"auth-provider": {"name": "oidc", "config": {"client-id": "x"}}}), "idp-issuer-url: it is missing"),
    (document(user={"as-groups": "a"}), "as-groups"),
    (document(clusters={"a": 1}), "clusters: it is no list"),
])
def test_what_is_wrong_is_said_with_file_and_field(path: Path, content: dict[str, Any] | str, message: str) -> None:
    write(path, content)
    with pytest.raises(InvalidKubeconfig, match=message) as raised:
        kubeconfig.load(path)
    assert str(path) in str(raised.value)


def test_a_file_that_is_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidKubeconfig, match="not UTF-8"):
        kubeconfig.load(path)
