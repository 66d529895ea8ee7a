"""The types that the core kinds' data must have, so that what is stored can be trusted by those who run it.

Pure data. ``shapes`` converts against me; a value of the wrong type is a bad request that names its place, as in
Kubernetes. Fields that are not listed here are passed through. Everything may be null, which means unset.
"""

from __future__ import annotations

from typing import Any

import msgspec

Strings = dict[str, str]
Quantities = dict[str, str | int | float]
Free = dict[str, Any]


class OwnerReference(msgspec.Struct):
    apiVersion: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    blockOwnerDeletion: bool | None = None


class ObjectMeta(msgspec.Struct):
    name: str | None = None
    generateName: str | None = None
    namespace: str | None = None
    uid: str | None = None
    resourceVersion: str | None = None
    generation: int | None = None
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    deletionGracePeriodSeconds: int | None = None
    labels: Strings | None = None
    annotations: Strings | None = None
    finalizers: list[str] | None = None
    ownerReferences: list[OwnerReference] | None = None
    managedFields: list[Free] | None = None


class EnvVar(msgspec.Struct):
    name: str
    value: str | None = None
    valueFrom: Free | None = None


class ContainerPort(msgspec.Struct):
    containerPort: int
    name: str | None = None
    protocol: str | None = None
    hostPort: int | None = None
    hostIP: str | None = None


class VolumeMount(msgspec.Struct):
    name: str
    mountPath: str
    subPath: str | None = None
    readOnly: bool | None = None


class ResourceNeeds(msgspec.Struct):
    limits: Quantities | None = None
    requests: Quantities | None = None


class Container(msgspec.Struct):
    name: str
    image: str | None = None
    command: list[str] | None = None
    args: list[str] | None = None
    workingDir: str | None = None
    env: list[EnvVar] | None = None
    envFrom: list[Free] | None = None
    ports: list[ContainerPort] | None = None
    volumeMounts: list[VolumeMount] | None = None
    resources: ResourceNeeds | None = None
    imagePullPolicy: str | None = None
    restartPolicy: str | None = None
    terminationMessagePath: str | None = None
    terminationMessagePolicy: str | None = None
    livenessProbe: Free | None = None
    readinessProbe: Free | None = None
    startupProbe: Free | None = None
    lifecycle: Free | None = None
    securityContext: Free | None = None
    stdin: bool | None = None
    tty: bool | None = None


class Volume(msgspec.Struct):
    name: str
    emptyDir: Free | None = None
    configMap: Free | None = None
    secret: Free | None = None
    projected: Free | None = None
    downwardAPI: Free | None = None
    persistentVolumeClaim: Free | None = None
    hostPath: Free | None = None


class PodSpec(msgspec.Struct):
    containers: list[Container] | None = None
    initContainers: list[Container] | None = None
    volumes: list[Volume] | None = None
    restartPolicy: str | None = None
    terminationGracePeriodSeconds: int | None = None
    activeDeadlineSeconds: int | None = None
    nodeName: str | None = None
    nodeSelector: Strings | None = None
    serviceAccountName: str | None = None
    serviceAccount: str | None = None
    automountServiceAccountToken: bool | None = None
    hostNetwork: bool | None = None
    hostname: str | None = None
    subdomain: str | None = None
    imagePullSecrets: list[Free] | None = None
    tolerations: list[Free] | None = None
    affinity: Free | None = None
    securityContext: Free | None = None
    schedulerName: str | None = None
    priorityClassName: str | None = None
    priority: int | None = None
    dnsPolicy: str | None = None
    shareProcessNamespace: bool | None = None


class TemplateMeta(msgspec.Struct):
    labels: Strings | None = None
    annotations: Strings | None = None
    name: str | None = None


class PodTemplate(msgspec.Struct):
    metadata: TemplateMeta | None = None
    spec: PodSpec | None = None


class LabelSelector(msgspec.Struct):
    matchLabels: Strings | None = None
    matchExpressions: list[Free] | None = None


class Pod(msgspec.Struct):
    spec: PodSpec | None = None
    status: Free | None = None


class DeploymentSpec(msgspec.Struct):
    replicas: int | None = None
    selector: LabelSelector | None = None
    template: PodTemplate | None = None
    strategy: Free | None = None
    minReadySeconds: int | None = None
    revisionHistoryLimit: int | None = None
    progressDeadlineSeconds: int | None = None
    paused: bool | None = None


class Deployment(msgspec.Struct):
    spec: DeploymentSpec | None = None
    status: Free | None = None


class JobSpec(msgspec.Struct):
    template: PodTemplate | None = None
    selector: LabelSelector | None = None
    parallelism: int | None = None
    completions: int | None = None
    completionMode: str | None = None
    backoffLimit: int | None = None
    activeDeadlineSeconds: int | None = None
    ttlSecondsAfterFinished: int | None = None
    suspend: bool | None = None
    podFailurePolicy: Free | None = None


class Job(msgspec.Struct):
    spec: JobSpec | None = None
    status: Free | None = None


class ServicePort(msgspec.Struct):
    port: int
    name: str | None = None
    protocol: str | None = None
    targetPort: int | str | None = None
    nodePort: int | None = None


class ServiceSpec(msgspec.Struct):
    ports: list[ServicePort] | None = None
    selector: Strings | None = None
    type: str | None = None
    clusterIP: str | None = None
    externalName: str | None = None
    publishNotReadyAddresses: bool | None = None


class Service(msgspec.Struct):
    spec: ServiceSpec | None = None
    status: Free | None = None


class ConfigMap(msgspec.Struct):
    data: Strings | None = None
    binaryData: Strings | None = None
    immutable: bool | None = None


class Secret(msgspec.Struct):
    data: Strings | None = None
    stringData: Strings | None = None
    type: str | None = None
    immutable: bool | None = None


class Loose(msgspec.Struct):
    """Any other kind: spec and status are objects."""

    spec: Free | None = None
    status: Free | None = None


class Endpoint(msgspec.Struct):
    addresses: list[str] | None = None
    conditions: Free | None = None


class EndpointSlice(msgspec.Struct):
    addressType: str | None = None
    endpoints: list[Endpoint] | None = None
    ports: list[Free] | None = None


class Event(msgspec.Struct):
    involvedObject: Free | None = None
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    firstTimestamp: str | None = None
    lastTimestamp: str | None = None
    eventTime: str | None = None
    source: Free | None = None
    series: Free | None = None
    action: str | None = None
    reportingComponent: str | None = None
    reportingInstance: str | None = None
