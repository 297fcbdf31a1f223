"""ADDRESS_DOMAIN: devices that put an IP address where their domain belongs."""

import pytest

from harness import DOMAIN, HOST

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    return module_kamailio(module_cms, settings={"ADDRESS_DOMAIN": DOMAIN})


def camera(server, host="192.0.2.7:5060", **kw):
    """It is asked for by the name of the domain, and names itself otherwise."""
    ua = server.device(**kw)
    ua.domain, ua.uri = host, f"sip:{DOMAIN}"
    return ua


def register(ua, **kw):
    return ua.register(ruri=f"sip:{DOMAIN}", **kw)


def kept(ua):
    return f"sip:{ua.user}@{DOMAIN}"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("host", ["192.0.2.7:5060", "192.0.2.7", f"{HOST}",
                                  "[2001:db8::7]:5060"])
def test_an_address_is_of_the_domain(server, module_cms, transport, host):
    """New, refresh and leaving are of one address of record, for the CMS, too."""
    ua = camera(server, host, transport=transport)
    assert register(ua).status == 200
    [post] = server.posts()
    assert (post.json["aor"], post.json["domain"]) == (kept(ua), DOMAIN)
    assert post.json["username"] == ua.user
    assert len(server.contacts(kept(ua))) == 1
    assert register(ua).status == 200
    assert len(server.posts()) == 1
    assert register(ua, expires=0).status == 200
    assert server.contacts(kept(ua)) == []


def test_both_names_are_one_device(server):
    """It does not matter which of them a device uses today."""
    ua = camera(server)
    assert register(ua).status == 200
    ua.domain = DOMAIN
    assert register(ua).status == 200
    assert len(server.posts()) == 1 and len(server.contacts(ua)) == 1


def test_the_password_is_asked_for_all_the_same(server):
    ua = camera(server)
    ua.password = "wrong"
    assert register(ua).status == 401
    other = camera(server)
    ua.password, ua.user = other.password, other.user
    assert register(ua).status == 403  # not his address
    assert server.posts() == []


def test_another_name_is_not_served(server):
    for host in ("example.com", "192.0.2.7.example.com", "1.example.com"):
        assert register(camera(server, host)).status == 404


def test_without_the_setting(kamailio, cms):
    server = kamailio(cms)
    assert register(camera(server)).status == 404


def test_it_sends_and_receives(server):
    """Under its own address; who answers it, there, too."""
    one, two = camera(server), camera(server, "192.0.2.8")
    for ua in (one, two):
        assert register(ua).status == 200
    for uri in (kept(two), two.aor):
        def message(**kw):
            return one.build("MESSAGE", uri, to=uri, **kw)

        challenge = one.send(message()).wait().challenge()
        sent = one.send(message(headers=[(
            "Proxy-Authorization", one.authorization(challenge, "MESSAGE"))]))
        two.transport.reply(two.transport.wait_request("MESSAGE"), 200)
        assert sent.wait().status == 200
