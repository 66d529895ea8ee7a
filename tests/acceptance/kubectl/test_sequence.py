"""kubectl from front to back, as scripts use it: each command with the words that it answers on any Kubernetes.

A line of a table is a command and what its output holds; a command behind ``!`` fails, and what it says holds the
words. The answers are those that the same sequence gets from upstream's API server where no controllers run.
"""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from tests.acceptance.kubectl.test_kubectl import MANIFEST, Kubectl, api, kubectl

__all__ = ["api", "kubectl"]
pytestmark = pytest.mark.sdk

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cm", "labels": {"set": "one"}},
          "data": {"a": "1", "b": "2"}}
TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"app": "x"}},
                            "spec": {"containers": [{"name": "c", "image": "busybox:1"}]}}


def workload(kind: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "x"},
            "spec": {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE} | spec}


async def follow(kubectl: Kubectl, *steps: tuple[str, str]) -> None:
    """Run the steps in order and compare each."""
    for command, words in steps:
        fails = command.startswith("!")
        code, out, error = await kubectl.run(*shlex.split(command.removeprefix("!")))
        said = " ".join((out + error).split())
        assert (code != 0) is fails, f"kubectl {command}: {said}"
        assert " ".join(words.split()) in said, f"kubectl {command}: {said}"


async def refused(kubectl: Kubectl, manifest: dict[str, Any], *words: str) -> None:
    """The manifest is not created, for these reasons in this order."""
    code, out, error = await kubectl.run("create", "-f", "-", stdin=json.dumps(manifest))
    assert code == 1, out
    at = 0
    for word in words:
        assert word in error[at:], f"{word!r} is not in its place: {error}"
        at = error.index(word, at) + len(word)


async def test_generators_and_what_they_refuse(kubectl: Kubectl) -> None:
    await follow(
        kubectl,
        ("create deployment d --image=nginx --replicas=0", "deployment.apps/d created"),
        ("!create deployment d --image=nginx", 'deployments.apps "d" already exists'),
        ("!create deployment BAD --image=nginx", 'Deployment.apps "BAD" is invalid: metadata.name: Invalid value'),
        ("create deployment e --image=nginx --dry-run=server -o jsonpath={.spec.replicas}", "1"),
        ("!get deployment e", 'deployments.apps "e" not found'),
        ("create job j --image=busybox --dry-run=server -o jsonpath={.metadata.labels.job-name}", "j"),
        ("!create cronjob c --image=busybox --schedule=bad", "expected exactly 5 fields, found 1: [bad]"),
        ("create cronjob c --image=busybox --schedule='*/5 * * * *'", "cronjob.batch/c created"),
        ("create job k --from=cronjob/c --dry-run=server -o name", "job.batch/k"),
        ("!create configmap c --from-literal='bad key=b'", "not a valid key name"),
        ("!create secret generic s --type=kubernetes.io/tls --from-literal=a=b",
         "[data[tls.crt]: Required value, data[tls.key]: Required value]"),
        ("!create service clusterip s --clusterip=1.2.3.4 --tcp=80", 'spec.clusterIPs: Invalid value: ["1.2.3.4"]'),
        ("!create service nodeport s --tcp=80 --node-port=40000", "The range of valid ports is 30000-32767"),
        ("!create quota q --hard=pods=bad", "quantities must match the regular expression"),
        ("!create pdb p --selector=a=b --max-unavailable=150%", "must not be greater than 100%"),
        ("!create ingress i --rule=BAD_host/x=svc:80", 'spec.rules[0].host: Invalid value: "BAD_host"'),
        ("!create priorityclass p --value=2000000001", "maximum allowed value of a user defined priority is"),
        ("!create namespace Bad", 'The Namespace "Bad" is invalid: metadata.name: Invalid value: "Bad"'),
        ("!create token default --duration=1m", "may not specify a duration less than 10 minutes"),
        ("!create token nobody", 'serviceaccounts "nobody" not found'),
        ("!autoscale deployment d --max=1 --min=2", "--max=MAXPODS must be larger or equal to --min=MINPODS"),
        ("run r --image=nginx --restart=Never -o jsonpath={.spec.tolerations[0].key}", "node.kubernetes.io/not-ready"),
        ("!expose deployment nope --port=80", 'deployments.apps "nope" not found'))


async def test_get_in_every_way(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    await kubectl("apply", "-f", "-", stdin=json.dumps(CONFIG))
    await follow(
        kubectl,
        ("get pods", "NAME READY STATUS RESTARTS AGE p 0/1 Pending 0"),
        ("get pods --show-labels", "app=p"),
        ("get pods -L app", "AGE APP p 0/1 Pending 0"),
        ("get pods -l 'app in (p,q),!nope' -o name", "pod/p"),
        ("!get pods -l 'app=a=b'", "found '=', expected: ',' or 'end of string'"),
        ("get pods --field-selector=metadata.name=p,status.phase!=Running -o name", "pod/p"),
        ("!get pods --field-selector=spec.nope=x", "field label not supported: spec.nope"),
        ("!get deploy --field-selector=spec.replicas=1", '"spec.replicas" is not a known field selector: only'),
        ("get cm,deploy --chunk-size=1 -o name", "configmap/cm deployment.apps/web"),
        ("!get pods p nope", 'pods "nope" not found'),
        ("get pods p -o go-template='{{.metadata.name}} {{len .spec.containers}}'", "p 1"),
        ("get pods -o custom-columns=N:.metadata.name,X:.nope", "N X p <none>"),
        ("!get nope", 'the server doesn\'t have a resource type "nope"'),
        ("get deployments.v1.apps web -o name", "deployment.apps/web"),
        ("get sa", "NAME AGE default"),
        ("!get ns nonexistent", 'namespaces "nonexistent" not found'),
        ("get pods -n nonexistent", "No resources found in nonexistent namespace."),
        ("get --raw /readyz?verbose", "readyz check passed"),
        ("!get --raw /nope", "the server could not find the requested resource"),
        ("get deploy web --subresource=scale", "NAME DESIRED AVAILABLE AGE web 2 0"),
        ("!get cm cm --subresource=status", "the server could not find the requested resource"),
        ("get ep", "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"))


async def test_apply_of_both_kinds_in_turn(kubectl: Kubectl) -> None:
    text = json.dumps(CONFIG)
    other = json.dumps(CONFIG | {"data": {"a": "9", "b": "2"}})
    assert "created" in await kubectl("apply", "-f", "-", stdin=text)
    changed = await kubectl("apply", "--server-side", "-f", "-", stdin=other)
    assert changed == "configmap/cm serverside-applied\n", "kubectl's own fields are no conflict"
    noted = await kubectl("apply", "view-last-applied", "cm", "cm", "-o", "json")
    assert json.loads(noted)["data"]["a"] == "9"
    code, _, error = await kubectl.run("apply", "--server-side", "--field-manager=flux", "-f", "-", stdin=text)
    assert (code, 'conflict with "kubectl": .data.a' in error) == (1, True)
    await kubectl("apply", "--server-side", "--field-manager=flux", "--force-conflicts", "-f", "-", stdin=text)
    code, out, _ = await kubectl.run("diff", "-f", "-", stdin=other)
    assert (code, '+  a: "9"' in out) == (1, True)
    labelled = CONFIG | {"metadata": {"name": "gone", "labels": {"prune": "y"}}}
    prune = ("apply", "--prune", "-l", "prune=y", "--prune-allowlist=core/v1/ConfigMap", "-f", "-")
    await kubectl(*prune, stdin=json.dumps(labelled))
    kept = json.dumps(labelled | {"metadata": {"name": "kept", "labels": {"prune": "y"}}})
    assert "configmap/gone pruned" in await kubectl(*prune, stdin=kept)
    misspelt = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "dat": {}})
    code, _, error = await kubectl.run("apply", "-f", "-", stdin=misspelt)
    assert (code, 'cannot be handled as a ConfigMap: strict decoding error: unknown field "dat"' in error) == (1, True)
    _, _, error = await kubectl.run("apply", "--validate=warn", "-f", "-", stdin=misspelt)
    assert 'Warning: unknown field "dat"' in error


async def test_invalid_manifests_are_refused_with_every_reason(kubectl: Kubectl) -> None:
    labels = {"metadata": {"name": "x", "labels": {"a": "c d"}}}
    await refused(kubectl, CONFIG | labels, 'The ConfigMap "x" is invalid', 'Invalid value: "c d": a valid label must')
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {
        "containers": [{"name": "A", "image": "", "volumeMounts": [{"name": "no", "mountPath": "/x"}]}],
        "restartPolicy": "Sometimes"}}
    await refused(kubectl, pod, 'The Pod "x" is invalid', 'spec.containers[0].name: Invalid value: "A"',
                  "spec.containers[0].image: Required value", 'volumeMounts[0].name: Not found: "no"',
                  'spec.restartPolicy: Unsupported value: "Sometimes"')
    await refused(kubectl, workload("Deployment", replicas=-1, selector={"matchLabels": {"a": "b"}}),
                  "spec.replicas: Invalid value: -1", "`selector` does not match template `labels`")
    await refused(kubectl, workload("StatefulSet", podManagementPolicy="No"),
                  "must be 'OrderedReady' or 'Parallel'")
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"},
           "spec": {"completions": -1, "template": TEMPLATE}}
    await refused(kubectl, job, "spec.completions: Invalid value: -1", 'Required value: valid values: "OnFailure"')
    binding = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "x"},
               "roleRef": {"kind": "X", "name": "y"}, "subjects": [{"kind": "Y", "name": "z"}]}
    await refused(kubectl, binding, 'roleRef.kind: Unsupported value: "X": supported values: "Role", "ClusterRole"',
                  'subjects[0].kind: Unsupported value: "Y"')


async def test_patch_replace_label_and_edit(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    side = '{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}'
    away = side.replace('"image":"s"', '"$patch":"delete"')
    names = "-o jsonpath='{.spec.template.spec.containers[*].name}'"
    await follow(
        kubectl,
        (f"patch deploy web -p '{side}' {names}", "side c"),
        (f"patch deploy web -p '{away}' {names}", "c"),
        ("""patch deploy web --type=merge -p '{"spec":{"replicas":0}}'""", "patched"),
        ("""patch deploy web --type=merge -p '{"spec":{"replicas":0}}'""", "patched (no change)"),
        ("""!patch deploy web --type=json -p '[{"op":"test","path":"/spec/replicas","value":9}]'""",
         "The request is invalid: "),
        ("""!patch deploy web -p '{"spec":{"selector":{"matchLabels":{"x":"y"}}}}'""",
         'spec.selector: Invalid value: {"matchLabels":{"app":"web","x":"y"}}: field is immutable'),
        ("""!patch deploy nope -p '{}'""", 'deployments.apps "nope" not found'),
        ("""!patch pod p -p '{"spec":{"hostname":"h"}}'""", "pod updates may not change fields other than"),
        ("""!patch cm cm -p '{"metadata":{"resourceVersion":"1"}}'""", "the object has been modified"),
        ("label deploy web x=y", "labeled"), ("label deploy web x=y", "not labeled"),
        ("!label deploy web x=z", "'x' already has a value (y), and --overwrite is false"),
        ("!label deploy web 'bad key=x'", 'Invalid value: "bad key": name part must consist of'),
        ("label deploy web x-", "unlabeled"), ("annotate deploy web k=v", "annotated"),
        ("set image deploy/web c=nginx:9", "image updated"), ("set env deploy/web A=b", "env updated"),
        ("set env deploy/web --list", "A=b"), ("set serviceaccount deploy/web sa", "serviceaccount updated"),
        ("set resources deploy/web --limits=cpu=200m", "resource requirements updated"),
        ("!set image deploy/web nope=x", 'unable to find container named "nope"'),
        ("!scale deploy web --replicas=3 --current-replicas=7", "Expected replicas to be 7, was 0"),
        ("scale deploy web --replicas=3", "scaled"), ("rollout pause deploy web", "paused"),
        ("!rollout pause deploy web", "is already paused"), ("rollout resume deploy web", "resumed"))
    pod = json.loads(await kubectl("get", "pod", "p", "-o", "json"))
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c", "image": "busybox:1", "command": ["sleep", "1"]}]}}
    assert "replaced" in await kubectl("replace", "-f", "-", stdin=json.dumps(made))
    assert json.loads(await kubectl("get", "pod", "p", "-o", "json"))["spec"] == pod["spec"], "nothing was lost"
    assert "replaced" in await kubectl("replace", "--force", "--grace-period=0", "-f", "-", stdin=json.dumps(made))


async def test_describe_wait_and_events(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    slices = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {"name": "s"},
              "addressType": "IPv4", "endpoints": [{"addresses": ["10.1.2.3"]}], "ports": [{"port": 80}]}
    await kubectl("create", "-f", "-", stdin=json.dumps(slices))
    await follow(
        kubectl,
        ("describe pod p", "Tolerations: node.kubernetes.io/not-ready:NoExecute op=Exists for 300s"),
        ("describe deploy web", "StrategyType: RollingUpdate"), ("describe endpointslice s", "- Addresses: 10.1.2.3"),
        ("describe ns default", "Status: Active"), ("describe sa default", "Name: default"),
        ("describe clusterrole view", "Resource Names"), ("!describe pod nope", 'pods "nope" not found'),
        ("wait --for=jsonpath={.data.a}=1 cm/cm --timeout=5s", "configmap/cm condition met"),
        ("!wait --for=condition=Ready pod/p --timeout=1s", "timed out waiting for the condition on pods/p"),
        ("!wait --for=condition=Ready pod -l nothing=x --timeout=1s", "no matching resources found"),
        ("wait --for=create cm/cm --timeout=5s", "configmap/cm condition met"),
        ("explain deploy.spec.strategy", "rollingUpdate"), ("!explain pods.nope", 'field "nope" does not exist'),
        ("events", "No events found in default namespace."))


async def test_who_may_do_what(kubectl: Kubectl) -> None:
    await follow(
        kubectl,
        ("auth can-i '*' '*'", "yes"), ("!auth can-i create pods --as=jane", "no"),
        ("create role r --verb=get,list --resource=pods", "created"),
        ("create rolebinding rb --role=r --user=jane", "created"),
        ("auth can-i list pods --as=jane", "yes"), ("auth can-i --list --as=jane", "pods [] [] [get list]"),
        ("get pods --as=jane", "No resources found"),
        ("!get secrets --as=jane", 'secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" '
                                   'in the namespace "default"'),
        ("!get nodes --as=jane", 'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the '
                                 "cluster scope"),
        ("!create role esc --verb=get --resource=secrets --as=jane", "is forbidden"),
        ("auth whoami --as=jane --as-group=devs", "[devs system:authenticated]"),
        ("get rolebinding rb -o wide", "Role/r"), ("!get pods --token=bad", "Unauthorized"))


async def test_quota_and_every_kind_of_deletion(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=MANIFEST)
    await follow(
        kubectl,
        ("create namespace tight", "created"), ("create quota q --hard=pods=0 -n tight", "created"),
        ("!run over --image=nginx -n tight", "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"),
        ("!delete cm nope", 'configmaps "nope" not found'), ("delete cm nope --ignore-not-found", ""),
        ("delete cm cm --dry-run=server", "(server dry run)"), ("get cm cm -o name", "configmap/cm"),
        ("delete deploy web --cascade=orphan --wait=false", "deleted"),
        ("get deploy web -o jsonpath={.metadata.finalizers}", '["orphan"]'),
        ("delete pod p --grace-period=0 --force", "force deleted"), ("!delete pod p", 'pods "p" not found'),
        ("!delete cm", "resource(s) were provided, but no name was specified"),
        ("delete cm --all -o name", "configmap/cm"),
        ("!delete ns default", "is forbidden"), ("!delete pc system-node-critical", "is forbidden"))
