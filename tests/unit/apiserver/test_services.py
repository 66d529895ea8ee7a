"""Services' addresses and ports: each given out once, kept across updates, refused where they are taken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.kube import objects
from lightship.kube.objects import Key, Object
from lightship.kube.resources import SERVICES


def service(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": {"ports": [{"port": 80}]} | spec}


async def test_addresses_are_given_out_once_even_at_once(client: Client) -> None:
    made = await asyncio.gather(*(client.create(SERVICES, service(f"s{n}", type="NodePort")) for n in range(40)))
    addresses = {objects.spec(one)["clusterIP"] for one in made}
    ports = {objects.spec(one)["ports"][0]["nodePort"] for one in made}
    assert len(addresses) == len(ports) == 40
    assert all(address.startswith("10.96.") for address in addresses) and min(ports) >= 30000
    assert all(objects.spec(one)["clusterIPs"] == [objects.spec(one)["clusterIP"]] for one in made)


async def test_an_address_stays_when_an_update_leaves_it_out(client: Client) -> None:
    made = await client.create(SERVICES, service("s", type="NodePort"))
    replaced = await client.update(SERVICES, service("s", type="NodePort", selector={"a": "b"}))
    assert objects.spec(replaced)["clusterIP"] == objects.spec(made)["clusterIP"]
    assert objects.spec(replaced)["ports"] == objects.spec(made)["ports"]
    plain = await client.patch(SERVICES, Key("default", "s"), {"spec": {"type": "ClusterIP"}})
    assert "nodePort" not in objects.spec(plain)["ports"][0]
    with pytest.raises(errors.InvalidInput, match="may not change once set"):
        await client.patch(SERVICES, Key("default", "s"), {"spec": {"clusterIP": "10.96.9.9"}})


async def test_what_is_taken_is_refused_until_it_is_free(client: Client) -> None:
    await client.create(SERVICES, service("a", clusterIP="10.96.0.10"))
    with pytest.raises(errors.InvalidInput, match="provided IP is already allocated"):
        await client.create(SERVICES, service("b", clusterIP="10.96.0.10"))
    with pytest.raises(errors.InvalidInput, match=r"range of valid IPs is 10\.96\.0\.0/16"):
        await client.create(SERVICES, service("b", clusterIP="10.0.0.10"))
    await client.delete(SERVICES, Key("default", "a"))
    await client.create(SERVICES, service("b", clusterIP="10.96.0.10"))


async def test_services_without_an_address(client: Client) -> None:
    headless = await client.create(SERVICES, service("h", clusterIP="None", ports=[]))
    assert (objects.spec(headless)["clusterIP"], objects.spec(headless)["clusterIPs"]) == ("None", ["None"])
    outside = await client.create(SERVICES, service("e", type="ExternalName", externalName="example.com"))
    assert "clusterIP" not in objects.spec(outside)
    inside = await client.patch(SERVICES, Key("default", "e"), {"spec": {"type": "ClusterIP", "externalName": None}})
    assert objects.spec(inside)["clusterIP"].startswith("10.96.")


@pytest.mark.parametrize(("spec", "says"), [
    ({"ports": [{"port": 0}]}, "must be between 1 and 65535"),
    ({"ports": [{"port": 1}, {"port": 2}]}, "name: Required"),
    ({"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}, "Duplicate value"),
    ({"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 1}]}, "Duplicate value"),
    ({"type": "Sometimes"}, 'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"'),
    ({"ports": [{"port": 1, "protocol": "X"}]}, 'supported values: "SCTP", "TCP", "UDP"'),
    ({"ports": [{"port": 1, "nodePort": 30001}]}, "may not be used when `type` is 'ClusterIP'"),
    ({"type": "NodePort", "ports": [{"port": 1, "nodePort": 1}]}, "range of valid ports is 30000-32767"),
])
async def test_a_broken_service_is_refused(client: Client, spec: Any, says: str) -> None:
    with pytest.raises(errors.InvalidInput, match=says):
        await client.create(SERVICES, service("s", **spec))
