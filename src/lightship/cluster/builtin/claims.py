"""Binds PersistentVolumeClaims to volumes, makes volumes of the built-in class, and guards both while they are used.

``builtin`` builds me; I call ``client``. ``claim_plan`` decides. The data of a volume is the node's: it deletes the
directory, and then the volume, once the claim is gone and the policy says Delete.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightship import errors
from lightship.cluster.builtin import claim_plan as plan
from lightship.cluster.builtin import names, pods
from lightship.cluster.builtin.deps import Deps
from lightship.kube import conditions, objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import NODES, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS, STORAGE_CLASSES
from lightship.runtime import apply
from lightship.runtime.controller import DONE, Controller, Result, Watch
from lightship.runtime.events import Recorder

NAME = "persistent-volume-binder"
VOLUMES_NAME = "persistent-volume-controller"
EPHEMERAL_NAME = "ephemeral-volume-controller"
COMPONENT = "persistentvolume-controller"
_BY_CLAIM = "claims:claim"


class Claims:
    """The pass: observe, decide, apply. The key is the claim's."""

    def __init__(self, deps: Deps) -> None:
        manager = deps.manager
        self._claims = manager.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = manager.informer(PERSISTENT_VOLUMES)
        self._classes = manager.informer(STORAGE_CLASSES)
        self._nodes = manager.informer(NODES)
        self._pods = manager.informer(PODS)
        self._pods.add_index(_BY_CLAIM, _claims_of)
        self._client = manager.client_for(NAME)
        self._clock = deps.clock
        self._events = Recorder(self._client, COMPONENT, deps.clock)

    async def reconcile(self, key: Key) -> Result:
        claim = self._claims.get(key)
        if claim is None:
            return DONE
        if objects.deleting(claim):
            await self._release(claim)
            return DONE
        claim = await self._prepared(claim)
        name = str(objects.spec(claim).get("volumeName") or "")
        if name:
            volume = self._volumes.get(Key("", name))
            await self._keep(claim, volume) if volume is not None else await self._lost(claim, name)
            return DONE
        volume = plan.best(claim, self._volumes.list()) or await self._provisioned(claim)
        if volume is not None:
            await self._bind(claim, volume)
        return DONE

    async def _prepared(self, claim: Object) -> Object:
        """With its finalizer and, where it names no class, the default one."""
        patch: dict[str, Any] = {}
        if plan.CLAIM_FINALIZER not in objects.finalizers(claim):
            patch["metadata"] = {"finalizers": [*objects.finalizers(claim), plan.CLAIM_FINALIZER],
                                 "resourceVersion": objects.meta(claim).get("resourceVersion")}
        spec = objects.spec(claim)
        if spec.get("storageClassName") is None and not spec.get("volumeName"):
            default = plan.default_class(self._classes.list())
            if default is not None:
                patch["spec"] = {"storageClassName": default}
        return await self._patched(claim, patch) if patch else claim

    async def _patched(self, claim: Object, patch: dict[str, Any], subresource: str | None = None) -> Object:
        changed = await self._client.patch(PERSISTENT_VOLUME_CLAIMS, objects.key(claim), patch,
                                           subresource=subresource)
        self._claims.observe(changed)
        return changed

    async def _release(self, claim: Object) -> None:
        """Let a claim go that nobody uses any more."""
        held = objects.finalizers(claim)
        if plan.CLAIM_FINALIZER not in held or self._pods.indexed(_BY_CLAIM, str(objects.key(claim))):
            return
        await self._patched(claim, {"metadata": {
            "finalizers": [name for name in held if name != plan.CLAIM_FINALIZER],
            "resourceVersion": objects.meta(claim).get("resourceVersion")}})

    async def _provisioned(self, claim: Object) -> Object | None:
        """A new volume for the claim, or None with the reason as an event."""
        name = str(objects.spec(claim).get("storageClassName") or "")
        storage_class = self._classes.get(Key("", name)) if name else None
        if storage_class is None:
            why = (f'storageclass.storage.k8s.io "{name}" not found' if name else
                   "no persistent volumes available for this claim and no storage class is set")
            await self._say(claim, "Warning" if name else "Normal", "ProvisioningFailed" if name else "FailedBinding",
                            why)
            return None
        if storage_class.get("provisioner") != plan.PROVISIONER:
            if storage_class.get("provisioner") != "kubernetes.io/no-provisioner":
                await self._say(claim, "Normal", "ExternalProvisioning",
                                "Waiting for a volume to be created either by the external provisioner "
                                f"'{storage_class.get('provisioner')}' or manually by the system administrator. If "
                                "volume creation is delayed, please verify that the provisioner is running and "
                                "correctly registered.")
            return None
        node = names.annotation(claim, names.SELECTED_NODE)
        if not node and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer":
            await self._say(claim, "Normal", "WaitForFirstConsumer",
                            "waiting for first consumer to be created before binding")
            return None
        node = node or self._any_node()
        if not node:
            return None  # the first node's registration wakes me
        if objects.spec(claim).get("volumeMode") == "Block":
            await self._say(claim, "Warning", "ProvisioningFailed",
                            f'storageclass "{name}" has directories only: volumeMode Block is not to be had')
            return None
        wanted = plan.make_volume(claim, storage_class, node, plan.handles(self._volumes.list()))
        try:
            volume = await self._client.create(PERSISTENT_VOLUMES, wanted)
        except errors.AlreadyExists:
            volume = await self._client.get(PERSISTENT_VOLUMES, objects.name(wanted))
        self._volumes.observe(volume)
        await self._say(claim, "Normal", "ProvisioningSucceeded",
                        f"Successfully provisioned volume {objects.name(volume)}")
        return volume

    def _any_node(self) -> str:
        ready = sorted(objects.name(node) for node in self._nodes.list() if conditions.is_true(node, "Ready"))
        return ready[0] if ready else ""

    async def _bind(self, claim: Object, volume: Object) -> None:
        """First the volume says whose it is, then the claim which it has: a crash between finds the volume kept."""
        volume = await self._claimed(claim, volume)
        annotations = {plan.BIND_COMPLETED: "yes", plan.BOUND_BY_CONTROLLER: "yes"}
        claim = await self._patched(claim, {"metadata": {"annotations": annotations},
                                            "spec": {"volumeName": objects.name(volume)}})
        await self._bound(claim, volume)

    async def _claimed(self, claim: Object, volume: Object) -> Object:
        reference = objects.spec(volume).get("claimRef") or {}
        if reference.get("uid") != objects.uid(claim):
            patch = {"metadata": {"resourceVersion": objects.meta(volume).get("resourceVersion")},
                     "spec": {"claimRef": plan.claim_reference(claim)}}
            volume = await self._client.patch(PERSISTENT_VOLUMES, objects.key(volume), patch)
            self._volumes.observe(volume)
        return volume

    async def _keep(self, claim: Object, volume: Object) -> None:
        """A claim that names its volume: the two belong together, and grow together."""
        reference = objects.spec(volume).get("claimRef")
        if reference and not plan.is_claimed_by(volume, claim):
            if objects.status(claim).get("phase") == "Bound":
                await self._lost(claim, objects.name(volume))
            else:
                await self._say(claim, "Warning", "FailedBinding",
                                f'volume "{objects.name(volume)}" already bound to a different claim.')
            return
        volume = await self._claimed(claim, volume)
        storage_class = self._classes.get(Key("", str(objects.spec(claim).get("storageClassName") or ""))) or {}
        driver = (objects.spec(volume).get("csi") or {}).get("driver")
        if (plan.storage(claim) > plan.storage(volume) and driver == plan.PROVISIONER
                and storage_class.get("allowVolumeExpansion")):
            size = objects.spec(claim)["resources"]["requests"]["storage"]
            volume = await self._client.patch(PERSISTENT_VOLUMES, objects.key(volume),
                                              {"spec": {"capacity": {"storage": size}}})
            self._volumes.observe(volume)
            await self._say(claim, "Normal", "FileSystemResizeSuccessful", "directories have no size of their own")
        await self._bound(claim, volume)

    async def _bound(self, claim: Object, volume: Object) -> None:
        status = {"phase": "Bound", "accessModes": objects.spec(volume).get("accessModes") or [],
                  "capacity": objects.spec(volume).get("capacity") or {}}
        if {key: objects.status(claim).get(key) for key in status} != status:
            await self._patched(claim, {"status": status}, "status")

    async def _lost(self, claim: Object, volume: str) -> None:
        if objects.status(claim).get("phase") == "Lost" or objects.status(claim).get("phase") != "Bound":
            return  # it was never bound: the volume may yet come
        await self._patched(claim, {"status": {"phase": "Lost"}}, "status")
        await self._say(claim, "Warning", "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume "
                                                       f'"{volume}" is lost!')

    async def _say(self, claim: Object, type: Any, reason: str, message: str) -> None:
        await self._events.event(claim, type, reason, message)

    def waiting(self, obj: Object) -> Iterable[Key]:
        """The claims that wait: a new volume, class or node may be what they wait for."""
        return [objects.key(claim) for claim in self._claims.list() if not objects.spec(claim).get("volumeName")]


class Volumes:
    """The pass over one volume: its phase, its finalizer."""

    def __init__(self, deps: Deps) -> None:
        self._claims = deps.manager.informer(PERSISTENT_VOLUME_CLAIMS)
        self._volumes = deps.manager.informer(PERSISTENT_VOLUMES)
        self._client = deps.manager.client_for(VOLUMES_NAME)

    async def reconcile(self, key: Key) -> Result:
        volume = self._volumes.get(key)
        if volume is None:
            return DONE
        phase = await self._phase(volume)
        held = objects.finalizers(volume)
        if objects.deleting(volume):
            if plan.is_reclaimed_by_node(volume) and objects.status(volume).get("phase") != phase:
                await self._client.patch(PERSISTENT_VOLUMES, key, {"status": {"phase": phase}}, subresource="status")
            if plan.VOLUME_FINALIZER in held and phase != "Bound" and not plan.is_reclaimed_by_node(volume):
                held = [name for name in held if name != plan.VOLUME_FINALIZER]
                await self._client.patch(PERSISTENT_VOLUMES, key, {"metadata": {
                    "finalizers": held, "resourceVersion": objects.meta(volume).get("resourceVersion")}})
            return DONE
        if plan.VOLUME_FINALIZER not in held:
            volume = await self._client.patch(PERSISTENT_VOLUMES, key, {"metadata": {
                "finalizers": [*held, plan.VOLUME_FINALIZER],
                "resourceVersion": objects.meta(volume).get("resourceVersion")}})
            self._volumes.observe(volume)
        if objects.status(volume).get("phase") != phase:
            self._volumes.observe(await self._client.patch(PERSISTENT_VOLUMES, key, {"status": {"phase": phase}},
                                                           subresource="status"))
        return DONE

    async def _phase(self, volume: Object) -> str:
        reference = objects.spec(volume).get("claimRef")
        if not reference:
            return "Available"
        place = Key(str(reference.get("namespace")), str(reference.get("name")))
        claim = self._claims.get(place)
        if not reference.get("uid"):
            return "Available"  # kept for a claim that has not come yet
        if claim is None or objects.uid(claim) != reference["uid"]:
            try:  # What is released may be deleted: the cache alone is not enough to go by.
                claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, place.name, place.namespace)
            except errors.NotFound:
                return "Released"
        return "Bound" if objects.uid(claim) == reference["uid"] else "Released"


class Ephemeral:
    """The pass over a Pod with ``ephemeral`` volumes: makes their claims."""

    def __init__(self, deps: Deps) -> None:
        self._pods = deps.manager.informer(PODS)
        self._claims = deps.manager.informer(PERSISTENT_VOLUME_CLAIMS)
        self._client = deps.manager.client_for(EPHEMERAL_NAME)

    async def reconcile(self, key: Key) -> Result:
        pod = self._pods.get(key)
        if pod is None or not pods.active(pod):
            return DONE
        for wanted in plan.ephemeral_claims(pod):
            if self._claims.get(objects.key(wanted)) is None:
                self._claims.observe(await apply.ensure(self._client, PERSISTENT_VOLUME_CLAIMS, wanted, None))
        return DONE


def _claims_of(pod: Object) -> Iterable[str]:
    """The claims that keep a Pod going; a finished one uses none."""
    if pods.finished(pod):
        return ()
    return [f"{objects.namespace(pod)}/{name}" for volume in objects.spec(pod).get("volumes") or ()
            for name in _claim_names(pod, volume)]


def _claim_names(pod: Object, volume: Object) -> Iterable[str]:
    if volume.get("persistentVolumeClaim"):
        yield str(volume["persistentVolumeClaim"].get("claimName"))
    elif volume.get("ephemeral"):
        yield names.ephemeral_claim(objects.name(pod), str(volume.get("name")))


def _of_pod(pod: Object) -> Iterable[Key]:
    return [Key(objects.namespace(pod), name) for volume in objects.spec(pod).get("volumes") or ()
            for name in _claim_names(pod, volume)]


def _of_volume(volume: Object) -> Iterable[Key]:
    reference = objects.spec(volume).get("claimRef") or {}
    return (Key(str(reference["namespace"]), str(reference["name"])),) if reference.get("name") else ()


def _volume_of(claim: Object) -> Iterable[Key]:
    name = objects.spec(claim).get("volumeName")
    return (Key("", str(name)),) if name else ()


def _has_ephemeral(pod: Object) -> Iterable[Key]:
    return (objects.key(pod),) if any(volume.get("ephemeral") for volume in objects.spec(pod).get("volumes") or ()) \
        else ()


def controllers(deps: Deps) -> list[Controller]:
    reconciler = Claims(deps)
    return [
        Controller(name=NAME, reconciler=reconciler, workers=1, watches=(
            Watch(resource=PERSISTENT_VOLUME_CLAIMS), Watch(resource=PODS, keys=_of_pod),
            Watch(resource=PERSISTENT_VOLUMES, keys=lambda volume: [*_of_volume(volume), *_free(reconciler, volume)]),
            Watch(resource=STORAGE_CLASSES, keys=reconciler.waiting),
            Watch(resource=NODES, keys=reconciler.waiting))),
        Controller(name=VOLUMES_NAME, reconciler=Volumes(deps), workers=1, watches=(
            Watch(resource=PERSISTENT_VOLUMES), Watch(resource=PERSISTENT_VOLUME_CLAIMS, keys=_volume_of))),
        Controller(name=EPHEMERAL_NAME, reconciler=Ephemeral(deps), workers=1, watches=(
            Watch(resource=PODS, keys=_has_ephemeral),)),
    ]


def _free(reconciler: Claims, volume: Object) -> Iterable[Key]:
    """A volume that is nobody's may be what others wait for."""
    return () if (objects.spec(volume).get("claimRef") or {}).get("uid") else reconciler.waiting(volume)
