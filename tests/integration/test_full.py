"""When more is new than can wait."""

import os
import signal
import time

import pytest

from harness import WAIT_SECONDS, registrar, shown, until

pytestmark = pytest.mark.contract

AT_ONCE = 10.0  # s; the deadline is at 28
QUEUE, CONNECTIONS = 6, 2
CAPACITY = QUEUE + CONNECTIONS
WAITERS = 64


def config(**params):
    params = {"timeout": 28000, "queue_size": QUEUE, "http_processes": 1,
              "max_connections": CONNECTIONS, **params}
    return lambda s, url: registrar(s, url, params=[
        ("cms_notify", name, value) for name, value in params.items()])


class Full:
    """A server whose queue is full of devices that the CMS lets wait."""

    def __init__(self, server, cms):
        self.server = server
        self.cms = cms
        self._rule = cms.rule(hold=True)
        self.waiting = [ua.start_register()
                        for ua in server.devices(CAPACITY)]
        cms.wait_until(lambda: cms.held == CONNECTIONS)
        while server.status()["parked"] < CAPACITY:
            self._fill_up()

    def _fill_up(self):
        """The event of an earlier test's registration may have kept its place
        for the moment between its answer and its end."""
        self.waiting = [
            r if r.result is None else self.server.device().start_register()
            for r in self.waiting]

    def drain(self):
        """All who waited; they have been accepted."""
        self.cms.remove_rule(self._rule)
        self.cms.release()
        assert {r.wait().status for r in self.waiting} == {200}
        self.server.settle()  # their places are free


@pytest.fixture
def full(kamailio, cms):
    return Full(kamailio(cms, config=config()), cms)


@pytest.fixture
def full_shipped(kamailio, cms):
    return Full(kamailio(cms, settings={
        "CMS_TIMEOUT": 28000, "CMS_QUEUE_SIZE": QUEUE,
        "CMS_HTTP_PROCESSES": 1,
        "CMS_MAX_CONNECTIONS": CONNECTIONS, "USRLOC_DB_MODE": 0}), cms)


def test_who_finds_the_queue_full_is_told_so_at_once(full):
    registration = full.server.device().start_register()
    seen = shown(registration.wait())
    assert registration.seconds < AT_ONCE
    assert (seen["route"], seen["verdict"], seen["cause"], seen["status"]) \
        == ("busy", "unavailable", "busy", "0")
    assert seen["text"].strip() and seen["reason"] == "new"
    assert int(seen["retry_after"]) >= 1


def test_who_finds_the_queue_full_is_told_when_to_come_back(full_shipped):
    registration = full_shipped.server.device().start_register()
    response = registration.wait()
    assert registration.seconds < AT_ONCE
    assert response.status == 503
    assert 1 <= int(response.get("Retry-After")) <= 3600
    full_shipped.server.device().options()
    assert len(registration.steps[-1].finals) == 1


def test_the_fuller_the_queue_the_longer_the_devices_wait(kamailio, cms):
    """By as much as the CMS needs for those before them, which is known from
    its answers."""
    server = kamailio(cms, config=config())
    cms.rule(delay=1, times=CONNECTIONS * 2)
    slow = [server.device().start_register() for _ in range(CONNECTIONS * 2)]
    assert {r.wait().status for r in slow} == {200}
    cms.rule(status=503, times=5)
    idle = [int(shown(server.device().register())["retry_after"])
            for _ in range(5)]
    full = Full(server, cms)
    busy = [int(shown(server.device().register())["retry_after"])
            for _ in range(20)]
    full.drain()
    assert sum(busy) / len(busy) > sum(idle) / len(idle)
    assert len(set(busy)) > 1


def test_a_full_queue_costs_no_memory(full):
    server = full.server
    parked = server.rpc("tm.stats")["current"]
    assert parked == CAPACITY
    before = server.shm_used()
    for ua in server.devices(100):
        assert ua.register().get("X-Route") == "busy"
    until(lambda: server.rpc("tm.stats")["current"] == parked)
    assert server.shm_used() - before < 2048
    assert server.stats()["busy"] == 100
    assert server.stats()["parked"] == CAPACITY


def test_the_operator_sees_how_long_the_line_is(full):
    server = full.server
    assert server.status()["line_s"] <= 1  # the fixture may have filled up
    began = time.monotonic()
    for ua in server.devices(100):
        assert ua.register().get("X-Route") == "busy"
    status = server.status()
    assert status["rate"] > 0
    # it becomes shorter by the time that passes
    assert -1 <= 100 / status["rate"] - status["line_s"] \
        < 5 + time.monotonic() - began
    full.drain()


def test_when_the_queue_has_drained_the_next_one_goes_through(full_shipped):
    ua = full_shipped.server.device()
    assert ua.register().status == 503
    full_shipped.drain()
    assert ua.register().status == 200
    assert len(full_shipped.server.posts(ua)) == 1


def test_each_place_that_becomes_free_is_used(full):
    full.cms.release(1)
    hub = full.waiting[0].ua.transport.hub
    assert hub.wait(lambda: any(r.result for r in full.waiting), WAIT_SECONDS)
    until(lambda: full.server.status()["parked"] < CAPACITY)
    # its event keeps the place for a moment after the answer
    second = full.server.device().start_register()
    while full.server.status()["parked"] < CAPACITY:
        if second.result is not None:
            second = full.server.device().start_register()
    third = full.server.device().register()
    assert third.get("X-Route") == "busy"
    full.drain()
    assert second.wait().get("X-Route") == "verdict"


def test_those_in_a_full_queue_are_all_served(full):
    full.drain()
    assert len(full.server.posts()) == CAPACITY


def test_a_refresh_does_not_mind_a_full_queue(kamailio, cms):
    server = kamailio(cms, config=config())
    old = server.device()
    assert old.register().status == 200
    server.settle()
    full = Full(server, cms)
    response = old.register()
    assert (response.status, response.get("X-Route")) == (200, "main")
    assert old.unregister().status == 200
    full.drain()


def test_who_joins_an_event_needs_no_place_in_the_queue(full):
    registration = full.waiting[-1]
    again = registration.ua.start_register()
    while full.server.status()["parked"] == CAPACITY:
        assert again.result is None
    full.drain()
    assert again.wait().status == 200


# -- many requests of one device ------------------------------------------------------

def test_more_than_can_wait_for_one_event_are_turned_away(kamailio, cms):
    server = kamailio(cms, config=config())
    ua = server.device()
    cms.rule(hold=True)
    registrations = [ua.start_register() for _ in range(WAITERS + 36)]
    cms.wait_until(lambda: cms.held == 1)
    hub = ua.transport.hub
    assert hub.wait(lambda: sum(r.result is not None
                                for r in registrations) >= 36, WAIT_SECONDS)
    until(lambda: server.status()["parked"] == WAITERS)
    cms.release()
    results = [shown(r.wait()) | {"status": r.wait().status}
               for r in registrations]
    busy = [r for r in results if r["route"] == "busy"]
    assert len(busy) == 36
    assert {(r["status"], r["cause"]) for r in busy} == {(503, "busy")}
    assert {r["status"] for r in results if r["route"] == "verdict"} == {200}
    assert len(server.posts(ua)) == 1
    ua.options()
    assert {len(r.steps[-1].finals) for r in registrations} == {1}
    assert len(server.contacts(ua)) == 1


def test_one_user_does_not_fill_the_queue(kamailio, cms):
    """With a stolen password somebody might register any number of contacts."""
    server = kamailio(cms, config=config(queue_size=1000))
    thief = server.device()
    cms.rule(hold=True)
    registrations = [
        thief.start_register(contacts=f"<sip:thief@192.0.2.1:{5000 + n}>")
        for n in range(WAITERS + 36)]
    hub = thief.transport.hub
    assert hub.wait(lambda: sum(r.result is not None
                                for r in registrations) >= 36, WAIT_SECONDS)
    honest = server.device().start_register()
    cms.clear_rules()
    cms.release()
    assert honest.wait().status == 200
    results = [r.wait() for r in registrations]
    assert [r.get("X-Route") for r in results].count("busy") == 36


# -- no memory ---------------------------------------------------------------------------

def test_without_memory_devices_are_turned_away_and_nothing_breaks(
        kamailio, cms):
    server = kamailio(cms, options=["-m", "12"], config=config(
        timeout=25000, queue_size=8192, history=0))
    # Kamailio itself complains in many words.
    server.allow_errors(".")
    rule = cms.rule(status=503)
    # Nothing leaves the queue as long as the HTTP process stands still.
    http, = server.pids("cms_notify http")
    os.kill(http, signal.SIGSTOP)
    try:
        registrations = [ua.start_register(retransmit=True)
                         for ua in server.devices(1500)]
        until(lambda: server.stats()["memory"] > 100, 60)
    finally:
        os.kill(http, signal.SIGCONT)
    statuses = {r.wait(60).status for r in registrations}
    assert statuses <= {503, 500} and 503 in statuses
    server.settle()
    cms.remove_rule(rule)
    until(lambda: not server.rpc("tm.stats")["current"])
    assert server.device().register().status == 200
