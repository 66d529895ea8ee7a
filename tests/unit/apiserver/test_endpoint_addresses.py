"""What addresses Endpoints and EndpointSlices may have."""

from __future__ import annotations

from typing import Any

import pytest

from lightship import errors
from lightship.client.client import Client
from lightship.kube.objects import Key, Object
from lightship.kube.resources import ENDPOINT_SLICES, ENDPOINTS

SPECIAL = [("127.0.0.1", "loopback range"), ("0.0.0.0", "may not be unspecified"),
           ("169.254.169.254", "link-local range"), ("224.0.0.1", "link-local multicast range")]
NO_ADDRESS = ["127.1", "2130706433", "localhost", "010.0.0.1", ""]


def a_slice(*addresses: str, kind: str | None = "IPv4", **endpoint: Any) -> Object:
    return {"metadata": {"name": "s", "namespace": "default"}, "ports": [{"port": 80}],
            "endpoints": [{"addresses": list(addresses), **endpoint}], **({"addressType": kind} if kind else {})}


@pytest.mark.parametrize(("address", "why"), [*SPECIAL, *((bad, "must be a valid IPv4 address") for bad in NO_ADDRESS),
                                              ("::1", "must be a valid IPv4 address")])
async def test_a_slice_may_not_lead_to_the_host_itself(client: Client, address: str, why: str) -> None:
    with pytest.raises(errors.InvalidInput, match=why):
        await client.create(ENDPOINT_SLICES, a_slice("10.244.0.2", address))
    await client.create(ENDPOINT_SLICES, a_slice("10.244.0.2"))
    with pytest.raises(errors.InvalidInput, match=why):
        await client.patch(ENDPOINT_SLICES, Key("default", "s"), {"endpoints": [{"addresses": [address]}]})


@pytest.mark.parametrize(("address", "why"), [("::1", "loopback range"), ("fe80::1", "link-local range"),
                                              ("::", "may not be unspecified"), ("::ffff:127.0.0.1", "loopback range"),
                                              ("10.0.0.1", "must be a valid IPv6 address")])
async def test_nor_by_ipv6(client: Client, address: str, why: str) -> None:
    with pytest.raises(errors.InvalidInput, match=why):
        await client.create(ENDPOINT_SLICES, a_slice(address, kind="IPv6"))


async def test_a_slice_says_of_what_kind_its_addresses_are_and_has_some(client: Client) -> None:
    for wrong, why in ((a_slice("10.0.0.1", kind=None), "addressType: Required value"),
                       (a_slice("10.0.0.1", kind="IPv5"), 'addressType: Unsupported value: "IPv5"'),
                       (a_slice(), "must contain at least 1 address"),
                       (a_slice(*["10.0.0.1"] * 101), "must have at most 100 items")):
        with pytest.raises(errors.InvalidInput, match=why):
            await client.create(ENDPOINT_SLICES, wrong)
    await client.create(ENDPOINT_SLICES, a_slice("10.0.0.1"))
    with pytest.raises(errors.InvalidInput, match="field is immutable"):
        await client.patch(ENDPOINT_SLICES, Key("default", "s"), {"addressType": "FQDN"})


async def test_a_pod_without_a_network_of_its_own_is_on_a_loopback_address(client: Client) -> None:
    await client.create(ENDPOINT_SLICES, a_slice("127.3.1.1", targetRef={"kind": "Pod", "name": "p", "uid": "u"}))
    with pytest.raises(errors.InvalidInput, match="link-local range"):
        await client.patch(ENDPOINT_SLICES, Key("default", "s"), {"endpoints": [
            {"addresses": ["169.254.169.254"], "targetRef": {"kind": "Pod", "name": "p", "uid": "u"}}]})


@pytest.mark.parametrize(("address", "why"), [*SPECIAL, *((bad, "must be a valid IP address") for bad in NO_ADDRESS)])
@pytest.mark.parametrize("place", ["addresses", "notReadyAddresses"])
async def test_endpoints_may_not_either(client: Client, address: str, why: str, place: str) -> None:
    with pytest.raises(errors.InvalidInput, match=why):
        await client.create(ENDPOINTS, {"metadata": {"name": "e", "namespace": "default"},
                                        "subsets": [{place: [{"ip": address}], "ports": [{"port": 80}]}]})
