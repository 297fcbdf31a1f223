"""What the CMS may answer to what is delivered from the outbox."""

import pytest

from deferring import defer, deferring, drained, events, rows
from harness import until

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("answer", [
    {"status": 408}, {"status": 409}, {"status": 425}, {"status": 429},
    {"status": 302, "headers": [("Location", "/elsewhere")]},
    {"status": 500}, {"close": "request"}, {"close": "answer"}], ids=str)
def test_delivered_in_the_end(cms, kamailio, answer):
    """What the CMS cannot take now is tried again by the same id, and is no
    dead letter."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    event = defer(server, server.device())
    rule = cms.rule(**answer)
    cms.start()
    cms.wait(2)
    row, = rows(server)
    assert (row["event_id"], row["state"]) == (event, 0)
    cms.remove_rule(rule)
    drained(server)
    assert {r.get("Idempotency-Key") for r in cms.requests} == {f'"{event}"'}
    assert [r.outcome for r in cms.requests].count(200) == 1
    assert not rows(server) and server.stats()["dead"] == 0


@pytest.mark.parametrize("status", [409, 425])
def test_an_answer_about_one_event_holds_no_other(cms, kamailio, status):
    """Its Retry-After is for this event alone."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    stuck, *others = server.devices(10)
    for ua in (stuck, *others):
        defer(server, ua)
    cms.rule(status=status, match={"username": stuck.user},
             headers=[("Retry-After", "30")])

    def answered(outcome):
        return len([r for r in cms.requests if r.outcome == outcome])
    cms.start()
    # Which one the CMS is tried with when it is back is not said: the one that
    # is stuck can be the last.
    cms.wait_until(lambda: answered(200) == len(others)
                   and answered(status) > 0)
    until(lambda: server.status()["outbox"] == 1)
    assert answered(status) == 1


@pytest.mark.parametrize("status", [429, 503, 409])
def test_retry_after_while_delivering(cms, kamailio, status):
    """The CMS says when to come again, and is left alone until then."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    event = defer(server, server.device())
    cms.rule(status=status, headers=[("Retry-After", "3")], times=1)
    cms.start()
    first, second = cms.wait(2)
    assert first.get("Idempotency-Key") == second.get("Idempotency-Key") \
        == f'"{event}"'
    assert 2.9 <= second.arrived - first.arrived
    drained(server)


def test_other_devices_are_delivered_meanwhile(cms, kamailio):
    """An event that the CMS cannot take holds its own device back and no
    other."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    stuck, *others = [server.device() for _ in range(10)]
    defer(server, stuck)
    defer(server, stuck, contacts=[f"<sip:{stuck.user}@127.0.0.1:7001>"])
    for ua in others:
        defer(server, ua)
    rule = cms.rule(status=409, match={"username": stuck.user})
    cms.start()
    until(lambda: server.status()["outbox"] == 2)
    assert len(events(cms)) == 9
    until(lambda: len(rows(server)) == 2)
    # it may be held back for what failed while the CMS was away
    until(lambda: server.posts(stuck))
    told = [r.json["id"] for r in server.posts(stuck)]
    assert len(set(told)) == 1
    cms.remove_rule(rule)
    drained(server, 60)


def test_the_outbox_finds_out(cms, kamailio):
    """No device comes: what waits in the outbox closes the breaker."""
    server = kamailio(cms, config=deferring(
        ("breaker_failures", 2), ("breaker_cooldown", 200)))
    cms.stop()
    for _ in range(3):
        defer(server, server.device())
    assert server.rpc("cms_notify.endpoints")[0]["state"] != "closed"
    cms.start()
    drained(server)
    assert cms.count == 3
    server.wait_log("endpoint 1 is back")
    assert server.rpc("cms_notify.endpoints")[0]["state"] == "closed"
