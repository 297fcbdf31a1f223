"""Who has left, by itself or because its registration ran out."""

import contextlib
import sqlite3
import time

import pytest

import harness
from deferring import (
    LEAVING, defer, deferring, drained, events, rows, table, url, wait_event)
from harness import until

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("db_mode", [0, 2])
def test_unregister(cms, kamailio, db_mode):
    """A device that leaves is told to the CMS, once, after the fact."""
    server = kamailio(cms, config=deferring(
        LEAVING, before="\tfix_nated_register();",
        more=[("usrloc", "db_mode", db_mode)]))
    ua = server.device(user_agent="leaver/1")
    assert ua.register().status == 200
    if db_mode:
        until(lambda: written(server, ua))  # so that it is only marked
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
    # usrloc's timer has purged what was only marked
    until(lambda: known(server) == [] and not kept_by_usrloc(server))
    drained(server)
    assert events(cms) == ["register", "unregister"]


def test_an_escaped_name_is_one_aor(cms, kamailio):
    """However the device writes its name, all events give the same AOR."""
    server = kamailio(cms, config=deferring(LEAVING))
    ua = server.device()
    escaped = f"<sip:%{ua.user[:1].encode().hex()}{ua.user[1:]}@{harness.DOMAIN}>"
    assert ua.register(to=escaped).status == 200
    assert ua.unregister(to=escaped).status == 200
    wait_event(cms, "unregister")
    assert events(cms) == ["register", "unregister"]
    assert {r.json["aor"] for r in cms.requests} == {ua.aor}


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
    until(lambda: time.time() > last + 1)


def as_if_run_out(server):
    """While it is down: all that is in usrloc's table ran out a minute ago."""
    with contextlib.closing(
            sqlite3.connect(server.database, timeout=10)) as db, db:
        db.execute("UPDATE location SET expires = julianday('now') - 1.0 / 1440")


def with_usrloc(mode, interval):
    return deferring(LEAVING, more=[
        ("usrloc", "db_mode", mode), ("usrloc", "timer_interval", interval),
        # in db_mode 3 usrloc does not say whose domain's binding has expired
        ("usrloc", "use_domain", int(mode != 3))])


def told_once(cms, server, ua):
    """The CMS learns that the device has gone, and learns it once."""
    cms.wait_until(lambda: "expire" in events(cms, ua))
    # usrloc tells what it then deletes; killed in between it tells it again
    until(lambda: not written(server, ua))
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
    until(lambda: written(server, first))
    assert old.register(expires=5).status == 200
    until(lambda: written(server, old))
    assert new.register(expires=1).status == 200
    until(lambda: not server.contacts(old) and not server.contacts(new))
    server.stop()
    server.configure(config=with_usrloc(2, 1))
    server.start()
    cms.wait_until(lambda: "expire" in events(cms, new))
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
    assert ua.register().status == 200
    until(lambda: written(server, ua))
    getattr(server, end)()
    assert events(cms) == ["register"]
    as_if_run_out(server)
    server.start()
    told_once(cms, server, ua)


def test_expired_with_the_database_locked(cms, kamailio):
    """A table that cannot be written holds the end of the server up for a
    moment only, not for each that is to be stored."""
    server = kamailio(cms, config=with_usrloc(3, 600))
    server.allow_errors("locked", "commit failed", "db_", "is not told")
    uas = [server.device() for _ in range(60)]
    for ua in uas:
        assert ua.register(expires=1).status == 200
    run_out(server)
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN EXCLUSIVE")
        # it would be killed: half a second for each is too long
        assert server.stop() == 0
        db.rollback()
    assert len(server.log("is not told that .* has left")) == len(uas)


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
