"""What a Trial's Pod gets when it is created and its maker could not say: in the server, or as a webhook. Pure.

Who makes a run says in its Pod templates what its Pods need (``children``). A TrainJob has none, and may not patch a
container into its runtime's; so its Pods get here what they lack, as upstream's webhook gives it to every Pod.
"""

from __future__ import annotations

from lightship.domains.tuning import names
from lightship.domains.tuning.collectors import injection, sources
from lightship.domains.tuning.trial import checkpoints
from lightship.kube import objects
from lightship.kube.objects import Key, Object


def trial_of(pod: Object) -> Key | None:
    """The Trial whose label the Pod bears."""
    return sources.trial_of(pod)


def amend(pod: Object, trial: Object) -> Object:
    """The Pod with what its Trial's collector and checkpoints need, where it has the Trial's own container."""
    spec = objects.spec(trial)
    containers = objects.spec(pod).get("containers") or ()
    has_primary = any(one.get("name") == spec.get("primaryContainerName") for one in containers)
    if not has_primary or not sources.is_primary(pod, spec.get("primaryPodLabels") or {}):
        return pod
    if names.CHECKPOINT_VOLUME not in {one.get("name") for one in objects.spec(pod).get("volumes") or ()}:
        pod = checkpoints.amend(trial, pod)
    if not injection.has_sidecar(trial, pod):
        pod = injection.amend(trial, pod)
    return pod
