"""Makes ``src/lightship/cluster/apiserver/kubernetes_types.json`` from Kubernetes' own Go types.

    python tools/kubernetes_types.py FOLDER

A maintainer runs me when the Kubernetes that we follow changes. FOLDER holds git directories or clones named for their
repositories: ``api``, ``apimachinery``, ``apiextensions-apiserver`` and ``metrics`` of kubernetes, and ``jobset`` of
kubernetes-sigs. Of each field the table says its protobuf number, its type and kind, how lists and maps merge, and
whether it must be given: what the API server needs to read protobuf bodies, to check types and names of fields, to
describe kinds in OpenAPI and to know who owns which field.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "src/lightship/cluster/apiserver/kubernetes_types.json"
SOURCES = {
    "meta.v1": ("apimachinery", "pkg/apis/meta/v1/types.go"),
    **{f"{group}.v1": ("api", f"{group}/v1/types.go") for group in (
        "core", "apps", "batch", "authentication", "authorization", "autoscaling", "certificates", "coordination",
        "discovery", "events", "networking", "node", "policy", "rbac", "scheduling", "storage")},
    "autoscaling.v2": ("api", "autoscaling/v2/types.go"),
    "scheduling.v1alpha3": ("api", "scheduling/v1alpha3/types.go"),
    "apiextensions.v1": ("apiextensions-apiserver", "pkg/apis/apiextensions/v1/types.go"),
    "jobset.v1alpha2": ("jobset", "api/jobset/v1alpha2/jobset_types.go"),
    "metrics.v1beta1": ("metrics", "pkg/apis/metrics/v1beta1/types.go"),
}
ROOTS = {
    "core.v1": "Pod PodTemplate ConfigMap Secret Namespace Node Service ServiceAccount PersistentVolume "
               "PersistentVolumeClaim Event Binding Endpoints LimitRange ReplicationController ResourceQuota "
               "PodExecOptions PodAttachOptions PodPortForwardOptions PodLogOptions",
    "apps.v1": "Deployment ReplicaSet StatefulSet DaemonSet ControllerRevision", "batch.v1": "Job CronJob",
    "discovery.v1": "EndpointSlice", "coordination.v1": "Lease", "events.v1": "Event",
    "authentication.v1": "TokenReview SelfSubjectReview TokenRequest", "policy.v1": "Eviction PodDisruptionBudget",
    "authorization.v1": "SubjectAccessReview SelfSubjectAccessReview LocalSubjectAccessReview SelfSubjectRulesReview",
    "autoscaling.v1": "Scale HorizontalPodAutoscaler", "autoscaling.v2": "HorizontalPodAutoscaler",
    "networking.v1": "Ingress IngressClass NetworkPolicy", "node.v1": "RuntimeClass",
    "rbac.v1": "Role ClusterRole RoleBinding ClusterRoleBinding", "scheduling.v1": "PriorityClass",
    "storage.v1": "StorageClass", "certificates.v1": "CertificateSigningRequest",
    "apiextensions.v1": "CustomResourceDefinition", "jobset.v1alpha2": "JobSet",
    "metrics.v1beta1": "NodeMetrics PodMetrics", "meta.v1": "DeleteOptions Status ListMeta",
}
BASIC = {
    "string": "string", "bool": "bool", "int": "int64", "int32": "int32", "int64": "int64", "uint8": "int32",
    "float32": "float", "float64": "float", "[]byte": "bytes", "resource.Quantity": "quantity", "metav1.Time": "time",
    "metav1.MicroTime": "microtime", "intstr.IntOrString": "intorstring", "metav1.Duration": "duration",
    "runtime.RawExtension": "raw", "metav1.FieldsV1": "fields", "types.UID": "string", "rune": "int32",
    "uint32": "int64", "uint64": "int64", "JSON": "raw", "JSONSchemaPropsOrArray": "raw",
    "JSONSchemaPropsOrBool": "raw", "JSONSchemaPropsOrStringArray": "raw",
}
OWN_JSON = {"meta.v1.Time": "time", "meta.v1.MicroTime": "microtime", "meta.v1.FieldsV1": "fields",
            "meta.v1.Duration": "duration", "apiextensions.v1.JSONSchemaProps": "raw"}
"""Types that encode themselves, or that nothing here looks into."""
PREFIXES = {"metav1": "meta.v1", "v1": "core.v1", "corev1": "core.v1", "apiv1": "core.v1", "batchv1": "batch.v1",
            "schedulingv1alpha3": "scheduling.v1alpha3"}
STRUCT = re.compile(r"((?:^//[^\n]*\n)*)^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
EMPTY = re.compile(r"^type (\w+) struct ?\{\}", re.MULTILINE)
ALIAS = re.compile(r"^type (\w+) (=? ?[\w.\[\]*]+(?:map\[[\w.]+\][\w.\[\]*]+)?)$", re.MULTILINE)
FIELD = re.compile(r"\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`json:\"([^\"]*)\"(.*)`")


def source(folder: str, repository: str, path: str) -> str:
    return subprocess.run(["git", "-C", f"{folder}/{repository}", "show", f"HEAD:{path}"], check=True,
                          capture_output=True, text=True).stdout


def fields_of(body: str) -> Iterator[tuple[re.Match[str], str]]:
    """Each field of a struct with the comment above it."""
    comment: list[str] = []
    for line in body.splitlines():
        if line.strip().startswith("//"):
            comment.append(line.strip())
            continue
        if match := FIELD.match(line):
            yield match, "\n".join(comment)
        comment = []


class Types:
    def __init__(self) -> None:
        self.structs: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.atomic: set[str] = set()
        self.made: dict[str, dict[str, list[object]]] = {}

    def read(self, package: str, text: str) -> None:
        for comment, name, body in STRUCT.findall(text):
            self.structs[f"{package}.{name}"] = body
            if "+structType=atomic" in comment:
                self.atomic.add(f"{package}.{name}")
        self.structs |= {f"{package}.{name}": "" for name in EMPTY.findall(text)}
        for name, target in ALIAS.findall(text):
            self.aliases[f"{package}.{name}"] = target.lstrip("= ")

    def resolve(self, package: str, go: str) -> tuple[str, str]:
        """(type, flags) of a Go type."""
        if go in BASIC:
            return BASIC[go], ""
        if go.startswith("*"):
            kind, flags = self.resolve(package, go[1:])
            return kind, flags + "p"
        if go.startswith("[]"):
            return self.resolve(package, go[2:])[0], "r"
        if match := re.fullmatch(r"map\[[\w.]+\](.+)", go):
            kind, flags = self.resolve(package, match[1])
            return ("strings" if "r" in flags else kind), "m"
        if "." in go:
            prefix, _, name = go.partition(".")
            full = f"{PREFIXES[prefix]}.{name}"
        else:
            full = f"{package}.{go}"
        if full in OWN_JSON:
            return OWN_JSON[full], ""
        if full.endswith(".ExtraValue"):
            return "strings", ""
        if full in self.structs:
            self.make(full)
            return full, ""
        return self.resolve(full.rpartition(".")[0], self.aliases[full])

    def make(self, full: str) -> None:
        if full in self.made:
            return
        fields = self.made[full] = {}
        package = full.rpartition(".")[0]
        for match, comment in fields_of(self.structs[full]):
            name, go, tag, rest = match.groups()
            protobuf = re.search(r'protobuf:"\w+,(\d+)(?:,\w+)?(?:,name=(\w+))?', rest)
            json_name, _, options = tag.partition(",")
            if json_name == "-" or go.rpartition(".")[2] == "TypeMeta":
                continue
            kind, flags = self.resolve(package, go)
            if not json_name and (not name or "inline" in options):
                json_name, flags = protobuf[2] if protobuf and protobuf[2] else go.rpartition(".")[2], flags + "i"
            if self.needed(comment, options, flags, json_name):
                flags += "q"
            if self.is_atomic(kind, flags, comment):
                flags += "a"
            fields[json_name] = trimmed([int(protobuf[1]) if protobuf else 0, kind, flags, merge_of(rest),
                                         list_of(comment), default_of(comment)])

    @staticmethod
    def needed(comment: str, options: str, flags: str, name: str) -> bool:
        """Whether OpenAPI calls the field required."""
        if "i" in flags or "+optional" in comment or name == "metadata":
            return False
        return "+required" in comment or not ("omitempty" in options or "omitzero" in options)

    def is_atomic(self, kind: str, flags: str, comment: str) -> bool:
        if "+structType=granular" in comment or "+mapType=granular" in comment:
            return False
        if "+structType=atomic" in comment or "+mapType=atomic" in comment:
            return True
        return kind in self.atomic and "r" not in flags and "m" not in flags


def merge_of(rest: str) -> str:
    merge = re.search(r'patchMergeKey:"(\w+)"', rest)
    strategy = re.search(r'patchStrategy:"([\w,]+)"', rest)
    return f"{strategy[1]}:{merge[1] if merge else ''}" if strategy else ""


def list_of(comment: str) -> str:
    kind = re.search(r"// \+listType=(\w+)", comment)
    keys = re.findall(r"// \+listMapKey=(\w+)", comment)
    return "" if kind is None else f"map:{','.join(keys)}" if kind[1] == "map" else kind[1]


def default_of(comment: str) -> object:
    found = re.search(r"// \+default=(\S+)$", comment, re.MULTILINE)
    if found is None or found[1].startswith("ref("):
        return ""
    try:
        return str(json.loads(found[1]))
    except ValueError:
        return ""


def trimmed(entry: list[object]) -> list[object]:
    while entry[-1] == "":
        entry.pop()
    return entry if len(entry) > 2 else [*entry, ""]


def main(folder: str) -> None:
    types = Types()
    for package, (repository, path) in SOURCES.items():
        types.read(package, source(folder, repository, path))
    for package, kinds in ROOTS.items():
        for kind in kinds.split():
            types.make(f"{package}.{kind}")
    lines = [f"{json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}"
             for name, fields in sorted(types.made.items())]
    OUTPUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"{len(lines)} types, {OUTPUT.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
