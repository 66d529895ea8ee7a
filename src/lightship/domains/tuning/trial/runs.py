"""The runs of Trials, of whatever kind: found by discovery, watched from their first use, made and deleted.

Both reconcilers call me; I call ``client`` and start informers. A kind is looked up once; its informer sees only what
bears a Trial's label, and wakes that Trial.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightship import errors
from lightship.client.client import Client, Selection
from lightship.domains.tuning import names
from lightship.domains.tuning.trial import children
from lightship.domains.tuning.trial.children import Amend
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import JOBS, Resource
from lightship.runtime import apply
from lightship.runtime.informer import Informer

_OURS = Selection(labels=names.TRIAL_LABEL)
_RUNTIMES = {kind: Resource(group="trainer.kubeflow.org", version="v1alpha1", kind=kind, plural=f"{kind.lower()}s",
                            namespaced=kind == "TrainingRuntime")
             for kind in ("TrainingRuntime", "ClusterTrainingRuntime")}
RUN_FIRST = frozenset((children.TRAIN_JOB,))
"""Kinds whose run is made before its Trial: the ``kubeflow`` SDK reads the TrainJob of each Trial that it sees."""


class Runs:
    """``wake`` is told the key of a Trial whose run has changed."""

    def __init__(self, client: Client, informer: Callable[[Resource, Selection], Informer],
                 wake: Callable[[Key], None], amend: Amend | None = None) -> None:
        self._client = client
        self._informer = informer
        self._wake = wake
        self._amend = amend
        self._resources: dict[tuple[str, str], Resource] = {(JOBS.api_version, JOBS.kind): JOBS}
        self._informers: dict[str, Informer] = {}
        self._deleted: set[str] = set()
        """The uids of runs that I deleted and whose informer still has them."""

    async def resource(self, run: Object) -> Resource:
        """The kind of a run as this cluster serves it. Raises ``errors.NotFound``, with what to do."""
        version, kind = str(run.get("apiVersion") or ""), str(run.get("kind") or "")
        known = self._resources.get((version, kind))
        if known is not None:
            return known
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        found: list[dict[str, Any]] = []
        try:
            found = (await self._client.raw("GET", path)).get("resources") or []
        except errors.NotFound:
            found = []
        for one in found:
            if one.get("kind") == kind and "/" not in str(one.get("name")):
                group, _, served = version.rpartition("/")
                resource = Resource(group=group, version=served, kind=kind, plural=str(one["name"]),
                                    namespaced=bool(one.get("namespaced")))
                if not resource.namespaced:
                    raise errors.InvalidInput(f"a Trial runs in its namespace, and {kind} has none")
                self._resources[(version, kind)] = resource
                return resource
        raise errors.NotFound(f"{kind} of {version} is not served here",
                              remedy="Install its CustomResourceDefinition, or name another kind in trialSpec")

    async def find(self, resource: Resource, key: Key) -> Object | None:
        """The run of that name, read from the server until the informer of its kind has synced."""
        informer = self._watched(resource)
        if informer.synced.is_set() and (found := informer.get(key)) is not None:
            return found
        if informer.synced.is_set():
            return None
        return await self._read(resource, key)

    async def make(self, resource: Resource, trial: Object, owner: Object) -> Object:
        """The run of a Trial, as it is now. Raises ``errors.AlreadyExists`` where its name is another's."""
        wanted = children.make_run(trial, owner, await self._replicated_jobs(objects.spec(trial)["runSpec"],
                                                                             objects.namespace(trial)), self._amend)
        try:
            made = await self._client.create(resource, wanted)
        except errors.AlreadyExists:
            there = await self._read(resource, objects.key(wanted))
            if there is None:
                raise errors.Conflict(f'{resource.kind} "{objects.key(wanted)}" went while it was looked at') from None
            made = there
        self._watched(resource).observe(made)
        return made

    async def make_before(self, experiment: Object, trial: Object) -> None:
        """Make the run of a Trial that is yet to be, where its kind is read with it; the Trial takes it over."""
        run = objects.spec(trial)["runSpec"]
        if children.group_kind(run) not in RUN_FIRST:
            return
        owner = {"apiVersion": experiment["apiVersion"], "kind": experiment["kind"], "name": objects.name(experiment),
                 "uid": objects.uid(experiment), "controller": True, "blockOwnerDeletion": True}
        try:
            await self.make(await self.resource(run), trial, owner)
        except (errors.InvalidInput, errors.Forbidden, errors.NotFound):
            return  # the Trial will try again, and tell why not

    async def adopt(self, resource: Resource, trial: Object, run: Object) -> Object:
        """The run as the Trial's own, where its Experiment made it."""
        adopted = await self._client.patch(resource, objects.key(run), {"metadata": {
            "uid": objects.uid(run), "ownerReferences": [children.owner(trial)]}})
        self._watched(resource).observe(adopted)
        return adopted

    async def delete(self, resource: Resource, run: Object) -> None:
        """Delete a run; what was deleted once is not again, however long its informer takes to tell."""
        if objects.uid(run) not in self._deleted:
            await apply.delete_if_there(self._client, resource, run)
            if self._watched(resource).get(objects.key(run)) is not None:
                self._deleted.add(objects.uid(run))

    def _watched(self, resource: Resource) -> Informer:
        informer = self._informers.get(resource.group_resource)
        if informer is None:
            informer = self._informers[resource.group_resource] = self._informer(resource, _OURS)
            informer.subscribe(self._changed)
        return informer

    def _changed(self, old: Object | None, new: Object | None) -> None:
        run = new or old or {}
        if new is None:
            self._deleted.discard(objects.uid(run))
        if name := objects.labels(run).get(names.TRIAL_LABEL):
            self._wake(Key(objects.namespace(run), name))

    async def _read(self, resource: Resource, key: Key) -> Object | None:
        try:
            return await self._client.get(resource, key.name, key.namespace)
        except errors.NotFound:
            return None

    async def _replicated_jobs(self, run: Object, namespace: str) -> tuple[str, ...]:
        """The names of the jobs of a TrainJob's runtime."""
        if children.group_kind(run) != children.TRAIN_JOB:
            return ()
        reference = objects.spec(run).get("runtimeRef") or {}
        resource = _RUNTIMES.get(str(reference.get("kind") or "ClusterTrainingRuntime"))
        if resource is None:
            return ()
        runtime = await self._read(resource, Key(namespace if resource.namespaced else "", str(reference.get("name"))))
        template = objects.spec(objects.spec(runtime or {}).get("template") or {})
        return tuple(str(job["name"]) for job in template.get("replicatedJobs") or ())
