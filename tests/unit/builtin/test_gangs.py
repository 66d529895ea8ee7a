"""Gangs: all Pods of a PodGroup or none, by priority and fair share, and nobody kept out for ever."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lightship.cluster.builtin import podgroups, scheduler
from lightship.cluster.builtin.scheduling.decide import decide
from lightship.cluster.builtin.scheduling.facts import GROUP_LABEL, Group, Landscape, NodeFacts, PodFacts
from lightship.cluster.builtin.scheduling.plan import Plan
from lightship.kube import conditions, objects, times
from lightship.kube.objects import Key, Object
from lightship.kube.resources import POD_GROUPS, PODS
from tests.unit.builtin import build

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
TABLE = build.table(scheduler.controller)


def member(name: str, group: str, *, cpu: str = "1", namespace: str = "default", age: float = 10.0, priority: int = 0,
           node: str = "", **more: Any) -> Object:
    made = build.pod(name, requests={"cpu": cpu}, labels={GROUP_LABEL: group} if group else {}, node=node, **more)
    made["metadata"] |= {"namespace": namespace, "uid": f"{namespace}-{name}",
                         "creationTimestamp": times.rfc3339(NOW - timedelta(seconds=age))}
    made["spec"]["priority"] = priority
    return made


def gang(group: str, count: int, **more: Any) -> list[Object]:
    return [member(f"{group}-{number}", group, **more) for number in range(count)]


def plan(waiting: Iterable[Object], sizes: Mapping[str, int], placed: Iterable[Object] = (),
         nodes: Sequence[Object] = ()) -> Plan:
    """``sizes``: the least members of each group, by ``name`` or ``namespace/name``."""
    facts = {objects.name(one): NodeFacts(node=one) for one in nodes or [build.node(cpu="4")]}
    for pod in placed:
        facts[pod["spec"]["nodeName"]].take(PodFacts(pod))
    groups = {Key(*(("default", name) if "/" not in name else tuple(name.split("/")))): Group(min_member=size)
              for name, size in sizes.items()}
    return decide([PodFacts(pod) for pod in waiting], Landscape(nodes=facts, groups=groups), NOW)


def bound(made: Plan) -> list[str]:
    return sorted(binding.pod.key.name for binding in made.bindings)


def said(made: Plan) -> dict[str, str]:
    return {str(verdict.group): verdict.message for verdict in made.verdicts}


def test_all_or_none() -> None:
    made = plan(gang("a", 4), {"a": 4})
    assert bound(made) == ["a-0", "a-1", "a-2", "a-3"] and said(made) == {"default/a": ""}
    made = plan(gang("a", 4), {"a": 4}, [member("other", "", node="laptop")])
    assert not made.bindings and len(made.refusals) == 4
    assert said(made)["default/a"] == (
        'PodGroup "default/a": all 4 Pods wait until they fit together, wanting cpu 4: 0/1 nodes are available: '
        "1 Insufficient cpu. Free when told: cpu 3.")
    assert {refusal.message for refusal in made.refusals} == {said(made)["default/a"]}


def test_what_one_gang_does_not_take_is_for_the_next() -> None:
    made = plan([*gang("big", 5, age=20), *gang("small", 2), member("single", "")], {"big": 5, "small": 2})
    assert bound(made) == ["single", "small-0", "small-1"]


def test_two_gangs_never_get_half_each() -> None:
    made = plan([*gang("a", 3, age=20), *gang("b", 3, age=20)], {"a": 3, "b": 3})
    assert bound(made) == ["a-0", "a-1", "a-2"]


def test_over_several_nodes() -> None:
    nodes = [build.node("one", cpu="2"), build.node("two", cpu="2")]
    assert len(plan(gang("a", 4), {"a": 4}, nodes=nodes).bindings) == 4
    assert not plan(gang("a", 2, cpu="3"), {"a": 2}, nodes=nodes).bindings


def test_members_that_nobody_has_made_yet_are_waited_for_in_silence_at_first() -> None:
    made = plan(gang("a", 2, age=1), {"a": 3})
    assert not made.bindings and not made.refusals and made.look_again_seconds
    made = plan(gang("a", 2, age=60), {"a": 3})
    assert said(made) == {"default/a": 'PodGroup "default/a" waits until 3 of its Pods are there (minMember): 2 are'}


def test_a_group_that_is_not_there() -> None:
    assert said(plan(gang("a", 2), {})) == {
        "default/a": 'PodGroup "default/a" is not there: its Pods wait until it is made'}


def test_a_member_made_anew_counts_with_those_that_run_or_have_succeeded() -> None:
    running = [member("a-0", "a", node="laptop", phase="Running")]
    facts = NodeFacts(node=build.node(cpu="4"))
    facts.take(PodFacts(running[0]))
    land = Landscape(nodes={"laptop": facts}, groups={Key("default", "a"): Group(min_member=3, done=1)})
    made = decide([PodFacts(member("a-1", "a"))], land, NOW)
    assert bound(made) == ["a-1"]


def test_more_than_the_least_go_as_there_is_room() -> None:
    made = plan(gang("a", 6), {"a": 2})
    assert len(made.bindings) == 4 and len(made.refusals) == 2
    assert "has as many Pods as it needs" in made.refusals[0].message


def test_what_matters_more_goes_first_and_then_who_holds_least() -> None:
    made = plan([*gang("old", 3, age=50), *gang("dear", 3, priority=10)], {"old": 3, "dear": 3})
    assert bound(made) == ["dear-0", "dear-1", "dear-2"]
    rich = [member("r", "", namespace="rich", node="laptop", cpu="1")]
    waiting = [*gang("x", 3, namespace="rich", age=50), *gang("y", 3, namespace="poor")]
    made = plan(waiting, {"rich/x": 3, "poor/y": 3}, rich)
    assert [str(binding.pod.key) for binding in made.bindings] == ["poor/y-0", "poor/y-1", "poor/y-2"]


def test_an_overdue_gang_is_not_overtaken_any_more_but_by_those_that_it_cannot_wait_for() -> None:
    running = gang("runs", 2, node="laptop", phase="Running")
    waiting = [*gang("big", 4, age=61), *gang("small", 1), member("single", "")]
    made = plan(waiting, {"big": 4, "small": 1}, running)
    assert bound(made) == ["single"]
    assert "waits behind PodGroup \"default/big\"" in said(made)["default/small"]
    server = [member("server", "", node="laptop", phase="Running")]
    made = plan(waiting, {"big": 4, "small": 1}, server)
    assert bound(made) == ["single", "small-0"], "it would not fit without gangs either: it holds nobody up"
    urgent = gang("urgent", 1, priority=5)
    assert bound(plan([*waiting, *urgent], {"big": 4, "small": 1, "urgent": 1}, running)) == ["single", "urgent-0"]


def test_a_gang_makes_room_by_whole_gangs_and_no_more_than_it_must() -> None:
    running = [*gang("low", 2, node="laptop", phase="Running"), member("one", "", node="laptop", phase="Running")]
    made = plan(gang("high", 2, priority=10), {"high": 2}, running)
    victims = [victim.key.name for refusal in made.refusals for victim in refusal.victims]
    assert victims == ["one"] and {refusal.node for refusal in made.refusals} == {"laptop"}
    made = plan(gang("high", 3, priority=10), {"high": 3}, running)
    assert sorted(victim.key.name for refusal in made.refusals for victim in refusal.victims) == ["low-0", "low-1"]
    assert not plan(gang("high", 5, priority=10), {"high": 5}, running).refusals[0].victims


def test_a_single_pod_takes_a_gang_whole_too_wherever_it_is() -> None:
    nodes = [build.node("one", cpu="1"), build.node("two", cpu="1")]
    running = [member("g-0", "g", node="one"), member("g-1", "g", node="two")]
    made = plan([member("high", "", priority=10)], {"g": 2}, running, nodes)
    assert sorted(victim.key.name for victim in made.refusals[0].victims) == ["g-0", "g-1"]
    running[1]["spec"]["priority"] = 20
    assert not plan([member("high", "", priority=10)], {"g": 2}, running, nodes).refusals[0].victims


def test_while_victims_leave_nobody_else_is_asked_to() -> None:
    leaving = member("low", "", node="laptop", phase="Running", cpu="3")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    also = member("other", "", node="laptop", phase="Running")
    waiting = gang("high", 2, priority=10)
    for pod in waiting:
        pod["status"]["nominatedNodeName"] = "laptop"
    made = plan(waiting, {"high": 2}, [leaving, also])
    assert not any(refusal.victims for refusal in made.refusals)
    assert {refusal.node for refusal in made.refusals} == {"laptop"}


def pod_group(name: str, least: int, **status: Any) -> Object:
    return {"apiVersion": POD_GROUPS.api_version, "kind": "PodGroup",
            "metadata": {"name": name, "namespace": "default", "uid": f"{name}-uid", "ownerReferences": [
                build.owned_by("TrainJob", "run", "run-uid", "trainer.kubeflow.org/v1alpha1")]},
            "spec": {"minMember": least}, "status": status}


async def test_who_waits_is_told_on_the_pods_the_group_and_its_owner_once() -> None:
    waiting = gang("a", 2, cpu="3")
    outcome = await TABLE.run(scheduler.ALL, build.node(), pod_group("a", 2), *waiting)
    assert sorted(outcome.words) == ["patch podgroups/status default/a", "patch pods/status default/a-0",
                                     "patch pods/status default/a-1"]
    condition = conditions.find(outcome.object(PODS, "a-0"), "PodScheduled")
    assert condition is not None and condition["reason"] == "Unschedulable"
    assert condition["message"].endswith("Free when told: cpu 4.")
    assert outcome.object(POD_GROUPS, "a")["status"]["message"] == condition["message"]
    assert sum("GangWaiting" in event for event in outcome.events) == 2
    fits = await TABLE.run(scheduler.ALL, build.node(), pod_group("a", 2, message="it waits"), *gang("a", 2))
    assert sorted(fits.words) == ["create pods/binding default/a-0", "create pods/binding default/a-1",
                                  "patch podgroups/status default/a"]
    assert "message" not in fits.object(POD_GROUPS, "a")["status"]


def test_the_phases_of_a_group() -> None:
    def phase(*phases: str, before: str = "") -> str:
        members = [member(f"a-{n}", "a", phase=one, node="x") for n, one in enumerate(phases)]
        group = pod_group("a", 2, **({"phase": before} if before else {}))
        return str(podgroups.status_of(group, members)["phase"])

    assert phase() == "Pending"
    assert phase("Pending") == "Pending"
    assert phase("Pending", "Running") == "Scheduling"
    assert phase("Running", "Running") == "Running"
    assert phase("Succeeded", "Running") == "Running"
    assert phase("Succeeded", "Succeeded") == "Finished"
    assert phase("Failed", "Running") == "Failed"
    assert phase(before="Finished") == "Finished"
    assert phase("Running", "Running", before="Failed") == "Running"


SIZES = st.lists(st.tuples(st.integers(1, 5), st.sampled_from(["a", "b", "c"]), st.integers(0, 1),
                           st.integers(1, 4)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.randoms(use_true_random=False))
def test_never_partial_and_all_that_can_run_do_in_the_end(wanted: list[tuple[int, str, int, int]], random: Any) -> None:
    """Gangs come at any time and end at any time: at every step each is there whole or not at all."""
    node = build.node(cpu="4")
    groups, waiting = {}, {}
    for number, (count, namespace, priority, cpu) in enumerate(wanted):
        key = Key(namespace, f"g{number}")
        groups[key] = Group(min_member=count)
        waiting[key] = [member(f"g{number}-{place}", f"g{number}", namespace=namespace, priority=priority,
                               cpu=str(cpu), age=float(random.randrange(200))) for place in range(count)]
    running: dict[Key, list[Object]] = {}
    for _ in range(4 * len(wanted) + 4):
        facts = NodeFacts(node=node)
        for members in running.values():
            for pod in members:
                facts.take(PodFacts(pod))
        land = Landscape(nodes={"laptop": facts}, groups=groups)
        made = decide([PodFacts(pod) for members in waiting.values() for pod in members], land, NOW)
        for victim in {victim.key for refusal in made.refusals for victim in refusal.victims}:
            key = Key(victim.namespace, victim.name.split("-")[0])
            if key in running:
                waiting[key] = [pod | {"spec": {k: v for k, v in pod["spec"].items() if k != "nodeName"}}
                                for pod in running.pop(key)]
        chosen: dict[Key, int] = {}
        for binding in made.bindings:
            assert binding.pod.group is not None
            chosen[binding.pod.group] = chosen.get(binding.pod.group, 0) + 1
        for key, count in chosen.items():
            assert count == groups[key].min_member, "a part of a gang was placed"
            running[key] = [pod | {"spec": pod["spec"] | {"nodeName": "laptop"}} for pod in waiting.pop(key)]
        assert sum(int(pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]) for members in running.values()
                   for pod in members) <= 4
        if running and (not chosen or random.random() < 0.5):
            running.pop(random.choice(sorted(running)))
    impossible = {key for key, members in waiting.items() if sum(int(
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"]) for pod in members) > 4}
    assert set(waiting) == impossible


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 4), st.integers(1, 3), st.randoms(use_true_random=False))
def test_a_stream_of_small_gangs_does_not_starve_a_large_one(large: int, lanes: int, random: Any) -> None:
    groups = {Key("big", "g"): Group(min_member=large)}
    running: dict[str, Object] = {}
    for step in range(60):
        stream = [member(f"s{step}-{lane}", f"s{step}-{lane}", namespace="small", age=1) for lane in range(lanes)]
        groups |= {Key("small", objects.name(pod)): Group(min_member=1) for pod in stream}
        facts = NodeFacts(node=build.node(cpu="4"))
        for pod in running.values():
            facts.take(PodFacts(pod))
        big = [member(f"g-{n}", "g", namespace="big", age=30.0 + step * 5) for n in range(large)]
        made = decide([PodFacts(pod) for pod in [*big, *stream]],
                      Landscape(nodes={"laptop": facts}, groups=groups), NOW)
        if any(binding.pod.key.namespace == "big" for binding in made.bindings):
            return
        for binding in made.bindings:
            running[binding.pod.key.name] = binding.pod.pod | {
                "spec": binding.pod.pod["spec"] | {"nodeName": "laptop"}}
        for name in [name for name in running if random.random() < 0.4]:
            del running[name]
    raise AssertionError("the large gang never got its turn")
