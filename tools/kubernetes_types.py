"""Makes ``src/lightship/cluster/apiserver/kubernetes_types.json`` from Kubernetes' own Go types.

    python tools/kubernetes_types.py PATH-OF-kubernetes/api PATH-OF-kubernetes/apimachinery

A maintainer runs me when the Kubernetes that we follow changes; both arguments are git directories or clones. The
table says of each field its protobuf number, type and kind, which the API server needs to read protobuf bodies, to
check field names and to describe kinds in OpenAPI.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent.parent / "src/lightship/cluster/apiserver/kubernetes_types.json"
GROUPS = ("core", "apps", "batch", "authentication", "authorization", "autoscaling", "policy", "coordination",
          "discovery", "events")
ROOTS = {
    "core": "Pod ConfigMap Secret Namespace Node Service ServiceAccount PersistentVolumeClaim Event Binding",
    "apps": "Deployment ReplicaSet", "batch": "Job", "discovery": "EndpointSlice", "coordination": "Lease",
    "events": "Event", "authentication": "TokenReview SelfSubjectReview TokenRequest", "policy": "Eviction",
    "authorization": "SubjectAccessReview SelfSubjectAccessReview LocalSubjectAccessReview", "autoscaling": "Scale",
    "meta": "DeleteOptions",
}
BASIC = {
    "string": "string", "bool": "bool", "int": "int", "int32": "int", "int64": "int", "uint8": "int",
    "float32": "float", "float64": "float", "[]byte": "bytes", "resource.Quantity": "quantity", "metav1.Time": "time",
    "meta.v1.Time": "time", "metav1.MicroTime": "microtime", "intstr.IntOrString": "intorstring",
    "metav1.Duration": "duration", "runtime.RawExtension": "raw", "metav1.FieldsV1": "fields", "types.UID": "string",
    "rune": "int", "uint32": "int", "uint64": "int",
}
PREFIXES = {"metav1": "meta", "v1": "core", "corev1": "core"}
STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
ALIAS = re.compile(r"^type (\w+) (=? ?[\w.\[\]*]+(?:map\[[\w.]+\][\w.\[\]*]+)?)$", re.MULTILINE)
FIELD = re.compile(r"^\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`json:\"([^\"]*)\"(.*)`", re.MULTILINE)


def source(repository: str, path: str) -> str:
    return subprocess.run(["git", "-C", repository, "show", f"HEAD:{path}"], check=True, capture_output=True,
                          text=True).stdout


class Types:
    def __init__(self) -> None:
        self.structs: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.made: dict[str, dict[str, list[object]]] = {}

    def read(self, package: str, text: str) -> None:
        for name, body in STRUCT.findall(text):
            self.structs[f"{package}.v1.{name}"] = body
        for name, target in ALIAS.findall(text):
            self.aliases[f"{package}.v1.{name}"] = target.lstrip("= ")

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
            if prefix not in PREFIXES:
                return "unknown", ""
            full = f"{PREFIXES[prefix]}.v1.{name}"
        else:
            full = f"{package}.v1.{go}"
        if full in ("meta.v1.Time", "meta.v1.MicroTime", "meta.v1.FieldsV1", "meta.v1.Duration"):
            return full.rpartition(".")[2].lower().replace("fieldsv1", "fields"), ""
        if full.endswith(".ExtraValue"):
            return "strings", ""
        if full in self.structs:
            self.make(full)
            return full, ""
        kind, flags = self.resolve(full.partition(".")[0], self.aliases[full])
        return kind, flags

    def make(self, full: str) -> None:
        if full in self.made:
            return
        fields = self.made[full] = {}
        package = full.partition(".")[0]
        for name, go, tag, rest in FIELD.findall(self.structs[full]):
            protobuf = re.search(r'protobuf:"\w+,(\d+)(?:,\w+)?,name=(\w+)', rest)
            if protobuf is None:
                continue
            json_name, _, options = tag.partition(",")
            kind, flags = self.resolve(package, go)
            if not json_name and (not name or "inline" in options):
                json_name, flags = protobuf[2], flags + "i"
            entry: list[object] = [int(protobuf[1]), kind, flags]
            merge = re.search(r'patchMergeKey:"(\w+)"', rest)
            strategy = re.search(r'patchStrategy:"([\w,]+)"', rest)
            if strategy:
                entry.append(f"{strategy[1]}:{merge[1] if merge else ''}")
            fields[json_name] = entry


def main(api: str, machinery: str) -> None:
    types = Types()
    types.read("meta", source(machinery, "pkg/apis/meta/v1/types.go"))
    for group in GROUPS:
        types.read(group, source(api, f"{group}/v1/types.go"))
    for group, kinds in ROOTS.items():
        for kind in kinds.split():
            types.make(f"{group}.v1.{kind}")
    lines = [f"{json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}"
             for name, fields in sorted(types.made.items())]
    OUTPUT.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    sys.stdout.write(f"{len(lines)} types, {OUTPUT.stat().st_size} bytes\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
