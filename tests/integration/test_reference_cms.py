"""The reference CMS: it sees everything, and does what it is told."""

import asyncio
import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts" / "lib"))

import cms_control  # noqa: E402
import cms_schema  # noqa: E402
from reference_cms import WAIT_SECONDS, ReferenceCms  # noqa: E402

ID = "4f0c2b9a7d1e4c3f8a5b6c7d8e9f0a1b"


def event(**fields):
    return {
        "version": 1, "event": "register", "id": ID,
        "seq": 1795674730123456,
        "time": "2026-11-23T06:32:10.123Z", "reason": "new",
        "aor": "sip:gzj@telecom.com", "username": "gzj",
        "domain": "telecom.com", "auth_user": "gzj", "realm": "kedacom.com",
        "contacts": [{
            "uri": "sip:gzj@172.16.163.3:7000", "expires": 3600,
            "received": "sip:172.16.163.3:7000", "instance": None,
            "reg_id": None, "path": None, "reason": "new"}],
        "live": 1, "flaps": 0,
        "source": {"ip": "172.16.163.3", "port": 7000, "transport": "udp"},
        "call_id": "5705@172.16.163.3", "cseq": 2,
        "user_agent": "TELECOM ncsip/1.0", "node": "sip1", **fields}


def headers(**fields):
    return {"Content-Type": "application/json",
            "User-Agent": "kamailio-cms_notify/1.0",
            "Idempotency-Key": f'"{ID}"',
            **{name.replace("_", "-"): v for name, v in fields.items()}}


def connect(cms, timeout=WAIT_SECONDS):
    return http.client.HTTPConnection(cms.host, cms.port, timeout=timeout)


def post(cms, body=None, client=None, **header_fields):
    """(status, headers, body) of one POST of an event."""
    own = client is None
    client = client or connect(cms)
    try:
        data = body if isinstance(body, bytes) \
            else json.dumps(body or event()).encode()
        client.request("POST", "/register", data, headers(**header_fields))
        answer = client.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        if own:
            client.close()


def in_background(function, *args, **kw):
    result = []

    def run():
        try:
            result.append(function(*args, **kw))
        except Exception as error:  # noqa: BLE001
            result.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, result


@pytest.fixture
def cms():
    with ReferenceCms() as server:
        yield server


@pytest.fixture
def control(cms):
    interface = cms_control.Control(cms)
    interface.start()

    def ask(method, path, body=None):
        client = http.client.HTTPConnection("127.0.0.1", interface.port,
                                            timeout=WAIT_SECONDS)
        client.request(method, f"/control/{path}",
                       None if body is None else json.dumps(body))
        answer = client.getresponse()
        value = json.loads(answer.read())
        client.close()
        return answer.status, value

    yield ask
    interface.stop()


def test_a_correct_event_is_accepted(cms):
    status, got, body = post(cms)
    assert (status, got["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == {"text": "ok"}
    assert cms.requests[0].errors == []


def test_a_request_is_recorded_as_it_came(cms):
    post(cms, X_Odd="1")
    request = cms.requests[0]
    assert (request.method, request.path) == ("POST", "/register")
    assert request.body == json.dumps(event()).encode()
    assert request.json == event()
    assert [n for n, _v in request.headers][-4:] == [
        "Content-Type", "User-Agent", "Idempotency-Key", "X-Odd"]
    assert request.arrived <= request.answered <= time.monotonic()
    assert request.outcome == 200


BROKEN = [
    ("unknown field", {"extra": 1}, {}, "extra"),
    ("unknown field in a contact",
     {"contacts": [{**event()["contacts"][0], "q": 1}]}, {}, "contacts[0]"),
    ("no contact", {"contacts": []}, {}, "contacts"),
    ("wrong type", {"cseq": "2"}, {}, "cseq"),
    ("boolean for a number", {"cseq": True}, {}, "cseq"),
    ("wrong version", {"version": 2}, {}, "version"),
    ("unknown reason", {"reason": "refresh"}, {}, "reason"),
    ("unknown event", {"event": "ping"}, {}, "event"),
    ("no null for the username", {"username": None}, {}, "username"),
    ("local time", {"time": "2026-11-23T06:32:10.123+08:00"}, {}, "time"),
    ("port out of range",
     {"source": {"ip": "::1", "port": 65536, "transport": "udp"}}, {},
     "source.port"),
    ("id of another form", {"id": "1"}, {"Idempotency_Key": '"1"'}, "id"),
    ("key not quoted", {}, {"Idempotency_Key": ID}, "Idempotency-Key"),
    ("key of another event", {}, {"Idempotency_Key": f'"{"0" * 32}"'},
     "Idempotency-Key"),
    ("another client", {}, {"User_Agent": "curl/7"}, "User-Agent"),
    ("another content", {}, {"Content_Type": "text/plain"}, "Content-Type"),
]


@pytest.mark.parametrize("fields, header_fields, where",
                         [row[1:] for row in BROKEN],
                         ids=[row[0] for row in BROKEN])
def test_what_breaks_the_interface_is_answered_400(
        cms, fields, header_fields, where):
    status, _headers, body = post(cms, event(**fields), **header_fields)
    assert status == 400
    assert where in json.loads(body)["text"]


@pytest.mark.parametrize("field", sorted(event()))
def test_every_field_is_required(cms, field):
    body = event()
    del body[field]
    assert post(cms, body)[0] == 400
    assert any(field in error for error in cms.requests[0].errors)


@pytest.mark.parametrize("field", ["auth_user", "realm", "user_agent"])
def test_what_a_device_may_not_have_is_null(cms, field):
    assert post(cms, event(**{field: None}))[0] == 200


@pytest.mark.parametrize("body", [
    b"", b"{", b'{"a": 1, "a": 2}', b'{"a": "\xff"}', b'{"a": "\\ud800"}',
    b'{"a": NaN}', b"[]", b"[" * 100000],
    ids=["empty", "cut", "twice", "utf8", "surrogate", "nan", "array",
         "deep"])
def test_what_a_lenient_parser_would_let_pass_is_an_error(cms, body):
    assert post(cms, body)[0] == 400


def test_without_validation_everything_is_accepted_and_checked_later():
    with ReferenceCms(validate=False) as cms:
        assert post(cms, {"DeviceID": "gzj"})[0] == 200
        (request, errors), = cms.invalid()
    assert request.number == 1 and errors


def test_the_example_of_the_document_is_the_documents_schema():
    assert cms_schema.Checker().errors(
        list(headers().items()), json.dumps(event()).encode()) == []


IDS = [f"{n:032x}" for n in range(1, 4)]
KEY = f'"{IDS[0]}-3-0123456789abcdef"'


def batch(*names):
    return [event(id=one, username=name, aor=f"sip:{name}@telecom.com")
            for one, name in zip(IDS, names)]


def post_batch(cms, events, key=KEY):
    """(status, the answer's JSON)"""
    status, _headers, body = post(cms, json.dumps(events).encode(),
                                  Idempotency_Key=key)
    return status, json.loads(body)


def test_each_event_of_a_batch_has_its_result(cms):
    cms.refuse("b", text="stolen")
    cms.rule(match={"username": "c"}, status=503, headers=[("Retry-After", "9")])
    assert post_batch(cms, batch("a", "b", "c")) == (200, [
        {"text": "ok", "id": IDS[0], "status": 200},
        {"text": "stolen", "id": IDS[1], "status": 403},
        {"id": IDS[2], "status": 503, "retry_after": 9}])
    assert post_batch(cms, batch("a"), f'"{IDS[0]}"') == (
        200, [{"text": "ok", "id": IDS[0], "status": 200}])
    assert [len(r.events) for r in cms.requests] == [3, 1]
    assert not cms.invalid()


@pytest.mark.parametrize("results, answer", [
    ([], []), ([{"status": 200}, {"status": 404}], [
        {"id": IDS[1], "status": 200}, {"id": IDS[1], "status": 404}]),
    ([{"id": 7}], [{"id": 7}])])
def test_a_batch_can_have_any_results(cms, results, answer):
    cms.rule(match={"username": "b"}, results=results)
    status, found = post_batch(cms, batch("a", "b", "c"))
    assert status == 200 and found[1:-1] == answer


def test_a_rule_for_the_whole_batch(cms):
    """Also for one event in it; who is held alone is answered as ever."""
    cms.rule(match={"username": "b"}, whole=True, status=400, body={})
    assert post_batch(cms, batch("a", "b", "c"))[0] == 400
    assert post_batch(cms, batch("a", "x", "c"))[0] == 200
    cms.rule(status=503, body={}, times=1)
    assert post_batch(cms, batch("a", "x", "c"))[0] == 503
    cms.rule(hold=True, times=1)
    thread, result = in_background(post_batch, cms, batch("a", "x", "c"))
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    thread.join()
    assert [r["status"] for r in result[0][1]] == [200] * 3


@pytest.mark.parametrize("what, events, key, where", [
    ("no event", [], KEY, "body"),
    ("another one's key", batch("a", "b", "c"), f'"{IDS[1]}-3-{"0" * 16}"', "key"),
    ("another number", batch("a", "b", "c"), f'"{IDS[0]}-2-{"0" * 16}"', "key"),
    ("an event's key", batch("a", "b", "c"), f'"{IDS[0]}"', "key"),
    ("no check", batch("a", "b", "c"), f'"{IDS[0]}-3"', "key"),
    ("a batch's key", batch("a"), f'"{IDS[0]}-1-{"0" * 16}"', "key"),
    ("a wrong event", [*batch("a", "b"), {"id": IDS[2]}], KEY, "body[2]"),
    ("two of an aor", batch("a", "b", "a"), KEY, "aor"),
], ids=lambda v: v if isinstance(v, str) and " " in v else "")
def test_what_breaks_the_interface_of_batches(cms, what, events, key, where):
    assert post_batch(cms, events, key)[0] == 400
    assert where in "; ".join(cms.requests[0].errors).lower()


def test_a_refused_device_is_refused_and_no_other(cms):
    cms.refuse("gzj", text="stolen")
    status, _headers, body = post(cms)
    assert (status, json.loads(body)) == (403, {"text": "stolen"})
    assert post(cms, event(username="other"))[0] == 200


def test_a_device_can_be_refused_by_its_aor(cms):
    cms.refuse("sip:gzj@telecom.com")
    assert post(cms)[0] == 403
    assert post(cms, event(aor="sip:x@telecom.com"))[0] == 200


def test_a_rule_for_the_next_n_requests_ends(cms):
    cms.rule(status=500, times=2)
    assert [post(cms)[0] for _ in range(3)] == [500, 500, 200]


def test_the_newest_rule_wins_until_it_is_removed(cms):
    cms.rule(status=500)
    newest = cms.rule(status=429, headers=[("Retry-After", "7")])
    status, got, _body = post(cms)
    assert (status, got["Retry-After"]) == (429, "7")
    assert cms.remove_rule(newest)
    assert post(cms)[0] == 500
    cms.clear_rules()
    assert post(cms)[0] == 200


def test_any_body_is_answered(cms):
    cms.rule(status=302, headers=[("Location", "http://127.0.0.1:1/"),
                                  ("Content-Type", "text/plain")],
             body=b"\x00\xff")
    status, got, body = post(cms)
    assert (status, body) == (302, b"\x00\xff")
    assert got["Location"] == "http://127.0.0.1:1/"
    assert got.get_all("Content-Type") == ["text/plain"]


def test_twenty_megabytes_are_answered(cms):
    cms.rule(body_size=20_000_000)
    assert len(post(cms)[2]) == 20_000_000


def test_garbage_is_answered(cms):
    cms.rule(raw=b"\x00\xff no http\r\n\r\n")
    with pytest.raises(http.client.BadStatusLine):
        post(cms)


def test_a_delay_is_a_delay(cms):
    cms.rule(delay=0.3)
    begin = time.monotonic()
    post(cms)
    assert 0.3 <= time.monotonic() - begin


def test_a_held_request_is_answered_when_it_is_released(cms):
    cms.rule(hold=True)
    first, first_result = in_background(post, cms)
    cms.wait_until(lambda: cms.held == 1)
    second, second_result = in_background(post, cms)
    cms.wait_until(lambda: cms.held == 2)
    assert cms.requests[0].answered is None and not first_result
    assert cms.release(1) == 1
    first.join()
    assert first_result[0][0] == 200 and not second_result
    assert cms.release() == 1
    second.join()
    assert second_result[0][0] == 200


def test_a_hanging_cms_never_answers(cms):
    cms.rule(hang=True)
    with pytest.raises(TimeoutError):
        post(cms, client=connect(cms, timeout=0.3))
    cms.wait(1)


def test_a_client_that_gives_up_is_noticed(cms):
    cms.rule(hang=True)
    client = connect(cms)
    client.request("POST", "/", json.dumps(event()), headers())
    cms.wait()
    assert cms.in_flight == 1
    client.close()
    cms.wait_until(lambda: cms.abandoned == 1)
    assert cms.requests[0].abandoned and cms.in_flight == 0


def test_a_dripped_answer_comes_byte_by_byte(cms):
    cms.rule(drip=0.01, body="12345678")
    begin = time.monotonic()
    status, _headers, body = post(cms)
    assert (status, body) == (200, b"12345678")
    assert time.monotonic() - begin > 0.01 * 50


@pytest.mark.parametrize("rule, error", [
    ({"close": "accept"}, (http.client.RemoteDisconnected,
                           ConnectionResetError, BrokenPipeError)),
    ({"close": "accept", "reset": True}, (ConnectionResetError,
                                          BrokenPipeError)),
    ({"close": "request"}, http.client.RemoteDisconnected),
    ({"close": "request", "reset": True}, ConnectionResetError),
    ({"close": "answer", "body": "x" * 1000}, http.client.IncompleteRead),
    ({"close": "answer", "cut_after": 5}, http.client.BadStatusLine),
], ids=str)
def test_a_connection_is_cut_where_told(cms, rule, error):
    cms.rule(**rule, times=1)
    with pytest.raises(error):
        post(cms)
    assert post(cms)[0] == 200


@pytest.mark.parametrize("reset", [False, True])
def test_a_kept_connection_is_closed_as_the_next_request_comes(cms, reset):
    cms.rule(close="reuse", reset=reset, times=1)
    client = connect(cms)
    assert post(cms, client=client)[0] == 200
    with pytest.raises(ConnectionResetError if reset
                       else http.client.RemoteDisconnected):
        # without a body, which would arrive by itself at what is closed
        post(cms, b"", client=client)
    client.close()
    assert (cms.count, cms.raced) == (1, 1)
    assert post(cms)[0] == 200


def test_a_connection_can_end_after_an_answer_unannounced(cms):
    cms.rule(close="after", times=1)
    client = connect(cms)
    status, got, _body = post(cms, client=client)
    assert status == 200 and "Connection" not in got
    cms.wait_until(lambda: cms.open_connections == 0)


def test_a_connection_is_kept_and_counted(cms):
    client = connect(cms)
    for _ in range(3):
        assert post(cms, client=client)[0] == 200
    assert cms.stats()["connections"] == 1
    assert {r.connection for r in cms.requests} == {1}
    post(cms)
    assert cms.stats()["connections"] == 2
    assert cms.stats()["max_open_connections"] == 2
    assert cms.stats()["max_in_flight"] == 1


def test_requests_in_flight_at_once_are_counted(cms):
    cms.rule(hold=True)
    threads = [in_background(post, cms)[0] for _ in range(5)]
    cms.wait_until(lambda: cms.held == 5)
    cms.release()
    for thread in threads:
        thread.join()
    assert cms.stats()["max_in_flight"] == 5 and cms.in_flight == 0


def test_an_event_that_comes_twice_is_marked(cms):
    post(cms)
    post(cms)
    assert [r.duplicate for r in cms.requests] == [False, True]
    assert cms.duplicates == 1


def test_a_killed_cms_resets_and_refuses_until_it_is_back(cms):
    client = connect(cms)
    post(cms, client=client)
    port = cms.port
    cms.stop()
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        post(cms, client=client)
    with pytest.raises(ConnectionRefusedError):
        post(cms)
    cms.start()
    assert cms.port == port
    assert post(cms)[0] == 200


@pytest.mark.parametrize("turns", range(5))
def test_who_connects_as_it_is_killed_is_not_kept(cms, turns):
    """However far its loop has come with the connection."""
    async def killed():
        clients = [socket.create_connection((cms.host, cms.port), WAIT_SECONDS)
                   for _ in range(3)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await cms.unlisten()
        return clients

    clients = cms.run(killed())
    cms.wait_until(lambda: cms.open_connections == 0)
    for client in clients:
        client.close()



def test_requests_in_one_segment_or_in_pieces_are_the_same(cms):
    body = json.dumps(event()).encode()
    head = "".join(f"{n}: {v}\r\n" for n, v in headers().items())
    one = (f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
           ).encode() + body
    with socket.create_connection((cms.host, cms.port)) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(one + one + one[:30])
        cms.wait(2)
        for byte in range(30, len(one)):
            sock.sendall(one[byte:byte + 1])
        cms.wait(3)
    assert [r.errors for r in cms.requests] == [[], [], []]


@pytest.mark.parametrize("request_head, status", [
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"411"),
    (b"POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
    (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
    (b"nonsense\r\n\r\n", b"400"),
    (b"POST / HTTP/1.1\r\nX: " + b"x" * 70000, b"431"),
])
def test_what_is_no_request_is_refused(cms, request_head, status):
    with socket.create_connection((cms.host, cms.port)) as sock:
        sock.sendall(request_head)
        assert sock.recv(12) == b"HTTP/1.1 " + status
    assert cms.count == 0


def certificate(folder, name):
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1", "-subj",
         f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_https_is_served(tmp_path):
    cert, key = certificate(tmp_path, "cms")
    with ReferenceCms(tls_cert=cert, tls_key=key) as cms:
        assert cms.url.startswith("https://")
        client = http.client.HTTPSConnection(
            cms.host, cms.port, timeout=WAIT_SECONDS,
            context=ssl.create_default_context(cafile=cert))
        assert post(cms, client=client)[0] == 200
        client.close()


def test_a_client_certificate_is_asked_for(tmp_path):
    cert, key = certificate(tmp_path, "cms")
    ca, client_key = certificate(tmp_path, "client")
    with ReferenceCms(tls_cert=cert, tls_key=key, tls_client_ca=ca) as cms:
        context = ssl.create_default_context(cafile=cert)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            post(cms, client=http.client.HTTPSConnection(
                cms.host, cms.port, timeout=WAIT_SECONDS, context=context))
        context.load_cert_chain(ca, client_key)
        client = http.client.HTTPSConnection(cms.host, cms.port, timeout=WAIT_SECONDS,
                                             context=context)
        assert post(cms, client=client)[0] == 200
        client.close()


def test_a_log_line_is_one_line_whatever_the_device_sends():
    lines = []
    with ReferenceCms(log=lines.append) as cms:
        post(cms, event(aor="sip:a\nb\u2028c\x1b[2J@x"))
    assert len(lines) == 1
    assert lines[0].isprintable() and "sip:a\\x0ab" in lines[0]


def test_control_lists_what_came_in(cms, control):
    post(cms)
    post(cms, b"\xff")
    status, requests = control("GET", "requests")
    assert status == 200
    assert requests[0]["body"] == event() and requests[0]["errors"] == []
    assert requests[1]["raw_hex"] == "ff" and requests[1]["errors"]
    assert control("GET", "requests?from=2")[1] == requests[1:]


def test_control_adds_and_removes_rules(cms, control):
    status, answer = control("POST", "rules", {
        "match": {"username": "gzj"}, "status": 403, "text": "stolen"})
    assert status == 200 and post(cms)[0] == 403
    assert control("GET", "rules")[1][0]["text"] == "stolen"
    assert control("DELETE", f"rules/{answer['id']}")[0] == 200
    assert control("DELETE", f"rules/{answer['id']}")[0] == 404
    assert post(cms)[0] == 200


def test_control_takes_bytes_in_base64(cms, control):
    control("POST", "rules", {"body_base64": "AP8="})
    assert post(cms)[2] == b"\x00\xff"


@pytest.mark.parametrize("rule", [
    {"unknown": 1}, {"status": "x"}, {"close": "never"}, {"times": 0},
    {"delay": -1}, {"match": []}, {"body_base64": "?"}, [], {"drip": []},
    {"close": "reuse", "match": {"username": "gzj"}}], ids=str)
def test_control_refuses_a_rule_it_does_not_understand(cms, control, rule):
    status, answer = control("POST", "rules", rule)
    assert status == 400 and answer["error"]
    assert cms.rules() == []


def test_control_waits_for_a_request(cms, control):
    assert control("GET", "requests/wait?timeout=0.05")[1]["arrived"] is False
    thread, result = in_background(
        control, "GET", "requests/wait?count=2&timeout=60")
    post(cms)
    assert not result
    post(cms)
    thread.join()
    assert result == [(200, {"arrived": True, "requests": 2})]


def test_control_releases_counts_and_clears(cms, control):
    control("POST", "rules", {"hold": True})
    thread, result = in_background(post, cms)
    cms.wait_until(lambda: cms.held == 1)
    assert control("GET", "stats")[1]["held"] == 1
    assert control("POST", "release?count=3")[1] == {"released": 1}
    thread.join()
    assert result[0][0] == 200
    control("DELETE", "requests")
    assert control("GET", "stats")[1]["requests"] == 0


def test_control_stops_and_starts_the_cms(cms, control):
    control("POST", "down")
    with pytest.raises(ConnectionRefusedError):
        post(cms)
    control("POST", "up")
    assert post(cms)[0] == 200


def run_cli(*args):
    return subprocess.Popen(
        ["/usr/bin/python3", TOP / "scripts" / "reference-cms",
         "--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", *args],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_serves_logs_and_stops_on_sigterm():
    with run_cli("--refuse", "gzj") as process:
        line = process.stdout.readline()
        port = int(line.split("/register")[0].rpartition(":")[2])
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        client.request("POST", "/x", json.dumps(event()), headers())
        assert client.getresponse().status == 403
        logged = process.stdout.readline()
        process.terminate()
        assert process.wait(WAIT_SECONDS) == 0
        assert process.stderr.read() == ""
    assert "POST /x register new sip:gzj@telecom.com" in logged
    assert "-> 403" in logged


def test_the_command_names_a_busy_port(cms):
    with run_cli("--listen", f"127.0.0.1:{cms.port}") as process:
        _out, error = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    assert len(error.splitlines()) == 1 and str(cms.port) in error


def test_two_thousand_posts_a_second_are_no_burden():
    body = json.dumps(event()).encode()
    head = "".join(f"{n}: {v}\r\n" for n, v in headers().items())
    one = (f"POST / HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
           ).encode() + body

    async def client(port, count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            writer.write(one)
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(len('{"text": "ok"}'))
        writer.close()

    async def load(port):
        await asyncio.gather(*(client(port, 500) for _ in range(16)))

    async def used():
        return time.thread_time()

    with ReferenceCms(validate=False) as cms:
        begin = cms.run(used())
        asyncio.run(load(cms.port))
        seconds = cms.run(used()) - begin
        assert cms.count == 8000
    assert seconds < 4, f"{8000 / seconds:.0f} in a second of one core"
