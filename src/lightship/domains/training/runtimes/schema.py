"""The schema of both runtimes. Pure data; ``training`` puts me into its kinds."""

from __future__ import annotations

from lightship.domains.training import schema as s

_PROCESSES = s.number(default=1) | {"x-kubernetes-validations": [
    {"rule": "self >= 1", "message": "numProcPerNode must be greater than or equal to 1"}]}
_TARGET = s.object_of(
    ("containerNames", "jobName"),
    jobName=s.text(minLength=1, maxLength=253),
    containerNames=s.ruled(s.list_of(s.text(maxLength=253), 8, atomic=True) | {"minItems": 1}, {
        "rule": "!self.exists(c, c == 'node')", "message": "the container node has these variables anyway"}))
_POLICY = s.ruled(s.object_of(
    numNodes=s.number(),
    torch=s.object_of(envInjection=s.object_of(targets=s.list_of(_TARGET, 16, atomic=True))),
    jax=s.EMPTY, xgboost=s.EMPTY,
    flux=s.object_of(numProcPerNode=_PROCESSES),
    mpi=s.object_of(numProcPerNode=_PROCESSES,
                    mpiImplementation=s.text(enum=["OpenMPI", ""], default="OpenMPI"),
                    runLauncherAsNode={"type": "boolean", "default": False},
                    sshAuthMountPath=s.text(default="/root/" + ".ssh", maxLength=4096)),
), {"rule": "[has(self.torch), has(self.mpi), has(self.jax), has(self.xgboost), has(self.flux)]"
            ".filter(x, x).size() <= 1", "message": "Only one of the policy can be configured"})
_GANG = s.object_of(
    coscheduling=s.object_of(scheduleTimeoutSeconds=s.number(default=60)),
    volcano=s.object_of(networkTopology=s.object_of(
        mode=s.text(enum=["hard", "soft"], default="hard"), highestTierAllowed=s.number(default=1))))
_DEPENDS = s.object_of(("name", "status"), name=s.text(), status=s.text(enum=["Ready", "Complete"]))
_JOB_TEMPLATE = s.object_of(metadata=s.METADATA, spec=s.OPEN | {"properties": {
    "template": s.OPEN | {"properties": {"metadata": s.METADATA, "spec": s.OPEN | {"properties": {
        "containers": s.list_of(s.OPEN | {"properties": {"name": s.text()}, "required": ["name"]}, key="name")},
    }}}}, "required": ["template"]})
_REPLICATED_JOB = s.object_of(
    ("name", "template"),
    name=s.text(), groupName=s.text(default="default"), replicas=s.number(default=1),
    dependsOn=s.ruled(s.list_of(_DEPENDS, 5, key="name"), s.IMMUTABLE), template=_JOB_TEMPLATE)
_JOB_SET = s.ruled(s.OPEN | {"properties": {
    "replicatedJobs": s.list_of(_REPLICATED_JOB, 100, key="name"),
    "startupPolicy": s.object_of(("startupPolicyOrder",), startupPolicyOrder=s.text(enum=["AnyOrder", "InOrder"])),
    "successPolicy": s.object_of(("operator",), operator=s.text(enum=["All", "Any"]),
                                 targetReplicatedJobs=s.list_of(s.text(), atomic=True)),
    "network": s.object_of(enableDNSHostnames={"type": "boolean"}, publishNotReadyAddresses={"type": "boolean"},
                           subdomain=s.text()),
    "suspend": {"type": "boolean"}, "ttlSecondsAfterFinished": s.number(minimum=0),
}}, {"rule": "!(has(self.startupPolicy) && self.startupPolicy.startupPolicyOrder == 'InOrder' && "
             "has(self.replicatedJobs) && self.replicatedJobs.exists(x, has(x.dependsOn)))",
     "message": "StartupPolicy and DependsOn APIs are mutually exclusive"})

SCHEMA = s.of_kind(s.object_of(
    mlPolicy=_POLICY, podGroupPolicy=_GANG,
    template=s.object_of(metadata=s.METADATA, spec=_JOB_SET)))
