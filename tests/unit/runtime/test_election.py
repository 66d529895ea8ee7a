"""One leader at a time, a token that grows with every change of hands, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.client.transport import Request, Response
from lightship.kube.objects import Key
from lightship.kube.resources import LEASES
from lightship.runtime.election import Election, FencingToken
from lightship.testing.clock import FakeClock, settle
from lightship.testing.memory import MemoryApi

LEASE = Key("kubeflow", "controllers")


class Candidate:
    """A process that wants to lead; ``cut`` takes its network away."""

    def __init__(self, api: MemoryApi, clock: FakeClock, name: str) -> None:
        self.tokens: list[int] = []
        self.leading = False
        self.cut = False
        self.hang = False
        self._api = api
        self.end = asyncio.Event()
        self.election = Election(Client(self), LEASE, name, clock)
        self.task = asyncio.ensure_future(self.election.lead(self._work))

    async def send(self, request: Request) -> Response:
        if self.hang:
            await asyncio.Event().wait()
        if self.cut:
            raise errors.Unavailable("cut off")
        return await self._api.send(request)

    async def close(self) -> None:
        return None

    async def _work(self, token: FencingToken) -> None:
        self.tokens.append(token.number)
        self.leading = True
        try:
            await self.end.wait()
        finally:
            self.leading = False


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def api(clock: FakeClock) -> MemoryApi:
    return MemoryApi(clock)


async def stopped(*candidates: Candidate) -> None:
    for candidate in candidates:
        candidate.task.cancel()
    await asyncio.gather(*(candidate.task for candidate in candidates), return_exceptions=True)


async def test_the_first_leads_and_the_second_follows_when_it_ends(api: MemoryApi, clock: FakeClock) -> None:
    one = Candidate(api, clock, "one")
    await settle()
    two = Candidate(api, clock, "two")
    await clock.advance(60)
    assert one.leading and not two.leading
    one.end.set()
    await settle()
    await one.task
    await clock.advance(4)
    assert two.leading and two.tokens[0] > one.tokens[0]
    await stopped(two)


@pytest.mark.parametrize("how", ["cut", "hang"])
async def test_a_leader_that_cannot_renew_steps_down_before_another_may_lead(
        api: MemoryApi, clock: FakeClock, how: str) -> None:
    one = Candidate(api, clock, "one")
    await settle()
    two = Candidate(api, clock, "two")
    await clock.advance(5)
    setattr(one, how, True)
    for _ in range(80):
        await clock.advance(0.5)
        assert not (one.leading and two.leading)
    assert two.leading
    assert two.tokens == [one.tokens[0] + 1]
    one.hang = False
    with pytest.raises(errors.Unavailable, match="lost the Lease"):
        await one.task
    await stopped(two)


async def test_the_works_own_error_is_raised_and_the_lease_given_up(api: MemoryApi, clock: FakeClock) -> None:
    async def fail(token: FencingToken) -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await Election(api.client(), LEASE, "one", clock).lead(fail)
    lease = await api.client().get(LEASES, LEASE.name, LEASE.namespace)
    assert lease["spec"]["holderIdentity"] == ""


async def test_a_dead_holder_is_waited_for_by_ones_own_clock(api: MemoryApi, clock: FakeClock) -> None:
    api.insert(LEASES.path(), {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                               "metadata": {"name": LEASE.name, "namespace": LEASE.namespace},
                               "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 4,
                                        "renewTime": "2031-01-01T00:00:00.000000Z"}})
    one = Candidate(api, clock, "one")
    await clock.advance(14)
    assert not one.leading
    await clock.advance(3)
    assert one.leading and one.tokens == [5]
    await stopped(one)


async def test_of_many_only_one_leads_at_any_time(api: MemoryApi, clock: FakeClock) -> None:
    many = [Candidate(api, clock, f"c{number}") for number in range(5)]
    tokens: list[int] = []
    for number in range(5):
        await clock.advance(20)
        leaders = [candidate for candidate in many if candidate.leading]
        assert len(leaders) == 1, number
        tokens.extend(leaders[0].tokens)
        leaders[0].end.set()
        await settle()
        await leaders[0].task
        many.remove(leaders[0])
    assert tokens == sorted(set(tokens)) and len(tokens) == 5
