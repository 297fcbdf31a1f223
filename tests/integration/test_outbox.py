"""The outbox: what the CMS did not get is kept, and reaches it later."""

import contextlib
import os
import re
import shutil
import signal
import sqlite3
import threading
import time

import pytest

import harness
from deferring import (
    DEFER, NOTIFY, defer, deferring, drained, new_table, rows, table, url)
from harness import registrar, shown, until

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
    assert server.status()["outbox"] == 1
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
    time.sleep(1.1)  # it is the age that is tested
    cms.start()
    drained(server)
    dead, = rows(server)
    assert (dead["event_id"], dead["state"]) == (event, 1)
    assert not cms.requests and server.stats()["dead"] == 1


def test_full(cms, kamailio):
    """A full outbox takes nothing more: the device is told to come back."""
    server = kamailio(cms, config=deferring(("outbox_max", 2)))
    server.allow_errors("the outbox is full")
    cms.stop()
    for _ in range(2):
        defer(server, server.device())
    answer = server.device().register()
    assert answer.status == 503
    assert answer.get("X-Defer-Cause") == "outbox"
    assert server.stats()["not_deferred"] == 1
    cms.start()
    drained(server)


def test_locked(cms, kamailio):
    """A database that somebody else has locked is an answer in time, not a
    device that waits."""
    server = kamailio(cms, config=deferring())
    server.allow_errors("locked", "srdb1", "db_sqlite", "db_query", "store_result")
    cms.stop()
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        answer = server.device().register()
        assert answer.status == 503 and time.monotonic() - began < 1.5
        assert answer.get("X-Defer-Cause") == "outbox"
        began = time.monotonic()
        assert server.device().register().status == 503
        assert time.monotonic() - began < 1.5
        db.rollback()
    until(lambda: server.device().register().status == 200)
    cms.start()
    drained(server)


def test_without_outbox():
    """Without outbox_db_url nothing can be deferred, and the start says so."""
    lines = harness.fails_to_start(config=lambda s, u: registrar(
        s, u, notify=NOTIFY, verdict=DEFER))
    assert any("the option defer needs an outbox" in line for line in lines)


@pytest.mark.parametrize("options", ["deffer", "defer,now", "defer now"])
def test_options_that_do_not_exist(options):
    """An option that does not exist is refused at the start."""
    lines = harness.fails_to_start(config=deferring(
        more=[], **{"before": f'if (0) cms_notify("location", "CMS_VERDICT",'
                              f' "{options}");'}))
    assert any("there is no option" in line for line in lines)


def test_joined_share_a_row(cms, kamailio):
    """The requests that wait for one event store it once, and all get 200."""
    server = kamailio(cms, config=deferring(("timeout", 1000)))
    cms.rule(hang=True)
    ua = server.device()
    first = ua.start_register()
    cms.wait(1)
    second = ua.start_register(cseq=ua.cseq + 10)
    assert [first.wait(5).status, second.wait(5).status] == [200, 200]
    assert len(rows(server)) == 1 and server.stats()["deferred"] == 1
    cms.clear_rules()
    drained(server)


@pytest.mark.parametrize("params, said", [
    ([("outbox_table", "no such;table")], "outbox_table is"),
    ([("outbox_max", 0)], "outbox_max is 0, must be from 1"),
    ([("outbox_max_age", 0)], "outbox_max_age is 0, must be from 1"),
    ([("node", "n" * 65)], "must have at most 64"),
])
def test_bad_settings(params, said):
    """Kamailio does not start with settings that make no sense."""
    lines = harness.fails_to_start(config=deferring(*params))
    assert any(said in line for line in lines)


def test_shipped_configuration(cms, kamailio):
    """The shipped kamailio.cfg refuses new devices while the CMS is away, or
    serves them: one setting says which."""
    server = kamailio(cms, settings={"CMS_TIMEOUT": 500})
    cms.stop()
    answer = server.device().register()
    assert answer.status == 503 and int(answer.get("Retry-After")) > 0
    assert not server.pids("cms_notify outbox")
    server.configure(settings={
        "CMS_TIMEOUT": 500, "WITH_DEFER": 1,
        "CMS_OUTBOX_DB_URL": url(server), "CMS_OUTBOX_MAX": 1})
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


# -- leaving -----------------------------------------------------------------

LEAVING = ("events", "register,unregister,expire")


def events(cms, ua=None):
    """What the CMS has accepted, in the order in which it came."""
    return [r.json["event"] for r in cms.requests if r.outcome == 200
            and (ua is None or r.json["username"] == ua.user)]


def wait_event(cms, event, timeout=10):
    cms.wait_until(lambda: event in events(cms), timeout)
    return next(r for r in cms.requests if r.json["event"] == event)


@pytest.mark.parametrize("db_mode", [0, 2])
def test_unregister(cms, kamailio, db_mode):
    """A device that leaves is told to the CMS, once, after the fact."""
    server = kamailio(cms, config=deferring(
        LEAVING, before="\tfix_nated_register();",
        more=[("usrloc", "db_mode", db_mode)]))
    ua = server.device(user_agent="leaver/1")
    assert ua.register().status == 200
    if db_mode:
        time.sleep(1.5)  # until it is written, so that it is only marked
    assert ua.unregister().status == 200
    post = wait_event(cms, "unregister")
    assert not post.errors
    body = post.json
    assert body["aor"] == ua.aor and body["username"] == ua.user
    contact, = body["contacts"]
    assert f"<{contact['uri']}>" == ua.contact and contact["expires"] == 0
    assert body["reason"] is None and contact["reason"] is None
    assert body["call_id"] == ua.call_id
    assert body["user_agent"] == "leaver/1"
    assert body["source"] == {"ip": "127.0.0.1", "port": ua.transport.local[1],
                              "transport": "udp"}
    time.sleep(2.5)  # usrloc's timer has purged what was only marked
    drained(server)
    assert events(cms) == ["register", "unregister"]


def test_expire(cms, kamailio):
    """A registration that runs out is told to the CMS."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register(expires=1).status == 200
    assert wait_event(cms, "expire").json["aor"] == ua.aor
    drained(server)
    assert events(cms) == ["register", "expire"]


def test_leaving_in_order(cms, kamailio):
    """What a device did while the CMS was away is told in order, of each contact
    the last that there was."""
    server = kamailio(cms, config=deferring(LEAVING))
    cms.stop()
    ua = server.device()
    defer(server, ua, contacts=[f"<sip:{ua.user}@127.0.0.1:7001>"])
    last = [f"<sip:{ua.user}@127.0.0.1:7002>"]
    defer(server, ua, contacts=last)
    assert ua.unregister(contacts=last).status == 200
    until(lambda: [r["event"] for r in rows(server)]
          == ["register", "unregister"])
    cms.start()
    drained(server)
    assert events(cms) == ["register", "unregister"]
    assert [r.json["contacts"][0]["uri"][-4:] for r in cms.requests] == [
        "7001", "7002"]


def test_back_before_it_was_told(cms, kamailio):
    """That a device has left is not told after it is back."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register().status == 200
    server.settle()  # who comes while that is saved shares its verdict
    cms.stop()
    assert ua.unregister().status == 200
    defer(server, ua)
    cms.start()
    drained(server)
    assert events(cms) == ["register", "register"]


def test_back_directly(cms, kamailio):
    """The same, when the CMS is asked at once as it comes back."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register().status == 200
    server.settle()
    rule = cms.rule(match={"event": "unregister"}, status=503)
    assert ua.unregister().status == 200
    cms.wait(2)
    assert ua.register().status == 200
    cms.remove_rule(rule)
    drained(server)
    assert events(cms) == ["register", "register"]


def test_leaving_by_rpc(cms, kamailio):
    """Whom the operator removes has left."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register().status == 200
    server.rpc("ul.rm", "location", ua.aor.removeprefix("sip:"))
    assert wait_event(cms, "unregister").json["aor"] == ua.aor


def test_leaving_survives_a_kill(cms, kamailio):
    """Who has left is on disk."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register().status == 200
    cms.stop()
    assert ua.unregister().status == 200
    until(lambda: rows(server))
    server.kill()
    cms.start()
    server.start()
    assert wait_event(cms, "unregister").json["aor"] == ua.aor


def kept_by_usrloc(server):
    """The rows of its table."""
    with contextlib.closing(
            sqlite3.connect(server.database, timeout=10)) as db:
        return db.execute("SELECT username, (expires - 2440587.5) * 86400"
                          " FROM location").fetchall()


def written(server, ua):
    return ua.user in [user for user, _expires in kept_by_usrloc(server)]


def run_out(server):
    """Wait until all that is in usrloc's table has run out."""
    last = max(expires for _user, expires in kept_by_usrloc(server))
    until(lambda: time.time() > last + 1, 10)


def with_usrloc(mode, interval):
    return deferring(LEAVING, more=[
        ("usrloc", "db_mode", mode), ("usrloc", "timer_interval", interval),
        # in db_mode 3 usrloc does not say whose domain's binding has expired
        ("usrloc", "use_domain", int(mode != 3))])


def told_once(cms, server, ua):
    """The CMS learns that the device has gone, and learns it once."""
    cms.wait_until(lambda: "expire" in events(cms, ua), 10)
    # usrloc tells what it then deletes; killed in between it tells it again
    until(lambda: not written(server, ua), 10)
    server.restart()
    server.restart()
    drained(server)
    assert events(cms, ua) == ["register", "expire"]


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("mode", [1, 3])
def test_expired_but_not_purged(cms, kamailio, mode, end):
    """A binding that runs out after usrloc has looked last, before Kamailio
    ends, is told."""
    server = kamailio(cms, config=with_usrloc(mode, 600))
    ua = server.device()
    assert ua.register(expires=1).status == 200
    run_out(server)
    getattr(server, end)()
    server.configure(config=with_usrloc(mode, 1))
    server.start()
    told_once(cms, server, ua)


def test_expired_but_not_purged_write_back(cms, kamailio):
    """The same where usrloc writes now and then: a binding that it has written
    before, and one that it never wrote."""
    server = kamailio(cms, config=with_usrloc(2, 4))
    first, old, new = (server.device() for _ in range(3))
    assert first.register().status == 200
    until(lambda: written(server, first), 10)
    assert old.register(expires=5).status == 200
    until(lambda: written(server, old), 10)
    assert new.register(expires=1).status == 200
    until(lambda: not server.contacts(old) and not server.contacts(new))
    server.stop()
    server.configure(config=with_usrloc(2, 1))
    server.start()
    cms.wait_until(lambda: "expire" in events(cms, new), 10)
    told_once(cms, server, old)
    assert events(cms, new) == ["register", "expire"]
    assert events(cms, first) == ["register"] and written(server, first)


@pytest.mark.parametrize("end", ["stop", "kill"])
@pytest.mark.parametrize("mode", [1, 2, 3])
def test_expired_while_down(cms, kamailio, mode, end):
    """A binding that runs out while Kamailio is down is told when it runs
    again."""
    server = kamailio(cms, config=with_usrloc(mode, 1))
    ua = server.device()
    assert ua.register(expires=4).status == 200
    until(lambda: written(server, ua), 3)
    getattr(server, end)()
    assert events(cms) == ["register"]
    run_out(server)
    server.start()
    told_once(cms, server, ua)


def test_expired_with_the_database_locked(cms, kamailio):
    """A table that cannot be written holds the end of the server up for a
    moment only."""
    server = kamailio(cms, config=with_usrloc(3, 600))
    server.allow_errors("locked", "commit failed", "db_", "is not told")
    uas = [server.device() for _ in range(5)]
    for ua in uas:
        assert ua.register(expires=1).status == 200
    run_out(server)
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 3
        db.rollback()
    assert server.log("is not told that .* has left")


def test_left_when_the_outbox_process_dies(cms, kamailio):
    """Who has left is stored by the main process, when the outbox process has
    died before it could."""
    server = kamailio(cms, config=deferring(LEAVING))
    server.allow_errors("handle_sigs")
    ua = server.device()
    assert ua.register().status == 200
    server.settle()
    process, = server.pids("cms_notify outbox")
    os.kill(process, signal.SIGSTOP)
    assert ua.unregister().status == 200
    os.kill(process, signal.SIGKILL)
    server.wait_exit()
    assert [r["event"] for r in rows(server)] == ["unregister"]
    server.start()
    assert wait_event(cms, "unregister").json["aor"] == ua.aor
    drained(server)
    assert events(cms) == ["register", "unregister"]


def test_expire_without_its_domain():
    """Where usrloc does not say who it is that has expired, an operator who
    wants to know is told at the start."""
    lines = harness.fails_to_start(
        config=deferring(LEAVING, more=[("usrloc", "db_mode", 3)]))
    assert any("does not say in whose domain" in line for line in lines)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_lost_tcp(cms, kamailio, mode):
    """Over TCP, where usrloc looks after the connection: who leaves is told
    once, and so is whose connection is lost."""
    server = kamailio(cms, config=deferring(LEAVING, more=[
        ("usrloc", "db_mode", mode), ("usrloc", "handle_lost_tcp", 1)]))
    leaver = server.device(transport=harness.Transport(server.address, "tcp"))
    loser = server.device(transport=harness.Transport(server.address, "tcp"))
    for ua in (leaver, loser):
        assert ua.register().status == 200
    until(lambda: mode == 0 or len(kept_by_usrloc(server)) == 2)
    assert leaver.unregister().status == 200
    loser.transport.close()
    until(lambda: "expire" in events(cms, loser))
    until(lambda: not kept_by_usrloc(server))
    drained(server)
    assert events(cms, leaver) == ["register", "unregister"]
    assert events(cms, loser) == ["register", "expire"]


def test_only_who_has_expired(cms, kamailio):
    """An operator who wants to know of those alone is not told of one that has
    left by itself, also when usrloc has yet to purge it."""
    server = kamailio(cms, config=deferring(
        ("events", "register,expire"), more=[("usrloc", "db_mode", 2)]))
    ua, other = server.device(), server.device()
    for one in (ua, other):
        assert one.register().status == 200
    until(lambda: len(kept_by_usrloc(server)) == 2)
    assert ua.unregister().status == 200
    assert other.register(expires=1).status == 200
    assert wait_event(cms, "expire").json["aor"] == other.aor
    until(lambda: not kept_by_usrloc(server))
    drained(server)
    assert events(cms, ua) == ["register"]


def test_all_contacts_leave(cms, kamailio):
    """Contact: * is told for each contact."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    uris = {f"sip:x@127.0.0.1:{port}" for port in (7001, 7002, 7003)}
    for uri in sorted(uris):
        assert ua.register(contacts=[f"<{uri}>"]).status == 200
    assert ua.register(contacts=["*"], expires=0).status == 200
    until(lambda: events(cms).count("unregister") == 3)
    assert {r.json["contacts"][0]["uri"] for r in cms.requests
            if r.json["event"] == "unregister"} == uris


def test_own_template(cms, kamailio):
    """In a template of the operator, what only a request has is null."""
    body = ('{"what": "$cms(event)", "who": "$cms(aor)", "from": "$si",'
            ' "text": "port $sp of $cms(username)", "old": "$cms(reason)"}')
    with harness.ReferenceCms(validate=False) as own:
        server = kamailio(own, config=deferring(LEAVING, ("body", body)))
        ua = server.device()
        assert ua.register().status == 200
        assert ua.unregister().status == 200
        own.wait(2)
        first, second = [r.json for r in own.requests]
        assert first["from"] == "127.0.0.1" and first["old"] == "new"
        assert second == {"what": "unregister", "who": ua.aor, "from": None,
                          "text": f"port  of {ua.user}", "old": None}
        drained(server)


@pytest.mark.parametrize("events_, db_, said", [
    ("register,leave", url, 'events has "leave"'),
    ("unregister", url, "it must have register"),
    ("register,expire", lambda _server: "", "go through the outbox"),
])
def test_bad_events(events_, db_, said):
    """Events that do not exist, or that need an outbox."""
    lines = harness.fails_to_start(
        config=deferring(("events", events_), db=db_))
    assert any(said in line for line in lines)


# -- the operator ------------------------------------------------------------

def test_outbox_shown(cms, kamailio):
    """cms_notify.outbox says what waits, since when, and what is dead."""
    server = kamailio(cms, config=deferring())
    state = server.rpc("cms_notify.outbox")
    assert (state["state"], state["waiting"], state["dead"],
            state["dead_letters"]) == ("running", 0, 0, [])
    cms.stop()
    bad = [server.device() for _ in range(3)]
    ids = [defer(server, ua) for ua in bad]
    defer(server, server.device())
    state = server.rpc("cms_notify.outbox")
    assert (state["waiting"], state["dead"]) == (4, 0)
    assert 0 <= state["oldest_s"] < 10 and 0 <= state["next_try_ms"] <= 10000
    for ua in bad:
        cms.refuse(ua.aor)
    cms.start()
    drained(server)
    # those are listed a moment later
    until(lambda: len(server.rpc("cms_notify.outbox")["dead_letters"]) == 3)
    state = server.rpc("cms_notify.outbox", 2)
    assert (state["waiting"], state["dead"]) == (0, 3)
    assert len(state["dead_letters"]) == 2
    letter = next(d for d in server.rpc("cms_notify.outbox")["dead_letters"]
                  if d["id"] == ids[0])
    assert (letter["event"], letter["reason"], letter["status"],
            letter["why"]) == ("register", "new", 403, "refused")
    assert letter["aor"] == bad[0].aor.removeprefix("sip:")
    assert ids[0] in server.kamcmd("cms_notify.outbox")


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
    drained(server)
    assert post.json["id"] == event and not rows(server)
    assert server.rpc("cms_notify.outbox")["dead"] == 0


def test_pause(cms, kamailio):
    """While it is paused nothing leaves the outbox; registrations go on."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    event = defer(server, server.device())
    assert server.rpc("cms_notify.pause") == {"state": "paused"}
    server.settle()  # what was under way is finished
    cms.start()
    until(lambda: not server.device().register().get("X-Deferred"))
    time.sleep(1)  # longer than any back-off by now
    assert event not in [r.json["id"] for r in cms.requests]
    assert server.rpc("cms_notify.outbox")["state"] == "paused"
    waiting = server.status()["outbox"]
    assert waiting == len(rows(server)) >= 1
    server.rpc("cms_notify.resume")
    drained(server)
    assert event in [r.json["id"] for r in cms.requests]


@pytest.mark.parametrize("command", [
    "outbox", "replay", "pause", "resume", "resync"])
def test_commands_without_outbox(cms, kamailio, command):
    """Without an outbox its commands say so."""
    server = kamailio(cms, config=lambda s, u: registrar(s, u))
    with pytest.raises(harness.RpcError, match="no outbox"):
        server.rpc("cms_notify." + command)


def resynced(server, timeout=30):
    until(lambda: server.status()["resync"]["state"] == "idle", timeout)
    return server.status()["resync"]


def snapshots(cms):
    return [r for r in cms.requests
            if r.json["event"] == "snapshot" and r.outcome == 200]


def test_resync(cms, kamailio):
    """Every live binding is told again, at the rate that is set."""
    server = kamailio(cms, config=deferring(("resync_rate", 50)))
    uas = [server.device() for _ in range(30)]
    for ua in uas:
        assert ua.register().status == 200
    gone = server.device()
    assert gone.register().status == 200
    assert gone.unregister().status == 200
    server.settle()
    cms.clear()
    began = time.monotonic()
    assert server.rpc("cms_notify.resync")["state"] == "started"
    assert server.rpc("cms_notify.resync")["state"] in ("running", "idle")
    progress = resynced(server)
    assert 0.4 < time.monotonic() - began < 5
    assert (progress["percent"], progress["sent"], progress["waiting"],
            progress["refused"], progress["failed"]) == (100, 30, 0, 0, 0)
    told = snapshots(cms)
    assert sorted(r.json["aor"] for r in told) == sorted(u.aor for u in uas)
    assert not any(r.errors for r in told)
    body = told[0].json
    assert body["reason"] is None and 0 < body["contacts"][0]["expires"] <= 3600


def test_resync_of_one(cms, kamailio):
    """The contacts of one address alone."""
    server = kamailio(cms, config=deferring())
    ua, other = server.device(), server.device()
    for port in (7001, 7002):
        assert ua.register(
            contacts=[f"<sip:x@127.0.0.1:{port}>"]).status == 200
    assert other.register().status == 200
    server.settle()
    server.rpc("cms_notify.resync", ua.aor)
    assert resynced(server)["sent"] == 2
    assert {r.json["contacts"][0]["uri"] for r in snapshots(cms)} == {
        "sip:x@127.0.0.1:7001", "sip:x@127.0.0.1:7002"}
    server.rpc("cms_notify.resync", "nobody@nowhere")
    assert resynced(server)["sent"] == 0


def test_resync_with_a_cms_that_comes_and_goes(cms, kamailio):
    """A binding that could not be told is told later; one that is refused is
    counted."""
    server = kamailio(cms, config=deferring(("resync_rate", 1000)))
    uas = [server.device() for _ in range(20)]
    for ua in uas:
        assert ua.register().status == 200
    server.settle()
    cms.clear()
    cms.refuse(uas[0].aor)
    cms.stop()
    server.rpc("cms_notify.resync")
    server.wait_log("the outbox waits for the CMS")
    cms.start()
    progress = resynced(server)
    assert (progress["sent"], progress["refused"], progress["failed"]) == \
        (19, 1, 0)
    assert len({r.json["aor"] for r in snapshots(cms)}) == 19


# -- scripts -----------------------------------------------------------------

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


def test_cause_of_a_failed_deferral(cms, kamailio):
    """What could not be stored is unavailable, and $cms(cause) is outbox."""
    server = kamailio(cms, config=deferring(("outbox_max", 1)))
    server.allow_errors("the outbox is full")
    cms.stop()
    defer(server, server.device())
    answer = server.device().register()
    seen = shown(answer)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "outbox")
    assert seen["text"] == "the event could not be stored in the outbox"
    assert answer.get("X-Defer-Cause") == "outbox"


def test_read_only(cms, kamailio):
    """A table that cannot be written: the device is told to come back, and the
    server goes on."""
    server = kamailio(cms, config=deferring())
    server.allow_errors("readonly", "commit failed", "db_", "srdb1",
                        "the outbox cannot use")
    server.stop()
    server.configure(config=deferring(
        more=[("db_sqlite", "db_set_readonly", table(server))]))
    server.start()
    cms.stop()
    for _ in range(2):
        answer = server.device().register()
        assert answer.status == 503
        assert answer.get("X-Defer-Cause") == "outbox"
    cms.start()
    until(lambda: server.device().register().status == 200)
    assert server.status()["outbox"] == 0


# -- what the CMS may answer to a delivery -------------------------------------

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
                   and answered(status) > 0, 10)
    until(lambda: server.status()["outbox"] == 1)
    assert answered(status) == 1


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
    assert server.rpc("cms_notify.outbox")["dead"] == 0


def test_a_letter_of_before_the_start_is_outdated(cms, kamailio):
    server = kamailio(cms, config=deferring(("detect_reboot", 1)))
    ua = server.device()
    refused(server, cms, ua, call_id="boot1@test")
    server.kill()
    server.start()
    assert len(rows(server)) == 1
    assert ua.register(call_id="boot2@test").status == 200
    until(lambda: not rows(server))


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


@pytest.mark.parametrize("status", [429, 503, 409])
def test_retry_after_while_delivering(cms, kamailio, status):
    """The CMS says when to come again, and is left alone until then."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    event = defer(server, server.device())
    cms.rule(status=status, headers=[("Retry-After", "3")], times=1)
    cms.start()
    first, second = cms.wait(2, 10)
    assert first.get("Idempotency-Key") == second.get("Idempotency-Key") \
        == f'"{event}"'
    assert 2.9 <= second.arrived - first.arrived < 6
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
    until(lambda: server.status()["outbox"] == 2, 10)
    assert len(events(cms)) == 9
    until(lambda: len(rows(server)) == 2)
    # it may be held back for what failed while the CMS was away
    until(lambda: server.posts(stuck), 10)
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


# -- bounds --------------------------------------------------------------------

def test_no_room_for_who_leaves(cms, kamailio):
    """Dead letters and what waits fill the outbox: that a device has left is
    not stored then, and counted."""
    server = kamailio(cms, config=deferring(LEAVING, ("outbox_max", 2)))
    server.allow_errors("the outbox is full", "is not told")
    leaver, dead, waiting = (server.device() for _ in range(3))
    assert leaver.register().status == 200
    cms.stop()
    defer(server, dead)
    cms.refuse(dead.aor)
    cms.start()
    drained(server)
    cms.stop()
    defer(server, waiting)
    assert leaver.unregister().status == 200
    until(lambda: server.stats()["not_deferred"] == 1)
    assert len(rows(server)) == 2 and server.status()["outbox"] == 1
    cms.start()
    drained(server)
    assert "unregister" not in events(cms)


def test_too_old_is_replayed(cms, kamailio):
    """A dead letter that was too old is new again when the operator says so."""
    server = kamailio(cms, config=deferring(("outbox_max_age", 2)))
    cms.stop()
    event = defer(server, server.device())
    until(lambda: [r["state"] for r in rows(server)] == [1], 10)
    until(lambda: server.rpc("cms_notify.outbox")["dead_letters"])
    letter, = server.rpc("cms_notify.outbox")["dead_letters"]
    assert (letter["id"], letter["why"], letter["cause"]) == (
        event, "too old", "connect")
    cms.start()
    assert server.rpc("cms_notify.replay") == {"replayed": 1}
    post, = cms.wait(1)
    assert post.json["id"] == event
    drained(server)
    assert not rows(server)


@pytest.mark.parametrize("statement", [
    "DELETE FROM version WHERE table_name = 'cms_outbox'",
    "UPDATE version SET table_version = 1 WHERE table_name = 'cms_outbox'",
    "UPDATE version SET table_version = 3 WHERE table_name = 'cms_outbox'",
    "DROP TABLE cms_outbox"])
def test_a_table_of_another_version(cms, kamailio, statement):
    """A table that the server does not know: the log says what to do, who is
    accepted is served, and nothing is deferred. Once it is mended it is used."""
    def db(server):
        where = url(server)
        with contextlib.closing(sqlite3.connect(table(server))) as base:
            base.execute(statement)
            base.commit()
        return where
    server = kamailio(cms, config=deferring(db=db))
    server.allow_errors("db_", "srdb1", "cannot be used", "no such table",
                        "the outbox cannot use")
    server.wait_log("outbox cannot use its database")
    assert server.rpc("cms_notify.outbox")["database"] == "away"
    assert server.device().register().status == 200
    cms.stop()
    answer = server.device().register()
    assert (answer.status, answer.get("X-Defer-Cause")) == (503, "outbox")
    shutil.copyfile(new_table()[1], table(server) + ".new")
    os.rename(table(server) + ".new", table(server))
    until(lambda: server.rpc("cms_notify.outbox")["database"] == "ready", 10)
    defer(server, server.device())
    cms.start()
    drained(server)


def test_the_creation_scripts_agree():
    """Each database gets the same columns, indexes and version."""
    seen = set()
    for engine in ("sqlite", "postgres", "mysql"):
        text = (harness.TOP / "modules" / "cms_notify" / "db" / engine
                / "cms_notify-create.sql").read_text().replace("`", "")
        columns = re.findall(r"^    (\w+) [A-Z]", text, re.M)
        indexes = re.findall(r"(\w+_idx ON cms_outbox) \(([^)]*)\)",
                             text)
        version = re.search(r"values \('cms_outbox','(\d+)'\)", text)
        seen.add((tuple(c for c in columns if c != "CONSTRAINT"),
                  tuple(indexes), version[1]))
    assert len(seen) == 1
    (columns, indexes, _version), = seen
    assert len(columns) == 14 and len(indexes) == 1


# -- the end of the server -------------------------------------------------------

def test_what_is_under_way_at_the_end(cms, kamailio):
    """A delivery that the CMS accepts while the server stops is not sent
    again."""
    server = kamailio(cms, config=deferring(("timeout", 3000)))
    cms.stop()
    event = defer(server, server.device())
    cms.rule(hold=True)
    cms.start()
    cms.wait_until(lambda: cms.held == 1)
    workers = server.pids("receiver")
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    cms.clear_rules()
    cms.release()
    stopping.join()
    assert not rows(server)
    server.start()
    server.settle()
    assert [r.json["id"] for r in cms.requests] == [event]


def test_deferred_while_the_server_stops(cms, kamailio):
    """Who is parked when the server stops, and whom the CMS does not answer, is
    served and told after the start."""
    server = kamailio(cms, config=deferring(
        ("timeout", 4000), ("drain_timeout", 300)))
    cms.rule(hang=True)
    uas = [server.device() for _ in range(5)]
    waiting = [ua.start_register() for ua in uas]
    cms.wait(5)
    server.stop()
    assert [(r.wait(5).status, r.result.get("X-Deferred"))
            for r in waiting] == [(200, "1")] * 5
    assert len(rows(server)) == 5
    cms.clear_rules()
    cms.clear()
    server.start()
    drained(server)
    assert {r.json["aor"] for r in cms.requests} == {ua.aor for ua in uas}
    assert cms.count == 5


def test_nothing_to_wait_for_at_the_end(cms, kamailio):
    """What waits in the outbox for a CMS that is away holds nobody up."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    for _ in range(5):
        defer(server, server.device())
    server.wait_log("the outbox waits for the CMS")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 1.5
    cms.start()
    server.start()
    drained(server)
    assert cms.count == 5


def test_a_delivery_that_hangs_at_the_end(cms, kamailio):
    """It gets drain_timeout, and is sent again by the same id."""
    server = kamailio(cms, config=deferring(
        ("timeout", 10000), ("attempt_timeout", 10000),
        ("drain_timeout", 700)))
    rule = cms.rule(hang=True)
    cms.rule(status=503, times=1)
    event = defer(server, server.device())
    cms.wait(2)
    began = time.monotonic()
    assert server.stop() == 0
    assert 0.6 < time.monotonic() - began < 2
    cms.remove_rule(rule)
    cms.clear()
    server.start()
    drained(server)
    assert [r.json["id"] for r in cms.requests] == [event]


# -- resync ------------------------------------------------------------------------

def test_resync_shows_how_far_it_is(cms, kamailio):
    """At no more than resync_rate, and both the command's own answer and the
    status say how far it is, which begins no other one; while the outbox is
    paused it waits."""
    server = kamailio(cms, config=deferring(("resync_rate", 20)))
    uas = [server.device() for _ in range(40)]
    for ua in uas:
        assert ua.register().status == 200
    server.settle()
    cms.clear()
    assert server.rpc("cms_notify.resync")["state"] == "started"
    until(lambda: server.rpc("cms_notify.resync")["sent"] >= 8)
    for progress in (server.rpc("cms_notify.resync"),
                     server.rpc("cms_notify.resync", uas[0].aor),
                     server.status()["resync"]):
        assert (progress["state"], progress["aor"]) == ("running", "")
        assert progress["sent"] >= 8
        assert progress["sent"] + progress["waiting"] <= 40
    server.rpc("cms_notify.pause")
    server.settle()
    count = cms.count
    time.sleep(0.5)  # nothing is to come
    assert cms.count == count < 40
    assert server.status()["resync"]["state"] == "running"
    server.rpc("cms_notify.resume")
    assert resynced(server)["sent"] == 40
    times = sorted(r.arrived for r in snapshots(cms))
    assert len(times) == 40
    for _ in range(3):
        assert server.status()["resync"]["state"] == "idle"
    server.settle()
    assert cms.count == 40
    # a second has no more than the rate, and what it catches up
    assert all(b - a > 0.85 for a, b in zip(times, times[23:]))


def test_resync_after_what_waits(cms, kamailio):
    """What is older comes first: a device's snapshot follows what the outbox
    has of it."""
    server = kamailio(cms, config=deferring())
    ua = server.device()
    assert ua.register().status == 200
    cms.stop()
    event = defer(server, ua, contacts=[f"<sip:{ua.user}@127.0.0.1:7001>"])
    server.rpc("cms_notify.resync", ua.aor)
    cms.clear()
    cms.start()
    assert resynced(server)["sent"] == 2
    ids = [r.json["id"] for r in cms.requests if r.outcome == 200]
    assert ids[0] == event and len(ids) == 3
    assert events(cms) == ["register", "snapshot", "snapshot"]


# -- order -------------------------------------------------------------------------

@pytest.mark.parametrize("stays", [True, False])
def test_coming_and_going(cms, kamailio, stays):
    """A device that comes and goes while the CMS is away: the last thing that
    the CMS hears is what is so."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    assert ua.register().status == 200
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


# -- odd devices, odd operators ------------------------------------------------------

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


@pytest.mark.parametrize("user, written", [
    ("CamX", "sip:CamX@telecom.com"), ("CamX", "CamX@telecom.com"),
    ("CamX", "camx@telecom.com"), ("CamX", "SIP:CamX@telecom.com"),
    ("CamX", "sip:camx@TELECOM.com:5060"), ("CamX", "sips:camx@telecom.com"),
    ("a%22b", "sip:a%22b@telecom.com"), ("a%22b", 'a"b@telecom.com')])
def test_resync_as_it_is_written(cms, kamailio, user, written):
    """An AOR as the operator knows it: as the CMS has it, or as usrloc."""
    server = kamailio(cms, config=deferring())
    ua = server.device(user)
    assert ua.register().status == 200
    server.settle()
    server.rpc("cms_notify.resync", written)
    assert resynced(server)["sent"] == 1


def test_resync_refuses_nonsense(cms, kamailio):
    """An address that no device can have is refused."""
    server = kamailio(cms, config=deferring())
    server.allow_errors("jsonrpcs|binrpc|ctl ")
    with pytest.raises(harness.RpcError, match="too long"):
        server.rpc("cms_notify.resync", "x" * 300)
    assert server.status()["resync"]["state"] == "idle"


@pytest.mark.parametrize("argument", [0, -1, 101, "many"])
def test_outbox_refuses_nonsense(cms, kamailio, argument):
    """A number of dead letters that makes no sense is refused."""
    server = kamailio(cms, config=deferring())
    server.allow_errors("jsonrpcs|binrpc|ctl ")
    with pytest.raises(harness.RpcError):
        server.rpc("cms_notify.outbox", argument)
    assert server.rpc("cms_notify.outbox")["waiting"] == 0


def test_only_who_leaves(cms, kamailio):
    """Without expire in `events` the CMS is not told that one has run out."""
    server = kamailio(cms, config=deferring(("events", "register,unregister")))
    ua, other = server.device(), server.device()
    assert ua.register(expires=1).status == 200
    assert other.register().status == 200
    until(lambda: len(known(server)) == 1)
    assert other.unregister().status == 200
    assert wait_event(cms, "unregister").json["aor"] == other.aor
    drained(server)
    assert events(cms, ua) == ["register"]


def known(server):
    """The bindings in usrloc's memory, expired or not."""
    domain, = server.rpc("ul.dump")["Domains"]
    return [aor for aor in domain["Domain"]["AoRs"]]


def test_who_leaves_with_the_database_locked_at_the_end(cms, kamailio):
    """A database that stays locked while the server stops holds it up no longer
    than drain_timeout and a moment, and what is lost is in the log."""
    server = kamailio(cms, config=deferring(LEAVING, ("drain_timeout", 500)))
    server.allow_errors("locked", "db_", "srdb1", "store_result",
                        "is not told")
    uas = [server.device() for _ in range(20)]
    for ua in uas:
        assert ua.register().status == 200
    server.settle()
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN EXCLUSIVE")
        for ua in uas:
            assert ua.unregister().status == 200
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 5
        db.rollback()
    assert len(server.log("is not told that .* has left")) >= 19
