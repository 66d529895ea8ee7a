"""Which steps begin: limits hold whatever happens, nothing is lost, shares are fair, and the large are not starved."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from lightship.domains.pipelines import budget, demands
from lightship.domains.pipelines.budget import Budget, Demand, Limits
from lightship.kube.objects import Key

SMALL = Demand(cpu_millis=100, memory_bytes=100)
CLUSTER = Demand(cpu_millis=1000, memory_bytes=1000)


def run(name: str, namespace: str = "default") -> Key:
    return Key(namespace, name)


def fill(slots: Budget, key: Key, count: int, demand: Demand = SMALL) -> None:
    for number in range(count):
        slots.want(key, f"{key.name}-{number}", demand)


class Holder:
    """What the engine would hold of each run."""

    def __init__(self, slots: Budget) -> None:
        self.slots = slots
        self.held: dict[Key, list[str]] = {}

    def begin(self) -> list[Key]:
        """Grant once; the runs that got something, one entry a step."""
        got = []
        for key in self.slots.grant():
            granted = self.slots.granted(key)
            self.held.setdefault(key, []).extend(granted)
            got += [key] * len(granted)
        return got

    def end(self, key: Key, count: int = 1) -> None:
        del self.held[key][:count]
        self.slots.keep(key, self.held[key])


MOVES = st.lists(st.tuples(st.sampled_from("wked"), st.integers(0, 3), st.integers(1, 6)), max_size=60)


@given(MOVES)
def test_limits_hold_and_nothing_is_lost(moves: list[tuple[str, int, int]]) -> None:
    limits = Limits(all_runs_steps=9, one_namespace_steps=6, one_run_steps=4)
    slots = Budget(limits)
    slots.capacity(CLUSTER)
    holder, counter = Holder(slots), 0
    keys = [run(f"r{number}", f"n{number % 2}") for number in range(4)]
    for move, number, count in moves:
        key = keys[number]
        if move == "w":
            for _ in range(count):
                counter += 1
                slots.want(key, f"p{counter}", Demand(cpu_millis=count * 100, memory_bytes=10))
        elif move == "e" and holder.held.get(key):
            holder.end(key, count)
        elif move == "d":
            slots.drop(key)
            holder.held.pop(key, None)
        holder.begin()
        used = {one: slots.used(one) for one in keys}
        assert used == {one: len(holder.held.get(one, ())) for one in keys}
        assert sum(used.values()) <= limits.all_runs_steps and max(used.values()) <= limits.one_run_steps
        for namespace in ("n0", "n1"):
            assert sum(slots.used(one) for one in keys if one.namespace == namespace) <= limits.one_namespace_steps
    for key in keys:
        slots.drop(key)
    fill(slots, run("last"), 9)
    assert len(holder.begin()) == limits.one_run_steps, "everything was given back"


def test_a_large_run_does_not_starve_a_small_one() -> None:
    slots = Budget(Limits(all_runs_steps=4, one_namespace_steps=4, one_run_steps=4))
    holder, large, small = Holder(slots), run("large"), run("small")
    fill(slots, large, 5000)
    assert holder.begin() == [large] * 4
    fill(slots, small, 1)
    assert holder.begin() == []
    holder.end(large)
    assert holder.begin() == [small], "who holds least is next"


def test_runs_share_evenly_and_namespaces_before_runs() -> None:
    slots = Budget(Limits(all_runs_steps=8, one_namespace_steps=8, one_run_steps=8))
    holder = Holder(slots)
    for key in (run("a", "crowded"), run("b", "crowded"), run("c", "crowded"), run("d", "calm")):
        fill(slots, key, 20)
    holder.begin()
    assert {str(key): len(paths) for key, paths in holder.held.items()} == {
        "crowded/a": 2, "crowded/b": 1, "crowded/c": 1, "calm/d": 4}


def test_steps_begin_within_what_the_cluster_has() -> None:
    slots = Budget(Limits())
    slots.capacity(CLUSTER)
    holder, key = Holder(slots), run("r")
    fill(slots, key, 20)
    assert len(holder.begin()) == 10
    slots.capacity(Demand(cpu_millis=1500, memory_bytes=5000))
    assert len(holder.begin()) == 5, "a node has come"


def test_a_step_that_can_never_fit_begins_so_that_its_pod_can_say_why() -> None:
    slots = Budget(Limits())
    slots.capacity(CLUSTER)
    holder = Holder(slots)
    fill(slots, run("huge"), 1, Demand(cpu_millis=64_000))
    fill(slots, run("usual"), 10)
    assert len(holder.begin()) == 11


def test_a_step_that_fits_seldom_is_not_passed_over_for_ever() -> None:
    slots = Budget(Limits())
    slots.capacity(CLUSTER)
    holder, small, large = Holder(slots), run("small"), run("large")
    fill(slots, small, 10)
    holder.begin()
    fill(slots, large, 1, Demand(cpu_millis=1000))
    for turn in range(budget.LIMIT_PASSED_OVER_TIMES + 1):
        slots.want(small, f"more-{turn}", SMALL)
        holder.end(small)
        assert holder.begin() == [small]
    slots.want(small, "one-too-many", SMALL)
    for left in range(9, -1, -1):
        holder.end(small)
        assert holder.begin() == ([] if left else [large]), "now all wait for it"
    holder.end(large)
    assert holder.begin() == [small]


def test_what_waits_can_be_withdrawn() -> None:
    slots = Budget(Limits(all_runs_steps=1))
    holder, first, second = Holder(slots), run("a"), run("b")
    fill(slots, first, 2)
    fill(slots, second, 1)
    holder.begin()
    slots.withdraw(first)
    holder.end(first)
    assert holder.begin() == [second]


def test_what_was_taken_up_counts_whatever_the_limits() -> None:
    slots = Budget(Limits(one_run_steps=2))
    holder, key = Holder(slots), run("r")
    holder.held[key] = ["a", "b", "c"]
    for path in holder.held[key]:
        slots.hold(key, path, SMALL)
    fill(slots, key, 1)
    assert holder.begin() == []
    holder.end(key, 2)
    assert holder.begin() == [key]


def test_nodes_give_what_they_have_when_they_are_ready() -> None:
    def node(ready: str, **spec: bool) -> dict[str, object]:
        return {"spec": spec, "status": {"allocatable": {"cpu": "1500m", "memory": "1Gi"},
                                         "conditions": [{"type": "Ready", "status": ready}]}}

    assert demands.of_nodes([node("True"), node("True"), node("False"), node("True", unschedulable=True)]) == Demand(
        cpu_millis=3000, memory_bytes=2 * 2**30)
    assert demands.of_nodes([node("Unknown")]) is None


def test_the_cost_of_a_grant_does_not_grow_with_the_runs_that_wait() -> None:
    def looks(runs: int) -> float:
        slots = _Counting(Limits(all_runs_steps=4))
        holder, keys = Holder(slots), [run(f"r{number}") for number in range(runs)]
        for key in keys:
            fill(slots, key, 2)
        begun: Sequence[Key] = holder.begin()
        slots.looks = 0
        for _ in range(runs):
            holder.end(begun[0])
            begun = [*begun[1:], *holder.begin()]
        return slots.looks / runs

    assert looks(1000) <= 2 * looks(10)


class _Counting(Budget):
    looks = 0

    def _fits(self, demand: Demand) -> bool:
        self.looks += 1
        return super()._fits(demand)
