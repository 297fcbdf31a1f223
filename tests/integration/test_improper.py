"""What is meant for another server is none of ours, credentials say what was
offered, and a stranger's request is answered with little more than it says."""

import contextlib
import re
import socket

import pytest

import ipv6
from harness import DOMAIN, HOST, Ua, shipped_with

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    """Of one other name, which is in no Request-URI by itself."""
    return module_kamailio(
        module_cms, config=shipped_with("alias=outer.example.org\n"))


def fill_in(server, uri):
    return uri.format(host=HOST, port=server.port)


# -- whose request, whose credentials ----------------------------------------

OURS = ["sip:telecom.com", "sip:TELECOM.com", "sip:telecom.com:7000",
        "sip:telecom.com;transport=udp", "sip:3402@telecom.com",
        "sip:{host}", "sip:{host}:{port}", "sip:3402@{host}:5070;lr",
        "sip:kedacom.com", "sip:outer.example.org"]
OTHERS = ["sip:example.com", "sip:telecom.com@example.com", "sip:127.0.0.99",
          "sip:telecom.com.example.com", "sip:xtelecom.com", "sip:com"]


@pytest.mark.parametrize("uri", OURS)
def test_a_name_of_this_server(server, uri):
    """Domain, realm, address, alias: in the Request-URI as in the Digest uri."""
    uri = fill_in(server, uri)
    ua = server.device(uri=uri)
    assert ua.register(ruri=uri).status == 200
    assert ua.register(ruri="sip:telecom.com").status == 200


@pytest.mark.parametrize("uri", OTHERS)
def test_a_request_for_another_server(server, uri):
    """The registrar is not responsible for it (RFC 3261, 10.3)."""
    ua = server.device()
    ua.challenge = ua.send(ua.build_register()).wait().challenge()
    begun = ua.start_register(preemptive=True, ruri=uri)
    assert begun.wait().status == 404
    assert server.contacts(ua) == []


def improper(server, ua, auth):
    answer = ua.send(ua.build_register(authorization=auth)).wait()
    assert server.contacts(ua) == []
    return (answer.status, answer.reason) == (400, "Improper credentials")


@pytest.mark.parametrize("uri", OTHERS + [
    "x", "/", "*", "http://example.com", "tel:telecom.com;x", "sip:", "sips:",
    "sip::5", ":sip:", "@", "sip:a@b@telecom.com", "sip:[telecom.com]"])
def test_credentials_for_another_server(server, uri):
    """Right ones, which somebody may have got out of a device that believes to
    talk to another server."""
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    auth = ua.authorization(challenge, uri=uri)
    assert improper(server, ua, auth)


def test_credentials_without_a_uri(server):
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    auth = ua.authorization(challenge).replace('uri="sip:telecom.com", ', "")
    assert improper(server, ua, auth)


@pytest.mark.parametrize("uri, status", [
    ("sip:example.com", 400), ("sip:telecom.com", 480), ("sip:kedacom.com", 480),
    ("sip:nobody@telecom.com", 480)])
def test_credentials_of_another_method(server, uri, status):
    """The same for a 407: 480 says that they were taken."""
    ua = server.device()
    target = f"sip:nobody@{DOMAIN}"
    challenge = ua.send(ua.build("MESSAGE", target)).wait().challenge()
    auth = ua.authorization(challenge, "MESSAGE", uri)
    assert ua.send(ua.build("MESSAGE", target, [("Proxy-Authorization", auth)])
                   ).wait().status == status


@pytest.mark.parametrize("algorithm", ["MD5", "md5", '"MD5"'])
def test_the_algorithm_that_is_offered(server, algorithm):
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    auth = ua.authorization({**challenge, "algorithm": algorithm})
    assert ua.send(ua.build_register(authorization=auth)).wait().status == 200


@pytest.mark.parametrize("algorithm", [
    "MD5-sess", "SHA-256", "SHA-256-sess", "AKAv1-MD5", "MD", "x"])
def test_another_algorithm(server, algorithm):
    """Refused (RFC 7616, 3.4), and not taken for MD5."""
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    auth = ua.authorization({**challenge, "algorithm": algorithm})
    assert improper(server, ua, auth)


@pytest.mark.parametrize("qop", ["auth-conf", "auth,auth-int", "x", " "])
def test_another_qop(server, qop):
    """The same, also where the response is right for it."""
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    auth = ua.authorization({**challenge, "qop": "other"}, qop="other")
    assert improper(server, ua, auth.replace("qop=other", f'qop="{qop}"'))


@pytest.mark.parametrize("size", [1, 31, 33, 64])
def test_a_response_that_is_none(server, size):
    ua = server.device()
    challenge = ua.send(ua.build_register()).wait().challenge()
    assert improper(server, ua,
                    ua.authorization(challenge, response="0" * size))


def test_a_form_without_credentials(server):
    """As some devices send it at first: they are challenged."""
    ua = server.device()
    auth = ua.authorization({"realm": "kedacom.com", "nonce": ""}, qop=None,
                            response="-").replace('response="-"', 'response=""')
    answer = ua.send(ua.build_register(authorization=auth)).wait()
    assert answer.status == 401
    assert "stale" not in answer.challenge()
    assert ua.register().status == 200


def test_a_via_without_a_branch(server):
    """Devices of before RFC 3261 send none."""
    ua = server.device()

    def answer(data):
        return ua.send(re.sub(rb";branch=[^;\r]*", b"", data)).wait()

    challenge = answer(ua.build_register()).challenge()
    assert answer(ua.build_register(authorization=ua.authorization(
        challenge))).status == 200
    assert len(server.contacts(ua)) == 1


# -- how much comes back -----------------------------------------------------

TIMES = 2.5

SMALLEST = {
    "challenge": "REGISTER sip:telecom.com",
    "of a proxy": "INFO sip:telecom.com",
    "INVITE": "INVITE sip:telecom.com",
    "OPTIONS": "OPTIONS sip:a",
    "OPTIONS of a user": "OPTIONS sip:a@telecom.com",
    "another server": "REGISTER sip:a",
    "not here": "PRACK sip:a",
    "another domain": "INFO sip:a",
    "too many hops": "OPTIONS sip:a",
    "no URI": "INFO x:a",
    "bad expiry": "REGISTER sip:telecom.com",
}
MORE = {"another domain": "f:<sip:a@b>;tag=1", "too many hops": "Max-Forwards:0",
        "bad expiry": "Expires:x"}


def smallest(kind, size):
    """Of that kind, with a Call-ID that makes it so long; or None."""
    line = SMALLEST[kind]
    more = MORE.get(kind, "")
    lines = [f"{line} SIP/2.0", "v:SIP/2.0/UDP a",
             more if more[:2] == "f:" else "f:<sip:a@telecom.com>;tag=1",
             "t:<sip:a@telecom.com>", f"CSeq:1 {line.split()[0]}"]
    if more and more[:2] != "f:":
        lines.append(more)
    text = "\r\n".join(lines) + "\r\ni:{}\r\n\r\n"
    room = size - len(text) + 2
    return text.format("i" * room).encode() if room > 0 else None


def exchange(server, requests, local=HOST, to=HOST):
    """{request: answers}, from one worker, which takes one after the other."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock, \
            Ua((to, server.port), local=(to, 0)) as fence:
        sock.bind((local, 0))
        sock.setblocking(False)
        answers = {}
        for request in requests:
            sock.sendto(request, (to, server.port))
            fence.options()
            answers[request] = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    answers[request].append(sock.recv(65536))
        return answers


def no_answer_is_much_longer(server, **kw):
    server.allow_errors("parse_uri|expires")
    for kind in SMALLEST:
        answers = exchange(server, filter(None, (
            smallest(kind, size) for size in range(80, 290, 3))), **kw)
        for request, found in answers.items():
            assert sum(map(len, found)) <= TIMES * len(request), (request, found)
        # no device sends less
        assert all(found for request, found in answers.items()
                   if len(request) >= 270), kind


@pytest.mark.parametrize("settings", [
    {}, {"SERVER_HEADER": "User-Agent: TELECOM ncsip/1.0",
         "SIP_REALM": "a-rather-long-realm.kedacom.example.com"},
    {"WITH_ALGORITHM": 1}, {"WITH_GB28181": 1}],
    ids=["", "long names", "algorithm", "GB/T 28181"])
def test_no_answer_is_much_longer_than_the_request(kamailio, cms, settings):
    """Of any kind that needs no password, for requests as short as can be: a
    short one has no answer."""
    no_answer_is_much_longer(
        kamailio(cms, settings={"CHILDREN": 1, **settings}))


def test_the_same_over_ipv6():
    """Where the answer says a longer address."""
    local = "2001:db8:1111:2222:3333:4444:5555:6666"
    with ipv6.addresses(local), ipv6.server(CHILDREN=1) as server:
        no_answer_is_much_longer(server, local=local, to="::1")


def test_a_short_request_over_tcp_is_answered(server):
    """There nobody asks in another's name."""
    with socket.create_connection(server.address) as sock:
        sock.settimeout(5)
        sock.sendall(smallest("OPTIONS", 120).replace(
            b"/UDP", b"/TCP").replace(b"\r\n\r\n", b"\r\nl:0\r\n\r\n"))
        assert sock.recv(65536).startswith(b"SIP/2.0 200 ")
