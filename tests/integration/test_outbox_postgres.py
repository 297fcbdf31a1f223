"""The outbox in PostgreSQL: the same, and for several servers."""

import time

import pytest

from harness import ReferenceCms, until
from postgres import Postgres
from test_outbox import defer, deferring, drained


@pytest.fixture(scope="module")
def cluster():
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres(cluster):
    cluster.sql("DELETE FROM cms_outbox")
    return cluster


def on(postgres, node, *params):
    return deferring(
        ("node", node), *params, db=lambda _server: postgres.url,
        modules=["db_postgres"])


def test_deferred_and_delivered(cms, kamailio, postgres):
    """As with SQLite, each byte of the body included."""
    server = kamailio(cms, config=on(postgres, "a"))
    rule = cms.rule(status=503)
    ua = server.device(user_agent="back\\slash \"quoted\" 'it' \u00e9 %s $x")
    event = defer(server, ua)
    (stored, state), = postgres.sql(
        "SELECT event_id, state FROM cms_outbox WHERE state < 2")
    assert (stored, state) == (event, "0")
    cms.remove_rule(rule)
    drained(server)
    first, *again = cms.requests
    assert again and {r.body for r in again} == {first.body}
    assert postgres.sql("SELECT * FROM cms_outbox WHERE state < 2") == []


def test_each_delivers_its_own(cms, kamailio, postgres):
    """Two servers on one table: each event is delivered once, by the server
    that took it."""
    a = kamailio(cms, config=on(postgres, "a"))
    b = kamailio(cms, config=on(postgres, "b"))
    cms.stop()
    ids = {defer(server, server.device(f"{name}{n}"))
           for n in range(10) for name, server in (("a", a), ("b", b))}
    cms.start()
    drained(a)
    drained(b)
    assert sorted(r.json["id"] for r in cms.requests) == sorted(ids)
    assert (a.stats()["delivered"], b.stats()["delivered"]) == (10, 10)


def test_one_dies(cms, kamailio, postgres):
    """What a server that has died had stored is delivered by the other one,
    once, in order."""
    a = kamailio(cms, config=on(postgres, "a"))
    b = kamailio(cms, config=on(postgres, "b"))
    cms.stop()
    ua = a.device("roaming")
    ids = [defer(a, ua, contacts=[f"<sip:roaming@127.0.0.1:{port}>"])
           for port in range(7001, 7006)]
    a.kill()
    cms.start()
    b.wait_log("events of a server that has stopped", timeout=40)
    drained(b)
    assert [r.json["id"] for r in cms.requests] == ids
    assert b.stats()["delivered"] == len(ids)


def test_a_server_that_lives_keeps_its_own(cms, kamailio, postgres):
    """As long as a server lives nobody takes its events, whatever its clock
    says."""
    a = kamailio(cms, config=on(postgres, "a"))
    b = kamailio(cms, config=on(postgres, "b"))
    cms.stop()
    defer(a, a.device("home"))
    time.sleep(22)  # longer than it takes to be given up
    cms.start()
    drained(a)
    assert len(cms.requests) == 1
    assert not b.log("has stopped") and b.stats()["delivered"] == 0


def test_expired_at_the_end(cms, kamailio, postgres):
    """A binding that runs out just before the server stops, and that is nowhere
    but in its memory, is stored by the main process."""
    def config(interval):
        return deferring(
            ("node", "a"), ("events", "register,expire"),
            db=lambda _server: postgres.url, modules=["db_postgres"],
            more=[("usrloc", "db_mode", 2),
                  ("usrloc", "timer_interval", interval)])
    server = kamailio(cms, config=config(600))
    uas = [server.device() for _ in range(3)]
    for ua in uas:
        assert ua.register(expires=1).status == 200
    until(lambda: not any(server.contacts(ua) for ua in uas))
    server.stop()
    assert postgres.sql("SELECT event, count(*) FROM cms_outbox"
                        " WHERE state = 0 GROUP BY event") == [["expire", "3"]]
    server.configure(config=config(1))
    cms.clear()
    server.start()
    drained(server)
    assert {r.json["aor"] for r in cms.requests} == {ua.aor for ua in uas}
    assert [r.json["event"] for r in cms.requests] == ["expire"] * 3


def test_replay_of_another_server(cms, kamailio, postgres):
    """The dead letters of all servers are replayed, each by its own."""
    a = kamailio(cms, config=on(postgres, "a"))
    b = kamailio(cms, config=on(postgres, "b"))
    cms.stop()
    ua = b.device("elsewhere")
    event = defer(b, ua)
    rule = cms.refuse(ua.aor)
    cms.start()
    drained(b)
    cms.remove_rule(rule)
    cms.clear()
    letter, = a.rpc("cms_notify.outbox")["dead_letters"]
    assert letter["id"] == event
    assert a.rpc("cms_notify.replay") == {"replayed": 1}
    post, = cms.wait(1, 70)  # servers look at the table once a minute
    assert post.json["id"] == event
    drained(b)
    assert b.stats()["delivered"] == 1 and a.stats()["delivered"] == 0


def test_database_away(kamailio, postgres):
    """With its database away nothing can be deferred; when it is back, all goes
    on without a restart."""
    with ReferenceCms() as cms:
        server = kamailio(cms, config=on(postgres, "a"))
        server.allow_errors("srdb1", "db_postgres", "postgres", "db_")
        cms.stop()
        first = defer(server, server.device())
        postgres.stop()
        try:
            answer = server.device().register()
            assert answer.status == 503
            assert answer.get("X-Defer-Cause") == "outbox"
        finally:
            postgres.start()
        until(lambda: server.device().register().status == 200, 10)
        cms.start()
        drained(server)
        assert first in [r.json["id"] for r in cms.requests]
        assert len(cms.requests) == 2
