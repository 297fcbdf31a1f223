"""What a stranger sends makes no line of its own in the log, and not many lines."""

import contextlib
import re
import socket
import time

import pytest

from harness import registrar, until

pytestmark = pytest.mark.contract

LINE = re.compile(r" *\d+\(\d+\) (ERROR|WARNING|NOTICE|INFO|DEBUG|BUG|CRITICAL): ")
# Of an address within a minute: one of the request, how many were left out, and over
# TCP one for each thing that can be said of a connection.
MOST = 2

BAD = {"folded": "\r\n  0(1) ERROR: forged", "LF": "\n\tforged", "CR": "\r",
       "NUL": "\0", "ESC": "\x1b[2J", "DEL": "\x7f", "C1": "\x9b31m",
       "not UTF-8": "\xff\xfe", "UTF-8": "\xe4\xb8\xad",
       "line separator": "\xe2\x80\xa8x"}


def request_lines(**changed):
    lines = {
        "start": "REGISTER sip:telecom.com SIP/2.0",
        "Via": "SIP/2.0/UDP 127.0.0.1:9;branch=z9hG4bK1",
        "From": "<sip:a@telecom.com>;tag=1", "To": "<sip:a@telecom.com>",
        "Call-ID": "abc", "CSeq": "1 REGISTER",
        "Contact": "<sip:a@127.0.0.1:9>", "Max-Forwards": "70",
        "Expires": "60", "User-Agent": "x", "Content-Length": "0", **changed}
    start = lines.pop("start")
    return "\r\n".join([start, *(f"{name}: {value}"
                                 for name, value in lines.items()), "", ""])


def spoiled(bad):
    """Requests with this at the places of each line where it matters."""
    good = request_lines().split("\r\n")[:-2]
    for number, line in enumerate(good):
        for place in sorted({0, len(line), line.find(":") + 2, len(line) // 2,
                             line.find("=") + 1, line.find("@") + 1}):
            lines = good[:]
            lines[number] = line[:place] + bad + line[place:]
            yield "\r\n".join(lines) + "\r\n\r\n"


def send_all(server, requests):
    """All of them; returns the lines that they have made."""
    ua, before = server.device(), len(server.lines)
    with contextlib.closing(socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
        stranger.connect(server.address)
        for request in requests:
            stranger.send(request.encode("latin-1"))
            server.handle(ua)
    return server.lines[before:]


def assert_each_is_a_line(lines):
    for line in lines:
        assert LINE.match(line), line
        assert not re.search(r"[\0-\x1f\x7f-\x9f\u2028\u2029]", line), repr(line)


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    return module_kamailio(module_cms, settings={"LOG_LEVEL": 2})


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_each_line_is_kamailios_own(server, bad):
    """Whatever bytes are anywhere in a request, also where no one is
    authenticated; the log has no control characters."""
    server.allow_errors(".")
    assert_each_is_a_line(send_all(server, spoiled(bad)))


def test_each_line_is_kamailios_own_in_another_configuration(kamailio, cms):
    """The module sees to it: with a script that writes what it gets, with each
    line's prefix, too."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, core='log_prefix="{$ci $hdr(CSeq)} "', before="""
	xlog("L_NOTICE", "seen: $ci $hdr(CSeq) $ct $ua $tu\\n");"""))
    server.allow_errors(".")
    lines = send_all(server, (request for bad in BAD.values()
                              for request in spoiled(bad)))
    assert_each_is_a_line(lines)
    assert sum("NOTICE: {" in line and "seen: " in line for line in lines) > 100
    assert any(r"{abc\x0d\x0a  0(1) ERROR: forged 1 REG" in line for line in lines)


def test_what_a_user_sends_makes_one_line(server):
    """A Call-ID and a Contact in several lines, of a device that registers."""
    ua = server.device()
    before = len(server.lines)
    for _ in range(2):  # new, and a refresh
        response = ua.register(call_id="one\r\n  1(2) ERROR: two",
                               contacts=f"{ua.contact}\r\n ;x=y")
        assert response.status == 200
        server.settle()  # or the next one joins it
    server.handle(ua)
    lines = server.lines[before:]
    assert_each_is_a_line(lines)
    server.wait_log(r"registration: .*\\x0d\\x0a ;x=y")


def worst(server, count):
    """Seconds, and lines for that many requests that the parser has much to say
    about, before the script sees them and where it does."""
    bad = [request_lines(Via="SIP/2.0/UDP 127.0.0.1:9;branch=z\0"),
           request_lines(**{"\x7fFrom": "x"}), "x" * 84 + "\r\n\r\n",
           request_lines(CSeq="x", To="<x"), request_lines(Contact="<x")]
    ua, before, start = server.device(), len(server.lines), time.monotonic()
    with contextlib.closing(socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
        stranger.connect(server.address)
        for n in range(count):
            stranger.send(bad[n % len(bad)].encode("latin-1"))
            if n % 50 == 0:
                server.handle(ua)
        server.handle(ua)
        server.handle(ua)
    return time.monotonic() - start, server.lines[before:]


def test_many_bad_requests_make_few_lines(kamailio, cms):
    """There is one entry within a minute, whatever one address sends, and one that
    says how many there would have been."""
    server = kamailio(cms)
    server.allow_errors(".")
    seconds, lines = worst(server, 3000)
    assert 0 < len(lines) <= MOST * (seconds // 60 + 1)
    server.wait_log("pars")
    until(lambda: worst(server, 20)
          and server.log("more entries were left out"))


def test_one_bad_request_makes_a_line(kamailio, cms):
    """The first of them says what was wrong."""
    server = kamailio(cms)
    server.allow_errors(".")
    worst(server, 1)
    server.wait_log("pars")


def test_another_address_has_its_own_line(kamailio, cms):
    """Whose own entry of the minute is not used up by the first."""
    server = kamailio(cms)
    server.allow_errors(".")
    worst(server, 10)
    before = len(server.log("pars"))
    other = server.device(local=("127.9.0.1", 0))
    other.transport.send(request_lines(
        Via="SIP/2.0/UDP 127.0.0.1:9;branch=z\0").encode())
    server.handle(other)
    until(lambda: len(server.log("pars")) > before)


@pytest.mark.parametrize("bad", [
    {"Content-Length": None}, {"From": "<sip:a@telecom.com>"}, {"CSeq": "x"},
    {"Content-Length": "x"}, {"Via": "x"}, {"To": "<x"}], ids=str)
def test_the_same_over_tcp(kamailio, cms, bad):
    """Without a length, without a tag, on as many connections as one likes: each
    thing that is said of connections is said once."""
    server = kamailio(cms)
    server.allow_errors(".")
    changed = {name: value for name, value in bad.items() if value is not None}
    request = request_lines(**{"Via": "SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK1",
                               **changed})
    for name, value in bad.items():
        if value is None:
            request = re.sub(rf"{name}: .*\r\n", "", request)
    start, before = time.monotonic(), len(server.lines)
    for _ in range(50):
        with contextlib.closing(socket.create_connection(
                server.address)) as stranger:
            stranger.sendall(request.encode("latin-1"))
            stranger.shutdown(socket.SHUT_WR)
            stranger.settimeout(10)
            while stranger.recv(65536):
                pass
    server.handle(server.device())
    lines = server.lines[before:]
    assert len(set(re.sub(r"\d+", "0", line) for line in lines)) \
        >= len(lines) / ((time.monotonic() - start) // 60 + 1)
    assert len(lines) < 10


def test_what_the_script_says_is_not_among_them(kamailio, cms):
    """Its entries are for the operator: all are there."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, before='xlog("L_ERR", "seen: $rm $ci\\n");'))
    server.allow_errors(".")
    worst(server, 200)
    before = len(server.log("seen: REGISTER"))
    for _ in range(50):
        assert server.device().register().status == 200
    until(lambda: len(server.log("seen: REGISTER")) == before + 50)
