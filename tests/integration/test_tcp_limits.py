"""What the shipped configuration allows one address over TCP."""

import socket
import time

import pytest

from harness import until, version
from sip_ua import Transport

pytestmark = [pytest.mark.contract, pytest.mark.skipif(
    version() < (5, 7), reason="no such limits before Kamailio 5.7")]


def test_one_address_holds_so_many_connections(kamailio, cms):
    """What is too many is closed; whoever is there already is served, and a
    place that becomes free is taken."""
    server = kamailio(cms, settings={"TCP_MAX_PER_ADDRESS": 3})
    server.allow_errors("hit the limit of connections per source IP")
    # the harness had one
    until(lambda: server.rpc("core.tcp_info")["opened_connections"] == 0)
    crowd = [server.device(transport=Transport(server.address, "tcp"))
             for _ in range(5)]
    until(lambda: sum(ua.transport.closed for ua in crowd) == 2)
    served = [ua for ua in crowd if not ua.transport.closed]
    for ua in served:
        assert ua.register().status == 200
    served[0].transport.close()
    until(lambda: server.rpc("core.tcp_info")["opened_connections"] == 2)
    late = server.device(transport=Transport(server.address, "tcp"))
    assert late.register().status == 200


def test_a_message_that_never_ends(kamailio, cms):
    """A connection on which a message comes byte by byte is closed."""
    server = kamailio(cms, settings={"TCP_MESSAGE_SECONDS": 1})
    server.allow_errors("message reading timeout", "error reading - c:")
    with socket.create_connection(server.address) as slow:
        start = time.monotonic()
        slow.sendall(b"REGISTER sip:telecom.com SIP/2.0\r\nVia: ")
        slow.settimeout(0.2)
        while True:
            try:
                assert slow.recv(100) == b""
                break
            except TimeoutError:
                assert time.monotonic() - start < 10, "still open"
                slow.sendall(b"x")
            except ConnectionError:
                break
    assert server.device().register().status == 200
