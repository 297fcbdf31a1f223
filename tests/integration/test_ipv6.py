"""Devices and a CMS that are reached by IPv6 alone, with the shipped
configuration."""

import contextlib

import pytest

import harness
import ipv6
from harness import DOMAIN, PASSWORD, ReferenceCms, Transport, Ua, until
from pki import Authority

pytestmark = pytest.mark.contract
HOST6 = "::1"


def listening(settings=None):
    """At ::1 and 127.0.0.1."""
    def config(server, cms_url):
        return harness.shipped_with(
            "".join(f"listen={name}:[{HOST6}]:{server.port}\n"
                    for name in ("udp", "tcp")), settings)(server, cms_url)

    return config


@contextlib.contextmanager
def device(server, user, transport):
    way = Transport((HOST6, server.port), transport, local=(HOST6, 0))
    with contextlib.closing(way), \
            Ua(user=user, domain=DOMAIN, password=PASSWORD, transport=way) as ua:
        yield ua


@pytest.fixture(params=["http", "https"])
def cms(request, tmp_path):
    """A CMS at ::1; with https it is known by that address."""
    tls = {}
    if request.param == "https":
        ca = Authority(tmp_path)
        certificate, key = ca.issue("cms", "IP:" + HOST6)
        tls = {"tls_cert": certificate, "tls_key": key}
    with ReferenceCms(host=HOST6, **tls) as server:
        server.settings = {"CMS_TLS_CA": ca.certificate} if tls else {}
        yield server


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_device_registers(kamailio, cms, transport):
    """The CMS is told once, with the address as it is; a refresh is none of its
    business."""
    server = kamailio(cms, config=listening(cms.settings))
    with device(server, "cam1", transport) as ua:
        assert [ua.register().status for _ in range(3)] == [200] * 3
        post, = server.posts()
        assert post.errors == []
        source = {"ip": HOST6, "port": ua.transport.local[1], "transport": transport}
        assert post.json["source"] == source
        assert f"[{HOST6}]:" in post.json["contacts"][0]["uri"]
        assert len(server.contacts(ua)) == 1
        assert ua.unregister().status == 200
        assert server.contacts(ua) == []


def test_the_two_families_reach_each_other(kamailio, cms):
    """A message from an IPv4 device to an IPv6 one, and back."""
    server = kamailio(cms, config=listening(cms.settings))
    with device(server, "cam1", "tcp") as six:
        four = server.device("cam2")
        assert {four.register().status, six.register().status} == {200}
        for sender, receiver in ((four, six), (six, four)):
            challenge = sender.send(
                sender.build("MESSAGE", receiver.aor)).wait().challenge()
            sent = sender.send(sender.build("MESSAGE", receiver.aor, headers=[
                ("Proxy-Authorization", sender.authorization(
                    challenge, "MESSAGE", receiver.aor))]))
            receiver.transport.reply(
                receiver.transport.wait_request("MESSAGE"), 200)
            assert sent.wait().status == 200
    assert len(server.posts()) == 2


def test_a_flood_from_a_network():
    """Its addresses have one FLOOD_DENSITY together; another network has its own."""
    home = [f"2001:db8:1234:1:{n}::1" for n in range(1, 11)]
    other = "2001:db8:1234:2::1"
    with ipv6.addresses(*home, other), \
            ipv6.server(CHILDREN=1, FLOOD_DENSITY=100) as server:
        uas = [ipv6.device(server, "cam1", host) for host in home]
        elsewhere = ipv6.device(server, "cam1", other)

        def answered():
            """Of 200 that come within a moment, 20 from each."""
            sent = [ua.send(ua.build("OPTIONS")) for _ in range(20) for ua in uas]
            assert elsewhere.options()[0].status == 200  # the one worker has read all
            return sum(step.final is not None for step in sent)

        # the second may be over in between
        until(lambda: 100 <= answered() < 200)
        server.wait_log("a flood from 2001:db8:1234:1:,")
