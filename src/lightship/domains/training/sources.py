"""A bucket with the keys that a TrainJob's initializer brings along. ``initializers`` call me.

The variables are upstream's, from the Secret that ``secretRef`` names: ACCESS_KEY_ID, SECRET_ACCESS_KEY, ENDPOINT and
REGION.
"""

from __future__ import annotations

from collections.abc import Mapping

from lightship import errors
from lightship.artifacts.store import ObjectStore

_SCHEME = "s3"


def with_keys(location: str, env: Mapping[str, str]) -> ObjectStore | None:
    """The store of ``location`` by the Pod's own keys; None where it has none. Raises ``errors.InvalidInput``."""
    key = env.get("ACCESS_KEY_ID")
    if not key or not location.startswith(f"{_SCHEME}://"):
        if env.get("ROLE_ARN") and location.startswith(f"{_SCHEME}://"):
            raise errors.InvalidInput("ROLE_ARN cannot be assumed here", remedy="Give ACCESS_KEY_ID and "
                                      "SECRET_ACCESS_KEY in the Secret that secretRef names")
        return None
    from lightship.artifacts import remote, s3

    site = s3.site({
        "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": env.get("SECRET_ACCESS_KEY", ""),
        "AWS_SESSION_TOKEN": env.get("SESSION_TOKEN", ""), "AWS_REGION": env.get("REGION", ""),
        "AWS_ENDPOINT_URL_S3": env.get("ENDPOINT", "")})
    return remote.RemoteStore(s3.S3Objects(site), frozenset({_SCHEME}))
