"""Labels, conditions, reasons and the names of children, as Katib has them: each once. Pure."""

from __future__ import annotations

import hashlib

from lightship.lib.ids import SUFFIX_ALPHABET

EXPERIMENT_LABEL = "katib.kubeflow.org/experiment"
TRIAL_LABEL = "katib.kubeflow.org/trial"
SUGGESTION_LABEL = "katib.kubeflow.org/suggestion"
PARENT_LABEL = "pbt.suggestion.katib.kubeflow.org/parent"
"""On a Trial of population based training: the Trial whose checkpoint it begins with."""
SHARED_LABEL, SHARED_TEMPLATES = "katib.kubeflow.org/component", "trial-templates"
"""On a ConfigMap: its templates are for the Experiments of all namespaces."""
TRIAL_NAME_VARIABLE = "KATIB_TRIAL_NAME"
METRICS_FINALIZER = "clean-metrics-in-db"
"""Holds a Trial until its observations are deleted."""
CHECKPOINT_SETTING = "suggestion_trial_dir"
CHECKPOINT_VOLUME = "suggestion-volume"
CHECKPOINT_FOLDER = "lightship.dev/checkpoint-folder"
CHECKPOINT_CLAIM = "lightship.dev/checkpoint-claim"
"""On a Trial: where its container finds its checkpoints, and the claim that holds those of the whole Experiment."""

UNAVAILABLE = "unavailable"
"""A metric's value where none was reported, or none that is a number."""

# Conditions of all three kinds, and of an Experiment only.
CREATED, RUNNING, SUCCEEDED, FAILED = "Created", "Running", "Succeeded", "Failed"
RESTARTING = "Restarting"
# Of a Trial only.
KILLED, EARLY_STOPPED, METRICS_UNAVAILABLE = "Killed", "EarlyStopped", "MetricsUnavailable"
TRIAL_ENDS = (SUCCEEDED, FAILED, KILLED, EARLY_STOPPED, METRICS_UNAVAILABLE)

EXPERIMENT_CREATED, EXPERIMENT_RUNNING = "ExperimentCreated", "ExperimentRunning"
EXPERIMENT_RESTARTING, EXPERIMENT_FAILED = "ExperimentRestarting", "ExperimentFailed"
GOAL_REACHED, MAX_TRIALS_REACHED = "ExperimentGoalReached", "ExperimentMaxTrialsReached"
SUGGESTION_END_REACHED = "ExperimentSuggestionEndReached"
SUGGESTION_CREATED, SUGGESTION_RUNNING = "SuggestionCreated", "SuggestionRunning"
SUGGESTION_FAILED, SUGGESTION_RESTARTING = "SuggestionFailed", "Experiment is restarting"
SUGGESTION_SUCCEEDED = "Experiment is succeeded"
TRIAL_CREATED, TRIAL_RUNNING, TRIAL_SUCCEEDED = "TrialCreated", "TrialRunning", "TrialSucceeded"
TRIAL_FAILED, TRIAL_EARLY_STOPPED = "TrialFailed", "TrialEarlyStopped"
TRIAL_METRICS_UNAVAILABLE = "MetricsUnavailable"

EVENT_JOB_SUCCEEDED, EVENT_JOB_FAILED = "JobSucceeded", "JobFailed"
EVENT_ERROR = "ReconcileError"

NEVER, LONG_RUNNING, FROM_VOLUME = "Never", "LongRunning", "FromVolume"
RESUMABLE = (LONG_RUNNING, FROM_VOLUME)
RESUME_POLICIES = (NEVER, LONG_RUNNING, FROM_VOLUME)

MINIMIZE, MAXIMIZE = "minimize", "maximize"

LIMIT_NAME_CHARACTERS = 40
_SUFFIX_CHARACTERS = 8


def trial(experiment: str, uid: str, index: int) -> str:
    """The name of an Experiment's Trial number ``index``: always the same, so that none is ever made twice."""
    number = int.from_bytes(hashlib.sha256(f"{uid}/{index}".encode()).digest()[:8])
    letters = []
    for _ in range(_SUFFIX_CHARACTERS):
        number, place = divmod(number, len(SUFFIX_ALPHABET))
        letters.append(SUFFIX_ALPHABET[place])
    return f"{experiment}-{''.join(letters)}"


def seed(uid: str) -> int:
    """The seed of an Experiment whose settings name none: its own, and the same after every restart."""
    return int.from_bytes(hashlib.sha256(uid.encode()).digest()[:4])


def volume_claim(experiment: str, algorithm: str) -> str:
    """The claim that keeps what Trials of one Experiment hand on to each other."""
    return f"{experiment}-{algorithm}"
