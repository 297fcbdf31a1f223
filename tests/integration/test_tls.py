"""SIP over TLS: by Kamailio itself from 6.0 on, and by HAProxy in front of it."""

import contextlib
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading

import pytest

import harness
from harness import (DOMAIN, HOST, PASSWORD, TOP, Port, ReferenceCms, Transport, Ua,
                     fails_to_start, until)
from pki import Authority
from test_strangers import Dialog

pytestmark = pytest.mark.contract
has_tls = pytest.mark.skipif(
    harness.version() < (5, 8), reason="Kamailio 5.6 crashes with TLS and OpenSSL 3")
README = (TOP / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def pair(ca):
    return ca.issue("sip", f"IP:{HOST},DNS:{DOMAIN}")


@pytest.fixture
def port():
    with contextlib.closing(Port()) as port:
        yield port.number


@pytest.fixture
def cms(ca):
    """By https."""
    certificate, key = ca.issue("cms", "IP:" + HOST)
    with ReferenceCms(tls_cert=certificate, tls_key=key) as server:
        yield server


def context(ca, pair=None, version=None):
    """What a device trusts, and what it shows."""
    made = ssl.create_default_context(cafile=ca.certificate)
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT  # of Python 3.13; they are simple
    if pair:
        made.load_cert_chain(*pair)
    if version:
        made.set_ciphers("DEFAULT:@SECLEVEL=0")
        made.minimum_version = made.maximum_version = version
    return made


def with_tls(ca, pair, port, **settings):
    """The shipped configuration with a TLS listener."""
    return harness.shipped_with(f"listen=tls:{HOST}:{port}\n", {
        "WITH_TLS": "", "TLS_CERT": pair[0], "TLS_KEY": pair[1],
        "CMS_TLS_CA": ca.certificate, **settings})


@contextlib.contextmanager
def device(port, user, tls, local=(HOST, 0)):
    with contextlib.closing(Transport((HOST, port), "tls", local, tls=tls)) as way, \
            Ua(user=user, domain=DOMAIN, password=PASSWORD, transport=way) as ua:
        yield ua


def is_reached(server, ua):
    """By a message from another device, over UDP."""
    sender = server.device("cam2")
    assert sender.register().status == 200
    challenge = sender.send(sender.build("MESSAGE", ua.aor)).wait().challenge()
    sent = sender.send(sender.build("MESSAGE", ua.aor, headers=[
        ("Proxy-Authorization",
         sender.authorization(challenge, "MESSAGE", ua.aor))]))
    ua.transport.reply(ua.transport.wait_request("MESSAGE"), 200)
    assert sent.wait().status == 200


def calls_and_is_called(server, ua):
    """From and to a device over UDP; he who was called ends it."""
    other = server.device("cam3")
    assert other.register().status == 200
    for caller, callee in ((other, ua), (ua, other)):
        call = Dialog(caller, callee)
        sent = callee.send(call.build(callee, "BYE", by_caller=False))
        caller.transport.reply(caller.transport.wait_request("BYE"), 200)
        assert sent.wait().status == 200


def registers(server, ua):
    """Told to the CMS once."""
    assert [ua.register().status for _ in range(3)] == [200] * 3
    post, = server.posts(ua)
    assert post.errors == []
    return post.json["source"]


# -- Kamailio 5.6 ------------------------------------------------------------

@pytest.mark.skipif(harness.version() >= (5, 8), reason="this Kamailio has TLS")
def test_a_kamailio_that_would_crash_does_not_start():
    """It says why."""
    lines = fails_to_start(settings={"WITH_TLS": ""})
    assert any("WITH_TLS needs Kamailio 6.0 or later" in line for line in lines)


# -- Kamailio's own ----------------------------------------------------------

@has_tls
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3],
                         ids=["1.2", "1.3"])
def test_a_device_registers(kamailio, cms, ca, pair, port, version):
    """With a CMS that speaks TLS, too; the device is reached over its connection."""
    server = kamailio(cms, config=with_tls(ca, pair, port))
    with device(port, "cam1", context(ca, version=version)) as ua:
        source = registers(server, ua)
        assert source == {"ip": HOST, "port": ua.transport.local[1],
                          "transport": "tls"}
        is_reached(server, ua)
        calls_and_is_called(server, ua)
        assert ua.unregister().status == 200


def greets(port, tls):
    """Is it let in? With TLS 1.3 a client learns that with the first answer."""
    try:
        with device(port, "cam1", tls) as ua:
            ua.transport._socket.settimeout(10)
            ua.transport.hub.remove(ua.transport._socket)
            ua.transport._socket.sendall(ua.build("OPTIONS", f"sip:{HOST}"))
            return ua.transport._socket.recv(1000).startswith(b"SIP/2.0 ")
    except OSError:  # ssl.SSLError is one
        return False


@has_tls
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_are_refused(kamailio, cms, ca, pair, port):
    """By the configuration, not only by a careful OpenSSL."""
    def config(server, url):
        server.write("kamailio-site.cfg", 'modparam("tls", "cipher_list", '
                     '"DEFAULT:@SECLEVEL=0")\n')
        return with_tls(ca, pair, port)(server, url)

    server = kamailio(cms, config=config)
    server.allow_errors("tls", "error reading")
    assert greets(port, context(ca))
    assert not greets(port, context(ca, version=ssl.TLSVersion.TLSv1_1))


@has_tls
def test_client_certificates(kamailio, cms, ca, pair, port, tmp_path):
    """With TLS_CLIENT_CA: a certificate of that authority and the password."""
    devices, others = (Authority(tmp_path, name) for name in ("devices", "others"))
    server = kamailio(cms, config=with_tls(
        ca, pair, port, TLS_CLIENT_CA=devices.certificate))
    server.allow_errors("tls", "error reading")
    assert not greets(port, context(ca))
    assert not greets(port, context(ca, others.issue("a stranger")))
    with device(port, "cam1", context(ca, devices.issue("a device"))) as ua:
        ua.password = "wrong"
        assert ua.register().status == 401
        ua.password = PASSWORD
        registers(server, ua)


def comes_and_goes(port, user, tls, count, failed):
    """Each time over a connection of its own."""
    try:
        for _ in range(count):
            with device(port, user, tls) as ua:
                assert ua.register(timeout=30).status == 200
                assert ua.unregister(timeout=30).status == 200
    except BaseException as error:
        failed.append(error)


def all_come_and_go(server, port, tls, count):
    """Eight at once; nothing is left of it."""
    failed = []
    threads = [threading.Thread(target=comes_and_goes, args=(
        port, f"cam{n}", tls, count // 8, failed)) for n in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    server.settle()
    # tm keeps a transaction for some seconds
    until(lambda: server.rpc("tm.stats")["current"] == 0, 60)
    until(lambda: server.rpc("core.tcp_info")["opened_tls_connections"] == 0, 30)


def resident(server):
    """Memory of its own, of all processes, in kB."""
    total = 0
    for pid in server.pids():
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            total += int(re.search(r"RssAnon:\s+(\d+)", file.read())[1])
    return total


def starts_and_stops(server, port, tls, starts, registrations):
    for _ in range(starts):
        all_come_and_go(server, port, tls, registrations // 2)
        before = server.shm_used(), resident(server)
        all_come_and_go(server, port, tls, registrations // 2)
        after = server.shm_used(), resident(server)
        assert after[0] <= before[0] * 1.05 + 500_000
        assert after[1] <= before[1] * 1.05 + 4000
        assert server.stop() == 0
        assert server.unexpected_errors() == []
        assert not server.log("signal|double free|corrupt")
        server.start()


@has_tls
def test_many_registrations_after_each_start(kamailio, cms, ca, pair, port):
    """Eight clients at once, each registration over a connection of its own, the
    CMS by https: no crash, and no more memory than before."""
    server = kamailio(cms, config=with_tls(ca, pair, port))
    starts_and_stops(server, port, context(ca), 2, 160)


@has_tls
@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_thousands_of_registrations_after_each_start(kamailio, cms, ca, pair, port):
    server = kamailio(cms, config=with_tls(ca, pair, port))
    starts_and_stops(server, port, context(ca), 10, 1000)


# -- what ends TLS in front of it ----------------------------------------------

@contextlib.contextmanager
def haproxy(folder, port, backend, pair):
    """As README shows it."""
    with open(folder / "sip.pem", "w", encoding="ascii") as pem:
        for name in pair:
            with open(name, encoding="ascii") as file:
                pem.write(file.read())
    text = re.search(r"^```\n(defaults\n.*?)^```$", README, re.S | re.M)[1]
    for shown, real in (("/etc/haproxy/sip.pem", str(folder / "sip.pem")),
                        ("192.0.2.10:5061", f"{HOST}:{port}"),
                        ("127.0.0.1:5060", f"{HOST}:{backend}")):
        assert shown in text
        text = text.replace(shown, real)
    (folder / "haproxy.cfg").write_text(text)
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", "--", "haproxy", "-db", "-q", "-f",
         folder / "haproxy.cfg"], stdin=subprocess.DEVNULL)
    try:
        def listens():
            assert process.poll() is None
            with contextlib.suppress(OSError):
                socket.create_connection((HOST, port)).close()
                return True

        until(listens, 20)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


@pytest.mark.skipif(not shutil.which("haproxy", path=os.environ["PATH"] + ":/usr/sbin"),
                    reason="haproxy is missing")
def test_a_terminator_keeps_the_address(
        kamailio, cms, ca, pair, port, tmp_path, monkeypatch):
    """HAProxy and kamailio-local.cfg as README shows them: Kamailio and the CMS see
    where the device really is, and it is reached over its connection."""
    monkeypatch.setenv("PATH", os.environ["PATH"] + ":/usr/sbin")
    line = "tcp_accept_haproxy=yes\n"
    assert line in README
    server = kamailio(cms, config=harness.shipped_with(
        line, {"CMS_TLS_CA": ca.certificate}))
    with haproxy(tmp_path, port, server.port, pair), \
            device(port, "cam1", context(ca), local=("127.0.0.7", 0)) as ua:
        source = registers(server, ua)
        assert source == {"ip": "127.0.0.7", "port": ua.transport.local[1],
                          "transport": "tcp"}
        is_reached(server, ua)
        calls_and_is_called(server, ua)
        assert ua.unregister().status == 200
