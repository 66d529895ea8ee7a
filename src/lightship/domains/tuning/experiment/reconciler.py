"""Brings an Experiment's Suggestion and Trials to what it says, and tells how far it is.

``runtime.manager`` calls me with keys. I read informers, decide with ``scene`` and ``suggestion.book``, ask the
algorithm, and write through ``client``: first what the algorithm gave (an intent, with the names of Trials that are
always the same), then the Trials, and the status last. Trials that I make are in the informer at once, so
``trial.reconciler`` begins with them before a watch tells of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from lightship import errors
from lightship.client.client import EVERYTHING
from lightship.domains.tuning import kinds, marks, names, templates
from lightship.domains.tuning.deps import TuningDeps
from lightship.domains.tuning.errors import BadTemplate
from lightship.domains.tuning.experiment import children, search, status, template
from lightship.domains.tuning.experiment.scene import Scene, is_over
from lightship.domains.tuning.marks import Status
from lightship.domains.tuning.suggestion import book as books
from lightship.domains.tuning.suggestion import status as suggestions
from lightship.domains.tuning.suggestion.book import Assignment, Book, Budget
from lightship.domains.tuning.trial import checkpoints, view
from lightship.domains.tuning.trial.runs import Runs
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import CONFIGMAPS, PERSISTENT_VOLUME_CLAIMS
from lightship.lib import tasks
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch, owner_key

NAME = "experiment"
LIMIT_WRITES_AT_ONCE = 16
WORKERS = 32
"""Passes at once, since one may wait long for its algorithm."""
STATUS_SECONDS = 0.1
"""How often an Experiment that goes on says how far it is: Trials may begin and end more often than anybody reads."""


@dataclass(frozen=True, kw_only=True)
class _Stalled:
    """A question that got fewer answers than it asked for: asked again only when something has changed."""

    told: int
    count: int
    budget: Budget


class _Failed(Exception):
    """The Experiment cannot go on, and why: for its status."""


class ExperimentReconciler:
    """One pass: observe, ask, write the book, write Trials, write the status last."""

    def __init__(self, deps: TuningDeps, runs: Runs) -> None:
        self._deps = deps
        self._runs = runs
        self._experiments = deps.informer(kinds.EXPERIMENTS, EVERYTHING)
        self._suggestions = deps.informer(kinds.SUGGESTIONS, EVERYTHING)
        self._trials = deps.informer(kinds.TRIALS, EVERYTHING)
        self._views: dict[str, dict[str, tuple[str, view.View]]] = {}
        """By the Experiment's uid and the Trial's name: its revision, and how it counts."""
        self._books: dict[str, tuple[str, Book]] = {}
        """By the Experiment's uid: its Suggestion's revision, and what that says. It is long, and read in each pass."""
        self._uids: dict[Key, str] = {}
        self._stalled: dict[str, _Stalled] = {}
        self._written: dict[str, float] = {}
        """When (monotonic) each Experiment's status was written last."""

    async def reconcile(self, key: Key) -> Result:
        experiment = self._experiments.get(key)
        if experiment is None or objects.deleting(experiment):
            await self._forget(key)
            return DONE  # children go by their owner references
        known = self._uids.get(key)
        if known is not None and known != objects.uid(experiment):
            await self._forget(key)
        self._uids[key] = objects.uid(experiment)
        suggestion = self._suggestions.get(key)
        if suggestion is not None and not _owns(experiment, suggestion):
            raise errors.Conflict(f'Suggestion "{key}" belongs to another; it is waited for until it is gone')
        scene = self._observe(experiment, suggestion)
        now = self._deps.clock.now()
        marked = scene.summary(dict(objects.status(experiment)), now)
        if not is_over(marked):
            try:
                scene = await self._advance(scene, suggestion)
                marked = self._after(scene, scene.summary(dict(objects.status(experiment)), now))
            except _Failed as problem:
                marked = status.mark_failed(marked, str(problem), now)
        if is_over(marked):
            await self._close(key, scene.experiment)
        pauses = [await self._write_status(experiment, marked)]
        if not is_over(marked):
            pauses.append(scene.pause_seconds(self._deps.clock.now()))
        pause = min((one for one in pauses if one), default=None)
        return Result(requeue_after_seconds=pause)

    def _observe(self, experiment: Object, suggestion: Object | None) -> Scene:
        known = self._views.get(objects.uid(experiment), {})
        current: dict[str, tuple[str, view.View]] = {}
        for trial in self._trials.owned_by(objects.uid(experiment)):
            name, revision = objects.name(trial), str(objects.meta(trial).get("resourceVersion"))
            before = known.get(name)
            current[name] = before if before is not None and before[0] == revision else (revision, view.of(trial))
        self._views[objects.uid(experiment)] = current
        views = [one for _, one in current.values()]
        if suggestion is None and views:
            book = books.recovered(views, objects.name(experiment), objects.uid(experiment))
        else:
            book = self._read(suggestion)
        return Scene(experiment, book, views)

    def _read(self, suggestion: Object | None) -> Book:
        if suggestion is None:
            return Book()
        owner = str((objects.controller_of(suggestion) or {}).get("uid"))
        revision = str(objects.meta(suggestion).get("resourceVersion"))
        known = self._books.get(owner)
        if known is None or known[0] != revision:
            known = self._books[owner] = revision, books.read(suggestion)
        return known[1]

    async def _advance(self, scene: Scene, suggestion: Object | None) -> Scene:
        """Ask for what is missing and make it. Raises ``_Failed`` where that cannot be."""
        if suggestion is None:
            suggestion = await self._create_suggestion(scene)
        if marks.is_true(objects.status(suggestion), names.FAILED):
            raise _Failed("Suggestion has failed")
        before = self._read(suggestion)
        scene = dataclasses.replace(scene, book=books.recounted(scene.book, scene.ended))
        book = await self._ask(scene, suggestion)
        if gone := scene.excess(book):
            book = books.without(book, gone)
        book = books.trimmed(book, scene.ended)
        await self._write_book(suggestion, before, book, scene.budget)
        made = await self._make_trials(scene, scene.missing(book))
        await self._delete(scene.orphans(book))
        views = [one for one in scene.views if not (one.deleting and one.name not in {
            assignment.name for assignment in book.assignments} and not one.ended)]
        return Scene(scene.experiment, book, [*views, *map(view.of, made)])

    def _after(self, scene: Scene, marked: Status) -> Status:
        """The status once everything was made that can be."""
        now = self._deps.clock.now()
        if is_over(marked):
            return marked
        if not scene.active and not scene.pause_seconds(now):
            if scene.book.exhausted:
                return status.mark_succeeded(marked, names.SUGGESTION_END_REACHED, now)
            raise _Failed("Suggestion has failed: the algorithm gives no further assignments, and no Trial runs")
        return status.mark_running(marked, now, scene.note())

    async def _create_suggestion(self, scene: Scene) -> Object:
        if (claim := checkpoints.make_claim(scene.experiment, children.owner(scene.experiment))) is not None:
            await self._make_claim(claim)
        wanted = children.make_suggestion(scene.experiment, scene.budget.room(0, 0))
        made = await apply.ensure(self._deps.client, kinds.SUGGESTIONS, wanted, None)
        self._suggestions.observe(made)
        await self._deps.suggesting.prepare(search.make(scene.experiment))
        return made

    async def _make_claim(self, claim: Object) -> None:
        try:
            await self._deps.client.create(PERSISTENT_VOLUME_CLAIMS, claim)
        except errors.AlreadyExists:
            return  # an earlier pass made it, or a user who wants another volume

    async def _ask(self, scene: Scene, suggestion: Object) -> Book:
        """The book with all that the algorithm gives now. Raises ``_Failed``."""
        book, uid = scene.book, objects.uid(scene.experiment)
        ended, budget = scene.ended, scene.budget
        if scene.pause_seconds(self._deps.clock.now()):
            return book
        for told in range(min(book.told, len(ended)), len(ended) + 1):
            asked = books.question(book, budget, told)
            if asked is None:
                book = dataclasses.replace(book, told=max(book.told, told)) if book.count else book
                continue
            point = _Stalled(told=told, count=book.count, budget=budget)
            if self._stalled.get(uid) == point:
                continue
            known = books.known(book, ended, scene.by_name, told)
            try:
                reply = await self._deps.suggesting.suggest(search.make(scene.experiment), known, asked.count)
                rules = await self._rules(scene, told)
            except (errors.Unavailable, errors.Conflict):
                raise
            except errors.LightshipError as problem:
                await self._fail_suggestion(suggestion, str(problem))
                raise _Failed(f"Suggestion has failed: {problem}") from problem
            if rules:
                reply = dataclasses.replace(reply, proposals=tuple(
                    dataclasses.replace(one, rules=rules) for one in reply.proposals))
            book = books.taken(book, asked, reply, objects.name(scene.experiment), uid)
            if len(reply.proposals) < asked.count:
                self._stalled[uid] = dataclasses.replace(point, count=book.count)
        return book

    async def _rules(self, scene: Scene, told: int) -> tuple:  # type: ignore[type-arg]
        if not objects.spec(scene.experiment).get("earlyStopping"):
            return ()
        succeeded = [one.name for one in scene.ended[:told] if one.state == names.SUCCEEDED]
        return tuple(await self._deps.stopping.rules(scene.experiment, succeeded))

    async def _write_book(self, suggestion: Object, before: Book, book: Book, budget: Budget) -> None:
        """First how many were asked for, then what came."""
        client, now = self._deps.client, self._deps.clock.now()
        asked = int(objects.spec(suggestion).get("requests") or 0)
        if (wanted_requests := books.requests(book, budget, asked)) != asked:
            suggestion = await client.patch(kinds.SUGGESTIONS, objects.key(suggestion),
                                            {"spec": {"requests": wanted_requests}})
            self._suggestions.observe(suggestion)
        wanted = suggestions.mark_running(dict(objects.status(suggestion)), now)
        if book != before or not objects.status(suggestion).get("progress"):
            wanted |= books.written(book)
        self._suggestions.observe(await apply.patch_status(client, kinds.SUGGESTIONS, suggestion, wanted))

    async def _fail_suggestion(self, suggestion: Object, problem: str) -> None:
        failed = suggestions.mark_failed(dict(objects.status(suggestion)), problem, self._deps.clock.now())
        self._suggestions.observe(
            await apply.patch_status(self._deps.client, kinds.SUGGESTIONS, suggestion, failed))

    async def _make_trials(self, scene: Scene, missing: Sequence[Assignment]) -> list[Object]:
        """The Trials of assignments that have none. Raises ``_Failed`` where the template makes no run."""
        if not missing:
            return []
        made: list[Object] = []
        try:
            source = await self._template(scene.experiment)
            wanted = [children.make_trial(scene.experiment, one, source) for one in missing]
        except BadTemplate as problem:
            raise _Failed(f"Experiment has failed because its trial template makes no Trial: {problem}") from problem
        try:
            await tasks.each([partial(self._make_trial, scene.experiment, trial, made) for trial in wanted],
                             at_once=LIMIT_WRITES_AT_ONCE)
        except errors.InvalidInput as problem:
            raise _Failed(f"Experiment has failed because a Trial was refused: {problem}") from problem
        return made

    async def _make_trial(self, experiment: Object, trial: Object, made: list[Object]) -> None:
        await self._runs.make_before(experiment, trial)
        try:
            created = await self._deps.client.create(kinds.TRIALS, trial)
        except errors.AlreadyExists:
            created = await self._deps.client.get(kinds.TRIALS, objects.name(trial), objects.namespace(trial))
            if not _owns(experiment, created) or objects.deleting(created):
                raise errors.Conflict(
                    f'Trial "{objects.key(trial)}" is another\'s or is going; it is waited for until it is gone'
                ) from None
        made.append(created)
        self._trials.observe(created)

    async def _template(self, experiment: Object) -> templates.Template:
        wanted = objects.spec(experiment).get("trialTemplate") or {}
        if (run := wanted.get("trialSpec")) is not None:
            found: templates.Template = run
            return found
        source = wanted.get("configMap") or {}
        try:
            config_map = await self._deps.client.get(CONFIGMAPS, str(source.get("configMapName")),
                                                     str(source.get("configMapNamespace")))
        except errors.NotFound:
            config_map = None
        return template.text_of(experiment, config_map)

    async def _delete(self, orphans: Sequence[view.View]) -> None:
        for one in orphans:
            for trial in self._trials.list():
                if objects.name(trial) == one.name:
                    await apply.delete_if_there(self._deps.client, kinds.TRIALS, trial)

    async def _close(self, key: Key, experiment: Object) -> None:
        """What an Experiment that has ended no longer needs."""
        policy = str(objects.spec(experiment).get("resumePolicy"))
        suggestion = self._suggestions.get(key)
        if suggestion is not None:
            wanted = suggestions.mark_succeeded(dict(objects.status(suggestion)), policy, self._deps.clock.now())
            self._suggestions.observe(
                await apply.patch_status(self._deps.client, kinds.SUGGESTIONS, suggestion, wanted))
        if policy != names.LONG_RUNNING and not status.ended(experiment):
            await self._deps.suggesting.forget(objects.uid(experiment))

    async def _write_status(self, experiment: Object, marked: Status) -> float:
        """Write how far it is, an end at once and all else once in a while; returns after how long to come again."""
        uid, now = objects.uid(experiment), self._deps.clock.monotonic()
        settled = is_over(marked) or status.ended(experiment) or not objects.status(experiment)
        wait = self._written.get(uid, now - STATUS_SECONDS) + STATUS_SECONDS - now
        if wait > 0 and not settled and marked != objects.status(experiment):
            return wait
        written = await apply.patch_status(self._deps.client, kinds.EXPERIMENTS, experiment, marked)
        if written is not experiment:
            self._written[uid] = now
        self._experiments.observe(written)
        for type in (names.SUCCEEDED, names.FAILED, names.RESTARTING):
            after = conditions.find({"status": marked}, type) or {}
            if after.get("status") == "True" and not marks.is_true(objects.status(experiment), type):
                await self._deps.recorder.event(experiment, "Warning" if type == names.FAILED else "Normal",
                                                str(after.get("reason")), str(after.get("message")))
        return 0.0

    async def _forget(self, key: Key) -> None:
        uid = self._uids.pop(key, None)
        if uid is not None:
            self._views.pop(uid, None)
            self._books.pop(uid, None)
            self._stalled.pop(uid, None)
            self._written.pop(uid, None)
            await self._deps.suggesting.forget(uid)


def _owns(experiment: Object, child: Object) -> bool:
    return (objects.controller_of(child) or {}).get("uid") == objects.uid(experiment)


def controller(deps: TuningDeps, runs: Runs) -> Controller:
    """The controller of Experiments, with their Suggestions and Trials."""
    owned = owner_key(kinds.EXPERIMENTS.kind)
    return Controller(name=NAME, reconciler=ExperimentReconciler(deps, runs), workers=WORKERS, watches=(
        Watch(resource=kinds.EXPERIMENTS),
        Watch(resource=kinds.TRIALS, keys=owned),
        Watch(resource=kinds.SUGGESTIONS, keys=owned),
    ))
