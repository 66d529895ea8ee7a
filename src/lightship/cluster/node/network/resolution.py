"""A Pod's own files for names: resolv.conf, hosts and its full name, as kubelet writes them. Pure.

``pod_network`` and ``layout`` call me.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightship.cluster.node.network.dns import DOMAIN
from lightship.kube import objects
from lightship.kube.objects import Object

LIMIT_SEARCHES = 32
LIMIT_SEARCH_CHARACTERS = 2048
LIMIT_NAME_SERVERS = 3


def full_name(pod: Object, hostname: str) -> str:
    """``hostname.subdomain.namespace.svc.cluster.local``, or empty for a Pod without a subdomain."""
    subdomain = objects.spec(pod).get("subdomain")
    return f"{hostname}.{subdomain}.{objects.namespace(pod)}.svc.{DOMAIN}" if subdomain else ""


def resolv_conf(pod: Object, name_server: str, host: str) -> str:
    """What the Pod's ``dnsPolicy`` and ``dnsConfig`` ask for; ``host`` is the text of the host's own file."""
    spec = objects.spec(pod)
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    of_host = [line.split() for line in host.splitlines() if line.split()]
    host_searches = [word for line in of_host if line[0] == "search" for word in line[1:]]
    if policy == "Default":
        # The host's servers may be on its loopback: ours asks them.
        servers, searches = [name_server], host_searches
        options = [word for line in of_host if line[0] == "options" for word in line[1:]]
    elif policy != "None":
        namespace = objects.namespace(pod)
        servers, options = [name_server], ["ndots:5"]
        searches = [f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN, *host_searches]
    return _with_given(spec, servers, searches, options)


def shared_resolv_conf(pod: Object, host: str) -> str:
    """As ``resolv_conf``, for a Pod on the host's network, where our name server is not: it asks the host's. Empty
    where the host's own file says all."""
    spec = objects.spec(pod)
    if spec.get("dnsPolicy") != "None" and not spec.get("dnsConfig"):
        return ""
    of_host = [] if spec.get("dnsPolicy") == "None" else [line.split() for line in host.splitlines() if line.split()]
    servers = [line[1] for line in of_host if line[0] == "nameserver" and len(line) > 1]
    searches = [word for line in of_host if line[0] == "search" for word in line[1:]]
    return _with_given(spec, servers, searches, [word for line in of_host if line[0] == "options" for word in line[1:]])


def _with_given(spec: Mapping[str, Any], servers: list[str], searches: list[str], options: list[str]) -> str:
    given: Mapping[str, Any] = spec.get("dnsConfig") or {}
    servers += [server for server in given.get("nameservers") or () if server not in servers]
    searches += [search for search in given.get("searches") or () if search not in searches]
    for option in given.get("options") or ():
        name = option["name"]
        options = [word for word in options if word.partition(":")[0] != name]
        options.append(f"{name}:{option['value']}" if option.get("value") else name)
    return _text(servers[:LIMIT_NAME_SERVERS], _within_limits(searches), options)


def _within_limits(searches: Sequence[str]) -> list[str]:
    kept: list[str] = []
    for search in searches[:LIMIT_SEARCHES]:
        if len(" ".join([*kept, search])) > LIMIT_SEARCH_CHARACTERS:
            break
        kept.append(search)
    return kept


def _text(servers: Sequence[str], searches: Sequence[str], options: Sequence[str]) -> str:
    lines = [f"nameserver {server}" for server in servers]
    if searches:
        lines.insert(0, "search " + " ".join(searches))
    if options:
        lines.append("options " + " ".join(options))
    return "".join(line + "\n" for line in lines)
