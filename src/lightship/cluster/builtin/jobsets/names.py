"""Labels, annotations, reasons and names of JobSets, as upstream has them. Pure."""

from __future__ import annotations

NAME = "jobset.sigs.k8s.io/jobset-name"
UID = "jobset.sigs.k8s.io/jobset-uid"
REPLICATED_JOB = "jobset.sigs.k8s.io/replicatedjob-name"
REPLICAS = "jobset.sigs.k8s.io/replicatedjob-replicas"
GLOBAL_REPLICAS = "jobset.sigs.k8s.io/global-replicas"
INDEX = "jobset.sigs.k8s.io/job-index"
GLOBAL_INDEX = "jobset.sigs.k8s.io/job-global-index"
KEY = "jobset.sigs.k8s.io/job-key"
JOB_RESTARTS = "jobset.sigs.k8s.io/job-restart-attempt"
RESTARTS = "jobset.sigs.k8s.io/restart-attempt"
COORDINATOR = "jobset.sigs.k8s.io/coordinator"
GROUP = "jobset.sigs.k8s.io/group-name"
GROUP_REPLICAS = "jobset.sigs.k8s.io/group-replicas"
GROUP_INDEX = "jobset.sigs.k8s.io/job-group-index"
EXCLUSIVE = "alpha.jobset.sigs.k8s.io/exclusive-topology"

COMPLETED, FAILED, SUSPENDED = "Completed", "Failed", "Suspended"
RESTARTING = "Restarting"
IN_PROGRESS, STARTED = "StartupPolicyInProgress", "StartupPolicyCompleted"

MANAGER = "jobset.sigs.k8s.io/jobset-controller"
DEFAULT_GROUP = "default"
