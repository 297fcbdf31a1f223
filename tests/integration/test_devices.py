"""Devices as they are in the field: they restart, come with other addresses, and
send what no proper device sends. Against the shipped configuration, where a test
does not say otherwise."""

import time

import pytest

from harness import registrar, shown

pytestmark = pytest.mark.contract

TRANSPORTS = ["udp", "tcp"]


@pytest.fixture
def start(kamailio, cms):
    """start(NAME=value): a server with these settings."""
    return lambda **settings: kamailio(cms, settings=settings)


def told(server, ua):
    posts = server.posts(ua)
    assert [p.errors for p in posts if p.errors] == []
    return [p.json["reason"] for p in posts]


def binding(server, ua):
    """The only one."""
    found, = server.contacts(ua)
    return found


def wait_expired(seconds=1):
    """Until what was registered just now, for that long, has expired: the
    server counts whole seconds."""
    time.sleep(max(0.0, int(time.time()) + seconds + 0.1 - time.time()))


def register(server, ua, status=200, **kw):
    """What was sent before has ended by then."""
    server.settle()
    answer = ua.register(**kw)
    assert answer.status == status, answer.raw.decode()
    return answer


# -- a device restarts ----------------------------------------------------------

def power_cut(ua, cseq=0):
    """The device counts its CSeqs from here, and has forgotten its nonce."""
    ua.cseq = cseq
    ua.challenge = None


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("cseq", [0, 20], ids=["lower", "equal"])
def test_a_restart_with_the_call_id_of_before(start, cseq, transport):
    """It is back in one attempt, with its whole interval; detect_reboot is off,
    so that the CMS is not told."""
    server = start()
    ua = server.device(transport=transport)
    ua.cseq = 20
    register(server, ua, expires=600)
    power_cut(ua, cseq)
    answer = register(server, ua, expires=3600)
    assert "expires=3600" in answer.contacts[0]
    assert binding(server, ua)["CSeq"] == cseq + 2
    assert binding(server, ua)["Expires"] > 3500
    assert told(server, ua) == ["new"]
    # and from there on as ever
    register(server, ua, expires=3600)
    assert binding(server, ua)["CSeq"] == cseq + 4
    assert told(server, ua) == ["new"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_restart_is_told_with_detect_reboot(start, transport):
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device(transport=transport)
    ua.cseq = 20
    register(server, ua, expires=600)
    power_cut(ua)
    register(server, ua)
    register(server, ua)
    assert told(server, ua) == ["new", "reboot"]
    assert binding(server, ua)["CSeq"] == 4
    power_cut(ua, 2)  # its second request then has an equal CSeq
    register(server, ua)
    assert told(server, ua) == ["new", "reboot", "reboot"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("reboot", [0, 1])
@pytest.mark.parametrize("cseq", [0, 20], ids=["lower", "equal"])
def test_a_restarted_device_leaves(start, cseq, reboot, transport):
    """Expires 0 with a CSeq that is not higher: it leaves, and is told so."""
    server = start(CMS_DETECT_REBOOT=reboot)
    ua = server.device(transport=transport)
    ua.cseq = 20
    register(server, ua)
    power_cut(ua, cseq)
    register(server, ua, expires=0)
    assert server.contacts(ua) == []
    assert told(server, ua) == ["new"]


def test_a_restart_that_the_cms_refuses(start, cms):
    """The device is asked about again each time; the old binding is as it was."""
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device()
    ua.cseq = 20
    register(server, ua)
    before = binding(server, ua)
    cms.rule(status=403, times=2)
    power_cut(ua)
    register(server, ua, 403)
    register(server, ua, 403)
    assert {**binding(server, ua), "Expires": 0, "Last-Keepalive": 0} \
        == {**before, "Expires": 0, "Last-Keepalive": 0}
    register(server, ua)
    assert told(server, ua) == ["new"] + ["reboot"] * 3
    assert binding(server, ua)["CSeq"] == 6


def test_a_restart_after_the_binding_has_expired(start):
    """It returns, whatever its CSeq."""
    server = start(USRLOC_SYNC=600)
    ua = server.device()
    ua.cseq = 20
    register(server, ua, expires=1)
    wait_expired()
    power_cut(ua)
    register(server, ua)
    assert told(server, ua) == ["new", "returned"]
    assert binding(server, ua)["CSeq"] == 2


def test_a_restarted_device_repeats_itself(start):
    """The same bytes again are a retransmission: the same answer, nothing told,
    nothing saved."""
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device()
    ua.cseq = 20
    register(server, ua)
    power_cut(ua)
    last = ua.start_register()
    first = last.wait()
    last.steps[-1].resend()
    second = last.steps[-1].wait_finals(2)[1]
    assert first.raw == second.raw and first.status == 200
    assert told(server, ua) == ["new", "reboot"]


def test_two_restarts_while_the_cms_thinks(start, cms):
    """Both are answered, both were done."""
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device()
    ua.cseq = 20
    register(server, ua)
    cms.rule(hold=True)
    answers = []
    for n in (1, 2):
        power_cut(ua)
        answers.append(ua.start_register())
        server.wait_parked(n)
    cms.release()
    assert [a.wait().status for a in answers] == [200, 200]
    assert told(server, ua) == ["new", "reboot"]
    assert binding(server, ua)["CSeq"] == 2


@pytest.mark.parametrize("expires", [600, 0])
def test_an_equal_cseq_without_cseq_restart(kamailio, cms, expires):
    """It is a refresh, or leaves: what is answered 200 has been done."""
    server = kamailio(cms, config=lambda s, url: registrar(s, url, params=[
        ("cms_notify", "detect_reboot", 1)]))
    ua = server.device()
    register(server, ua, cseq=7, expires=60)
    answer = register(server, ua, cseq=7, expires=expires)
    assert shown(answer)["route"] == "main"
    found = [c["Expires"] > 500 for c in server.contacts(ua)]
    assert found == ([True] if expires else [])
    assert told(server, ua) == ["new"]


def test_an_equal_cseq_leaves_while_the_first_is_parked(kamailio, cms):
    server = kamailio(cms, config=registrar)
    ua = server.device()
    cms.rule(hold=True)
    coming = ua.send(ua.build_register(cseq=7))
    cms.wait_until(lambda: cms.held == 1)
    leaving = ua.send(ua.build_register(cseq=7, expires=0))
    server.wait_parked(2)
    cms.release()
    assert [t.wait().status for t in (coming, leaving)] == [200, 200]
    assert server.contacts(ua) == []


def test_an_equal_cseq_without_bindings_in_memory(kamailio, cms):
    """usrloc's db_mode 3: 400, since save() would say 200 and do nothing."""
    server = kamailio(cms, config=lambda s, url: registrar(s, url, params=[
        ("usrloc", "db_mode", 3)]))
    ua = server.device()
    register(server, ua, cseq=7, expires=60)
    answer = register(server, ua, 503, cseq=7, expires=0)
    assert shown(answer)["cause"] == "bad_request"
    assert len(server.contacts(ua)) == 1
