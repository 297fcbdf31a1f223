"""The outbox in PostgreSQL and in MySQL: the same, for several servers, and with
a database that is away or hangs."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

import harness
from harness import HOST, ReferenceCms, until
from mysql import Mysql
from postgres import Postgres
from deferring import defer, deferring, drained, events, is_ready


class OnMysql(Mysql):
    """With the tables, and the same way to ask as Postgres."""
    module = "db_mysql"

    def __init__(self):
        super().__init__("secret")

    def __enter__(self):
        super().__enter__()
        self.url = f"mysql://kamailio:secret@{HOST}:{self.port}/kamailio"
        options = os.path.join(self.folder, "my.cnf")
        with open(options, "w", encoding="utf-8") as file:
            file.write(f"[client]\nhost={HOST}\nport={self.port}\n"
                       "user=kamailio\npassword=secret\n")
        subprocess.run(
            [harness.TOP / "scripts" / "database", "mysql"], check=True,
            stdout=subprocess.DEVNULL, env={
                **os.environ, "MYSQL_OPTION_FILE": options,
                "KAMAILIO_SQL": harness.environment()["KAMAILIO_SQL"]})
        return self

    def sql(self, text):
        if not hasattr(self, "url"):
            return super().sql(text)
        return [line.split("\t") for line in super().sql("USE kamailio; " + text)]

    def pids(self):
        return [self._server.pid]

    def stop(self):
        self._server.kill()
        self._server.wait()

    def start(self):
        self._start()


class OnPostgres(Postgres):
    module = "db_postgres"

    def pids(self):
        with open(os.path.join(self._data, "postmaster.pid"),
                  encoding="utf-8") as file:
            first = int(file.readline())
        children = subprocess.run(["pgrep", "-P", str(first)], check=True,
                                  capture_output=True, text=True).stdout
        return [first, *map(int, children.split())]


@pytest.fixture(scope="module", params=[OnPostgres, OnMysql],
                ids=["postgres", "mysql"])
def engine(request):
    with request.param() as server:
        yield server


@pytest.fixture
def database(engine):
    engine.sql("DELETE FROM cms_outbox")
    return engine


def on(database, node, *params, **kw):
    kw.setdefault("modules", [database.module])
    return deferring(("node", node), *params, db=lambda _server: database.url,
                     **kw)


def events_in(database):
    return database.sql("SELECT event_id FROM cms_outbox WHERE state < 3"
                        " ORDER BY seq")


def hang(database, stops):
    """Neither answers nor refuses, from when each thread has stopped."""
    # The first one begins the others.
    for part in (slice(0, 1), slice(1, None)):
        pids = database.pids()[part]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # has ended
                os.kill(pid, signal.SIGSTOP if stops else signal.SIGCONT)
        until(lambda: not stops or all(map(has_stopped, pids)))


def has_stopped(pid):
    states = set()
    for path in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states.add(path.read_text().rsplit(")", 1)[1].split()[0])
    return states <= {"T", "Z"}


COMPLAINTS = ("srdb1", "db_postgres", "postgres", "db_mysql", "mysql", "db_",
              "the outbox cannot use", "cannot be used",
              # a server that hung may not have noticed yet that it has ended
              "this one's last connection has not ended yet")


def test_deferred_and_delivered(cms, kamailio, database):
    """As with SQLite, each byte of the body included."""
    server = kamailio(cms, config=on(database, "a"))
    rule = cms.rule(status=503)
    ua = server.device(user_agent="back\\slash \"quoted\" 'it' \u00e9 %s $x")
    event = defer(server, ua)
    assert events_in(database) == [[event]]
    cms.remove_rule(rule)
    drained(server)
    first, *again = cms.requests
    assert again and {r.body for r in again} == {first.body}
    until(lambda: events_in(database) == [])


GBK = "\udcba\udca3\udcbf\udcb5 1.0"
UTF_8 = "\u6444\u50cf\u673a \U0001f4f7"


@pytest.mark.parametrize("db_mode, user_agent, written", [
    (2, GBK, "???? 1.0"), (3, GBK, "???? 1.0"), (2, UTF_8, UTF_8)],
    ids=["gbk", "gbk, db_mode 3", "utf-8"])
def test_a_registration_is_written(cms, kamailio, database, db_mode, user_agent,
                                   written):
    """Whatever a device calls itself, new or refreshed. The database refused the row
    each time that usrloc wrote, and after a restart the device was not registered."""
    database.sql("DELETE FROM location")
    server = kamailio(cms, config=on(database, "a", more=[
        ("usrloc", "db_url", database.url), ("usrloc", "db_mode", db_mode),
        ("usrloc", "timer_interval", 1)]))
    ua = server.device(user_agent=user_agent)
    for called in "", " and longer", "":
        ua.user_agent = user_agent + called
        assert ua.register(expires=600).status == 200
        until(lambda: database.sql("SELECT username, user_agent, cseq FROM location")
              == [[ua.user, written + called, str(ua.cseq)]])
    assert events(cms) == ["register"]


def test_each_delivers_its_own(cms, kamailio, database):
    """Two servers on one table: each event is delivered once, by the server
    that took it."""
    a = kamailio(cms, config=on(database, "a"))
    b = kamailio(cms, config=on(database, "b"))
    cms.stop()
    ids = {defer(server, server.device(f"{name}{n}"))
           for n in range(10) for name, server in (("a", a), ("b", b))}
    cms.start()
    drained(a)
    drained(b)
    assert sorted(r.json["id"] for r in cms.requests) == sorted(ids)
    assert (a.stats()["delivered"], b.stats()["delivered"]) == (10, 10)


def test_one_dies(cms, kamailio, database):
    """What a server that has died had stored is delivered by the other one,
    once, in order."""
    a = kamailio(cms, config=on(database, "a"))
    b = kamailio(cms, config=on(database, "b"))
    cms.stop()
    ua = a.device("roaming")
    ids = [defer(a, ua, contacts=[f"<sip:roaming@127.0.0.1:{port}>"])
           for port in range(7001, 7006)]
    a.kill()
    cms.start()
    cms.wait(len(ids))
    drained(b)
    assert [r.json["id"] for r in cms.requests] == ids
    assert b.stats()["delivered"] == len(ids)


AHEAD_US = 3600 * 1000000


def start_two(cms, kamailio, database):
    """a, whose clock is an hour ahead, and b: a server's numbers go on above its
    lease."""
    b = kamailio(cms, config=on(database, "b"))
    drained(b)
    a = kamailio(cms, config=on(database, "a"))
    assert a.device().register().status == 200
    lease = "node = 'a' AND state = 3"
    until(lambda: database.sql(f"SELECT seq FROM cms_outbox WHERE {lease}"))
    a.stop()
    database.sql(f"UPDATE cms_outbox SET seq = {int(time.time() * 1e6) + AHEAD_US}"
                 f" WHERE {lease}")
    a.start()
    drained(a)
    cms.clear()
    return a, b


def test_one_dies_with_its_clock_ahead(cms, kamailio, database):
    """What is new after a take-over comes after what was taken over, even if
    the clock of the server that has died was ahead."""
    a, b = start_two(cms, kamailio, database)
    cms.stop()
    first = defer(a, a.device("roaming"),
                  contacts=["<sip:roaming@127.0.0.1:7001>"])
    a.kill()
    b.wait_log("rows of a server that has stopped")
    second = defer(b, b.device("roaming"),
                   contacts=["<sip:roaming@127.0.0.1:7002>"])
    cms.start()
    drained(b)
    assert [r.json["id"] for r in cms.requests] == [first, second]
    assert cms.requests[0].json["seq"] > time.time() * 1e6 + AHEAD_US / 2


def test_one_runs_with_its_clock_ahead(cms, kamailio, database):
    """What is new at one server comes after what waits at another, whose clock
    is ahead."""
    a, b = start_two(cms, kamailio, database)
    cms.stop()
    at_a = defer(a, a.device())

    def comes_after():
        at_b = defer(b, b.device())
        seqs = dict(database.sql("SELECT event_id, seq FROM cms_outbox"))
        return int(seqs[at_b]) > int(seqs[at_a])
    until(comes_after)


def test_a_hundred_names(kamailio, database):
    """However many servers there have been, what they left is delivered."""
    with ReferenceCms(validate=False) as cms:
        hundred_names(cms, kamailio, database)


def hundred_names(cms, kamailio, database):
    cms.stop()
    server = kamailio(cms, config=on(database, "n0"))
    event = defer(server, server.device())
    server.kill()
    body = database.sql("SELECT body FROM cms_outbox WHERE state = 0")
    assert body
    columns = ("seq, node, aor, contacts, event, reason, created, state,"
               " attempts, cause, status, body")
    database.sql("; ".join(
        f"INSERT INTO cms_outbox (event_id, owner, {columns}) SELECT"
        f" '{n:032x}', {1000 + n}, {columns.replace('aor', repr(f'd{n}@x'))}"
        f" FROM cms_outbox WHERE event_id = '{event}'"
        for n in range(1, 100)))
    server.configure(config=on(database, "other"))
    cms.start()
    server.start()
    cms.wait(100)
    drained(server)
    until(lambda: events_in(database) == [])


def test_renamed(cms, kamailio, database):
    """A server with another name has what it had under the old one."""
    cms.stop()
    server = kamailio(cms, config=on(database, "old"))
    event = defer(server, server.device())
    server.kill()
    server.configure(config=on(database, "new"))
    cms.start()
    server.start()
    cms.wait(1)
    assert cms.requests[0].json["id"] == event
    drained(server)


def test_the_same_name_twice(cms, kamailio, database):
    """A second server of the same name does not touch the first one's rows, and
    its log says what to change."""
    a = kamailio(cms, config=on(database, "a"))
    until(lambda: is_ready(a))
    b = kamailio(cms, config=on(database, "a"))
    b.allow_errors("another server is connected", "the outbox cannot use")
    b.wait_log("another server is connected as node")
    cms.stop()
    event = defer(a, a.device())
    assert b.device().register().status == 503
    assert events_in(database) == [[event]]
    a.stop()
    until(lambda: is_ready(b))
    cms.start()
    drained(b)
    assert [r.json["id"] for r in cms.requests] == [event]


def test_a_server_that_lives_keeps_its_own(cms, kamailio, database):
    """As long as a server is connected nobody takes its events."""
    a = kamailio(cms, config=on(database, "a"))
    b = kamailio(cms, config=on(database, "b"))
    cms.stop()
    defer(a, a.device("home"))
    time.sleep(6)  # three looks of the other one
    cms.start()
    drained(a)
    assert len(cms.requests) == 1
    assert not b.log("has stopped") and b.stats()["delivered"] == 0


def test_expired_at_the_end(cms, kamailio, database):
    """A binding that runs out just before the server stops, and that is nowhere
    but in its memory, is stored by the main process."""
    def config(interval):
        return on(database, "a", ("events", "register,expire"),
                  more=[("usrloc", "db_mode", 2),
                        ("usrloc", "timer_interval", interval)])
    server = kamailio(cms, config=config(600))
    # one: there is a second for all
    ua = server.device()
    assert ua.register(expires=1).status == 200
    until(lambda: not server.contacts(ua))
    server.stop()
    assert database.sql("SELECT event FROM cms_outbox WHERE state = 0") == [
        ["expire"]]
    server.configure(config=config(1))
    cms.clear()
    server.start()
    drained(server)
    assert [r.json["aor"] for r in cms.requests] == [ua.aor]
    assert events(cms) == ["expire"]


def test_database_away(kamailio, database):
    """With its database away nothing can be deferred; when it is back, all goes
    on without a restart."""
    with ReferenceCms() as cms:
        server = kamailio(cms, config=on(database, "a"))
        server.allow_errors(*COMPLAINTS)
        cms.stop()
        first = defer(server, server.device())
        database.stop()
        try:
            answer = server.device().register()
            assert answer.status == 503
            assert answer.get("X-Defer-Cause") == "outbox"
        finally:
            database.start()
        until(lambda: server.device().register().status == 200)
        cms.start()
        drained(server)
        assert first in [r.json["id"] for r in cms.requests]
        assert len(cms.requests) == 2


def test_database_away_at_the_start(kamailio, database):
    """Kamailio starts without it, serves whom the CMS accepts, and delivers what
    waits when it is there."""
    with ReferenceCms() as cms:
        server = kamailio(cms, config=on(database, "a"))
        server.allow_errors(*COMPLAINTS)
        cms.stop()
        ua = server.device()
        first = defer(server, ua)
        server.kill()
        database.stop()
        try:
            server.start()
            server.wait_log("outbox cannot use its database")
            cms.start()
            # the device of which something waits, and one of which nothing does
            newer = ua.register(call_id="newer@test")
            assert newer.status == 200
            assert server.device().register().status == 200
        finally:
            database.start()
        server.wait_log("database of the outbox is back")
        drained(server)
        # of this contact it has accepted something newer
        assert first not in [r.json["id"] for r in cms.requests]
        assert len(cms.requests) == 2


def in_time(device, *statuses):
    """The cause, if any, of an answer that comes within timeout + 250 ms, and
    what a busy machine needs: the database says nothing for longer than that."""
    began = time.monotonic()
    answer = device.register()
    assert time.monotonic() - began < 15
    assert answer.status in statuses
    return answer.get("X-Defer-Cause")


def test_database_hangs_during_a_delivery(kamailio, database):
    """Who registers anew while an event of his is delivered does not wait for
    the outbox process to hear how that ended."""
    with ReferenceCms() as cms:
        server = kamailio(cms, config=on(
            database, "a", ("timeout", 3000), ("detect_reboot", 1)))
        server.allow_errors(*COMPLAINTS)
        cms.stop()
        ua = server.device()
        defer(server, ua)
        cms.rule(hold=True)
        cms.start()
        cms.wait_until(lambda: cms.held == 1)
        cms.clear_rules()
        other = server.device()
        cms.rule(status=503, match={"username": other.user})
        hang(database, True)
        try:
            waiting = other.start_register()
            until(lambda: server.rpc("cms_notify.outbox")["database"] == "away")
            cms.release()
            answer = ua.register(call_id="newer@test")
            assert (answer.status, answer.get("X-Deferred")) == (200, None)
            waiting.wait()
        finally:
            hang(database, False)
        cms.clear_rules()
        until(lambda: is_ready(server))
        drained(server)


def test_database_hangs(kamailio, database):
    """A database that neither answers nor refuses delays nobody whom the CMS
    accepts; what cannot be stored ends in time; then all is well again."""
    with ReferenceCms() as cms:
        server = kamailio(cms, config=on(
            database, "a", ("timeout", 3000), ("detect_reboot", 1)))
        server.allow_errors(*COMPLAINTS)
        cms.stop()
        ua = server.device()
        first = defer(server, ua)
        server.rpc("cms_notify.pause")
        hang(database, True)
        try:
            # just now; and when it is known
            in_time(server.device(), 200, 503)
            until(lambda: server.rpc("cms_notify.outbox")["database"] == "away")
            for _ in range(3):
                assert in_time(server.device(), 503) == "outbox"
            cms.start()
            until(lambda: server.device().register().status == 200)
            took_ms = []
            for device in [ua] + [server.device() for _ in range(20)]:
                # within its timeout, whatever the database does
                answer = device.register(call_id="newer@test")
                assert (answer.status, answer.get("X-Defer-Cause"),
                        device is ua) == (200, None, device is ua)
                took_ms.append(int(answer.get("X-CMS-elapsed_ms")))
            # Of whom nothing waits nobody asks. Who asks waits for 250 ms; the
            # machine may be busy.
            assert min(took_ms) < 250
        finally:
            hang(database, False)
        server.rpc("cms_notify.resume")
        until(lambda: is_ready(server))
        drained(server)
        assert first not in [r.json["id"] for r in cms.requests]
        cms.stop()
        until(lambda: defers(server))
        cms.start()
        drained(server)


def test_a_dead_letter_waits_for_no_database(cms, kamailio, database):
    """A dead letter of several contacts is not sent: nobody waits for it while
    the database hangs, and it goes with whom the CMS has accepted."""
    server = kamailio(cms, config=on(
        database, "a", ("timeout", 3000), ("detect_reboot", 1)))
    server.allow_errors(*COMPLAINTS)
    ua = server.device()
    both = [f"<sip:{ua.user}@127.0.0.1:{port}>" for port in (7001, 7002)]
    cms.stop()
    defer(server, ua, contacts=both)
    rule = cms.refuse(ua.aor)
    cms.start()
    until(lambda: server.stats()["dead"] == 1)
    drained(server)
    cms.remove_rule(rule)
    other = server.device()
    cms.rule(status=503, match={"username": other.user})
    hang(database, True)
    try:
        waiting = other.start_register()
        until(lambda: server.rpc("cms_notify.outbox")["database"] == "away")
        answer = ua.register(contacts=both[:1], call_id="newer@test")
        assert (answer.status, answer.get("X-Defer-Cause")) == (200, None)
        waiting.wait()
    finally:
        hang(database, False)
    cms.clear_rules()
    until(lambda: is_ready(server))
    until(lambda: events_in(database) == [])
    until(lambda: server.rpc("cms_notify.outbox")["dead"] == 0)


def defers(server):
    return server.device().register().get("X-Deferred") == "1"


def test_a_slow_transaction_is_forgotten(cms, kamailio, database):
    """After a transaction that took seconds, events are deferred again."""
    server = kamailio(cms, config=on(database, "a", ("timeout", 3000)))
    server.allow_errors(*COMPLAINTS)
    cms.stop()
    until(lambda: defers(server))
    hang(database, True)
    try:
        began = time.monotonic()
        assert server.device().register().status == 503
        until(lambda: time.monotonic() - began > 4)
    finally:
        hang(database, False)
    until(lambda: is_ready(server))
    until(lambda: defers(server))
    cms.start()
    drained(server)
