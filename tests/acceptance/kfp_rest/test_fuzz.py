"""Whatever a client sends, the answer is about the request: never a 500, always upstream's shape of error."""

from __future__ import annotations

import json
import random
import re
from typing import Any

import pytest
from starlette.routing import Route

from lightship.domains.pipelines import routes
from tests.acceptance.kfp_rest.place import Platform
from tests.acceptance.kfp_rest.test_routes import BASE, SPEC, YAML, start, upload

FIELDS = ("display_name", "name", "description", "namespace", "experiment_id", "pipeline_spec", "pipeline_id",
          "pipeline_version_reference", "pipeline_version_id", "runtime_config", "parameters", "pipeline_root",
          "trigger", "cron_schedule", "periodic_schedule", "cron", "interval_second", "start_time", "end_time",
          "max_concurrency", "mode", "no_catchup", "service_account", "tags", "code_source_url", "package_url",
          "pipeline", "pipeline_version", "predicates", "key", "operation", "stringValue", "string_values",
          "components", "root", "deploymentSpec", "executors", "dag", "tasks", "inputs", "platform_spec",
          "schemaVersion", "pipelineInfo")
QUERIES = ("page_size", "page_token", "sort_by", "filter", "namespace", "experiment_id", "cascade", "name",
           "description", "pipelineid", "tags", "follow", "hold", "path", "verb", "resources", "levels", "direction",
           "artifact_ids", "task_ids", "run_ids", "parent_task_id", "component", "older_than_seconds")
SCALARS = (None, True, False, 0, -1, 1, 2**31, 2**63, 2**70, 0.5, -1e308, "", " ", "a", "0", "é\u0000ß", "\ud7ff",
           "x" * 300, "[[Index]]", "[[ScheduledTime.2006]]", "@every 1s", "0 0 0 * * *", "9999-12-31T23:59:59Z", "1e9",
           "{}", "[]", "../../etc/passwd", "%00", "default", "created_at desc", "id", "nonsense asc", "-5", "1" * 40,
           "ENABLE")
ROUNDS = {0: 2}
"""Requests to each route by seed; of those that are slow a dozen."""


class Source:
    """Random JSON and queries, the same for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def value(self, depth: int = 4) -> Any:
        kind = self._random.random()
        if depth == 0 or kind < 0.5:
            return self._random.choice(SCALARS)
        if kind < 0.65:
            return [self.value(depth - 1) for _ in range(self._random.randrange(4))]
        if kind < 0.7:
            return self.broken(SPEC)
        return {self._random.choice(FIELDS): self.value(depth - 1) for _ in range(self._random.randrange(6))}

    def broken(self, spec: dict[str, Any]) -> dict[str, Any]:
        """A specification with one place changed."""
        copy = json.loads(json.dumps(spec))
        place: Any = copy
        while True:
            key = self._random.choice(list(place))
            if not isinstance(place[key], dict) or not place[key] or self._random.random() < 0.3:
                place[key] = self.value(2)
                return dict(copy)
            place = place[key]

    def body(self) -> bytes:
        kind = self._random.random()
        if kind < 0.1:
            return self._random.choice((b"", b"{", b"[]", b"null", b"\xff", b'{"a":' * 2000, b"1" * 5000))
        wanted = {self._random.choice(FIELDS): self.value() for _ in range(self._random.randrange(8))}
        return json.dumps(wanted).encode()

    def query(self) -> dict[str, str]:
        wanted = {}
        for _ in range(self._random.randrange(4)):
            value = self.value(2) if self._random.random() < 0.3 else self._random.choice(SCALARS)
            wanted[self._random.choice(QUERIES)] = value if isinstance(value, str) else json.dumps(value)
        if self._random.random() < 0.4:
            wanted["filter"] = json.dumps({"predicates": [{
                "key": self._random.choice(("id", "name", "state", "created_at", "nonsense", 5)),
                "operation": self._random.choice(
                    (1, 2, 3, 5, 8, 9, 77, "EQUALS", "IN", "IS_SUBSTRING", None, True, 1.0)),
                self._random.choice(("stringValue", "string_value", "int_value", "stringValues", "timestampValue")):
                    self.value(2)}]})
        return wanted


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))])
async def test_no_request_is_answered_by_a_500(pipelines: Platform, seed: int) -> None:
    source = Source(seed)
    pipeline = (await upload(pipelines, YAML, "?name=p")).json["pipeline_id"]
    run = (await start(pipelines)).json
    recurring = (await pipelines.site.post(f"{BASE}/recurringruns", {
        "pipeline_spec": SPEC, "runtime_config": {"parameters": {"b": "x"}},
        "trigger": {"periodic_schedule": {"interval_second": "60"}}})).json["recurring_run_id"]
    await pipelines.engine.idle()
    ids = {"runs": run["run_id"], "pipelines": pipeline, "experiments": run["experiment_id"],
           "recurringruns": recurring}
    for route in routes.routes(pipelines.deps):
        assert isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            if method == "DELETE" or route.path.endswith(":archive"):
                continue  # or there is nothing left to ask of
            for turn in range(ROUNDS.get(seed, 12)):
                path = re.sub(r"/(\w+)/{id}", lambda match: f"/{match[1]}/{ids.get(match[1], 'x')}", route.path)
                path = re.sub(r"{\w+}", "x" if turn % 2 else "%00%2e", path)
                data = source.body() if method in ("POST", "PATCH") else None
                answer = await pipelines.site.call(method, path, params=source.query(), data=data)
                where = (seed, turn, method, path, data, answer.text[:500])
                assert answer.status < 500 or answer.status == 501, where
                if answer.status >= 400 and path.startswith("/apis/"):
                    assert {"error", "code", "message", "details"} <= answer.json.keys(), where
