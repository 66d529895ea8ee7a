"""How the launcher hears of its step's end: by a watch, by looking where it may not watch, and through outages."""

from __future__ import annotations

import email.message
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightship.launcher import own_pod
from lightship.launcher.files import StagingError

RUNNING = {"status": {"containerStatuses": [{"name": "main", "state": {"running": {}}}]}}
WAITING = {"status": {"containerStatuses": [{"name": "other", "state": {"terminated": {"exitCode": 9}}}]}}
ENVIRONMENT = {"KUBERNETES_SERVICE_HOST": "::1", "POD_NAME": "step-1", "POD_NAMESPACE": "team"}


def ended(code: int) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": code}}}]}}


def refusal(code: int) -> urllib.error.HTTPError:
    return urllib.error.HTTPError("https://x", code, "no", email.message.Message(), None)


class Scripted(own_pod.Api):
    """Answers as told: each look takes the next of ``looks``, each watch the next of ``watches``."""

    def __init__(self, looks: list[Any], watches: list[Any]) -> None:
        self.lines: list[str] = []
        self.pauses: list[float] = []
        self._looks, self._watches = iter(looks), iter(watches)
        super().__init__(ENVIRONMENT, self.lines.append)

    def get(self) -> own_pod.Pod:
        found = next(self._looks)
        if isinstance(found, Exception):
            raise found
        pod: own_pod.Pod = found
        return pod

    def watch(self, pod: own_pod.Pod) -> Iterator[own_pod.Pod]:
        for each in next(self._watches):
            if isinstance(each, Exception):
                raise each
            yield each

    def wait(self) -> int:
        return own_pod.wait_for_end("main", self, sleep=self.pauses.append)


def test_an_end_that_is_there_already_needs_no_watch() -> None:
    assert Scripted([ended(0)], []).wait() == 0
    assert Scripted([ended(137)], []).wait() == 137


def test_an_end_is_heard_by_the_watch_without_a_pause() -> None:
    api = Scripted([WAITING], [[WAITING, RUNNING, ended(3), RuntimeError("read on after the end")]])
    assert api.wait() == 3 and api.pauses == [] and api.lines == []


def test_a_watch_that_ends_or_breaks_begins_anew_with_a_look() -> None:
    api = Scripted([RUNNING, RUNNING, ended(0)], [[RUNNING], [RUNNING, ConnectionResetError("reset")]])
    assert api.wait() == 0 and len(api.pauses) == 2


def test_an_outage_of_the_api_is_outlasted_and_told_of_once() -> None:
    api = Scripted([OSError("down")] * 500 + [refusal(500), ended(0)], [])
    assert api.wait() == 0 and len(api.lines) == 1 and "trying again" in api.lines[0]


def test_an_account_that_may_not_read_pods_is_told_what_it_needs() -> None:
    with pytest.raises(StagingError, match='"get" and "watch" Pods'):
        Scripted([refusal(403)] * 1000, []).wait()


def test_an_api_that_stays_away_is_given_up() -> None:
    with pytest.raises(StagingError, match="600 times: down"):
        Scripted([OSError("down")] * 1000, []).wait()


def test_where_watching_is_forbidden_it_looks_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def forbid(self: own_pod.Api, url: str, timeout_seconds: float) -> Any:
        asked.append(url)
        raise refusal(403)

    monkeypatch.setattr(own_pod.Api, "_open", forbid)
    api = own_pod.Api(ENVIRONMENT, print)
    assert list(api.watch(RUNNING)) == [] and list(api.watch(RUNNING)) == []
    assert len(asked) == 1 and asked[0].startswith("https://[::1]:443/api/v1/namespaces/team/pods?watch=true&")


def test_an_environment_that_names_no_pod_is_no_launchers() -> None:
    with pytest.raises(KeyError):
        own_pod.Api({"KUBERNETES_SERVICE_HOST": "x"}, print)
