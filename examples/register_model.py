"""A model version in the Model Registry, registered and found again with its own SDK.

Needs: model-registry==0.3.18
Run it: lightship up --detach; lightship status -o json | python examples/register_model.py
"""

import json
import os
import sys
from urllib.parse import urlsplit

from model_registry import ModelRegistry


def main() -> None:
    platform = json.load(sys.stdin)
    address = urlsplit(platform["url"])
    with open(platform["tokenFile"]) as file:
        token = file.read().strip()
    registry = ModelRegistry(
        f"{address.scheme}://{address.hostname}", address.port, author="an example", is_secure=False, user_token=token)
    version = f"1.0.{os.getpid()}"
    registry.register_model(
        "first-model", "minio://mlpipeline/somewhere/model", version=version, model_format_name="sklearn",
        model_format_version="1", description="registered by an example")
    found = registry.get_model_version("first-model", version)
    artifact = registry.get_model_artifact("first-model", version)
    print(f"first-model {found.name if found else 'is missing'}: {artifact.uri if artifact else 'no artifact'}")
    if found is None or artifact is None:
        sys.exit(1)


if __name__ == "__main__":
    main()
