"""A SQLite database that is locked for a moment delays; nobody is turned away,
and nothing is lost."""

import contextlib
import fcntl
import os
import sqlite3
import threading

import pytest

from harness import fails_to_start, registrar, until

pytestmark = pytest.mark.contract

MOMENT = 0.4  # s


class Recovery:
    """Another process makes the index of the log, as the first one does that
    reads after a start: nobody else can read meanwhile."""

    SIZE = 32768
    WRITE, RECOVER, USED = 120, 122, 128  # bytes of the index that are locked

    def __init__(self, database):
        self._file = open(database + "-shm", "wb+")
        self._file.truncate(self.SIZE)
        for byte, kind in ((self.USED, fcntl.LOCK_SH),
                           (self.WRITE, fcntl.LOCK_EX),
                           (self.RECOVER, fcntl.LOCK_EX)):
            fcntl.lockf(self._file, kind | fcntl.LOCK_NB, 1, byte)

    def end(self):
        self._file.close()


def opened(server, path):
    """Has a process of the server this file open?"""
    for pid in server.pids():
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(fd.path) == path:
                        return True
    return False


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_locked_when_the_first_devices_come(kamailio, cms, transport):
    """All workers read at once, and another process makes the index."""
    server = kamailio(cms, settings={"USRLOC_DB_MODE": 0})
    # on a busy machine a moment may take longer than the two seconds of
    # kamailio.cfg
    server.write("kamailio-site.cfg",
                 'modparam("cms_notify", "sqlite_busy_timeout", 20000)\n')
    server.restart()
    recovery = Recovery(server.database)
    registrations = [server.device(transport=transport).start_register()
                     for _ in range(20)]
    until(lambda: opened(server, server.database + "-shm"))
    threading.Timer(MOMENT, recovery.end).start()
    assert [r.wait().status for r in registrations] == [200] * 20
    assert [len(r.steps) for r in registrations] == [2] * 20, \
        "REGISTERs until it was in"


def test_locked_at_the_start(kamailio, cms):
    """usrloc reads who is registered."""
    server = kamailio(cms, settings={})
    ua = server.device()
    assert ua.register().status == 200
    server.stop()
    recovery = Recovery(server.database)
    threading.Timer(MOMENT, recovery.end).start()
    server.start()
    assert server.contacts(ua)


def test_locked_while_usrloc_writes(kamailio, cms):
    """Somebody adds a subscriber, and it takes long."""
    server = kamailio(cms, settings={})

    def stored():
        with contextlib.closing(sqlite3.connect(server.database)) as db:
            return db.execute("SELECT count(*) FROM location").fetchone()[0]

    ua = server.device()
    with contextlib.closing(sqlite3.connect(server.database)) as db:
        db.execute("BEGIN IMMEDIATE")
        assert ua.register().status == 200
        with pytest.raises(TimeoutError):
            until(stored, 1.5)  # usrloc writes once a second
        db.rollback()
    until(stored)


def test_without_sqlite():
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, without=["db_sqlite"],
        params=[("cms_notify", "sqlite_busy_timeout", 1000)]))
    assert any("sqlite_busy_timeout" in line and "load db_sqlite" in line
               for line in lines)
