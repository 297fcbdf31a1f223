"""An older event never reaches the CMS after a newer one of the same device
that the CMS has accepted: the ways in which that could happen."""

import os
import signal

import pytest

from server import QUICK
from test_database import locked

short = pytest.mark.short
long = pytest.mark.long


def defer(one, ua):
    """Boot 1: deferred, since the CMS is away."""
    answer = ua.register(call_id="boot-1")
    assert answer.status == 200
    assert one.status()["outbox"] == 1


def in_order(*cmses):
    """What the CMS has accepted ends with the newer one; the older one may have
    come before."""
    accepted = sorted((r.arrived, r.json["call_id"]) for cms in cmses
                      for r in cms.requests if r.outcome == 200)
    boots = [call_id for _when, call_id in accepted]
    return boots in (["boot-2"], ["boot-1", "boot-2"])


@short
@long
def test_probe_is_overtaken(make_cms, server):
    """A delivery tries an endpoint that hangs, as the probe of its breaker; the
    device's next registration goes to the other endpoint at once."""
    first, second = make_cms(), make_cms()
    one = server(first, "defer", {**QUICK, "breaker_failures": 1},
                 urls=[second.url])
    first.stop()
    second.stop()
    ua = one.device()
    defer(one, ua)
    first.rule(hang=True)
    first.start()
    first.wait(1)  # the delivery is under way
    second.start()
    assert ua.register(call_id="boot-2").status == 200
    one.wait_outbox(lambda waiting: waiting == 0)
    one.settle()
    assert in_order(first, second)


@short
@long
def test_killed_after_the_newer_one(cms, server):
    """Kamailio is killed as soon as the newer registration was answered, before
    the outbox process could take notice."""
    one = server(cms, "defer", QUICK)
    cms.stop()
    ua = one.device()
    defer(one, ua)
    outbox, = one.pids("cms_notify outbox")
    os.kill(outbox, signal.SIGSTOP)
    cms.start()
    while not cms.count:
        assert ua.register(call_id="boot-2").status == 200
    one.kill()
    one.start_again()
    one.wait_outbox(lambda waiting: waiting == 0)
    one.settle()
    assert in_order(cms)


@long
def test_database_locked_at_the_newer_one(cms, server):
    """What is outdated cannot be deleted, since the database is locked."""
    one = server(cms, "defer", {**QUICK, "timeout": 4000})
    cms.stop()
    ua = one.device()
    defer(one, ua)
    one.rpc("cms_notify.pause")
    with locked(one):
        cms.start()
        while not cms.count:
            ua.register(call_id="boot-2")
        one.wait_log("database is locked", timeout=30)
    one.rpc("cms_notify.resume")
    one.wait_outbox(lambda waiting: waiting == 0)
    one.settle()
    assert in_order(cms)
