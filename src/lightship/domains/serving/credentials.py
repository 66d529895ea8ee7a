"""What a ServiceAccount's Secrets give a storage initializer: upstream's rules, as environment variables. Pure.

The storage initializer asks me on the embedded node, ``environment`` with the Secrets' content; ``references`` says the
same as a container's ``env``, for an initializer that runs elsewhere. One Secret is of one kind, by the key it has.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from lightship import errors
from lightship.kube import objects
from lightship.kube.objects import Object

SECRET_ANNOTATION = "serving.kserve.io/storageSecretName"
STORAGE_CONFIG = "STORAGE_CONFIG"
STORAGE_OVERRIDES = "STORAGE_OVERRIDE_CONFIG"
GCS_KEY = "gcloud-application-credentials.json"
GCS_CONTENT = "LIGHTSHIP_GCS_CREDENTIALS"
"""The content of Google's credentials file, where upstream mounts it and names its path."""

_S3_PREFIX = "serving.kserve.io/s3-"
_S3_ANNOTATED = {"region": ("AWS_DEFAULT_REGION", "AWS_DEFAULT_REGION"), "verifyssl": ("S3_VERIFY_SSL",) * 2,
                 "useanoncredential": ("awsAnonymousCredential",) * 2, "cabundle": ("AWS_CA_BUNDLE",) * 2}
_COPIED = {"HF_TOKEN": ("HF_TOKEN",), "GIT_PASSWORD": ("GIT_USERNAME", "GIT_PASSWORD")}
_S3_SPEC = {"endpoint_url": "AWS_ENDPOINT_URL", "access_key_id": "AWS_ACCESS_KEY_ID",
            "secret_access_key": "AWS_SECRET_ACCESS_KEY", "region": "AWS_DEFAULT_REGION", "ca_bundle": "AWS_CA_BUNDLE",
            "verify_ssl": "S3_VERIFY_SSL", "anonymous": "awsAnonymousCredential"}
_BUCKETS = frozenset({"s3", "gs"})
LIMIT_SECRETS = 32


def secret_names(account: Object | None, annotations: Mapping[str, str]) -> list[str]:
    """The Secrets to look into: the annotation's alone, else those of the account."""
    if annotations.get(SECRET_ANNOTATION):
        return [annotations[SECRET_ANNOTATION]]
    listed = (account or {}).get("secrets") or ()
    return [str(entry["name"]) for entry in listed if entry.get("name")][:LIMIT_SECRETS]


def references(secret: Object) -> list[Object]:
    """A container's ``env`` entries for one Secret; none where it holds nothing for storage."""
    name, data = objects.name(secret), secret.get("data") or {}

    def of(variable: str, key: str) -> Object:
        return {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}

    if "awsSecretAccessKey" in data:
        return [of("AWS_ACCESS_KEY_ID", "awsAccessKeyID"), of("AWS_SECRET_ACCESS_KEY", "awsSecretAccessKey"),
                *({"name": variable, "value": value} for variable, value in _s3(secret).items())]
    if GCS_KEY in data:
        return [of(GCS_CONTENT, GCS_KEY)]
    if "https-host" in data and "headers" in data:
        return [of(f"{_text(data, 'https-host').strip()}-headers", "headers")]
    for key, variables in _COPIED.items():
        if key in data:
            return [of(variable, variable) for variable in variables if variable in data]
    return []


def environment(secret: Object) -> dict[str, str]:
    """The same with the values."""
    data, found = secret.get("data") or {}, {}
    for entry in references(secret):
        key = entry["valueFrom"]["secretKeyRef"]["key"] if "valueFrom" in entry else ""
        value = _text(data, key) if key else str(entry["value"])
        found[str(entry["name"])] = value if key in ("headers", GCS_KEY) else value.strip()
    return found


def located(uri: str, env: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The storageUri with what ``storage`` says of it filled in, and the variables that it brings.

    ``<scheme-placeholder>://path`` becomes a URI of the storage's type and bucket. Raises ``errors.InvalidInput``.
    """
    spec = {**_object(env.get(STORAGE_CONFIG, ""), STORAGE_CONFIG),
            **_object(env.get(STORAGE_OVERRIDES, ""), STORAGE_OVERRIDES)}
    kind = str(spec.get("type") or "")
    scheme, separator, path = uri.partition("://")
    if scheme.startswith("<") and separator:
        if not kind:
            raise errors.InvalidInput("spec.predictor.model.storage: the storage has no type",
                                      remedy="Say it in its key of the Secret storage-config, or in parameters.type")
        bucket = str(spec.get("bucket") or spec.get("default_bucket") or "")
        if kind in _BUCKETS and not bucket:
            raise errors.InvalidInput(f"spec.predictor.model.storage: the {kind} storage has no bucket",
                                      remedy="Say it in its key of the Secret storage-config, or in parameters.bucket")
        uri = f"{kind}://{bucket}/{path.lstrip('/')}" if kind in _BUCKETS else f"{kind}://{path}"
    if kind == "s3":
        return uri, {variable: str(spec[key]) for key, variable in _S3_SPEC.items() if spec.get(key)}
    if kind == "gs" and spec.get("base64_service_account"):
        return uri, {GCS_CONTENT: _decoded(str(spec["base64_service_account"]))}
    return uri, {}


def headers_for(host: str, env: Mapping[str, str]) -> dict[str, str]:
    """The headers that a Secret has for a web host: JSON, or a line each. Raises ``errors.InvalidInput``."""
    text = env.get(f"{host}-headers", "").strip()
    if text.startswith("{"):
        return {str(name): str(value) for name, value in _object(text, f"the headers for {host}").items()}
    found = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip():
            found[name.strip()] = value.strip()
    return found


def _s3(secret: Object) -> dict[str, str]:
    data, annotations = secret.get("data") or {}, objects.annotations(secret)

    def told(annotation: str, key: str) -> str:
        return annotations.get(_S3_PREFIX + annotation) or (_text(data, key) if key in data else "")

    found = {}
    if endpoint := told("endpoint", "S3_ENDPOINT").strip():
        secure = told("usehttps", "S3_USE_HTTPS").strip().lower() not in ("0", "false", "no")
        bare = endpoint.partition("://")[2] if "://" in endpoint else endpoint
        given = endpoint.partition("://")[0] if "://" in endpoint else ""
        found["AWS_ENDPOINT_URL"] = f"{given or ('https' if secure else 'http')}://{bare}"
    for annotation, (variable, key) in _S3_ANNOTATED.items():
        if value := told(annotation, key).strip():
            found[variable] = value
    return found


def _text(data: Mapping[str, Any], key: str) -> str:
    return _decoded(str(data.get(key) or ""))


def _decoded(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as cause:
        raise errors.InvalidInput("a Secret for storage holds what is no text in base64") from cause


def _object(text: str, what: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError as cause:
        raise errors.InvalidInput(f"{what} is no JSON: {cause}") from cause
    if not isinstance(found, dict):
        raise errors.InvalidInput(f"{what} is no JSON object")
    return found
