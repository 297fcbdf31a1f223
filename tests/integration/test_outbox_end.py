"""The outbox when the server stops."""

import contextlib
import os
import signal
import sqlite3
import threading
import time

import pytest

from deferring import (
    LEAVING, defer, deferring, drained, events, is_ready, rows, table,
    wait_event)
from harness import until

pytestmark = pytest.mark.contract


def test_what_is_under_way_at_the_end(cms, kamailio):
    """A delivery that the CMS accepts while the server stops is not sent
    again."""
    server = kamailio(cms, config=deferring(("drain_timeout", 12000)))
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
        ("http_processes", 1), ("max_connections", 1),
        ("drain_timeout", 3000)))
    until(lambda: is_ready(server))
    cms.rule(hang=True)
    waiting = [server.device().start_register() for _ in range(5)]
    server.wait_parked(5)
    cms.wait(1)
    asked = cms.requests[0].json["aor"]
    server.stop()
    deferred = [r.ua.aor for r in waiting if r.wait().get("X-Deferred")]
    # Whoever the CMS was asked about is stored in the last moment: on a busy
    # machine that can be too late, and he is told so.
    assert {r.ua.aor for r in waiting} - {asked} <= set(deferred)
    assert {r.result.status for r in waiting if r.ua.aor in deferred} == {200}
    assert {r.result.status for r in waiting
            if r.ua.aor not in deferred} <= {503}
    assert len(rows(server)) == len(deferred)
    cms.clear_rules()
    cms.clear()
    server.start()
    drained(server)
    assert sorted(r.json["aor"] for r in cms.requests) == sorted(deferred)


def test_nothing_to_wait_for_at_the_end(cms, kamailio):
    """What waits in the outbox for a CMS that is away holds nobody up, whatever
    drain_timeout allows."""
    server = kamailio(cms, config=deferring(("drain_timeout", 14000)))
    cms.stop()
    for _ in range(5):
        defer(server, server.device())
    server.wait_log("the outbox waits for the CMS")
    began = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - began < 12
    cms.start()
    server.start()
    drained(server)
    assert cms.count == 5


def test_a_delivery_that_hangs_at_the_end(cms, kamailio):
    """It gets drain_timeout, and is sent again by the same id."""
    server = kamailio(cms, config=deferring(
        ("timeout", 25000), ("drain_timeout", 700)))
    rule = cms.rule(hang=True)
    cms.rule(status=503, times=1)
    event = defer(server, server.device())
    cms.wait(2)
    began = time.monotonic()
    assert server.stop() == 0
    assert 0.6 < time.monotonic() - began < 14
    cms.remove_rule(rule)
    cms.clear()
    server.start()
    drained(server)
    assert [r.json["id"] for r in cms.requests] == [event]


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


def test_who_leaves_with_the_database_locked_at_the_end(cms, kamailio):
    """A database that stays locked while the server stops holds it up no longer
    than drain_timeout and a moment, and what is lost is in the log."""
    server = kamailio(cms, config=deferring(LEAVING, ("drain_timeout", 500)))
    server.allow_errors("locked", "db_", "srdb1", "store_result",
                        "is not told")
    uas = [server.device() for _ in range(60)]
    for ua in uas:
        assert ua.register().status == 200
    server.settle()
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN EXCLUSIVE")
        for ua in uas:
            assert ua.unregister().status == 200
        # it would be killed: half a second for each is too long
        assert server.stop() == 0
        db.rollback()
    assert len(server.log("is not told that .* has left")) >= len(uas) - 1
