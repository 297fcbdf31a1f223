"""What cannot be stored: the device comes back, and the server goes on."""

import contextlib
import sqlite3
import time

import pytest

from deferring import LEAVING, defer, deferring, drained, events, rows, table
from harness import shown, until

pytestmark = pytest.mark.contract


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


LOCK_MS = 20000


def answered_in_time(server):
    """As if nothing was locked, sooner than a statement that waits for the lock
    has ended."""
    began = time.monotonic()
    answer = server.device().register()
    assert answer.status == 503
    assert time.monotonic() - began < LOCK_MS / 2000
    return answer


def test_locked(cms, kamailio):
    """A database that somebody else has locked is an answer in time, not a
    device that waits."""
    server = kamailio(cms, config=deferring(
        ("timeout", 500), ("sqlite_busy_timeout", LOCK_MS)))
    server.allow_errors("locked", "srdb1", "db_sqlite", "db_query", "store_result")
    cms.stop()
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN IMMEDIATE")
        answer = answered_in_time(server)
        assert answer.get("X-Defer-Cause") == "outbox"
        answered_in_time(server)
        db.rollback()
    until(lambda: server.device().register().status == 200)
    cms.start()
    drained(server)


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
