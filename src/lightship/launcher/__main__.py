"""The launcher on a real cluster: ``python -m lightship.launcher stage-in|stage-out``, in the Pod of a step.

The Pod's spec calls me. Stage-in copies and ends. Stage-out first waits until the container of the step's command has
ended, which it reads from its own Pod through the Kubernetes API with the service account's token (it needs ``get`` on
Pods), then moves the outputs and writes the commit record. A command that failed leaves no record, and I end well: how
the step ended is the command's exit code to tell.
"""

import json
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from typing import Any, Dict, Optional

from .files import StagingError, Volumes
from .staging import stage_in, stage_out
from .stores import open_store

MINIMUM_PYTHON = (3, 8)
POLL_SECONDS = 1.0
MAX_API_FAILURES = 60
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"

EXIT_STAGING_FAILED = 1
EXIT_USAGE = 2


def main() -> int:
    if sys.version_info < MINIMUM_PYTHON:
        log("the launcher needs Python %d.%d or later" % MINIMUM_PYTHON)
        return EXIT_USAGE
    phase = sys.argv[1] if len(sys.argv) == 2 else ""
    if phase not in ("stage-in", "stage-out"):
        log("usage: python -m lightship.launcher stage-in|stage-out")
        return EXIT_USAGE
    try:
        plan = json.loads(os.environ["LIGHTSHIP_STAGING"])
        store = open_store(os.environ.get("LIGHTSHIP_ARTIFACTS", "/artifacts"))
        volumes = Volumes(plan["mounts"], lambda mount: mount)
        if phase == "stage-in":
            stage_in(plan, store, volumes, log)
            return 0
        code = wait_for_main(plan.get("main", "main"))
        if code == 0:
            stage_out(plan, store, volumes, log)
        return 0
    except KeyError as cause:
        log("the environment lacks %s; the launcher runs in Pods that Lightship makes" % cause)
        return EXIT_USAGE
    except (StagingError, OSError) as cause:
        log("could not %s: %s" % (phase.replace("-", " "), cause))
        return EXIT_STAGING_FAILED


def wait_for_main(container: str) -> int:
    """The exit code of ``container`` in my own Pod, once it has ended."""
    failures = 0
    while True:
        try:
            pod = own_pod()
            failures = 0
        except (OSError, ValueError) as cause:
            failures += 1
            if failures >= MAX_API_FAILURES:
                raise StagingError("the Kubernetes API could not be read %d times: %s" % (failures, cause)) from cause
            pod = {}
        ended = terminated(pod, container)
        if ended is not None:
            return ended
        time.sleep(POLL_SECONDS)


def terminated(pod: Dict[str, Any], container: str) -> Optional[int]:
    """The exit code of ``container``, or None while it has not ended."""
    for status in (pod.get("status") or {}).get("containerStatuses") or []:
        if status.get("name") == container:
            ended = (status.get("state") or {}).get("terminated")
            return int(ended.get("exitCode", 1)) if ended else None
    return None


def own_pod() -> Dict[str, Any]:
    host = os.environ["KUBERNETES_SERVICE_HOST"]
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = os.environ.get("POD_NAMESPACE") or read(ACCOUNT + "/namespace")
    url = "https://%s:%s/api/v1/namespaces/%s/pods/%s" % (host, port, namespace, os.environ["POD_NAME"])
    request = urllib.request.Request(url, headers={"Authorization": "Bearer " + read(ACCOUNT + "/token")})
    context = ssl.create_default_context(cafile=ACCOUNT + "/ca.crt")
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        found = json.loads(answer.read())
    if not isinstance(found, dict):
        raise ValueError("the Kubernetes API did not answer with a Pod")
    return found


def read(path: str) -> str:
    with open(path) as reader:
        return reader.read().strip()


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
