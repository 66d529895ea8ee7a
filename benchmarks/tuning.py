"""Tuning: what a suggestion costs against Optuna alone, and how fast no-op Trials follow each other.

``./dev bench tuning`` runs me. *Suggestions*: both sides have been told the same 500 Trials of a mixed space and have
three running; in turn each is asked for one and told its end. Ours goes the whole way, to the worker and back; the peer
is Optuna's ask and tell in memory, in this process, with one thread. *Trials*: 200 Jobs whose Pod echoes a metric, by
TPE, four at once, on a platform of its own, seen by watches: from the first Trial to the last one's end; and from the
event that shows a Trial ended to the event that shows the next one, which is to say its Trial and its Pod. CPU time is
told by process, since the pace is the machine's, too. No peer is fair here: upstream wants a cluster. *Memory*: of the
server, over further Trials that are deleted when they have ended.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import _bench
import pods
import startup

TARGET_RATIO, TARGET_PACE, TARGET_GAP_MS = 1.5, 15.0, 30.0
TOLD, RUNNING, ASKED = 500, 3, 60
PARALLEL = 4
EXPERIMENTS = "/apis/kubeflow.org/v1beta1/namespaces/default/experiments"
TRIALS = "/apis/kubeflow.org/v1beta1/namespaces/default/trials"
PODS = "/api/v1/namespaces/default/pods"
SAMPLE_TRIALS = 100

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # for either side, before numpy is imported


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench tuning", description=__doc__)
    parser.add_argument("--asked", type=int, default=ASKED, help=f"suggestions of each side (default {ASKED})")
    parser.add_argument("--trials", type=int, default=200, help="Trials of one run (default 200)")
    parser.add_argument("--repeats", type=int, default=3, help="runs (default 3)")
    parser.add_argument("--memory-trials", type=int, default=1000, help="Trials over which memory is seen (0: none)")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    results: dict[str, Any] = {"load": os.getloadavg()[0], "suggestions": {
        name: asyncio.run(suggestions(name, options.asked)) for name in ("tpe", "multivariate-tpe")}}
    if options.trials:
        with _bench.folder() as data_dir, _bench.up(data_dir) as info:
            api = pods.Api(info)
            sweep(api, "warm", 10)
            before = pods.cpu(info.pid)
            results["trials"] = [sweep(api, f"run-{number}", options.trials) for number in range(options.repeats)]
            results["cpu_ms"] = pods.spent(before, pods.cpu(info.pid), options.trials * options.repeats)
            results["memory"] = memory(api, info.pid, options.memory_trials)
    if options.output == "json":
        print(json.dumps(results, indent=1))
    else:
        show(results)
    return 0


def show(results: Mapping[str, Any]) -> None:
    import optuna

    _bench.heading("tuning: suggestions against Optuna alone, and no-op Trials", f"Optuna {optuna.__version__}")
    print(f"  load of the machine {results['load']:.1f}")
    for name, found in results["suggestions"].items():
        ours, peer = found["ours_ms"], found["optuna_ms"]
        print(f"  a suggestion of {name} at {TOLD} Trials: ours {_bench.spread(ours, 'ms')}; "
              f"Optuna alone {_bench.spread(peer, 'ms')}")
        print(f"    ratio of the medians {statistics.median(ours) / statistics.median(peer):.2f}; "
              f"the target is {TARGET_RATIO}")
    runs = results.get("trials")
    if not runs:
        return
    print(f"  {runs[0]['trials']} Trials, TPE, {PARALLEL} at once: "
          f"{_bench.spread([one['pace'] for one in runs], 'Trials/s')}; the target is {TARGET_PACE:g}")
    for field, title in (("trial", "the next Trial"), ("pod", "its Pod")):
        gaps = [gap for one in runs for gap in one["gaps_ms"][field]]
        target = f"; the target is {TARGET_GAP_MS:g}" if field == "pod" else ""
        print(f"    from a Trial's end to {title}: {_bench.spread(gaps, 'ms', 1)}{target}")
    print("    CPU a Trial: " + ", ".join(f"{name} {value:.1f} ms" for name, value in results["cpu_ms"].items()))
    sizes = results["memory"]
    if sizes:
        print(f"  memory of the server (PSS, MB) after each {SAMPLE_TRIALS} Trials, deleted: "
              f"{', '.join(f'{size:.0f}' for size in sizes)}")


# --- suggestions


async def suggestions(name: str, asked: int) -> dict[str, list[float]]:
    """Milliseconds of each suggestion, ours and Optuna's, in turn."""
    from lightship.domains.tuning.algorithms.search import Objective, Search, Told
    from lightship.domains.tuning.algorithms.space import axes, drawn
    from lightship.domains.tuning.algorithms.worker import Suggesters

    search = Search(experiment="bench", parameters=_space(), algorithm=name, seed=1,
                    objectives=(Objective(metric="loss", goal_type="minimize"),))
    space = axes(search.parameters)
    ended = [Told(name=f"t{number}", assignments=(one := drawn(space, number)), state="succeeded",
                  values={"loss": _loss(one)}) for number in range(TOLD)]
    running = [Told(name=f"r{number}", assignments=drawn(space, TOLD + number)) for number in range(RUNNING)]
    peer = Peer(name, ended, running)
    suggesters = Suggesters()
    found: dict[str, list[float]] = {"ours_ms": [], "optuna_ms": []}
    try:
        await suggesters.suggest(search, [*ended, *running], 1)  # so that it knows all that was before
        peer.ask()
        for number in range(asked):
            began = time.perf_counter()
            reply = await suggesters.suggest(search, [*ended, *running], 1)
            found["ours_ms"].append((time.perf_counter() - began) * 1e3)
            assignments = reply.proposals[0].assignments
            ended.append(Told(name=f"n{number}", assignments=assignments, state="succeeded",
                              values={"loss": _loss(assignments)}))
            found["optuna_ms"].append(peer.ask() * 1e3)
    finally:
        await suggesters.close()
    return found


class Peer:
    """Optuna as a user would have it: distributions of its own, a study in memory, ask and tell."""

    def __init__(self, name: str, ended: Sequence[Any], running: Sequence[Any]) -> None:
        import optuna
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._distributions: dict[str, Any] = {
            "rate": FloatDistribution(1e-4, 0.1, log=True), "dropout": FloatDistribution(0, 0.5, step=0.05),
            "momentum": FloatDistribution(0.5, 0.99), "layers": IntDistribution(1, 8),
            "optimizer": CategoricalDistribution(["sgd", "adam", "ftrl"])}
        self._study = optuna.create_study(sampler=optuna.samplers.TPESampler(
            multivariate=name == "multivariate-tpe", constant_liar=True, seed=1))
        for one in [*ended, *running]:
            done = bool(one.values)
            self._study.add_trial(optuna.trial.create_trial(
                state=optuna.trial.TrialState.COMPLETE if done else optuna.trial.TrialState.RUNNING,
                value=one.values.get("loss"), distributions=self._distributions,
                params={key: self._read(key, text) for key, text in one.assignments.items()}))

    def ask(self) -> float:
        """Seconds of one ask with its tell."""
        began = time.perf_counter()
        trial = self._study.ask(fixed_distributions=self._distributions)
        self._study.tell(trial, _loss(trial.params))
        return time.perf_counter() - began

    @staticmethod
    def _read(name: str, text: str) -> Any:
        return text if name == "optimizer" else int(text) if name == "layers" else float(text)


def _space() -> Any:
    from lightship.domains.tuning.algorithms.search import Parameter

    return (Parameter(name="rate", type="double", min="0.0001", max="0.1", distribution="logUniform"),
            Parameter(name="dropout", type="double", min="0", max="0.5", step="0.05"),
            Parameter(name="momentum", type="double", min="0.5", max="0.99"),
            Parameter(name="layers", type="int", min="1", max="8"),
            Parameter(name="optimizer", type="categorical", list=("sgd", "adam", "ftrl")))


def _loss(assignments: Mapping[str, Any]) -> float:
    return sum((float(value) - 0.4) ** 2 for name, value in assignments.items() if name != "optimizer")


# --- Trials


class Seen:
    """When each object of a watch was first seen in a state, by this machine's clock, in a thread of its own."""

    def __init__(self, api: pods.Api, path: str, name: str, states: Any) -> None:
        version = api.ask("GET", path)["metadata"]["resourceVersion"]
        self.at: dict[str, dict[str, float]] = {}
        self._name, self._states = name, states
        self._events = api.watch(f"{path}?watch=1&resourceVersion={version}")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._events:
            now = time.perf_counter()
            event = json.loads(line)
            name = event["object"]["metadata"].get("name", "")
            if event["type"] != "BOOKMARK" and name.startswith(f"{self._name}-"):
                for state in ("made", *self._states(event["object"])):
                    self.at.setdefault(state, {}).setdefault(name, now)

    def times(self, state: str) -> list[float]:
        return sorted(self.at.get(state, {}).values())


def sweep(api: pods.Api, name: str, count: int) -> dict[str, Any]:
    """One Experiment of ``count`` no-op Trials: its pace, and the gaps."""
    trials = Seen(api, TRIALS, name, _conditions)
    pods_seen = Seen(api, PODS, name, lambda pod: ())
    api.ask("POST", EXPERIMENTS, experiment(name, count))
    limit = time.monotonic() + pods.WAIT_LIMIT_SECONDS + count
    while len(trials.at.get("Succeeded", ())) < count:
        if time.monotonic() > limit:
            raise SystemExit(f"only {len(trials.at.get('Succeeded', ()))} of {count} Trials of {name} succeeded")
        time.sleep(0.05)  # the watches see everything; this loop only waits for the last
    ends = trials.times("Succeeded")
    gaps = {field: [(start - end) * 1e3 for end, start in zip(ends, starts[PARALLEL:], strict=False)]
            for field, starts in (("trial", trials.times("made")), ("pod", pods_seen.times("made")))}
    return {"trials": count, "pace": count / (ends[-1] - trials.times("made")[0]), "gaps_ms": gaps}


def memory(api: pods.Api, server: int, trials: int) -> list[float]:
    """MB of the server after each part of further Trials, each part's Experiment deleted: what stays is not objects."""
    sizes = []
    for number in range(trials // SAMPLE_TRIALS):
        sweep(api, f"more-{number}", SAMPLE_TRIALS)
        api.ask("DELETE", f"{EXPERIMENTS}/more-{number}")
        limit = time.monotonic() + pods.WAIT_LIMIT_SECONDS
        while api.ask("GET", f"{TRIALS}?limit=1&labelSelector=katib.kubeflow.org/experiment=more-{number}")["items"]:
            if time.monotonic() > limit:
                raise SystemExit(f"the Trials of more-{number} did not go with it")
            time.sleep(0.1)
        sizes.append(startup.pss_mb(server))
    return sizes


def _conditions(obj: Mapping[str, Any]) -> list[str]:
    return [one["type"] for one in obj.get("status", {}).get("conditions", ()) if one["status"] == "True"]


def experiment(name: str, count: int) -> dict[str, Any]:
    container = {"name": "main", "image": "busybox", "command": ["echo", "loss=${trialParameters.rate}"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": {"spec": {
        "restartPolicy": "Never", "containers": [container]}}}}
    template = {"primaryContainerName": "main", "trialParameters": [{"name": "rate", "reference": "rate"}],
                "trialSpec": job}
    return {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": name}, "spec": {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"}, "algorithm": {"algorithmName": "tpe"},
        "parallelTrialCount": PARALLEL, "maxTrialCount": count, "trialTemplate": template, "parameters": [
            {"name": "rate", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}}]}}


if __name__ == "__main__":
    raise SystemExit(main())
