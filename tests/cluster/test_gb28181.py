"""A camera of GB/T 28181 at a cluster."""

import pytest

from cluster import register
from harness import REALM

CAMERA = "34020000001320000001"
KEEPALIVE = (b"<Notify>\n<CmdType>Keepalive</CmdType>\n<SN>1</SN>\n"
             b"<DeviceID>34020000001320000001</DeviceID>\n<Status>OK</Status>\n</Notify>\n")


@pytest.fixture(scope="module")
def settings():
    return lambda number: {"WITH_GB28181": "", "SIP_DOMAINS": REALM, "SIP_REALM": REALM}


def camera(cluster):
    ua = cluster.device(CAMERA)
    ua.domain = REALM
    return ua


def keepalive(ua):
    return ua.send(ua.build("MESSAGE", body=KEEPALIVE, headers=[
        ("Content-Type", "Application/MANSCDP+xml")]), retransmit=True).wait().status


def test_a_keepalive_is_answered_by_whatever_server(cluster):
    """A camera that got an error would register again. From elsewhere it is one."""
    ua = camera(cluster)
    register(ua)
    assert keepalive(ua) == 200
    cluster.lose(cluster.server_of(ua))
    assert keepalive(ua) == 200
    assert keepalive(camera(cluster)) == 403
    assert len(cluster.events(ua)) == 1
