"""One account, and one address, has its share of what all use, and no more."""

import contextlib
import socket

import pytest

from deferring import deferring, defer, rows
from harness import WAIT_SECONDS, Transport, Ua, registrar, shown, until
from reloading import replace, replace_and_wait

pytestmark = pytest.mark.contract

OF_AOR = 64  # requests that may wait
LARGEST = 16384  # bytes of a REGISTER


def slow(**params):
    """Everybody waits for the CMS as long as the test wants."""
    return lambda s, url: registrar(s, url, params=[
        *(("cms_notify", name, value) for name, value in (
            {"timeout": 25000, "attempt_timeout": 25000,
             "http_processes": 1} | params).items()
          if name != "max_contacts"),
        *(("registrar", name, value) for name, value in params.items()
          if name == "max_contacts"), ("registrar", "retry_after", 7)])


def contact(n):
    return f"<sip:cam@192.0.2.{n // 250 + 1}:{5000 + n % 250}>"


def finals(registrations):
    return [r.result for r in registrations if r.result]


def wait_for_finals(registrations, count):
    hub = registrations[0].ua.transport.hub
    assert hub.wait(lambda: len(finals(registrations)) >= count, WAIT_SECONDS)


def accept_all(cms):
    cms.clear_rules()
    cms.release()


# -- of an AOR ---------------------------------------------------------------

def test_contacts_times_requests(kamailio, cms):
    """So many requests of one AOR wait, however they are spread over
    contacts: not so many for each of so many."""
    server = kamailio(cms, config=slow())
    thief = server.device()
    cms.rule(hold=True)
    registrations = []
    for n in range(16):
        registrations += [thief.start_register(contacts=contact(n))
                          for _ in range(16)]
    wait_for_finals(registrations, 256 - OF_AOR)
    assert server.status()["parked"] == OF_AOR
    busy = finals(registrations)
    assert {(r.status, shown(r)["cause"]) for r in busy} == {(503, "busy")}
    honest = server.device().start_register()
    server.wait_parked(OF_AOR + 1)
    accept_all(cms)
    assert honest.wait().status == 200
    # What a contact sends after it was saved may have too low a CSeq.
    server.allow_errors(r"registrar.*invalid cseq")
    assert all(r.wait() for r in registrations)
    server.settle()
    assert thief.register(contacts=contact(99)).status == 200


# -- of max_contacts ---------------------------------------------------------

def test_contacts_under_way_count(kamailio, cms):
    """Forty contacts at once where ten are allowed: the CMS hears of ten, which
    are all bound; the others are answered as save() does."""
    server = kamailio(cms, config=slow(max_contacts=10))
    ua = server.device()
    cms.rule(hold=True)
    registrations = [ua.start_register(contacts=contact(n)) for n in range(40)]
    wait_for_finals(registrations, 30)
    surplus = finals(registrations)
    assert len(surplus) == 30
    accept_all(cms)
    assert [r.wait().status for r in registrations].count(200) == 10
    assert len(server.posts(ua)) == 10
    assert len(server.contacts(ua)) == 10
    by_save = ua.register(contacts=contact(50))
    assert by_save.get("X-Route") == "main"
    for response in surplus:
        assert (response.status, response.reason) \
            == (by_save.status, by_save.reason) == (503, "Service Unavailable")
        for name in ("P-Registrar-Error", "Retry-After"):
            assert response.get(name) == by_save.get(name) != None  # noqa: E711
    assert len(server.posts(ua)) == 10
    assert {len(r.steps[-1].finals) for r in registrations} == {1}


def test_what_is_bound_counts_as_well(kamailio, cms):
    """Two are bound, one is under way: a fourth is too many for three, and
    is not too many once one has left. Who joins asks for nothing more."""
    server = kamailio(cms, config=slow(max_contacts=3))
    ua = server.device()
    for n in range(2):
        assert ua.register(contacts=contact(n)).status == 200
    server.settle()
    cms.rule(hold=True)
    third = ua.start_register(contacts=contact(2))
    server.wait_parked(1)
    assert ua.register(contacts=contact(3)).get("P-Registrar-Error")
    again = ua.start_register(contacts=contact(2))
    server.wait_parked(2)
    assert ua.register(contacts=contact(0)).status == 200
    assert ua.unregister(contacts=contact(0)).status == 200
    fourth = ua.start_register(contacts=contact(3))
    server.wait_parked(3)
    accept_all(cms)
    assert {r.wait().status for r in (third, again, fourth)} == {200}
    assert len(server.contacts(ua)) == 3


def test_who_was_rejected_takes_no_room(kamailio, cms):
    """The place of a contact that the CMS refuses is free again."""
    server = kamailio(cms, config=slow(max_contacts=1))
    ua = server.device()
    cms.rule(status=403, times=1)
    assert ua.register(contacts=contact(0)).status == 403
    server.settle()  # its route may not have ended
    assert ua.register(contacts=contact(1)).status == 200
    assert ua.register(contacts=contact(2)).get("P-Registrar-Error")
    assert len(server.posts(ua)) == 2


def test_no_limit_is_no_limit(kamailio, cms):
    """max_contacts 0."""
    server = kamailio(cms, config=slow())
    ua = server.device()
    cms.rule(hold=True)
    registrations = [ua.start_register(contacts=contact(n)) for n in range(40)]
    server.wait_parked(40)
    accept_all(cms)
    assert {r.wait().status for r in registrations} == {200}
    assert len(server.contacts(ua)) == 40


def test_as_many_contacts_as_are_allowed_at_once(kamailio, cms):
    """Again and again, in the shipped configuration: while some are being saved
    others come, and none is turned away. Who is overtaken looks again, and needs
    no more than one branch of the transaction for it."""
    server = kamailio(cms, settings={
        "MAX_CONTACTS": 6, "CHILDREN": 4, "MAX_BRANCHES": 1,
        "CMS_VERDICT_PROCESSES": 2})
    uas = [server.device(user) for user in ["many"] * 6]
    for expires in (60, 0) * 20:
        registrations = [ua.start_register(expires=expires) for ua in uas]
        assert {r.wait().status for r in registrations} == {200}
        server.settle()
    assert len(server.posts(uas[0])) == 120


# -- of an address -----------------------------------------------------------

def from_address(server, host, count):
    """Devices behind one address."""
    transport = Transport(server.address, local=(host, 0))
    server._uas.append(transport)
    return server.devices(count, transport=transport)


def test_an_address_has_its_quarter(kamailio, cms):
    """Of the places that there are: with 400 of them 100, also for requests
    that wait for one event. Others come in, and so does this address
    when its first ones have their answers."""
    server = kamailio(cms, config=slow(queue_size=368, max_connections=32))
    cms.rule(hold=True)
    crowd = [ua.start_register() for ua in from_address(server, "127.0.0.7", 130)]
    wait_for_finals(crowd, 30)
    assert server.status()["parked"] == 100
    assert {(r.status, shown(r)["cause"]) for r in finals(crowd)} \
        == {(503, "busy")}
    assert all(int(shown(r)["retry_after"]) > 0 for r in finals(crowd))
    joining = crowd[[r.result for r in crowd].index(None)]
    again = joining.ua.start_register()
    assert again.wait().status == 503
    others = [ua.start_register() for ua in from_address(server, "127.0.0.8", 100)]
    server.wait_parked(200)
    accept_all(cms)
    assert {r.wait().status for r in others} == {200}
    assert [r.wait().status for r in crowd].count(200) == 100
    server.settle()
    crowd = [ua.start_register() for ua in from_address(server, "127.0.0.7", 100)]
    assert {r.wait().status for r in crowd} == {200}


def test_a_place_is_given_back_whatever_happens(kamailio, cms, tmp_path):
    """When the CMS refuses, fails, or is too slow, when requests are repeated
    or join others, and when a refresh takes none: afterwards an address
    has its whole share."""
    limits = str(tmp_path / "limits")
    replace(limits, "timeout = 500\nattempt_timeout = 500\n")
    server = kamailio(cms, config=slow(settings_file=limits, queue_size=192,
                                       max_connections=32))
    # of two at once the second one may be the first to be taken
    server.allow_errors(r"registrar.*invalid cseq")
    for rule in ({"status": 403}, {"status": 500}, {"close": "request"},
                 {"delay": 2}, {}):
        cms.clear_rules()
        cms.rule(**rule)
        uas = from_address(server, "127.0.0.7", 60)
        done = [ua.start_register() for ua in uas for _ in range(2)]
        for registration in done:
            registration.wait()
        server.settle()
    replace_and_wait(server, limits, "timeout = 25000\n")
    cms.clear_rules()
    cms.rule(hold=True)
    full = [ua.start_register() for ua in from_address(server, "127.0.0.7", 64)]
    server.wait_parked(64)
    assert finals(full) == []
    cms.clear_rules()
    cms.release()
    for registration in full:
        registration.wait()


def test_a_network_of_ipv6_is_one_address(kamailio, cms):
    """Whoever has one address there has 2^64 of them; here is one only, so
    that this test is about the port: it is no other address."""
    def config(server, url):
        return slow(queue_size=192, max_connections=32)(server, url).replace(
            f"listen=udp:127.0.0.1:{server.port}",
            f"listen=udp:127.0.0.1:{server.port}\n"
            f"listen=udp:[::1]:{server.port}")

    server = kamailio(cms, config=config)
    cms.rule(hold=True)
    transports = [Transport(("::1", server.port), local=("::1", 0))
                  for _ in range(2)]
    server._uas += transports
    registrations = [
        Ua(("::1", server.port), f"six{n}", "telecom.com", "123456",
           transport=transports[n % 2]).start_register() for n in range(80)]
    until(lambda: len(finals(registrations)) == 16)
    assert server.status()["parked"] == 64
    accept_all(cms)
    assert [r.wait().status for r in registrations].count(200) == 64


# -- of the outbox -----------------------------------------------------------

def test_an_aor_has_its_share_of_the_outbox(kamailio, cms):
    """Its contacts fill twice max_contacts rows at the most, or 20; others are
    deferred as ever."""
    server = kamailio(cms, config=deferring(("outbox_max", 100)))
    cms.rule(status=503)
    thief = server.device()
    answers = [thief.register(contacts=contact(n)) for n in range(30)]
    assert [r.get("X-Deferred") for r in answers].count("1") == 20
    assert {r.get("X-Defer-Cause") for r in answers if r.status == 503} \
        == {"outbox"}
    assert len(rows(server)) == 20
    defer(server, server.device())


# -- of memory ---------------------------------------------------------------

def large(ua, size):
    """A REGISTER of so many bytes."""
    data = ua.build_register(headers=[("X-Fill", "")])
    return data.replace(b"X-Fill: ", b"X-Fill: " + b"x" * (size - len(data)))


def test_a_large_register_is_refused(kamailio, cms):
    """Above 16 kB, before anybody looks at the password; not up to that."""
    server = kamailio(cms)
    ua = server.device()
    response = ua.send(large(ua, LARGEST + 1)).wait()
    assert (response.status, response.reason) == (513, "Message Too Large")
    assert ua.send(large(ua, LARGEST)).wait().status == 401


def test_a_large_register_is_not_parked(kamailio, cms):
    """Whatever the script lets through."""
    server = kamailio(cms, config=slow())
    ua = server.device()
    sent = ua.send(large(ua, LARGEST + 1))
    assert (sent.wait().status, sent.wait().reason) == (513, "Message Too Large")
    assert server.posts(ua) == [] and server.contacts(ua) == []
    assert len(sent.finals) == 1
    assert ua.send(large(ua, LARGEST)).wait().status == 200
    assert len(server.posts(ua)) == 1


@pytest.mark.parametrize("config", [None, slow()], ids=["shipped", "small"])
def test_a_large_register_over_tcp(kamailio, cms, config):
    """It is refused as well, or Kamailio, whose buffer for a connection is no
    larger, closes the connection."""
    server = kamailio(cms, config=config)
    server.allow_errors("tcp_read|error reading")
    ua = server.device(transport="tcp")
    sent = ua.send(large(ua, 60000))
    until(lambda: ua.transport.closed or sent.final)
    assert sent.final is None or sent.final.status == 513
    assert server.posts(ua) == [] and server.contacts(ua) == []
    assert server.device(transport="tcp").register().status == 200


def test_large_registers_fill_no_memory(kamailio, cms):
    """What is refused before authentication keeps none of the shared memory."""
    server = kamailio(cms)
    server.allow_errors("read message too large")  # newer than 5.6
    ua = server.device()
    ua.register()
    server.settle()
    before = server.shm_used()
    with contextlib.closing(socket.socket(
            socket.AF_INET, socket.SOCK_DGRAM)) as stranger:
        stranger.connect(server.address)
        for _ in range(200):
            stranger.send(large(ua, 60000))
    server.handle(ua)
    assert server.shm_used() - before < 100000
