"""A stranger's request is answered with little more than it says."""

import contextlib
import socket

import pytest

import ipv6
from harness import HOST, Ua

pytestmark = pytest.mark.contract


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
         "SIP_REALM": "a-rather-long-realm.kedacom.example.com"}],
    ids=["", "long names"])
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


def test_a_short_request_over_tcp_is_answered(kamailio, cms):
    """There nobody asks in another's name."""
    with socket.create_connection(kamailio(cms).address) as sock:
        sock.settimeout(5)
        sock.sendall(smallest("OPTIONS", 120).replace(
            b"/UDP", b"/TCP").replace(b"\r\n\r\n", b"\r\nl:0\r\n\r\n"))
        assert sock.recv(65536).startswith(b"SIP/2.0 200 ")
