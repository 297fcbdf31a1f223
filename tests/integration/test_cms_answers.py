"""What the CMS does, and what becomes of the device that waits for it."""

import ctypes
import email.utils
import json
import re
import time
import unicodedata

import pytest

from harness import VERDICT, fails_to_start, registrar, shown

pytest.register_assert_rewrite("verdicts")
from verdicts import check, register  # noqa: E402

pytestmark = pytest.mark.contract

TIMEOUT = 3000
# Each process has connections of its own. A busy machine takes its time.
ONE = {"CMS_HTTP_PROCESSES": 1, "CMS_TIMEOUT": 20000}
BIG = 20_000_000


def chunked(size):
    """An answer of that size, its length not told in advance."""
    head = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    return head + chunk * (size // 0x10000) + b"0\r\n\r\n"


def answer(head, body=b""):
    return head.replace(b"\n", b"\r\n") + b"\r\n" + body


TRAILERS = b"2\r\nok\r\n0\r\nX-Sum: 1\r\nX-Other: 2\r\n\r\n"


def row(name, verdict, cause, status, /, **rule):
    """One line of the table; `status` None: there may be one or not."""
    return pytest.param(rule, verdict, cause, status, id=name)


ACCEPTED = [
    row("200", "accepted", "none", 200),
    row("201", "accepted", "none", 201, status=201),
    row("202", "accepted", "none", 202, status=202),
    row("204", "accepted", "none", 204, status=204),
    row("299", "accepted", "none", 299, status=299, reason="Own"),
    row("200 with a JSON text", "accepted", "none", 200, text="welcome"),
    row("200 without a body", "accepted", "none", 200, body=""),
    row("200 with a body that is no JSON", "accepted", "none", 200,
        body="<html>fine</html>"),
    row("200 with broken JSON", "accepted", "none", 200, body='{"text": "o'),
    row("200 with a JSON array", "accepted", "none", 200, body=["text"]),
    row("200 with JSON of deep nesting", "accepted", "none", 200,
        body="[" * 8000 + "]" * 8000),
    row("200 with bytes that are no UTF-8", "accepted", "none", 200,
        body=b'{"text": "\xff\xfe\x00"}'),
    row("200 whose end is the end of the connection", "accepted", "none", 200,
        raw=answer(b"HTTP/1.1 200 OK\nConnection: close\n", b"fine")),
    row("200 by HTTP/1.0", "accepted", "none", 200,
        raw=answer(b"HTTP/1.0 200 OK\nContent-Length: 2\n", b"ok")),
    row("200 in chunks", "accepted", "none", 200,
        raw=answer(b"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n",
                   b"2\r\nok\r\n0\r\n\r\n")),
    row("200 with trailer fields", "accepted", "none", 200,
        headers=[("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")],
        body=TRAILERS),
    row("200 after a 100", "accepted", "none", 200,
        raw=answer(b"HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\n"
                   b"Content-Length: 2\n", b"ok")),
    row("200 with a header that Kamailio's SIP parser would read", "accepted",
        "none", 200, headers=[("Via", "SIP/2.0/UDP 192.0.2.1;branch=1")]),
    row("200 byte after byte, but in time", "accepted", "none", 200,
        drip=0.001),
]

REJECTED = [
    row(str(status), "rejected", "none", status, status=status, body="")
    for status in (400, 401, 402, 403, 404, 405, 410, 413, 422, 451)
] + [
    row("401 with a challenge", "rejected", "none", 401, status=401,
        headers=[("WWW-Authenticate", 'Basic realm="cms"')]),
    row("403 with a text", "rejected", "none", 403, status=403,
        text="unknown device"),
    row("404 as HTML", "rejected", "none", 404, status=404,
        body="<html>not here</html>"),
]

UNDECIDED = [
    row(str(status), "unavailable", "http", status, status=status)
    for status in (408, 409, 425, 429, 500, 501, 502, 503, 504, 599,
                   300, 304)
] + [
    row(f"{status} to another address", "unavailable", "http", status,
        status=status, headers=[("Location", "/elsewhere")])
    for status in (301, 302, 303, 307, 308)
]

BROKEN = [
    row("closes the connection at once", "unavailable", "connect", 0,
        close="accept"),
    row("resets the connection at once", "unavailable", "connect", 0,
        close="accept", reset=True),
    row("closes without an answer", "unavailable", "connect", 0,
        close="request"),
    row("resets before the answer", "unavailable", "connect", 0,
        close="request", reset=True),
    row("closes in the body of the answer", "unavailable", "connect", None,
        close="answer", body="x" * 1000, cut_after=600),
    row("resets in the body of the answer", "unavailable", "connect", None,
        close="answer", body="x" * 1000, cut_after=600, reset=True),
    row("resets in the head of the answer", "unavailable", "connect", None,
        close="answer", cut_after=20, reset=True),
    row("hangs", "unavailable", "timeout", 0, hang=True),
    row("drips a byte a second", "unavailable", "timeout", 0, drip=1.0),
    row("hangs in the body", "unavailable", "timeout", None,
        body=" " * 10000, drip=0.02),
    row("answers after the deadline", "unavailable", "timeout", 0,
        delay=TIMEOUT / 1000 + 0.3),
    row("20 MB", "unavailable", "too_big", None, body_size=BIG),
    row("20 MB in chunks", "unavailable", "too_big", None, raw=chunked(BIG)),
    row("403 with 20 MB", "unavailable", "too_big", None, status=403,
        body_size=BIG),
    row("endless headers", "unavailable", "too_big", None,
        raw=b"HTTP/1.1 200 OK\r\n" + b"X-Header: endless\r\n" * 500_000),
    row("a header without an end", "unavailable", "too_big", None,
        raw=b"HTTP/1.1 200 OK\r\nX-Header: " + b"x" * 8_000_000),
    row("garbage", "unavailable", "bad_answer", 0,
        raw=b"\x00\xff\x80garbage\r\n\r\n" * 20),
    row("SIP", "unavailable", "bad_answer", 0,
        raw=b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
    row("a blank before the first field", "unavailable", "bad_answer", None,
        raw=b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n"),
    row("a page without a head", "unavailable", "bad_answer", 0,
        raw=b"<html>\r\n\r\nthe CMS is being updated</html>"),
]


@pytest.fixture(scope="module")
def servers(module_cms, module_kamailio):
    """One whose answers show what the script saw, and the shipped one."""
    return (module_kamailio(module_cms, config=lambda s, url: registrar(
                s, url, params=[("cms_notify", "timeout", TIMEOUT)])),
            module_kamailio(module_cms, settings={
                "CMS_TIMEOUT": TIMEOUT, "USRLOC_DB_MODE": 0}))


@pytest.mark.parametrize("rule, verdict, cause, status",
                         ACCEPTED + REJECTED + UNDECIDED + BROKEN)
def test_one_answer_of_the_cms_one_answer_for_the_device(
        servers, module_cms, rule, verdict, cause, status):
    if verdict == "unavailable":
        # On a kept connection a failure may be the race tested below.
        module_cms.stop()
        module_cms.start()
        module_cms.clear()
    if rule:
        module_cms.rule(**rule)
    check(servers, verdict, cause, status)
    if rule.get("close") != "accept":
        assert module_cms.count == 2
        assert not [r for r in module_cms.requests if r.errors]


def test_a_cms_that_refuses_connections_is_unavailable(servers, module_cms):
    module_cms.stop()
    try:
        check(servers, "unavailable", "connect", 0)
    finally:
        module_cms.start()


def test_an_answer_that_ends_in_its_head_is_no_answer(servers, module_cms):
    module_cms.rule(close="answer", cut_after=25)
    response = register(servers[0])
    seen = shown(response)
    assert seen["verdict"] == "unavailable"
    assert seen["cause"] in ("connect", "bad_answer")
    assert register(servers[1]).status == 503


def test_registered_only_if_accepted(servers, module_cms):
    shipped = servers[1]
    module_cms.rule(match={"username": "no"}, status=403)
    module_cms.rule(match={"username": "later"}, status=500)
    devices = {name: shipped.device(name) for name in ("yes", "no", "later")}
    for ua in devices.values():
        ua.register()
    assert [bool(shipped.contacts(ua)) for ua in devices.values()] \
        == [True, False, False]


def test_a_big_answer_is_not_read_to_its_end(servers, module_cms):
    """It would take far longer to send than the device waits."""
    module_cms.rule(body="x" * 16_500, headers=[("Content-Length", BIG)],
                    hold=True)
    registration = servers[0].device().start_register()
    module_cms.wait_until(lambda: module_cms.held)
    module_cms.release()
    seen = shown(registration.wait())
    assert seen["cause"] == "too_big"
    assert int(seen["elapsed_ms"]) < TIMEOUT


@pytest.mark.parametrize("size, cause", [
    (16384, "none"), (16385, "too_big")])
def test_the_size_limit_is_max_answer_size(servers, module_cms, size, cause):
    module_cms.rule(body_size=size)
    seen = shown(register(servers[0]))
    assert seen["cause"] == cause
    if cause == "none":
        assert seen["body_size"] == str(size)


# -- $cms(answer.NAME) -----------------------------------------------------------

MEMBERS = """
	append_to_reply("X-A: [$cms(answer.a)]\\r\\n");
	if ($cms(answer.a) == $null) append_to_reply("X-Null: yes\\r\\n");
"""


@pytest.fixture(scope="module")
def members(module_kamailio, module_cms):
    return module_kamailio(module_cms, config=lambda s, url: registrar(
        s, url, verdict=MEMBERS + VERDICT))


@pytest.mark.parametrize("answer, value", [
    ({"a": "x"}, "x"), ({"a": "说明"}, "说明"), ({"a": ""}, ""), ({"a": 5}, "5"),
    ({"a": -1.5}, "-1.5"), ({"a": True}, "true"), ({"a": False}, "false"),
    ({"a": [1, "b"]}, '[1,"b"]'), ({"a": {"b": None}}, '{"b":null}'),
    ({"a": "x\r\nX-Injected: 1"}, "x  X-Injected: 1"), ({"a": "x" * 2000}, "x" * 2000),
    ({"a": None}, None), ({"b": 1}, None), ({"a": "x" * 8193}, None), ([{"a": 1}], None),
    ("{", None), ("", None), ('{"a": 1, "a"', None)], ids=lambda v: ascii(v)[:24])
def test_a_member_of_the_answer(members, module_cms, answer, value):
    """As text; what is not there is null, and nothing in it ends a line."""
    module_cms.rule(body=answer)
    response = register(members)
    assert response.status == 200 and response.get("X-Injected") is None
    assert response.get("X-Null") == (None if value is not None else "yes")
    if value is not None:
        assert response.get("X-A") == f"[{value}]"


@pytest.mark.parametrize("name", ["answer", "answer.", "text.a", "other.a"])
def test_a_member_that_has_no_name(name):
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, verdict=f'append_to_reply("$cms({name})");'))
    assert any("there is no such name" in line for line in lines)


# -- $cms(text), $cms(body) ------------------------------------------------------

@pytest.mark.parametrize("status, verdict", [
    (200, "accepted"), (403, "rejected"), (503, "unavailable")])
def test_the_text_is_the_one_in_the_answer(
        servers, module_cms, status, verdict):
    module_cms.rule(status=status, text="说明: fine")
    seen = shown(register(servers[0]))
    assert (seen["verdict"], seen["text"]) == (verdict, "说明: fine")


def test_the_body_is_the_answer_as_received(servers, module_cms):
    body = '{ "text" : "a\\u00e9" ,\n"other":[1, 2 ]}\nVia: x\n'
    module_cms.rule(body=body)
    assert shown(register(servers[0]))["body"] == body


@pytest.mark.parametrize("text", [
    "a\r\nX-Injected: 1\r\n\r\nb", "a\nb", "a\0b", "\x1b[31mred\x7f",
    "a\u2028b\u2029c\x85d\x9be", "x" * 10_000, "é" * 5_000, "\U0001f4f7" * 3_000],
    ids=lambda text: ascii(text[:8]))
def test_a_text_is_one_line_whatever_the_cms_writes(
        servers, module_cms, text):
    """The test configuration copies it into a header of the answer."""
    module_cms.rule(status=403, text=text)
    response = register(servers[0])
    seen = shown(response)
    assert seen["verdict"] == "rejected"
    assert response.get("X-Injected") is None
    assert "�" not in seen["text"], "cut within a character"
    assert 0 < len(seen["text"].encode()) <= 256
    assert len(seen["text"].splitlines()) == 1
    assert not [c for c in seen["text"] if unicodedata.category(c) == "Cc"]
    if len(text) > 256:
        assert seen["text"] == text[:len(seen["text"])]


@pytest.mark.parametrize("body", [
    {"text": 5}, {"text": None}, {"text": ["a"]}, {"text": ""},
    {"message": "other"}, "null", "[]", '"text"', "5", "",
    '{"text": "a", "text"', '{"text": "\\ud800"}', "{\"text\": \"\\u0000\"}"],
    ids=json.dumps)
def test_without_a_usable_text_there_is_one_of_our_own(
        servers, module_cms, body):
    module_cms.rule(status=403, body=body)
    seen = shown(register(servers[0]))
    assert seen["verdict"] == "rejected"
    assert seen["text"] not in ("", "<null>")


# -- Retry-After -------------------------------------------------------------------

@pytest.mark.parametrize("status", [429, 503, 409, 302])
def test_the_device_waits_at_least_as_long_as_the_cms_asks(
        servers, module_cms, status):
    module_cms.rule(status=status, headers=[("Retry-After", "77")])
    response = register(servers[1])
    assert response.status == 503
    assert 77 <= int(response.get("Retry-After")) <= 3600


def test_the_cms_may_name_a_date_to_come_back_at(servers, module_cms):
    module_cms.rule(status=503, headers=[
        ("Retry-After", email.utils.formatdate(time.time() + 60, usegmt=True))])
    assert 55 <= int(register(servers[1]).get("Retry-After")) <= 3600


@pytest.mark.parametrize("value", [
    "0", "-5", "", "soon", "1e9", "999999999999999999999999",
    "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_an_absurd_retry_after_does_no_harm(servers, module_cms, value):
    module_cms.rule(status=503, headers=[("Retry-After", value)])
    assert 1 <= int(register(servers[1]).get("Retry-After")) <= 3600


def test_devices_are_not_sent_back_all_at_the_same_time(servers, module_cms):
    module_cms.rule(status=503, headers=[("Retry-After", "100")])
    values = {int(register(servers[1]).get("Retry-After")) for _ in range(20)}
    assert len(values) > 1


# -- redirects, kept connections ---------------------------------------------------

def test_a_redirect_is_not_followed(servers, module_cms):
    module_cms.rule(match={}, status=307, headers=[
        ("Location", module_cms.url + "/elsewhere")])
    register(servers[1])
    assert [r.path for r in module_cms.requests] == ["/register"]


def kept_connections(server, cms, count):
    """Leave that many idle connections to the CMS."""
    rule = cms.rule(hold=True)
    registrations = [server.device().start_register() for _ in range(count)]
    cms.wait_until(lambda: cms.held == count)
    cms.remove_rule(rule)
    cms.release()
    for registration in registrations:
        assert registration.wait().status == 200
    assert cms.open_connections >= count
    cms.clear()


def test_a_restarted_cms_is_found_again_every_time(kamailio, cms):
    server = kamailio(cms, settings=ONE)
    uas = server.devices(20)
    for ua in uas:
        cms.stop()
        cms.start()
        assert ua.register().status == 200


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("connections", [1, 8])
def test_a_kept_connection_that_ends_as_the_request_goes_out_is_no_failure(
        kamailio, cms, connections, reset):
    server = kamailio(cms, settings=ONE)
    kept_connections(server, cms, connections)
    cms.rule(close="reuse", reset=reset)
    ua = server.device()
    assert ua.register().status == 200
    assert len(server.posts(ua)) == 1
    assert cms.raced >= 1


def test_what_is_repeated_on_a_fresh_connection_is_the_same_event(
        kamailio, cms):
    server = kamailio(cms, settings=ONE)
    kept_connections(server, cms, 1)
    cms.rule(close="request", times=1)
    ua = server.device()
    assert ua.register().status == 200
    first, second = server.posts(ua)
    assert cms.connections == 1, "another one than the kept one"
    assert first.get("Idempotency-Key") == second.get("Idempotency-Key")
    assert first.body == second.body


# -- whose answer it is --------------------------------------------------------------

EXTRAS = {
    "an acceptance": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "a refusal": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "a farewell": b"HTTP/1.1 408 Request Time-out\r\nConnection: close\r\n"
                  b"Content-Type: text/html\r\n\r\n<html>408</html>\n",
    "another farewell": b"HTTP/1.1 400 Bad request\r\nConnection: close\r\n"
                        b"Content-Length: 0\r\n\r\n",
    "a piece": b"HTTP/1.1 2", "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
}


def check_verdicts(server, cms):
    """Each device gets its own, and each POST is read by the CMS once."""
    uas = server.devices(8)
    for ua in uas[::2]:
        cms.refuse(ua.user)
    assert [ua.register().status for ua in uas] == [403, 200] * 4
    assert [len(server.posts(ua)) for ua in uas] == [1] * 8
    assert server.stats()["unavailable"] == 0


def libcurl():
    """The major version that Kamailio is using."""
    version = ctypes.CDLL("libcurl.so.4").curl_version
    version.restype = ctypes.c_char_p
    return int(re.search(rb"libcurl/(\d+)", version())[1])


@pytest.mark.parametrize("ends", [False, True], ids=["stays", "ends"])
@pytest.mark.parametrize("extra", EXTRAS)
def test_what_comes_before_a_post_is_no_answer_to_it(
        kamailio, cms, extra, ends):
    server = kamailio(cms, settings=ONE)
    cms.rule(times=1, extra=EXTRAS[extra], extra_delay=0.1, extra_end=ends)
    assert server.device().register().status == 200
    cms.wait_until(lambda: cms.extras)
    check_verdicts(server, cms)
    assert cms.connections == 2
    # libcurl 8 sees for itself that a connection is not as it was left
    assert server.stats()["unasked"] <= 1
    assert server.stats()["unasked"] == 1 or libcurl() >= 8


@pytest.mark.parametrize("extra", ["an acceptance", "a refusal", "a piece"])
def test_what_comes_with_an_answer_is_no_other_answer(kamailio, cms, extra):
    server = kamailio(cms, settings=ONE)
    cms.rule(times=1, extra=EXTRAS[extra], text="welcome")
    assert server.device().register().status == 200
    check_verdicts(server, cms)


def test_a_408_on_a_kept_connection_means_again_on_a_new_one(kamailio, cms):
    server = kamailio(cms, settings=ONE)
    kept_connections(server, cms, 1)
    cms.rule(status=408, times=1, headers=[("Connection", "close")])
    ua = server.device()
    assert ua.register().status == 200
    first, second = server.posts(ua)
    assert first.get("Idempotency-Key") == second.get("Idempotency-Key")
    assert cms.connections == 1, "another one than the kept one"


def test_trailer_fields_open_no_breaker(kamailio, cms):
    server = kamailio(cms, settings=ONE)
    cms.rule(headers=[("Transfer-Encoding", "chunked")], body=TRAILERS)
    assert {ua.register().status for ua in server.devices(10)} == {200}


def test_a_connection_is_used_for_connection_lifetime(kamailio, cms):
    server = kamailio(cms, settings={
        **ONE, "CMS_CONNECTION_LIFETIME": 1})
    began = time.monotonic()
    while cms.connections < 4:
        assert server.device().register().status == 200
        time.sleep(0.1)
    # libcurl counts whole seconds: each lives for less than two
    assert time.monotonic() - began > 3
    assert cms.count > 4
