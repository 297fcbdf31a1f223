"""An older event never reaches the CMS after a newer one of the same device
that the CMS has accepted: the ways in which that could happen."""

import itertools
import os
import signal

import pytest

from harness import until
from server import QUICK
from test_database import locked

short = pytest.mark.short
long = pytest.mark.long
# Answers in time count here, also on a machine that is busy.
PATIENT = {**QUICK, "timeout": 8000}


def defer(one, ua):
    """Boot 1: deferred, since the CMS is away."""
    answer = ua.register(call_id="boot-1")
    assert answer.status == 200
    assert one.status()["outbox"] == 1


def assert_in_order(*cmses):
    """What the CMS has accepted ends with the newer one, which may come twice;
    the older one may have come before. What a slow CMS reads when its sender has
    given it up came before, too."""
    requests = sorted((r.arrived, r.json["call_id"], r.outcome, cms.url, r.late)
                      for cms in cmses for r in cms.requests)
    boots = [call_id for _when, call_id, outcome, _url, late in requests
             if outcome == 200 and call_id.startswith("boot") and not late]
    assert [k for k, _g in itertools.groupby(boots)] in (
        ["boot-2"], ["boot-1", "boot-2"]), requests


@short
@long
def test_probe_is_overtaken(make_cms, server):
    """A delivery tries an endpoint that hangs, as the probe of its breaker; the
    device's next registration goes to the other endpoint at once."""
    first, second = make_cms(), make_cms()
    one = server(first, "defer", {**PATIENT, "breaker_failures": 1},
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
    assert_in_order(first, second)


@short
@long
def test_killed_after_the_newer_one(cms, server):
    """Kamailio is killed as soon as the newer registration was answered, before
    the outbox process could take notice of that."""
    one = server(cms, "defer", PATIENT)
    cms.stop()
    ua = one.device()
    defer(one, ua)
    one.rpc("cms_notify.pause")
    cms.rule(hold=True, match={"call_id": "boot-2"})
    cms.start()
    until_back(one, cms)
    newer = ua.start_register(call_id="boot-2")
    cms.wait_until(lambda: cms.held == 1)
    outbox, = one.pids("cms_notify outbox")
    os.kill(outbox, signal.SIGSTOP)
    cms.release()
    assert newer.wait().status == 200
    one.kill()
    cms.clear_rules()
    one.start_again()
    one.wait_outbox(lambda waiting: waiting == 0)
    one.settle()
    assert_in_order(cms)


def until_back(one, cms):
    """Other devices, until one of them has found out that the CMS is back."""
    while not any(r.outcome == 200 for r in cms.requests):
        one.devices(1)[0].register()


@short
@long
def test_turned_away(cms, server):
    """The newer registration is answered 503, as the CMS has no time for it: it
    leaves nothing behind, and the older event is delivered."""
    one = server(cms, "reject", PATIENT,
                 settings={"WITH_OUTBOX": 1, "CMS_EVENTS": "register,unregister"})
    ua = one.device()
    assert ua.register(call_id="boot-1").status == 200
    cms.stop()
    one.rpc("cms_notify.pause")
    assert ua.unregister().status == 200
    assert one.wait_outbox(lambda waiting: waiting == 1)
    cms.start()
    cms.rule(status=503, match={"call_id": "boot-2"})
    until_back(one, cms)
    assert ua.register(call_id="boot-2").status == 503
    assert [r.json["call_id"] for r in cms.requests].count("boot-2") == 1
    one.wait_outbox(lambda waiting: waiting == 1)
    # what was held for the newer one is deleted a moment later
    until(lambda: [row[4:6] for row in one.outbox_rows("state <> 3")]
          == [("none", 0)])
    one.rpc("cms_notify.resume")
    one.wait_outbox(lambda waiting: waiting == 0)
    assert cms.requests[-1].json["event"] == "unregister"
    one.settle()


@long
def test_database_locked_at_the_newer_one(cms, server):
    """What is outdated cannot be deleted, since the database is locked."""
    one = server(cms, "defer", PATIENT)
    cms.stop()
    ua = one.device()
    defer(one, ua)
    one.rpc("cms_notify.pause")
    with locked(one):
        cms.start()
        until_back(one, cms)
        assert ua.register(call_id="boot-2").status == 200
        one.wait_log("database is locked", timeout=30)
    one.rpc("cms_notify.resume")
    one.wait_outbox(lambda waiting: waiting == 0)
    one.settle()
    assert_in_order(cms)
