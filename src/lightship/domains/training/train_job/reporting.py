"""What a training needs to report its progress: where to, whom to trust, and a token for nothing else. Pure.

``lower`` calls me; the variables and the volume are upstream's, and ``training.progress`` answers. The address is the
API server's, as every Pod knows it, so nothing depends on names being resolved.
"""

from __future__ import annotations

from lightship.domains.training import names, progress
from lightship.domains.training.train_job.draft import Draft, upsert
from lightship.kube import objects
from lightship.kube.objects import Object

_FOLDER = "/var/run/secrets/kubeflow/trainer"
_VOLUME = "kubeflow-trainer-token"
_TOKEN_SECONDS = 3600
_ROOT_CA = "kube-root-ca.crt"
"""The ConfigMap with the API server's authority that every namespace has."""
_SERVER = "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"


def enforce(draft: Draft, job: Object) -> None:
    """Give the training's containers the variables and the volume."""
    key = objects.key(job)
    variables = [
        {"name": "KUBEFLOW_TRAINER_SERVER_URL", "value": _SERVER + progress.path(key)},
        {"name": "KUBEFLOW_TRAINER_SERVER_CA_CERT", "value": f"{_FOLDER}/ca.crt"},
        {"name": "KUBEFLOW_TRAINER_SERVER_TOKEN", "value": f"{_FOLDER}/token"},
    ]
    volume = {"name": _VOLUME, "projected": {"sources": [
        {"serviceAccountToken": {"audience": progress.audience(key), "expirationSeconds": _TOKEN_SECONDS,
                                 "path": "token"}},
        {"configMap": {"name": _ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}}]}}
    mount = {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}
    for step in draft.with_step(names.TRAINER)[:1]:
        for body in step.pod.get("containers") or ():
            body["env"] = upsert(body.get("env") or (), variables)
            body["volumeMounts"] = upsert(body.get("volumeMounts") or (), [mount], key="mountPath")
        step.pod["volumes"] = upsert(step.pod.get("volumes") or (), [volume])


def keep_last_words(draft: Draft) -> None:
    """Have a container that fails leave its last lines in its Pod's status, from where they get into the TrainJob's."""
    for step in draft.steps:
        for body in step.pod.get("containers") or ():
            body.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
