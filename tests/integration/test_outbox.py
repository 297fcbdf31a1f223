"""What the CMS did not get is kept, and reaches it later, in order."""

import contextlib
import sqlite3

import pytest

from deferring import (
    LEAVING, defer, deferring, drained, events, is_ready, rows, table, url)
from harness import NOTIFY, shown, until

pytestmark = pytest.mark.contract


def test_deferred_and_delivered(cms, kamailio):
    """With the CMS away the device gets its 200 OK; the CMS learns of it when
    it is back, by the same event."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ua = server.device()
    event = defer(server, ua)
    assert server.contacts(ua)
    assert [r["event_id"] for r in rows(server)] == [event]
    assert server.status()["outbox"] == 1
    cms.start()
    drained(server)
    post, = cms.requests
    assert post.get("Idempotency-Key") == f'"{event}"'
    assert post.json["id"] == event and post.json["event"] == "register"
    assert post.json["aor"] == ua.aor and not post.errors
    assert not rows(server)
    stats = server.stats()
    assert (stats["deferred"], stats["delivered"], stats["dead"],
            stats["outbox"]) == (1, 1, 0, 0)


def test_same_body(cms, kamailio):
    """The event that is delivered is byte for byte the one that was POSTed."""
    server = kamailio(cms, config=deferring())
    rule = cms.rule(status=503, body="x" * 5000)
    ua = server.device()
    event = defer(server, ua)
    cms.remove_rule(rule)
    drained(server)
    first, *again = [r for r in cms.requests if event in r.get("Idempotency-Key")]
    assert again and {r.body for r in again} == {first.body}


def test_order_per_device(cms, kamailio):
    """What a device did is told in the order in which it happened."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ua = server.device()
    expected = [defer(server, ua, contacts=[f"<sip:{ua.user}@127.0.0.1:{port}>"])
                for port in range(7001, 7008)]
    others = [server.device() for _ in range(5)]
    for other in others:
        defer(server, other)
    cms.start()
    drained(server)
    assert [r.json["id"] for r in server.posts(ua)] == expected
    assert len(cms.requests) == 12


def test_newer_replaces_older(cms, kamailio):
    """Of one contact the newest event alone is kept."""
    server = kamailio(cms, config=deferring(("detect_reboot", 1)))
    cms.stop()
    ua = server.device()
    ids = []
    for n in range(5):
        ids.append(defer(server, ua, call_id=f"boot{n}@test"))
    until(lambda: len(rows(server)) == 1)
    assert [r["event_id"] for r in rows(server)] == ids[-1:]
    until(lambda: server.status()["outbox"] == 1)
    cms.start()
    drained(server)
    assert [r.json["id"] for r in cms.requests] == ids[-1:]


def test_kill(cms, kamailio):
    """A server that is killed delivers what it had stored when it runs again."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    uas = [server.device() for _ in range(10)]
    ids = {defer(server, ua) for ua in uas}
    server.kill()
    server.start()
    until(lambda: server.status()["outbox"] == 10)
    cms.start()
    drained(server)
    assert {r.json["id"] for r in cms.requests} == ids


def test_accepted_directly(cms, kamailio):
    """An older event is not delivered after a newer one that the CMS has
    accepted."""
    server = kamailio(cms, config=deferring(("detect_reboot", 1)))
    ua = server.device()
    hold = cms.rule(status=503, match={"call_id": "boot1@test"})
    old = defer(server, ua, call_id="boot1@test")
    server.settle()  # or else it shares the verdict of the first
    answer = ua.register(call_id="boot2@test")
    assert answer.status == 200 and not answer.get("X-Deferred")
    cms.remove_rule(hold)
    drained(server)
    accepted = [r.json["id"] for r in cms.requests if r.outcome == 200]
    assert accepted == [shown(answer)["id"]] and old not in accepted


@pytest.mark.parametrize("status", [409, 502, 504])
def test_accepted_behind_a_gateway(cms, kamailio, status):
    """What the CMS may have accepted although its answer does not say so is told
    again, and not what is older."""
    server = kamailio(cms, config=deferring(
        ("detect_reboot", 1), before=f"if (is_present_hf(\"X-Now\")) {{{NOTIFY}\n}}"))
    ua = server.device()
    cms.rule(status=503, match={"call_id": "boot1@test"})
    old = defer(server, ua, call_id="boot1@test")
    server.rpc("cms_notify.pause")
    rule = cms.rule(status=status, match={"call_id": "boot2@test"})
    server.settle()  # or else it shares the verdict of the first
    answer = ua.register(call_id="boot2@test", headers=[("X-Now", "y")])
    assert answer.status == 503
    new = shown(answer)["id"]
    until(lambda: [r["event_id"] for r in rows(server)] == [new])
    cms.remove_rule(rule)
    server.rpc("cms_notify.resume")
    drained(server)
    accepted = [r.json["id"] for r in cms.requests if r.outcome == 200]
    assert accepted == [new] and old != new


def test_behind_a_gateway_while_the_database_is_away(cms, kamailio):
    """Nobody could ask about what is older. It is told again with the body that it
    had, not with what the gateway has said."""
    server = kamailio(cms, config=deferring(
        ("detect_reboot", 1), ("timeout", 1000),
        before=f"if (is_present_hf(\"X-Now\")) {{{NOTIFY}\n}}"))
    server.allow_errors("locked", "srdb1", "db_", "store_result", "commit failed")
    ua = server.device()
    cms.rule(status=503, match={"call_id": "boot1@test"})
    defer(server, ua, call_id="boot1@test")
    server.rpc("cms_notify.pause")
    server.settle()  # or else it shares the verdict of the first
    rule = cms.rule(status=502, body="Bad Gateway")
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN EXCLUSIVE")
        until(lambda: server.device().register().status == 503
              and server.rpc("cms_notify.outbox")["database"] == "away")
        answer = ua.register(call_id="boot2@test", headers=[("X-Now", "y")])
        assert answer.status == 503
        db.rollback()
    new = shown(answer)["id"]
    until(lambda: new in [r["event_id"] for r in rows(server)])
    cms.remove_rule(rule)
    server.rpc("cms_notify.resume")
    drained(server)
    first, again = [r for r in cms.requests if new in r.get("Idempotency-Key")]
    assert again.body == first.body


def test_joined_share_a_row(cms, kamailio):
    """The requests that wait for one event store it once, and all get 200."""
    server = kamailio(cms, config=deferring())
    until(lambda: is_ready(server))
    cms.rule(status=503, hold=True)
    ua = server.device()
    first = ua.start_register()
    cms.wait_until(lambda: cms.held == 1)
    second = ua.start_register(cseq=ua.cseq + 10)
    server.wait_parked(2)
    cms.release()
    assert [first.wait().status, second.wait().status] == [200, 200]
    assert len(rows(server)) == 1 and server.stats()["deferred"] == 1
    cms.clear_rules()
    cms.release()
    drained(server)


@pytest.mark.parametrize("stays", [True, False])
def test_coming_and_going(cms, kamailio, stays):
    """A device that comes and goes while the CMS is away: the last thing that
    the CMS hears is what is so."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register().status == 200
    server.settle()  # who comes while that is saved shares its verdict
    cms.stop()
    for _ in range(3):
        assert ua.unregister().status == 200
        defer(server, ua)
    if not stays:
        assert ua.unregister().status == 200
    until(lambda: server.rpc("cms_notify.outbox")["waiting"] == len(
        rows(server)))
    cms.start()
    drained(server)
    assert events(cms)[-1] == ("register" if stays else "unregister")
    assert bool(server.contacts(ua)) == stays


@pytest.mark.parametrize("user", [
    "o'brien", "a%22b", "x%27;drop", "back%5Cslash", "CamX", "100%25"])
def test_odd_names(cms, kamailio, user):
    """Names that mean something to a database are names."""
    server = kamailio(cms, config=deferring(LEAVING))
    cms.stop()
    ua = server.device(user)
    defer(server, ua)
    contacts = ["<sip:x@127.0.0.1:7001>"]
    newer = defer(server, ua, contacts=contacts)
    assert ua.unregister(contacts=contacts).status == 200
    until(lambda: [r["event"] for r in rows(server)]
          == ["register", "unregister"])
    cms.start()
    drained(server)
    assert events(cms) == ["register", "unregister"]
    assert newer not in [r.json["id"] for r in cms.requests]
    assert len({r.json["username"].lower() for r in cms.requests}) == 1
    assert not any(r.errors for r in cms.requests)


def test_shipped_configuration(cms, kamailio):
    """The shipped kamailio.cfg refuses new devices while the CMS is away, or
    serves them: one setting says which."""
    server = kamailio(cms)
    cms.stop()
    answer = server.device().register()
    assert answer.status == 503 and int(answer.get("Retry-After")) > 0
    assert not server.pids("cms_notify outbox")
    server.configure(settings={
        "WITH_DEFER": 1, "CMS_OUTBOX_DB_URL": url(server), "CMS_OUTBOX_MAX": 1})
    server.restart()
    server.allow_errors("the outbox is full")
    first = server.device()
    assert first.register().status == 200 and server.contacts(first)
    assert len(rows(server)) == 1
    second = server.device().register()
    assert second.status == 503 and int(second.get("Retry-After")) > 0
    cms.start()
    drained(server)
    assert [r.json["aor"] for r in cms.requests] == [first.aor]


LUA = """
function ksr_request_route()
	if KSR.is_OPTIONS() and KSR.pv.is_null("$rU") then
		KSR.sl.sl_send_reply(200, "OK")
		return 1
	end
	if KSR.cms_notify.notify("location", "verdict", "defer", "") > 0 then
		KSR.registrar.save("location", 0)
	end
	return 1
end

function verdict()
	local verdict = KSR.pv.gete("$cms(verdict)")
	KSR.hdr.append_to_reply("X-Verdict: " .. verdict .. "\\r\\n")
	if verdict == "accepted" or verdict == "deferred" then
		KSR.registrar.save("location", 0)
	else
		KSR.tm.t_send_reply(503, KSR.pv.gete("$cms(cause)"))
	end
	return 1
end
"""


def test_kemi(cms, kamailio):
    """KSR.cms_notify.notify() defers like cms_notify()."""
    def config(server, cms_url):
        script = server.write("script.lua", LUA)
        text = deferring(modules=["app_lua"], more=[
            ("app_lua", "load", script), ("usrloc", "preload", "location")])(
                server, cms_url)
        return text[:text.index("request_route {")] + 'cfgengine "lua"\n'
    server = kamailio(cms, config=config)
    accepted = server.device().register()
    assert (accepted.status, accepted.get("X-Verdict")) == (200, "accepted")
    cms.stop()
    ua = server.device()
    answer = ua.register()
    assert (answer.status, answer.get("X-Verdict")) == (200, "deferred")
    cms.start()
    drained(server)
    assert [r.json["aor"] for r in cms.requests][-1] == ua.aor
