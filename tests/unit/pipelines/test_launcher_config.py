"""What the ConfigMap ``kfp-launcher`` says, and what of it is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lightship import errors
from lightship.domains.pipelines import launcher_config
from lightship.domains.pipelines.launcher_config import Session

SECRET = {"secretRef": {"secretName": "keys", "accessKeyKey": "a", "secretKeyKey": "s"}}
OTHER = {"fromEnv": False, "secretRef": {"secretName": "other", "accessKeyKey": "a", "secretKeyKey": "s"}}


def parsed(providers: Any, root: str = "") -> launcher_config.Config:
    return launcher_config.parse({"defaultPipelineRoot": root, "providers": json.dumps(providers)})


def test_nothing_said_is_nothing_changed() -> None:
    for data in ({}, {"defaultPipelineRoot": "", "providers": ""}, {"providers": "minio: {}\ns3: {overrides: []}\n"}):
        config = launcher_config.parse(data)
        assert (config.root, config.session("minio://b/k"), config.session("s3://b/k")) == ("", None, None)


def test_the_first_override_that_fits_says_whose_a_uri_is() -> None:
    config = parsed({"s3": {
        "default": {"endpoint": "minio.example:9000", "disableSSL": True, "region": "here", "credentials": SECRET},
        "overrides": [
            {"bucketName": "b", "keyPrefix": "deep/er/", "endpoint": "s3.amazonaws.com", "disableSSL": False,
             "forcePathStyle": False, "credentials": OTHER},
            {"bucketName": "b", "keyPrefix": "deep", "credentials": OTHER, "region": "there"},
        ]}}, root="s3://b/runs/")
    plain = Session(scheme="s3", endpoint="http://minio.example:9000", region="here", secret="keys", keys=("a", "s"))
    assert config.root == "s3://b/runs"
    assert config.session("s3://b/runs/x") == plain
    assert config.session("s3://c/deep/x") == plain
    deep = config.session("s3://b/deep/x")
    assert deep == Session(scheme="s3", endpoint="http://minio.example:9000", region="there", secret="other",
                           keys=("a", "s"))
    deeper = config.session("s3://b/deep/er")
    assert deeper is not None and (deeper.endpoint, deeper.region) == ("https://s3.amazonaws.com", "here")
    assert config.session("minio://b/k") is None


def test_a_google_account_is_a_key_of_a_secret() -> None:
    credentials = {"secretRef": {"secretName": "g", "tokenKey": "account.json"}}
    config = parsed({"gs": {"default": {"credentials": credentials}}})
    assert config.session("gs://b/k") == Session(scheme="gs", secret="g", keys=("account.json",))


def test_the_environment_is_the_platforms_own() -> None:
    config = parsed({"s3": {"default": {"credentials": {"fromEnv": True}}}})
    assert config.session("s3://b/k") == Session(scheme="s3")


@pytest.mark.parametrize(("providers", "place"), [
    ({"azure": {}}, "providers.azure"),
    ({"s3": {"default": {"credentials": SECRET, "sessionToken": "x"}}}, "providers.s3.default.sessionToken"),
    ({"s3": {"default": {"endpoint": "e"}}}, "providers.s3.default.credentials"),
    ({"s3": {"overrides": [{"bucketName": "b", "credentials": SECRET}]}}, "providers.s3.default"),
    ({"s3": {"default": {"credentials": SECRET}, "overrides": [{"credentials": SECRET}]}},
     "providers.s3.overrides[0].bucketName"),
    ({"minio": {"default": {"endpoint": "e", "credentials": {"fromEnv": True}}}}, "providers.minio.default.endpoint"),
    ({"minio": {"default": {"endpoint": "e", "forcePathStyle": False, "credentials": SECRET}}},
     "providers.minio.default.forcePathStyle"),
    ({"minio": {"default": {"credentials": {"secretRef": {"secretName": "s", "accessKeyKey": "a"}}}}},
     "providers.minio.default.credentials.secretRef.secretKeyKey"),
    ({"gs": {"default": {"endpoint": "e"}}}, "providers.gs.default.endpoint"),
    ([], "providers"),
    ("[", "providers"),
])
def test_what_cannot_be_honoured_is_refused_by_its_place(providers: Any, place: str) -> None:
    data = providers if isinstance(providers, str) else json.dumps(providers)
    with pytest.raises(errors.InvalidInput) as refused:
        launcher_config.parse({"providers": data})
    assert refused.value.field == f"kfp-launcher.{place}"
    assert f'"{place}" of the ConfigMap "kfp-launcher"' in str(refused.value)


@pytest.mark.parametrize("root", ["file:///tmp", "s3://b/runs?endpoint=e"])
def test_a_root_of_another_kind_is_refused(root: str) -> None:
    with pytest.raises(errors.InvalidInput, match="defaultPipelineRoot"):
        launcher_config.parse({"defaultPipelineRoot": root})
