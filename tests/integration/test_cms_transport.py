"""The way to the CMS: names, TLS, HTTP/2."""

import contextlib
import os
import random
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import pytest

import harness
from harness import (HOST, Port, ReferenceCms, fails_to_start, registrar,
                     shown, until)
from pki import Authority

pytest.register_assert_rewrite("verdicts")
from verdicts import check, register  # noqa: E402

pytestmark = pytest.mark.contract

# For what a busy machine takes its time for; a resolver gives up after 10 s.
TIMEOUT = 8000
PATIENT = {"CMS_TIMEOUT": 20000, "CMS_CONNECT_TIMEOUT": 20000}


@pytest.fixture
def start(kamailio):
    """start(url, tls_ca=..., ...): the two servers of verdicts.check()."""
    def start(url, **params):
        params.setdefault("timeout", TIMEOUT)
        params.setdefault("connect_timeout", TIMEOUT)
        settings = {f"CMS_{name.upper()}": value
                    for name, value in params.items()}
        return (kamailio(url, config=lambda s, u: registrar(
                    s, u, params=[("cms_notify", name, value)
                                  for name, value in params.items()])),
                kamailio(url, settings={"USRLOC_DB_MODE": 0, **settings}))

    return start


@contextlib.contextmanager
def http2_server(backend, pair=None, options=()):
    """A real HTTP/2 server in front of a CMS; its URL. It adds
    "Via: 2 nghttpx" to what came by HTTP/2."""
    binary = shutil.which("nghttpx", path="/usr/sbin:/usr/bin")
    if binary is None:
        pytest.skip("nghttpx is missing (package nghttp2-proxy)")
    port = Port()
    process = subprocess.Popen(
        [binary, "--conf=/dev/null", "--no-ocsp", "--workers=1",
         f"--frontend={HOST},{port.number}{'' if pair else ';no-tls'}",
         f"--backend={HOST},{backend.port}", "--errorlog-file=/dev/null",
         "--accesslog-file=/dev/null", *options, *reversed(pair or ())],
        stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((HOST, port.number)).close()
                break
            except ConnectionRefusedError:
                assert process.poll() is None, "nghttpx has ended"
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield f"{'https' if pair else 'http'}://{HOST}:{port.number}/register"
    finally:
        process.terminate()
        process.wait()
        port.close()


def test_headers_of_the_operator_are_sent_and_their_values_not_logged(
        kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, core="debug=4", params=[
            ("cms_notify", "http_header", "Authorization: Bearer s3cret"),
            ("cms_notify", "http_header", "X-Site:north, \tsouth")]))
    for _ in range(2):
        assert server.device().register().status == 200
    for request in server.posts():
        assert request.get("Authorization") == "Bearer s3cret"
        assert request.get("X-Site") == "north, \tsouth"
        names = [name.lower() for name, _value in request.headers]
        assert len(names) == len(set(names))
    assert not server.log(r"(?i)cms_notify.*s3cret")


# -- TLS ---------------------------------------------------------------------------

@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def pairs(ca):
    """Certificates of the CMS: {what is wrong with it: (file, key)}"""
    name = f"IP:{HOST}"
    other = Authority(ca.folder, "other-ca")
    return {
        "nothing": ca.issue("good", name),
        "wrong name": ca.issue("wrong-name", "DNS:cms.example,IP:192.0.2.1"),
        "no name": ca.issue("nameless"),
        "expired": ca.issue("expired", name, expired=True),
        "unknown CA": other.issue("unknown", name),
        "unknown CA of the same name": Authority(
            ca.folder, "ca", file="impostor-ca").issue("impostor", name),
        "self-signed": (other.certificate, other.key),
    }


def tls_cms(pair, **kw):
    return ReferenceCms(tls_cert=pair[0], tls_key=pair[1], **kw)


def test_a_cms_with_a_certificate_of_the_given_ca_is_trusted(
        start, ca, pairs):
    with tls_cms(pairs["nothing"]) as cms:
        check(start(cms.url, tls_ca=ca.certificate), "accepted", "none", 200)
        assert cms.count == 2


@pytest.mark.parametrize("fault", [
    "wrong name", "no name", "expired", "unknown CA",
    "unknown CA of the same name", "self-signed"])
def test_a_certificate_with_a_fault_is_no_cms(start, ca, pairs, fault):
    with tls_cms(pairs[fault]) as cms:
        check(start(cms.url, tls_ca=ca.certificate), "unavailable", "tls", 0)
        assert cms.count == 0


def test_without_tls_ca_the_systems_authorities_are_asked(start, pairs):
    with tls_cms(pairs["nothing"]) as cms:
        check(start(cms.url), "unavailable", "tls", 0)
        assert cms.count == 0


def test_a_server_that_speaks_no_tls_is_no_cms(start, ca):
    def refuse():
        with contextlib.suppress(OSError):
            while True:
                with listener.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=refuse, daemon=True).start()
        check(start(f"https://{HOST}:{listener.getsockname()[1]}/",
                    tls_ca=ca.certificate), "unavailable", "tls", 0)
        listener.shutdown(socket.SHUT_RDWR)


def test_a_tls_handshake_that_hangs_is_no_connection(start, ca):
    with socket.create_server((HOST, 0)) as silent:
        check(start(f"https://{HOST}:{silent.getsockname()[1]}/",
                    tls_ca=ca.certificate, connect_timeout=300),
              "unavailable", "connect", 0)


@pytest.fixture(scope="module")
def clients(ca):
    """The CMS takes certificates of this authority only."""
    return Authority(ca.folder, "clients-ca")


@pytest.fixture(params=["TLSv1.2", "TLSv1.3"])
def strict(request, cms, clients, pairs):
    """(URL of a CMS that demands a client certificate, causes if it gets
    none). With TLS 1.3 it says so after the handshake, and as it closes at
    once the network may lose that."""
    with http2_server(cms, pairs["nothing"], [
            "--verify-client",
            f"--verify-client-cacert={clients.certificate}",
            f"--tls-min-proto-version={request.param}",
            f"--tls-max-proto-version={request.param}"]) as url:
        yield url, (["tls"] if request.param == "TLSv1.2"
                    else ["tls", "connect"])


def check_refused(servers, causes):
    seen = shown(register(servers[0]))
    assert seen["verdict"] == "unavailable" and seen["cause"] in causes
    assert register(servers[1]).status == 503


def test_the_cms_may_demand_a_client_certificate(
        start, strict, cms, ca, clients):
    certificate, key = clients.issue("sip1")
    check(start(strict[0], tls_ca=ca.certificate, tls_cert=certificate,
                tls_key=key), "accepted", "none", 200)
    assert cms.count == 2


def test_without_the_demanded_client_certificate_there_is_no_cms(
        start, strict, cms, ca):
    url, causes = strict
    check_refused(start(url, tls_ca=ca.certificate), causes)
    assert cms.count == 0


def test_a_client_certificate_that_the_cms_does_not_trust_is_no_use(
        start, strict, cms, ca):
    url, causes = strict
    certificate, key = ca.issue("stranger")
    check_refused(start(url, tls_ca=ca.certificate, tls_cert=certificate,
                        tls_key=key), causes)
    assert cms.count == 0


def test_a_key_of_another_certificate_is_told_at_the_start(ca):
    certificate, _key = ca.issue("client")
    _certificate, key = ca.issue("another")
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "tls_cert", certificate),
                        ("cms_notify", "tls_key", key)]))
    assert [line for line in lines if re.search(
        "ERROR: cms_notify.*do not belong together", line)]


def test_tls_sessions_are_resumed(kamailio, ca, pairs):
    with tls_cms(pairs["nothing"]) as cms:
        server = kamailio(cms, settings={
            "CMS_TLS_CA": ca.certificate, "USRLOC_DB_MODE": 0,
            "CMS_HTTP_PROCESSES": 1, **PATIENT})
        cms.rule(headers=[("Connection", "close")])
        for _ in range(5):
            assert server.device().register().status == 200
        assert cms.connections == 5
        assert cms.tls_resumed == 4


LEFT = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def tls_registrar(kamailio, cms, ca, **settings):
    """With one process: each has connections of its own."""
    return kamailio(cms, settings={
        "CMS_TLS_CA": ca.certificate, "USRLOC_DB_MODE": 0,
        "CMS_HTTP_PROCESSES": 1, **PATIENT, **settings})


@pytest.mark.parametrize("rule", [
    {"extra_delay": 0.1}, {"extra_delay": 0.1, "extra_end": True},
    # in one record of TLS, whose rest OpenSSL has decrypted
    {"body": "x" * 3000}], ids=["later", "later, then it ends", "with it"])
def test_tls_what_comes_before_a_post_is_no_answer_to_it(
        kamailio, ca, pairs, rule):
    with tls_cms(pairs["nothing"]) as cms:
        server = tls_registrar(kamailio, cms, ca)
        cms.rule(times=1, extra=LEFT, **rule)
        assert server.device().register().status == 200
        cms.wait_until(lambda: cms.extras)
        uas = server.devices(8)
        for ua in uas[::2]:
            cms.refuse(ua.user)
        assert [ua.register().status for ua in uas] == [403, 200] * 4
        assert [len(server.posts(ua)) for ua in uas] == [1] * 8
        assert cms.connections == 2


def test_tls_session_tickets_are_no_answers(kamailio, ca, pairs):
    """TLS 1.3 sends two after the handshake: the connection is used again."""
    with tls_cms(pairs["nothing"]) as cms:
        server = tls_registrar(kamailio, cms, ca)
        for ua in server.devices(20):
            assert ua.register().status == 200
            time.sleep(0.01)
        assert cms.connections == 1


# -- HTTP/2 ------------------------------------------------------------------------

def ports_to(url):
    """The other ends of established TCP connections at that server's port."""
    port = f":{int(url.split(':')[2].split('/')[0]):04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return {row[2] for row in rows if row[1].endswith(port) and row[3] == "01"}


def connections_to(url):
    return len(ports_to(url))


def test_http_2_over_tls(start, cms, ca, pairs):
    with http2_server(cms, pairs["nothing"]) as url:
        check(start(url, tls_ca=ca.certificate, http_version="2"),
              "accepted", "none", 200)
    assert [r.get("Via") for r in cms.requests] == ["2 nghttpx"] * 2
    assert not [r for r in cms.requests if r.errors]


def test_http_2_is_not_used_unless_it_is_asked_for(start, cms, ca, pairs):
    with http2_server(cms, pairs["nothing"]) as url:
        check(start(url, tls_ca=ca.certificate), "accepted", "none", 200)
    assert [r.get("Via") for r in cms.requests] == ["1.1 nghttpx"] * 2


def test_http_2_falls_back_to_what_the_cms_speaks(start, ca, pairs):
    with tls_cms(pairs["nothing"]) as cms:
        check(start(cms.url, tls_ca=ca.certificate, http_version="2"),
              "accepted", "none", 200)


def test_http_2_without_tls(start, cms):
    with http2_server(cms) as url:
        check(start(url, http_version="2-prior-knowledge"),
              "accepted", "none", 200)
    assert [r.get("Via") for r in cms.requests] == ["2 nghttpx"] * 2


def test_a_cms_that_does_not_speak_the_known_http_2_is_unavailable(
        start, cms):
    servers = start(cms.url, http_version="2-prior-knowledge", timeout=3000)
    assert shown(register(servers[0]))["verdict"] == "unavailable"
    assert register(servers[1]).status == 503


@pytest.fixture(params=["2", "2-prior-knowledge"])
def http2(request, kamailio, cms, ca, pairs):
    """(a server that reports by HTTP/2, where to)"""
    pair = pairs["nothing"] if request.param == "2" else None
    with http2_server(cms, pair) as url:
        yield kamailio(url, settings={
            "CMS_HTTP_VERSION": request.param, "CMS_MAX_CONNECTIONS": 4,
            "CMS_TLS_CA": ca.certificate, "USRLOC_DB_MODE": 0, **PATIENT}), url


def test_http_2_each_stream_has_its_own_answer(http2, cms):
    server, _url = http2
    uas = server.devices(60)
    for ua in uas[::2]:
        cms.refuse(ua.user)
    registrations = [ua.start_register() for ua in uas]
    assert [r.wait().status for r in registrations] == [403, 200] * 30


@pytest.mark.parametrize("answer", [
    {"headers": [("X-Long", "x" * 2000)]}, {"body": "x" * 8000},
    {"headers": [("X-Long", "x" * 2000)], "body": "x" * 8000}],
    ids=["head", "body", "both"])
def test_http_2_long_answers(http2, cms, answer):
    """Of streams that share a connection, each gets all of its own."""
    server, _url = http2
    uas = server.devices(60)
    cms.rule(status=200, **answer)
    cms.rule(status=403, match={"username": uas[0].user}, **answer)
    registrations = [ua.start_register() for ua in uas]
    assert [r.wait().status for r in registrations] == [403] + [200] * 59


@pytest.mark.parametrize("http2", ["2"], indirect=True)
def test_http_2_carries_many_posts_over_few_connections(http2, cms):
    server, url = http2
    rule = cms.rule(hold=True)
    registrations = [ua.start_register() for ua in server.devices(80)]
    cms.wait_until(lambda: cms.held == 80)
    assert 1 <= connections_to(url) <= 4, "max_connections"
    cms.remove_rule(rule)
    cms.release()
    assert {r.wait().status for r in registrations} == {200}


@contextlib.contextmanager
def nginx(folder, pair, requests, answer):
    """A CMS that accepts all, by HTTP/2, often before it has read the body, and
    ends each connection after so many requests: its URL."""
    binary = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert binary, "nginx is missing (package nginx-light)"
    port = Port()
    paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in (
        "client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    configuration = folder / "nginx.conf"
    configuration.write_text(f"""
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    {paths}
    server {{
        listen {HOST}:{port.number} ssl http2;
        ssl_certificate {pair[0]};
        ssl_certificate_key {pair[1]};
        keepalive_requests {requests};
        location / {{ return 200{answer}; }}
    }}
}}
""")
    process = subprocess.Popen(
        [binary, "-p", folder, "-c", configuration, "-e", folder / "nginx.log"],
        stdin=subprocess.DEVNULL)
    try:
        harness.until(lambda: answers(port.number))
        yield f"https://{HOST}:{port.number}/register"
    finally:
        process.terminate()
        process.wait()
        port.close()


def answers(port):
    with contextlib.suppress(ConnectionRefusedError):
        socket.create_connection((HOST, port)).close()
        return True
    return False


@pytest.mark.parametrize("answer", ["", " '{}'"], ids=["empty", "body"])
@pytest.mark.parametrize("requests", [20, 100])
def test_http_2_connections_that_end_after_so_many_requests_cost_nothing(
        kamailio, ca, pairs, tmp_path, requests, answer):
    with nginx(tmp_path, pairs["nothing"], requests, answer) as url:
        server = kamailio(url, settings={
            "CMS_TLS_CA": ca.certificate, "USRLOC_DB_MODE": 0,
            "CMS_HTTP_VERSION": "2", **PATIENT})
        for _ in range(200):
            registrations = [ua.start_register() for ua in server.devices(4)]
            assert {r.wait().status for r in registrations} == {200}
        stats = server.stats()
        assert stats["accepted"] == 800
        assert stats["unavailable"] == stats["bad_answer"] == 0


def test_http_2_trailer_fields_change_nothing(http2, cms):
    server, _url = http2
    cms.rule(headers=[("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")],
             body=b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")
    registrations = [ua.start_register() for ua in server.devices(20)]
    assert {r.wait().status for r in registrations} == {200}


def test_http_2_a_connection_that_is_never_idle_ends_all_the_same(
        kamailio, cms, ca, pairs):
    with http2_server(cms, pairs["nothing"]) as url:
        server = tls_registrar(kamailio, url, ca, CMS_HTTP_VERSION="2",
                               CMS_CONNECTION_LIFETIME=1)
        cms.rule(delay=0.3)
        seen, waiting = set(), []
        began = time.monotonic()
        while len(seen) < 4 and time.monotonic() < began + 60:
            waiting.append(server.device().start_register())
            time.sleep(0.1)
            seen |= ports_to(url)
        # two at a time, and each has its second
        assert len(seen) >= 4 and time.monotonic() > began + 1
        assert {r.wait().status for r in waiting} == {200}


# -- names -------------------------------------------------------------------------

NXDOMAIN = 3


class NameServer:
    """Answers every question with this code, or never (None); with an address
    that of IPv4 with it."""

    def __init__(self, code):
        self._code = code
        self.host = None
        self.questions = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.address = "127." + ".".join(
            str(random.randrange(1, 255)) for _ in range(3))
        self._socket.bind((self.address, 53))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            self.questions += 1
            if self._code is not None:
                end = data.index(b"\0", 12) + 5
                answer = b""
                if self.host and data[end - 4:end] == b"\0\1\0\1":
                    answer = b"\xc0\x0c\0\1\0\1" + struct.pack(
                        "!IH", 1, 4) + socket.inet_aton(self.host)
                head = struct.pack("!HHHHH", 0x8180 | self._code, 1,
                                   bool(answer), 0, 0)
                self._socket.sendto(
                    data[:2] + head + data[12:end] + answer, peer)

    def close(self):
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


@pytest.fixture
def name_server(tmp_path, monkeypatch):
    """name_server(code): Kamailios started from now on ask a NameServer. They
    run in a mount namespace with a resolv.conf of their own; the machine's
    resolver is not touched."""
    unshare = ["unshare", "--mount"] + (
        [] if os.geteuid() == 0 else ["--map-root-user"])
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no mount namespaces here (unshare --mount fails)")
    servers = []

    def start(code):
        try:
            server = NameServer(code)
        except PermissionError:
            pytest.skip("port 53 of the loopback needs root")
        servers.append(server)
        (tmp_path / "resolv.conf").write_text(f"nameserver {server.address}\n")
        (tmp_path / "nsswitch.conf").write_text("hosts: files dns\n")
        wrapper = tmp_path / "kamailio"
        binary = harness.environment()["KAMAILIO"]
        wrapper.write_text(
            "#!/bin/sh\n"
            f"exec {' '.join(unshare)} sh -c '\n"
            f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf &&\n"
            f"mount --bind {tmp_path}/nsswitch.conf /etc/nsswitch.conf &&\n"
            f"exec {binary} \"$@\"' kamailio \"$@\"\n")
        wrapper.chmod(0o755)
        monkeypatch.setitem(harness.environment(), "KAMAILIO", str(wrapper))
        return server

    yield start
    for server in servers:
        server.close()


def test_a_name_that_does_not_resolve_is_no_connection(start, name_server):
    names = name_server(NXDOMAIN)
    check(start("http://cms.invalid:25999/"), "unavailable", "connect", 0)
    assert names.questions


def test_a_name_server_that_never_answers_ends_at_connect_timeout(
        start, name_server):
    """And not when the resolver gives up, after 10 s."""
    names = name_server(None)
    seen = check(start("http://cms.invalid:25999/", connect_timeout=300),
                 "unavailable", "connect", 0)
    assert names.questions
    assert int(seen["elapsed_ms"]) < TIMEOUT


def test_a_name_that_does_not_resolve_delays_nothing_else(
        kamailio, cms, name_server):
    """The next endpoint gets its turn, and so do other events."""
    name_server(None)
    server = kamailio("http://cms.invalid:25999/", settings={
        "CMS_URL_2": cms.url, "USRLOC_DB_MODE": 0, "CMS_TIMEOUT": TIMEOUT,
        "CMS_CONNECT_TIMEOUT": 300, "CMS_ATTEMPT_TIMEOUT": 300})
    registrations = [ua.start_register() for ua in server.devices(20)]
    assert {r.wait().status for r in registrations} == {200}
    assert cms.count == 20


@pytest.fixture
def moving(kamailio, name_server):
    """(a server whose CMS has a name, where it is, where it goes, move())"""
    names = name_server(0)
    with ReferenceCms() as old, \
            ReferenceCms(host="127.0.0.2", port=old.port) as new:
        names.host = HOST

        def start(**settings):
            server = kamailio(f"http://cms.example:{old.port}/register",
                              settings={"USRLOC_DB_MODE": 0, **PATIENT,
                                        **settings})
            assert server.device().register().status == 200
            assert (old.count, new.count) == (1, 0)
            return server

        def move():
            names.host = "127.0.0.2"

        yield start, old, new, move


def test_a_name_that_has_moved_is_followed(moving):
    """Although the old address goes on answering."""
    start, old, new, move = moving
    server = start(CMS_CONNECTION_LIFETIME=1)
    move()

    def goes_to_the_new_one():
        """All of them: each connection of each process has its own life."""
        before = old.count
        for _ in range(20):
            assert server.device().register().status == 200
        return old.count == before

    until(goes_to_the_new_one, 60)
    assert new.count >= 20


def test_an_address_that_does_not_answer_is_looked_up_again(moving):
    """At once, and the event that found out is told."""
    start, old, new, move = moving
    server = start()
    move()
    old.stop()
    for _ in range(5):
        assert server.device().register().status == 200
    assert new.count == 5
    old.start()
