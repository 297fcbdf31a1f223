"""Each way that a registration can take gives back what it took. (The long
version is test_soak.py.)"""

import contextlib
import re
import socket
import time

import pytest

from harness import (
    CMS_MS, HOST, WAIT_SECONDS, ReferenceCms, registrar, until, version)

BUSY = [("cms_notify", "queue_size", 1), ("cms_notify", "max_connections", 1)]


def used(server):
    """Shared memory in use once no transaction and no binding is left."""
    server.settle()
    deadline = time.monotonic() + WAIT_SECONDS
    while server.rpc("tm.stats")["current"] \
            or server.stats("usrloc")["registered_users"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return server.shm_used()


def accepted(server, cms, ua):
    assert ua.register().status == 200
    server.settle()
    assert ua.register().status == 200
    assert ua.register(expires=0).status == 200


def refused(server, cms, ua):
    cms.rule(times=1, status=403, text="t" * 200)
    assert ua.register().status == 403


def long_answer(server, cms, ua):
    cms.rule(times=1, status=403, body="x" * 16000)
    assert ua.register().status == 403


def unavailable(server, cms, ua):
    cms.rule(times=1, status=500)
    assert ua.register().status == 503
    server.settle()
    cms.rule(times=1, raw=b"\x00garbage\r\n\r\n")
    assert ua.register().status == 503


def too_big(server, cms, ua):
    cms.rule(times=1, body_size=100000)
    assert ua.register().status == 503


def late(server, cms, ua):
    cms.rule(times=1, hang=True)
    assert ua.register().status == 503


def gone(server, cms, ua):
    cms.stop()
    assert ua.register().status == 503
    cms.start()


def joined(server, cms, ua):
    cms.rule(times=1, hold=True)
    transactions = [ua.send(ua.build_register(call_id=f"{n}" * 20))
                    for n in range(8)]
    transactions += [ua.send(ua.build_register(expires=0, cseq=1000))]
    server.wait_parked(9)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    for transaction in transactions:
        assert transaction.wait().status == 200
    assert ua.register(contacts="*", expires=0, cseq=2000).status == 200


def retransmitted(server, cms, ua):
    cms.rule(times=1, hold=True)
    transaction = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    for _ in range(5):
        transaction.resend()
    for _ in range(5):
        ua.options()
    cms.release()
    assert transaction.wait().status == 200
    assert ua.register(expires=0).status == 200


def busy(server, cms, ua):
    cms.rule(hold=True)
    uas = [ua, *(server.device() for _ in range(4))]
    transactions = [u.send(u.build_register()) for u in uas]
    until(lambda: [t for t in transactions if t.final])
    cms.clear_rules()
    cms.release()
    assert {t.wait().status for t in transactions} == {200, 503}
    server.settle()
    for u in uas:
        u.register(expires=0, cseq=100)


def expired(server, cms, ua):
    assert ua.register(expires=1).status == 200


@pytest.mark.parametrize("way", [
    accepted, refused, long_answer, unavailable, too_big, late, gone, joined,
    retransmitted, busy, expired], ids=lambda way: way.__name__)
def test_shared_memory_comes_back(kamailio, way):
    """After 10 more registrations of this kind as much shared memory is in
    use as after the first one."""
    params = [("tm", "wt_timer", 50), ("cms_notify", "timeout",
                                       300 if way is late else CMS_MS)]
    with ReferenceCms() as cms:
        # One of each process: what each takes once, it has taken then.
        server = kamailio(cms, config=lambda s, url: registrar(
            s, url, core="children=1", params=[
                *params, ("cms_notify", "http_processes", 1),
                *(BUSY if way is busy else [])]))
        ua = server.device()
        way(server, cms, ua)
        before = used(server)
        for _ in range(1 if way is expired else 10):
            way(server, cms, server.device(ua.user, contact=ua.contact))
        assert used(server) == before


def test_a_tcp_connection_takes_18_kb(kamailio, cms):
    """Whoever opens it, and without a word: SHM_MEMORY has room for as many as
    TCP_MAX_CONNECTIONS allows."""
    server = kamailio(cms, settings={})

    def opened(number):
        with contextlib.ExitStack() as stack:
            for _ in range(number):
                stack.enter_context(
                    socket.create_connection((HOST, server.port)))
            until(lambda: server.rpc("core.tcp_info")["opened_connections"]
                  == number)
            return server.shm_used()

    assert opened(101) - opened(1) <= 100 * 18 * 1024


def test_a_parked_registration_takes_8_kb(kamailio, cms):
    """As shipped, a REGISTER of some 600 bytes, tm's transaction included. (Newer
    versions of Kamailio keep a little more of a request.)"""
    cms.rule(hang=True)
    server = kamailio(cms, settings={"CMS_TIMEOUT": 25000})
    first, *others = server.devices(50)
    first.start_register()  # and what each process takes once
    server.wait_parked(1)
    before = server.shm_used()
    for ua in others:
        ua.start_register()
    server.wait_parked(50)
    each = (server.shm_used() - before) / len(others)
    server.stop()
    assert each <= (8 if version() < (5, 7) else 9) * 1024


@pytest.mark.parametrize("settings, least, most", [
    ({}, 0, 32), ({"WITH_MEMORY_AT_START": 1}, 60, 80)], ids=["when used", "at once"])
def test_when_memory_is_taken(kamailio, cms, settings, least, most):
    """Of the 64 MB, while nobody has registered."""
    server = kamailio(cms, settings=settings, options=["-m", "64"])
    with open(f"/proc/{server.pid}/status", encoding="ascii") as file:
        taken = int(re.search(r"RssShmem:\s+(\d+) kB", file.read())[1])
    assert least << 10 <= taken <= most << 10, f"{taken} kB"
