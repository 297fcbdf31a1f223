"""What Prometheus is told, and the port on which it asks."""

import re
import socket
import subprocess

import pytest

from deferring import LEAVING, defer, deferring, drained
from deferring import url as outbox_url
from harness import (HOST, NoAnswer, Port, TOP, Transport, fails_to_start, registrar,
                     shipped_with, shown, until)
from metrics import OPEN_METRICS, Exposition, by_rpc, request

CAUSES = {"busy", "timeout", "connect", "tls", "http", "too_big", "bad_answer",
          "shutdown", "memory", "outbox", "bad_request"}
EVENTS = {"register", "unregister", "expire", "offline"}
PATIENT = ("timeout", 20000)  # where nothing is late
# What is in cms_notify.status, and here without a label of its own.
SAME = {"joined": "joined_total", "refreshes": "refreshes_total",
        "unasked": "unasked_total", "offline": "offline_total",
        "capacity": "capacity"}
GAUGES = ("parked", "queued", "in_flight", "connections")


@pytest.fixture
def port():
    free = Port()
    yield free.number
    free.close()


@pytest.fixture
def shipped(kamailio, cms, port):
    """The shipped configuration with its port for Prometheus."""
    return kamailio(cms, settings={"WITH_METRICS": f"{HOST}:{port}"})


def promtool(text):
    return subprocess.run(["promtool", "check", "metrics"], input=text, text=True,
                          capture_output=True, timeout=60)


# -- numbers ------------------------------------------------------------------------

def assert_sums(server):
    """cms_notify.status says the same."""
    status, told = server.settle(), by_rpc(server)
    assert told.sum("registrations_total") == status["events"]
    for verdict in ("accepted", "rejected", "unavailable"):
        assert told.get("verdicts_total", verdict=verdict) == status[verdict]
    causes = told.by("failures_total", "cause")
    assert set(causes) == CAUSES
    assert causes.pop("outbox") == status["not_deferred"]
    assert causes == {name: status[name] for name in causes}
    for name, sample in SAME.items():
        assert told.get(sample) == status[name], name
    for name in GAUGES:  # the outbox may be about to try again
        until(lambda name=name: by_rpc(server).get(name) == server.status()[name])
    if "resync" in status:
        assert told.sum("outbox_stored_total") == status["deferred"]
        assert told.sum("outbox_delivered_total") == status["delivered"]
        assert told.sum("outbox_dead_total") == status["dead"]
        assert told.get("outbox_waiting") == status["outbox"]
    return told


def failing(cms, server):
    """One event for each cause that a CMS can give at once."""
    for rule in ({"status": 500}, {"body_size": 100000},
                 {"raw": b"\x00\xffgarbage\r\n\r\n"}):
        cms.rule(times=1, **rule)
        yield shown(server.device().register())["cause"]
    cms.stop()
    yield shown(server.device().register())["cause"]
    cms.start()


@pytest.mark.contract
def test_verdicts_and_causes(kamailio, cms):
    """Each is counted where it belongs, and nowhere else."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", *PATIENT)]))
    device = server.device()
    for _ in range(3):
        assert device.register().status == 200
        server.settle()  # or the next one joins it
    cms.rule(status=403, times=1)
    assert server.device().register().status == 403
    causes = list(failing(cms, server))
    assert server.device().register(contacts=["<sip:x@0.0.0.0>"]).status == 503
    told = assert_sums(server)
    assert told.by("verdicts_total", "verdict") == {
        "accepted": 1, "rejected": 1, "deferred": 0, "unavailable": 4}
    assert set(causes) == {"http", "too_big", "bad_answer", "connect"}
    assert told.by("failures_total", "cause") == {
        **dict.fromkeys(CAUSES, 0), **dict.fromkeys(causes, 1), "bad_request": 1}
    assert told.get("refreshes_total") == 2
    assert told.get("contacts") == 1


def test_a_cms_that_does_not_answer(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "timeout", 300)]))
    cms.rule(hang=True)
    assert server.device().register().status == 503
    assert assert_sums(server).get("failures_total", cause="timeout") == 1


def test_an_outbox_that_is_full(kamailio, cms):
    server = kamailio(cms, config=deferring(PATIENT, ("outbox_max", 1)))
    server.allow_errors("the outbox is full")
    cms.rule(status=503)
    defer(server, server.device())
    assert server.device().register().status == 503
    assert assert_sums(server).get("failures_total", cause="outbox") == 1


def test_reasons(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "detect_reboot", 1)]))
    device = server.device()
    until(lambda: device.register(expires=1).status == 200
          and by_rpc(server).get("registrations_total", reason="returned") > 0, 20)
    assert device.register().status == 200
    assert device.register(contacts=["<sip:cam@192.0.2.1:5060>"]).status == 200
    device.call_id = "another"
    assert device.register(contacts=["<sip:cam@192.0.2.1:5060>"]).status == 200
    reasons = assert_sums(server).by("registrations_total", "reason")
    assert reasons.pop("returned") > 0
    assert reasons == {"new": 1, "moved": 1, "reboot": 1}


def test_the_outbox(kamailio, cms):
    """What waits, for how long, what became of it."""
    server = kamailio(cms, config=deferring(LEAVING, PATIENT))
    leaver, refused = server.device(), server.device()
    assert leaver.register().status == 200
    cms.rule(status=503)
    defer(server, server.device())
    defer(server, refused)
    assert leaver.register(expires=0).status == 200
    until(lambda: by_rpc(server).get("outbox_waiting") == 3)
    told = assert_sums(server)
    assert told.by("outbox_stored_total", "event") == {
        **dict.fromkeys(EVENTS, 0), "register": 2, "unregister": 1}
    assert told.get("verdicts_total", verdict="deferred") == 2
    assert told.get("outbox_ready") == 1
    assert told.get("outbox_capacity") == 100000
    until(lambda: by_rpc(server).get("outbox_oldest_seconds") > 0)
    server.rpc("cms_notify.pause")
    assert by_rpc(server).get("outbox_paused") == 1
    cms.clear_rules()
    cms.refuse(refused.user)
    server.rpc("cms_notify.resume")
    drained(server)
    until(lambda: by_rpc(server).get("outbox_dead_letters") == 1)
    told = assert_sums(server)
    assert told.by("outbox_delivered_total", "event") == {
        **dict.fromkeys(EVENTS, 0), "register": 1, "unregister": 1}
    assert told.by("outbox_dead_total", "event") == {
        **dict.fromkeys(EVENTS, 0), "register": 1}
    assert told.get("outbox_seconds_count") == 2
    assert told.get("outbox_oldest_seconds") == 0


def test_times(kamailio, cms):
    """A CMS that needs 0.3 s: each histogram has it in its place, and adds up."""
    server = kamailio(cms, config=lambda s, url: registrar(s, url))
    cms.rule(delay=0.3)
    for _ in range(2):
        assert server.device().register().status == 200
    told = assert_sums(server)
    for name, labels in (("verdict", {}), ("attempt", {"endpoint": cms.url})):
        assert told.get(f"{name}_seconds_count", **labels) == 2
        assert told.get(f"{name}_seconds_bucket", **labels, le="0.262144") == 0
        assert told.get(f"{name}_seconds_bucket", **labels, le="+Inf") == 2
        assert 0.6 <= told.get(f"{name}_seconds_sum", **labels) < 60
    assert told.get("queue_seconds_count") == 2
    for name in ("verdict", "attempt", "queue"):
        counts = list(told.by(f"{name}_seconds_bucket", "le").values())
        assert counts == sorted(counts)


def test_endpoints(kamailio, cms):
    """Two with one name are told apart; what is behind "?" may be secret."""
    server = kamailio(cms, config=lambda s, url: registrar(s, None, params=[
        ("cms_notify", "cms_url", cms.url + "?key=secret1"),
        ("cms_notify", "cms_url", cms.url + "?key=secret2")]))
    cms.rule(status=500, times=1)
    assert server.device().register().status == 200
    server.settle()
    told = by_rpc(server)
    names = {cms.url, cms.url + "#2"}
    assert told.by("attempts_total", "endpoint") == dict.fromkeys(names, 1)
    assert told.by("attempt_failures_total", "endpoint") == {
        cms.url: 1, cms.url + "#2": 0}
    assert told.by("attempts_in_flight", "endpoint") == dict.fromkeys(names, 0)
    for name in names:
        assert told.get("endpoint_state", endpoint=name, state="closed") == 1
        assert told.get("endpoint_state", endpoint=name, state="open") == 0
        assert told.get("endpoint_state", endpoint=name, state="half-open") == 0
    assert "secret" not in told.text


def test_a_breaker_that_opens(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "breaker_failures", 1),
                        ("cms_notify", "breaker_cooldown", 600000)]))
    cms.rule(status=500)
    assert server.device().register().status == 503
    assert by_rpc(server).get("endpoint_state", endpoint=cms.url, state="open") == 1


def test_who_waits(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "http_processes", 1),
                        ("cms_notify", "max_connections", 1),
                        ("cms_notify", *PATIENT)]))
    cms.rule(hold=True)
    waiting = [server.device().start_register() for _ in range(2)]
    cms.wait_until(lambda: cms.held == 1)
    server.wait_parked(2)
    until(lambda: by_rpc(server).get("queued") == 1)
    told = by_rpc(server)
    assert (told.get("parked"), told.get("in_flight"), told.get("connections"),
            told.get("attempts_in_flight", endpoint=cms.url)) == (2, 1, 1, 1)
    cms.clear_rules()
    cms.release()
    assert [w.wait().status for w in waiting] == [200, 200]
    assert_sums(server)


def test_no_device_is_in_a_label(kamailio, cms):
    """However many there are, the text has as many lines."""
    server = kamailio(cms, config=deferring(LEAVING))
    lines = len(by_rpc(server).samples)
    devices = server.devices(20)
    for device in devices:
        assert device.register().status == 200
    told = by_rpc(server)
    assert len(told.samples) == lines
    assert not [d for d in devices if d.user in told.text]


def test_an_old_connection_is_not_counted_any_more(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "http_processes", 1)]))
    assert server.device().register().status == 200
    assert by_rpc(server).get("connections") == 1
    cms.stop()
    assert server.device().register().status == 503
    until(lambda: by_rpc(server).get("connections") == 0)
    cms.start()


# -- the formats --------------------------------------------------------------------

@pytest.mark.contract
def test_promtool_has_nothing_to_say(kamailio, cms):
    """Neither of names, units and types, nor of numbers."""
    server = kamailio(cms, config=deferring(LEAVING, PATIENT))
    assert server.device().register().status == 200
    cms.rule(status=503)
    defer(server, server.device())
    done = promtool(server.rpc("cms_notify.metrics"))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_promtool_would_say_something():
    assert promtool("# TYPE a_seconds_bad counter\na_seconds_bad 1\n").returncode != 0


def test_by_kamcmd(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(s, url))
    text = server.kamcmd("cms_notify.metrics")
    assert set(Exposition(text.strip()).types) == set(by_rpc(server).types)


@pytest.mark.contract
def test_open_metrics(shipped, cms, port):
    """Who asks for it gets it: names without _total, units, an end."""
    assert shipped.device().register().status == 200
    shipped.settle()
    status, headers, text = request(port, accept=OPEN_METRICS)
    assert status == 200
    assert headers["Content-Type"] == \
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert text.endswith("\n# EOF\n") and text.count("# EOF") == 1
    assert "# TYPE cms_notify_verdicts counter\n" in text
    assert 'cms_notify_verdicts_total{verdict="accepted"} 1\n' in text
    assert "# TYPE cms_notify_build info\n" in text
    units = dict(re.findall(r"^# UNIT (\S+) (\S+)$", text, re.M))
    assert set(units.values()) == {"seconds", "bytes"}
    assert all(name.endswith("_" + unit) for name, unit in units.items())
    status, headers, plain = request(port)
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "# EOF" not in plain and "# UNIT" not in plain
    assert set(Exposition(plain).samples) == set(Exposition(text).samples)


# -- the port -----------------------------------------------------------------------

@pytest.mark.contract
def test_it_is_asked(shipped, port):
    """By Prometheus, which keeps its connection; a query changes nothing."""
    for path in ("/metrics", "/metrics?", "/metrics?name[]=x"):
        status, headers, text = request(port, path)
        assert status == 200
        assert int(headers["Content-Length"]) == len(text)
        assert Exposition(text).get("parked") == 0
    with socket.create_connection((HOST, port)) as kept:
        kept.settimeout(10)
        stream = kept.makefile("rb")
        for _ in range(3):
            kept.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            assert stream.readline().startswith(b"HTTP/1.1 200")
            while (line := stream.readline()) != b"\r\n":
                if line.startswith(b"Content-Length:"):
                    length = int(line.split()[1])
            assert len(stream.read(length)) == length


@pytest.mark.parametrize("path", ["/", "/metrics/", "/metricsx", "/RPC", "*", "//"])
def test_nothing_else_is_there(shipped, port, path):
    assert request(port, path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "TRACE"])
def test_it_is_only_asked(shipped, port, method):
    connection = socket.create_connection((HOST, port))
    with connection:
        connection.settimeout(10)
        connection.sendall(f"{method} /metrics HTTP/1.1\r\nHost: x\r\n"
                           "Content-Length: 0\r\n\r\n".encode())
        answer = connection.recv(4096).decode()
    assert answer.startswith("HTTP/1.1 405 ")
    assert "\r\nAllow: GET, HEAD\r\n" in answer


@pytest.mark.parametrize("path", ["/readyz", "/livez", "/metrics", "/nothing"])
def test_head(shipped, port, path):
    """The status of GET, and no body."""
    with socket.create_connection((HOST, port)) as connection:
        connection.settimeout(10)
        connection.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n"
                           "Content-Length: 0\r\n\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
    assert answer.split()[1] == str(request(port, path)[0]).encode()
    assert answer.endswith(b"\r\n\r\n") and b"\r\nContent-Length: 0\r\n" in answer


@pytest.mark.contract
def test_no_other_port_answers_http(shipped):
    """The connection is closed, without a byte."""
    for path in ("/metrics", "/"):
        with socket.create_connection(shipped.address) as connection:
            connection.settimeout(10)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            try:
                assert connection.recv(100) == b""
            except ConnectionError:
                pass


@pytest.mark.contract
def test_there_is_no_sip(shipped, port):
    """Neither a request nor an answer to one is looked at."""
    device = shipped.device(transport=Transport((HOST, port), "tcp"))
    with pytest.raises(NoAnswer):
        device.options(timeout=0.5)
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/TCP 127.0.0.1;branch=z9hG4bKx\r\n"
            b"From: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\nCall-ID: x\r\n"
            b"CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            connection.recv(100)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, \
            pytest.raises(ConnectionError):
        udp.connect((HOST, port))
        udp.settimeout(5)
        udp.send(b"\r\n\r\n\r\n")
        udp.recv(100)
    assert request(port)[0] == 200


@pytest.mark.contract
def test_slow_and_nonsensical_clients(shipped, cms, port):
    """They hold nobody up: neither who asks, nor devices."""
    shipped.allow_errors("tcp_read", "parse_", "receive_msg", "bad request",
                         "tcp_main")  # of answers to who is gone
    nonsense = [b"GET", b"GET /metrics HTTP/1.1\r\nHos", b"\x00" * 1000,
                b"\xff" * 1000 + b"\r\n\r\n", b"GET \r\n\r\n",
                b"GET /metrics HTTP/9.9\r\n\r\n", b"\r\n" * 500,
                b"GET /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\nx",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00"]
    slow = [socket.create_connection((HOST, port)) for _ in nonsense]
    for connection, text in zip(slow, nonsense):
        connection.sendall(text)
    for _ in range(5):
        assert request(port)[0] == 200
    assert shipped.device().register().status == 200
    for connection in slow:
        connection.close()
    assert request(port)[0] == 200


def test_who_reads_slowly(shipped, port):
    """Gets it all; others do not wait for him."""
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect((HOST, port))
        slow.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert request(port)[0] == 200
        slow.settimeout(10)
        got = b""
        while not got.endswith(b"\n") or b"free_bytes" not in got:
            piece = slow.recv(300)
            assert piece
            got += piece


@pytest.mark.contract
def test_sip_listens_without_a_line_of_its_own(kamailio, cms, port):
    """The port of Prometheus does not take the place of "all addresses"."""
    def config(server, url):
        text = shipped_with(f"\nport={server.port}\n",
                            {"WITH_METRICS": f"{HOST}:{port}"})(server, url)
        local = open(f"{server.folder}/kamailio-local.cfg", encoding="utf-8").read()
        server.write("kamailio-local.cfg",
                     re.sub(r"^listen=.*\n", "", local, flags=re.M))
        return text

    server = kamailio(cms, config=config)
    assert server.device().register().status == 200
    assert request(port)[0] == 200


@pytest.mark.parametrize("value", ["", "9494", "127.0.0.1", "localhost:9494", "eth0:1",
                                   "127.0.0.1:0", "127.0.0.1:70000",
                                   "udp:127.0.0.1:9494", "::1:9494"])
def test_a_port_must_be_one(value):
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "metrics_listen", value)]))
    assert [line for line in lines if "ERROR" in line and "metrics_listen is" in line]


def test_a_port_of_sip_is_not_taken():
    """Nobody could register there any more."""
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "metrics_listen", f"{HOST}:{s.port}")]))
    assert [line for line in lines if "ERROR" in line and "metrics_listen is" in line]


def test_ipv6(kamailio, cms, port):
    kamailio(cms, config=lambda s, url: shipped_with(
        f"\nlisten=udp:[::1]:{s.port}\n", {"WITH_METRICS": f"[::1]:{port}"})(s, url))
    assert request(port, host="::1")[0] == 200


# -- health -------------------------------------------------------------------------

@pytest.fixture
def ready(kamailio, cms, port):
    """ready(settings): a server, and a function that asks whether it is ready."""
    def starter(**settings):
        def config(server, url):
            if "WITH_OUTBOX" in settings or "WITH_DEFER" in settings:
                settings.setdefault("CMS_OUTBOX_DB_URL", outbox_url(server))
            return shipped_with("", {
                "WITH_METRICS": f"{HOST}:{port}", "CMS_BREAKER_FAILURES": 1,
                "CMS_BREAKER_COOLDOWN": 600000, **settings})(server, url)

        server = kamailio(cms, config=config)
        return server, lambda: request(port, "/readyz")[::2]
    return starter


READY = (200, "ready\n")


@pytest.mark.contract
def test_a_server_that_is_well(ready, port):
    _, is_ready = ready()
    assert is_ready() == READY
    status, headers, text = request(port, "/livez")
    assert (status, headers["Content-Type"], text) == (200, "text/plain", "OK")


def test_not_ready_while_the_cms_is_away(ready, cms, port):
    """Alive it is."""
    server, is_ready = ready()
    cms.rule(status=503)
    assert server.device().register().status == 503
    assert is_ready() == (503, "the CMS is away\n")
    assert request(port, "/livez")[0] == 200


def test_ready_again_without_a_registration(ready, cms):
    """Or nobody would send one, who sends them only where it is ready."""
    server, is_ready = ready(CMS_BREAKER_COOLDOWN=100)
    cms.rule(status=503)
    assert server.device().register().status == 503
    until(lambda: is_ready() == READY, 30)


@pytest.mark.contract
def test_ready_while_it_can_defer(ready, cms):
    server, is_ready = ready(WITH_DEFER=1)
    cms.rule(status=503)
    assert server.device().register().status == 200
    assert server.rpc("cms_notify.endpoints")[0]["state"] != "closed"
    assert is_ready() == READY


def test_an_outbox_alone_defers_nothing(ready, cms):
    server, is_ready = ready(WITH_OUTBOX=1)
    cms.rule(status=503)
    assert server.device().register().status == 503
    assert is_ready() == (503, "the CMS is away\n")


def test_not_ready_when_the_outbox_is_full(ready, cms):
    server, is_ready = ready(WITH_DEFER=1, CMS_OUTBOX_MAX=1)
    cms.rule(status=503)
    assert server.device().register().status == 200
    until(lambda: is_ready() == (503, "the outbox is full\nthe CMS is away\n"), 30)


def test_not_ready_without_a_database_to_defer_to(ready, cms):
    server, is_ready = ready(WITH_DEFER=1,
                             CMS_OUTBOX_DB_URL="sqlite:////nowhere/outbox.sqlite")
    server.allow_errors("db_sqlite", "outbox", "db_do_init")
    assert is_ready() == READY
    cms.rule(status=503)
    assert server.device().register().status == 503
    assert is_ready() == (
        503, "the CMS is away\nthe database of the outbox does not answer\n")


# -- a script of one's own ----------------------------------------------------------

ROUTE = """
event_route[xhttp:request] {
	if (cms_metrics()) exit;
	xhttp_reply("200", "OK", "text/plain", "mine");
}
"""


@pytest.mark.contract
def test_in_a_script_of_its_own(kamailio, cms):
    """On its ports; with paths of its own."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, routes=ROUTE, modules=["xhttp"], core="tcp_accept_no_cl=yes"))
    status, _, text = request(server.port)
    assert status == 200 and Exposition(text).get("parked") == 0
    assert request(server.port, "/other")[2] == "mine"
    assert server.device().register().status == 200


def test_without_xhttp_it_does_not_start():
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, routes=ROUTE.replace("xhttp_reply", "#")))
    assert [line for line in lines if "cms_metrics() needs xhttp" in line]


LUA = """
function ksr_request_route()
    KSR.sl.sl_send_reply(200, "OK")
end

function ksr_xhttp_event(name)
    if KSR.cms_notify.metrics() < 0 then
        KSR.xhttp.xhttp_reply(200, "OK", "text/plain", "mine")
    end
end
"""


@pytest.mark.contract
def test_kemi(kamailio, cms):
    def config(server, url):
        path = server.write("script.lua", LUA + "\n")
        text = registrar(server, url, modules=["xhttp", "app_lua"],
                         core="tcp_accept_no_cl=yes", params=[
                             ("app_lua", "load", path), ("usrloc", "preload", "location"),
                             ("xhttp", "event_callback", "ksr_xhttp_event")])
        return text[:text.index("request_route {")] + 'cfgengine "lua"\n'

    server = kamailio(cms, config=config)
    status, _, text = request(server.port)
    assert status == 200 and Exposition(text).get("parked") == 0
    assert request(server.port, "/other")[2] == "mine"


# -- the documentation --------------------------------------------------------------

PAGE = TOP / "modules" / "cms_notify" / "doc" / "metrics.md"


def documented():
    """{family: (type, labels)}"""
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)))
            for name, kind, labels in re.findall(
                r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE.read_text("utf-8"), re.M)}


def test_each_is_documented(kamailio, cms):
    """Its name, its type, its labels; and nothing else is."""
    told = by_rpc(kamailio(cms, config=deferring(LEAVING, ("alive_timeout", 3600))))
    found = {}
    for name, labels in told.samples:
        family = told.family(name)
        names = {label for label, _ in labels} - {"le"}
        found[family] = (told.types[family], names)
    assert documented() == found
