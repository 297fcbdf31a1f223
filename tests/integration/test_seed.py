"""The registration flow that the module is made for, with the messages of a
real device: folded headers, blanks at line ends, a qop without quotes, a
Digest realm and URI that are not the domain, ports in From and To, another
Call-ID in each REGISTER."""

import re
import time
from datetime import datetime, timezone

import pytest

import sip_message
from harness import PASSWORD, Transport

pytestmark = pytest.mark.contract

# Every line ends in a blank, as the device sends it.
FIRST = """\
REGISTER sip:telecom.com SIP/2.0 
Via: SIP/2.0/UDP 127.0.0.1:7000;rport;branch=z9hG4bK17245 
From: gzj <sip:gzj@telecom.com:7000>;tag=12103 
To: gzj <sip:gzj@telecom.com:7000> 
Call-ID: 6565@172.16.163.3 
CSeq: 1 REGISTER 
Contact: <sip:gzj@172.16.163.3:7000> 
Max-Forwards: 70 
User-Agent: TELECOM ncsip/1.0 
Expires: 3600 
Content-Length: 0 

"""
SECOND = """\
REGISTER sip:telecom.com SIP/2.0 
Via: SIP/2.0/UDP 127.0.0.1:7000; rport;branch=z9hG4bK28145 
From: gzj <sip:gzj@telecom.com:7000>;tag=12103 
To: gzj <sip:gzj@telecom.com:7000> 
Call-ID: 5705@172.16.163.3 
CSeq: 2 REGISTER 
Contact: <sip:gzj@172.16.163.3:7000> 
Authorization:  Digest  username="gzj",  realm="kedacom.com", 
 nonce="{nonce}", 
 opaque="00000000000000000000000000006334",  uri="sip:kedacom.com", 
 qop=auth,  nc=00000001,  cnonce="0a4f113b", 
 response="{response}" 
Max-Forwards: 70 
User-Agent: TELECOM ncsip/1.0 
Expires: 3600 
Content-Length: 0

"""


def wire(text, **values):
    return text.format(**values).replace("\n", "\r\n").encode()


def answer_to(challenge):
    nonce = challenge["nonce"]
    return wire(SECOND, nonce=nonce, response=sip_message.digest_response(
        "gzj", "kedacom.com", PASSWORD, "REGISTER", "sip:kedacom.com", nonce,
        "auth", "00000001", "0a4f113b"))


@pytest.fixture
def server(kamailio, cms):
    server = kamailio(cms, settings={
        "SERVER_HEADER": "User-Agent: TELECOM ncsip/1.0"})
    server.add_subscribers(["gzj"])
    return server


@pytest.fixture
def device(server):
    transport = Transport(server.address)
    yield transport
    transport.close()


def test_challenge(server, device):
    """Message (2) carries what the device expects: realm, nonce, opaque, and
    the offer of auth and auth-int."""
    response = device.send(wire(FIRST)).wait()
    assert response.status == 401
    challenge = response.challenge()
    assert challenge["realm"] == "kedacom.com"
    assert challenge["qop"] == "auth,auth-int"
    assert len(challenge["nonce"]) >= 16
    assert re.fullmatch("[0-9a-f]{32}", challenge["opaque"])
    assert "stale" not in challenge
    assert response.get("User-Agent") == "TELECOM ncsip/1.0"
    assert response.get("Server") is None
    assert response.get("Call-ID") == "6565@172.16.163.3"
    assert response.to_tag


def test_answer_waits_for_the_cms(server, device, cms):
    """Message (6) is sent after the CMS has answered message (4), not
    before; and it grants what was asked for."""
    cms.rule(hold=True, text="ok")
    challenge = device.send(wire(FIRST)).wait().challenge()
    registering = device.send(answer_to(challenge))
    cms.wait_until(lambda: cms.held == 1)
    # A round trip through each SIP worker: no answer is on its way.
    for _ in range(5):
        assert server.device("other").options()[0].status == 200
    assert registering.responses == []
    assert server.contacts("gzj@telecom.com") == []

    cms.release()
    response = registering.wait()
    assert response.status == 200
    assert response.time > cms.requests[0].answered
    assert response.contacts == [
        "<sip:gzj@172.16.163.3:7000>;expires=3600;received="
        f'"sip:{device.host_port}"']
    assert len(server.posts()) == 1
    assert len(registering.finals) == 1


def test_report(server, device, cms):
    """Message (4) is one POST of the published form, and each of its fields
    says what the REGISTER said."""
    challenge = device.send(wire(FIRST)).wait().challenge()
    before = datetime.now(timezone.utc).timestamp() - 0.001
    assert device.send(answer_to(challenge)).wait().status == 200
    after = datetime.now(timezone.utc).timestamp()

    post, = server.posts()
    assert post.errors == []
    body = dict(post.json)
    event = body.pop("id")
    assert re.fullmatch("[0-9a-f]{32}", event)
    assert body.pop("seq") > 1e15
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
                        body["time"])
    assert before <= datetime.fromisoformat(body.pop("time")).timestamp() \
        <= after
    assert body == {
        "version": 1, "event": "register", "reason": "new",
        "aor": "sip:gzj@telecom.com", "username": "gzj",
        "domain": "telecom.com", "auth_user": "gzj", "realm": "kedacom.com",
        "contacts": [{
            "uri": "sip:gzj@172.16.163.3:7000", "expires": 3600,
            "received": f"sip:{device.host_port}", "instance": None,
            "reg_id": None, "path": None, "reason": "new"}],
        "live": 1, "flaps": 0,
        "source": {"ip": "127.0.0.1", "port": device.local[1],
                   "transport": "udp"},
        "call_id": "5705@172.16.163.3", "cseq": 2,
        "user_agent": "TELECOM ncsip/1.0", "node": "test-node"}

    assert post.method == "POST"
    assert post.path == "/register"
    assert post.get("Content-Type") == "application/json"
    assert post.get("Idempotency-Key") == f'"{event}"'
    assert re.fullmatch(r"kamailio-cms_notify/\d+\.\d+(\.\d+)?",
                        post.get("User-Agent"))


def test_the_same_device_again(server, device, cms):
    """The device changes its Call-ID in each REGISTER; its second
    registration is a refresh for all that."""
    challenge = device.send(wire(FIRST)).wait().challenge()
    assert device.send(answer_to(challenge)).wait().status == 200
    again = {"z9hG4bK17245": "z9hG4bK30001", "z9hG4bK28145": "z9hG4bK30002",
             "6565@": "7001@", "5705@": "7002@", "CSeq: 1": "CSeq: 3",
             "CSeq: 2": "CSeq: 4"}

    def changed(data):
        for old, new in again.items():
            data = data.replace(old.encode(), new.encode())
        return data

    challenge = device.send(changed(wire(FIRST))).wait().challenge()
    assert device.send(changed(answer_to(challenge))).wait().status == 200
    assert len(server.posts()) == 1
    contact, = server.contacts("gzj@telecom.com")
    assert contact["Call-ID"] == "7002@172.16.163.3"


def test_refused_by_the_cms(server, device, cms):
    """A device that the CMS refuses gets 403 and is not registered."""
    cms.refuse("gzj", text="no such camera")
    challenge = device.send(wire(FIRST)).wait().challenge()
    assert device.send(answer_to(challenge)).wait().status == 403
    assert len(server.posts()) == 1
    assert server.contacts("gzj@telecom.com") == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("auth", [
    {"qop": "auth"}, {"qop": "auth-int"}, {"opaque": False},
    {"qop": "auth-int", "opaque": False}], ids=lambda a: "-".join(
        f"{k}_{v}" for k, v in a.items()))
def test_either_qop(server, cms, auth, transport):
    """A client may pick auth or auth-int, and need not return opaque."""
    ua = server.device(transport=transport)
    assert ua.register(auth=auth).status == 200
    assert len(server.posts(ua)) == 1


def test_auth_int_covers_the_body(server, cms):
    """auth-int: the Digest of another body is a wrong one."""
    ua = server.device()
    sdp = [("Content-Type", "application/sdp")]
    assert ua.register(auth={"qop": "auth-int"}, body=b"v=0\r\n",
                       headers=sdp).status == 200
    other = server.device()
    other.challenge = other.send(other.build_register()).wait().challenge()
    forged = other.authorization(qop="auth-int", body=b"v=0\r\n")
    assert other.send(other.build_register(
        authorization=forged, body=b"v=1\r\n", headers=sdp)
    ).wait().status == 401
    assert len(server.posts()) == 1


@pytest.mark.parametrize("qop", ["auth", "auth-int"])
def test_wrong_password(server, cms, qop):
    """A wrong password never reaches the CMS."""
    ua = server.device()
    for _ in range(3):
        assert ua.register(auth={"password": "wrong", "qop": qop}
                           ).status == 401
    assert server.posts() == []
    assert server.contacts(ua) == []
    assert ua.register().status == 200
    assert len(server.posts()) == 1


def test_unknown_user(server, cms):
    """Nor does a user whom nobody knows."""
    ua = server.device(user="known")
    ua.auth_user = ua.user = "unknown"
    assert ua.register().status == 401
    assert server.posts() == []


def test_somebody_elses_address(server, cms):
    """Who is authenticated as one user cannot register the address of
    another, and the CMS hears nothing of it."""
    server.add_subscribers(["owner"])
    thief = server.device("owner", auth_user="thief")
    assert thief.register().status == 403
    assert server.posts() == []
    assert server.contacts("owner@telecom.com") == []


def test_unauthenticated(server, cms):
    """Without credentials, or with those of another realm: 401 only."""
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    foreign = {**challenge, "realm": "telecom.com"}
    assert ua.send(ua.build_register(
        authorization=ua.authorization(foreign))).wait().status == 401
    assert server.posts() == []


def test_used_credentials(server, cms):
    """Captured credentials are worthless to somebody else: a nonce and its
    count work once."""
    ua = server.device()
    registration = ua.start_register()
    assert registration.wait().status == 200
    captured = registration.steps[-1].request.get("Authorization")
    thief = server.device("thief")
    thief.user = ua.user
    assert thief.send(thief.build_register(
        authorization=captured)).wait().status == 401
    assert len(server.posts()) == 1
    assert len(server.contacts(ua)) == 1


def test_old_nonce(kamailio, cms):
    """An expired nonce is called stale, so that the device tries again by
    itself; then the CMS is told once."""
    server = kamailio(cms, settings={"NONCE_EXPIRE": 1})
    ua = server.device()
    ua.challenge = ua.send(ua.build_register()).wait().challenge()
    # Time must pass: nothing else makes a nonce old.
    time.sleep(2.1)
    registration = ua.start_register(preemptive=True)
    assert registration.wait().status == 200
    assert registration.steps[0].final.challenge()["stale"] == "true"
    assert len(server.posts()) == 1
