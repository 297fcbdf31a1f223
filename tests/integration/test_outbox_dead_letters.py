"""Dead letters: what the CMS has refused, or what is too old."""

import pytest

from deferring import LEAVING, defer, deferring, drained, rows, wait_event
from harness import shown, until

pytestmark = pytest.mark.contract


def test_refused_is_a_dead_letter(cms, kamailio):
    """An event that the CMS refuses when it is back is kept and counted."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    good, bad = server.device(), server.device()
    event = defer(server, bad)
    defer(server, good)
    cms.refuse(bad.aor)
    cms.start()
    drained(server)
    dead, = rows(server)
    assert (dead["event_id"], dead["state"], dead["status"]) == (event, 1, 403)
    assert server.stats()["dead"] == 1
    assert server.wait_log(f"event {event} of .* is a dead letter")


def test_too_old_is_a_dead_letter(cms, kamailio):
    """An event older than outbox_max_age is kept and counted, not sent."""
    server = kamailio(cms, config=deferring(("outbox_max_age", 1)))
    cms.stop()
    event = defer(server, server.device())
    until(lambda: [r["state"] for r in rows(server)] == [1])
    cms.start()
    drained(server)
    dead, = rows(server)
    assert (dead["event_id"], dead["state"]) == (event, 1)
    assert not cms.requests and server.stats()["dead"] == 1


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_refused_for_good(cms, kamailio, status):
    """Any other 4xx makes a dead letter, which is not sent again."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    event = defer(server, server.device())
    cms.rule(status=status)
    cms.start()
    drained(server)
    dead, = rows(server)
    assert (dead["event_id"], dead["state"], dead["status"]) == (
        event, 1, status)
    server.restart()
    server.settle()
    drained(server)
    assert cms.count == 1 and server.rpc("cms_notify.outbox")["dead"] == 1


def refused(server, cms, ua, **kw):
    """A deferred event that the CMS refuses when it is back: a dead letter."""
    cms.stop()
    defer(server, ua, **kw)
    rule = cms.refuse(ua.aor)
    cms.start()
    until(lambda: server.stats()["dead"] == 1)
    drained(server)
    cms.remove_rule(rule)


def test_a_letter_is_outdated_by_a_registration(cms, kamailio):
    """It is not replayed after a newer event of the contact, which the CMS has
    accepted."""
    server = kamailio(cms, config=deferring(("detect_reboot", 1)))
    ua, other = server.devices(2)
    refused(server, cms, ua, call_id="boot1@test")
    assert other.register().status == 200
    assert len(rows(server)) == 1
    answer = ua.register(call_id="boot2@test")
    assert answer.status == 200 and not answer.get("X-Deferred")
    until(lambda: not rows(server))
    assert server.rpc("cms_notify.replay")["replayed"] == 0
    assert cms.requests[-1].json["id"] == shown(answer)["id"]


def test_a_letter_is_outdated_by_leaving(cms, kamailio):
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    refused(server, cms, ua)
    assert ua.unregister().status == 200
    wait_event(cms, "unregister")
    until(lambda: not rows(server))
    until(lambda: server.rpc("cms_notify.outbox")["dead"] == 0)


def test_a_letter_of_before_the_start_is_outdated(cms, kamailio):
    server = kamailio(cms, config=deferring(("detect_reboot", 1)))
    ua = server.device()
    refused(server, cms, ua, call_id="boot1@test")
    server.kill()
    server.start()
    assert len(rows(server)) == 1
    assert ua.register(call_id="boot2@test").status == 200
    until(lambda: not rows(server))


def test_replay(cms, kamailio):
    """Dead letters are delivered when the operator says so."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ua = server.device()
    event = defer(server, ua)
    rule = cms.refuse(ua.aor)
    cms.start()
    drained(server)
    assert len(rows(server, "state = 1")) == 1
    cms.remove_rule(rule)
    cms.clear()
    assert server.rpc("cms_notify.replay") == {"replayed": 1}
    post, = cms.wait(1)
    assert post.json["id"] == event
    drained(server)
    until(lambda: not rows(server))
    until(lambda: server.rpc("cms_notify.outbox")["dead"] == 0)


def test_too_old_is_replayed(cms, kamailio):
    """A dead letter that was too old is new again when the operator says so."""
    server = kamailio(cms, config=deferring(("outbox_max_age", 2)))
    cms.stop()
    event = defer(server, server.device())
    until(lambda: [r["state"] for r in rows(server)] == [1])
    until(lambda: server.rpc("cms_notify.outbox")["dead_letters"])
    letter, = server.rpc("cms_notify.outbox")["dead_letters"]
    assert (letter["id"], letter["why"], letter["cause"]) == (
        event, "too old", "connect")
    cms.start()
    assert server.rpc("cms_notify.replay") == {"replayed": 1}
    post, = cms.wait(1)
    assert post.json["id"] == event
    drained(server)
    until(lambda: not rows(server))
