"""Real kubectl with kinds that a user defines: apply, explain, get, scale, wait, edit, delete."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lightship.testing.embedded import EmbeddedApi, EmbeddedOptions, embedded_api
from tests.acceptance.kubectl.test_kubectl import Kubectl, installed, newest
from tests.unit.apiserver.conftest import WidgetKind

pytestmark = pytest.mark.sdk

DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.org}
spec:
  group: stable.example.org
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    selectableFields: [{jsonPath: .spec.image}]
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec, description: The cron spec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Image, type: string, jsonPath: .spec.image, priority: 1}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    schema:
      openAPIV3Schema:
        type: object
        description: CronTab runs a thing now and then.
        properties:
          spec:
            type: object
            description: What is wanted.
            required: [cronSpec]
            properties:
              cronSpec: {type: string, description: When to run.}
              image: {type: string, default: nginx}
              replicas: {type: integer, minimum: 0, default: 1}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, size: {type: integer}}
            x-kubernetes-validations:
            - {rule: "self.replicas < 10", message: ten are too many}
          status:
            type: object
            properties: {replicas: {type: integer}}
"""
OBJECT = """
apiVersion: stable.example.org/v1
kind: CronTab
metadata: {name: mine}
spec: {cronSpec: "* * * * */5", parts: [{name: a, size: 1}]}
"""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[EmbeddedApi]:
    async with embedded_api(tmp_path, EmbeddedOptions(kinds=[WidgetKind()])) as running:
        yield running


@pytest.fixture(params=[newest, installed])
async def kubectl(request: pytest.FixtureRequest, api: EmbeddedApi) -> Kubectl:
    return Kubectl(await asyncio.to_thread(request.param), api)


async def test_a_kind_lives_and_goes(kubectl: Kubectl) -> None:
    assert "created" in await kubectl("apply", "-f", "-", stdin=DEFINITION)
    assert "created" in await kubectl("apply", "-f", "-", stdin=OBJECT)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=DEFINITION)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=OBJECT)
    assert "condition met" in await kubectl("wait", "--for=condition=established", "crd/crontabs.stable.example.org",
                                           "--timeout=10s")
    heading, row = (await kubectl("get", "ct")).strip().splitlines()
    assert heading.split() == ["NAME", "SPEC", "REPLICAS", "AGE"]
    assert re.match(r"mine +\* \* \* \* \*/5 +1 +\d+s", row)
    assert "nginx" in await kubectl("get", "crontab", "-o", "wide")
    assert "crontab.stable.example.org/mine" in await kubectl("get", "all", "-o", "name")
    assert "mine" in await kubectl("get", "ct", "--field-selector", "spec.image=nginx")
    assert "mine" not in await kubectl("get", "ct", "--field-selector", "spec.image=other")
    assert "When to run." in await kubectl("explain", "crontab.spec.cronSpec")
    assert "parts" in await kubectl("explain", "crontabs", "--recursive")
    assert "crontabs" in await kubectl("api-resources", "--api-group=stable.example.org")
    await kubectl("scale", "ct/mine", "--replicas=3")
    assert json.loads(await kubectl("get", "ct", "mine", "-o", "json"))["spec"]["replicas"] == 3
    code, _, said = await kubectl.run("scale", "ct/mine", "--replicas=30")
    assert code and "ten are too many" in said
    code, _, said = await kubectl.run("apply", "-f", "-", stdin=OBJECT.replace("cronSpec", "cronSpek"))
    assert code and 'unknown field "spec.cronSpek"' in said
    code, _, said = await kubectl.run("apply", "-f", "-", stdin=OBJECT.replace("size: 1", "size: big"))
    assert code and "must be of type integer" in said
    await kubectl("patch", "ct", "mine", "--type=merge", "-p", '{"spec":{"image":"busybox"}}')
    await kubectl("patch", "ct", "mine", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":2}}')
    assert "busybox" in await kubectl("describe", "ct", "mine")
    assert "deleted" in await kubectl("delete", "crd", "crontabs.stable.example.org", "--timeout=20s")
    code, _, said = await kubectl.run("get", "ct")
    assert code and ("doesn't have a resource type" in said or "could not find the requested resource" in said)


async def test_lists_of_a_custom_kind_merge_by_their_keys(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEFINITION)
    await kubectl("apply", "--server-side", "-f", "-", stdin=OBJECT)
    more = OBJECT.replace("{name: a, size: 1}", "{name: b, size: 2}").replace('cronSpec: "* * * * */5", ', "")
    await kubectl("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=more)
    parts = json.loads(await kubectl("get", "ct", "mine", "-o", "json"))["spec"]["parts"]
    assert {part["name"] for part in parts} == {"a", "b"}


async def test_built_in_definitions_stay(kubectl: Kubectl) -> None:
    assert "widgets.example.com" in await kubectl("get", "crd")
    code, _, said = await kubectl.run("delete", "crd", "widgets.example.com")
    assert code and "built in" in said
