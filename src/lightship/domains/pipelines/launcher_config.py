"""KFP's ConfigMap ``kfp-launcher`` of a namespace: where its runs' files lie by default, and who asks which store.

Pure; ``providers`` reads the ConfigMap. Its keys are upstream's: ``defaultPipelineRoot``, and ``providers``, YAML with
``minio``, ``s3`` and ``gs``, each with a ``default`` and ``overrides`` by bucket and prefix. What cannot be honoured is
refused by its name, so that no file goes where the ConfigMap did not say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from lightship import errors
from lightship.artifacts import location
from lightship.artifacts.errors import BadLocation

CONFIG_MAP = "kfp-launcher"
ROOT_KEY = "defaultPipelineRoot"
PROVIDERS_KEY = "providers"
GCS = "gs"
LIMIT_PROVIDERS_CHARACTERS = 256 * 1024
_AMAZON = ".amazonaws.com"
_S3_LIKE = ("minio", "s3")
_S3_FIELDS = ("credentials", "endpoint", "region", "disableSSL", "forcePathStyle", "maxRetries")
_SECRET_FIELDS = {GCS: ("secretName", "tokenKey"), "s3": ("secretName", "accessKeyKey", "secretKeyKey")}


@dataclass(frozen=True, kw_only=True)
class Session:
    """Who asks which endpoint. ``secret`` is empty where the platform's own environment says both."""

    scheme: str
    endpoint: str = ""
    """``http(s)://host[:port]``, or empty for the cloud's own."""
    region: str = ""
    secret: str = ""
    keys: tuple[str, ...] = ()
    """The Secret's keys: of the access key and the secret key, or of a Google account's JSON."""


@dataclass(frozen=True, kw_only=True)
class Override:
    """A part of a bucket with a session of its own."""

    bucket: str
    prefix: str
    session: Session


@dataclass(frozen=True, kw_only=True)
class Provider:
    """One scheme's sessions."""

    default: Session
    overrides: tuple[Override, ...] = ()

    def session(self, bucket: str, key: str) -> Session:
        """That of the first override that fits, as upstream's, else the default."""
        folder = f"{key.rstrip('/')}/"
        return next((one.session for one in self.overrides
                     if one.bucket == bucket and folder.startswith(one.prefix)), self.default)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the ConfigMap says."""

    root: str = ""
    providers: Mapping[str, Provider]

    def session(self, uri: str) -> Session | None:
        """Whose session reaches ``uri``; None where the ConfigMap says nothing of its scheme."""
        try:
            place = location.parse(uri)
        except BadLocation:
            return None
        provider = self.providers.get(place.scheme)
        return provider.session(place.bucket, place.key) if provider is not None else None


NOTHING = Config(providers={})


def parse(data: Mapping[str, Any]) -> Config:
    """The ConfigMap's ``data``. Raises ``errors.InvalidInput`` with the place of what is wrong or not to be had."""
    root = str(data.get(ROOT_KEY) or "").strip().rstrip("/")
    if root and location.scheme(root) not in (*_S3_LIKE, GCS):
        raise _wrong(ROOT_KEY, f'is "{root}"', "Begin it with minio://, s3:// or gs://")
    if "?" in root:
        raise _wrong(ROOT_KEY, "has settings behind a question mark, which are not read here",
                     f"Say them in {PROVIDERS_KEY}")
    text = str(data.get(PROVIDERS_KEY) or "")
    if len(text) > LIMIT_PROVIDERS_CHARACTERS:
        raise _wrong(PROVIDERS_KEY, f"has more than {LIMIT_PROVIDERS_CHARACTERS} characters")
    providers = _fields(_loaded(text) if text.strip() else {}, PROVIDERS_KEY, (*_S3_LIKE, GCS))
    return Config(root=root, providers={
        scheme: provider for scheme, one in providers.items()
        if (provider := _provider(scheme, one, f"{PROVIDERS_KEY}.{scheme}")) is not None})


def _loaded(text: str) -> Any:
    import yaml  # late: not needed to start the server

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as cause:
        raise _wrong(PROVIDERS_KEY, f"is not YAML: {cause}") from cause


def _provider(scheme: str, given: Any, place: str) -> Provider | None:
    fields = _fields(given, place, ("default", "overrides", "Overrides"))
    if not any(fields.values()):
        return None
    if not fields.get("default"):
        raise _wrong(f"{place}.default", "is missing", "Give the provider default credentials")
    default = _session(scheme, fields["default"], f"{place}.default", Session(scheme=scheme))
    overrides = fields.get("overrides") or fields.get("Overrides") or []
    if not isinstance(overrides, list):
        raise _wrong(f"{place}.overrides", "is no list")
    found = []
    for number, one in enumerate(overrides):
        within = f"{place}.overrides[{number}]"
        own = _fields(one, within, ("bucketName", "keyPrefix", *_allowed(scheme)))
        bucket = _text(own, "bucketName", within)
        if not bucket:
            raise _wrong(f"{within}.bucketName", "is missing")
        session = {name: value for name, value in own.items() if name not in ("bucketName", "keyPrefix")}
        found.append(Override(bucket=bucket, prefix=_text(own, "keyPrefix", within).lstrip("/"),
                              session=_session(scheme, session, within, default)))
    return Provider(default=default, overrides=tuple(found))


def _allowed(scheme: str) -> tuple[str, ...]:
    return ("credentials",) if scheme == GCS else _S3_FIELDS


def _session(scheme: str, given: Any, place: str, above: Session) -> Session:
    """One session; what it does not say of its endpoint, ``above`` does."""
    fields = _fields(given, place, _allowed(scheme))
    secret, keys = _credentials(scheme, fields.get("credentials"), f"{place}.credentials")
    if scheme == GCS:
        return Session(scheme=scheme, secret=secret, keys=keys)
    endpoint = _text(fields, "endpoint", place) or above.endpoint
    plain = _flag(fields, "disableSSL", place)
    if endpoint and ("://" not in endpoint or plain is not None):
        endpoint = f"{'http' if plain else 'https'}://{endpoint.partition('://')[2] or endpoint}"
    if not secret and endpoint:
        raise _wrong(f"{place}.endpoint", "goes with keys of its own, and not with fromEnv",
                     "Name the keys in credentials.secretRef")
    takes_paths = not endpoint or (urlsplit(endpoint).hostname or "").endswith(_AMAZON)
    if _flag(fields, "forcePathStyle", place) is False and not takes_paths:
        raise _wrong(f"{place}.forcePathStyle", "is false, and buckets are only asked for by path here",
                     "Leave it out, or use an endpoint that takes paths")
    retries = fields.get("maxRetries")
    if retries is not None and (not isinstance(retries, int) or isinstance(retries, bool)):
        raise _wrong(f"{place}.maxRetries", "is no number")
    return Session(scheme=scheme, endpoint=endpoint.rstrip("/"), region=_text(fields, "region", place) or above.region,
                   secret=secret, keys=keys)


def _credentials(scheme: str, given: Any, place: str) -> tuple[str, tuple[str, ...]]:
    fields = _fields(given, place, ("fromEnv", "secretRef"))
    if not fields:
        raise _wrong(place, "is missing", "Give it a secretRef, or fromEnv: true for the platform's own identity")
    if _flag(fields, "fromEnv", place):
        return "", ()
    names = _SECRET_FIELDS[GCS if scheme == GCS else "s3"]
    reference = _fields(fields.get("secretRef"), f"{place}.secretRef", names)
    for name in names:
        if not _text(reference, name, f"{place}.secretRef"):
            raise _wrong(f"{place}.secretRef.{name}", "is missing")
    return str(reference["secretName"]), tuple(str(reference[name]) for name in names[1:])


def _fields(given: Any, place: str, allowed: tuple[str, ...]) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _wrong(place, "is no mapping")
    unknown = next((name for name in given if name not in allowed), None)
    if unknown is not None:
        raise _wrong(f"{place}.{unknown}", "is not known here", f"Known are: {', '.join(allowed)}")
    return given


def _text(fields: Mapping[str, Any], name: str, place: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise _wrong(f"{place}.{name}", "is no text")
    return (value or "").strip()


def _flag(fields: Mapping[str, Any], name: str, place: str) -> bool | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(f"{place}.{name}", "is neither true nor false")
    return value


def _wrong(place: str, what: str, remedy: str = "") -> errors.InvalidInput:
    return errors.InvalidInput(f'"{place}" of the ConfigMap "{CONFIG_MAP}" {what}', field=f"{CONFIG_MAP}.{place}",
                               remedy=remedy or "Mend the ConfigMap")
