"""The outbox: much of it, and two servers on one."""

import statistics
import threading
import time

import pytest

import ledger
from alerts import LASTS, away
from fleet import Fleet
from harness import until
from server import QUICK
from postgres import Postgres
from sip_ua import Transport
from test_order import assert_in_order
from sizes import modes
from trial import Row, Trial, seconds

CMS_SECONDS = 0.02  # that the CMS needs for an event
CONTACTS = 10       # of a device; an event each
# A backlog that is being delivered may cost a new registration so much. A
# test machine has other things to do, too: the best of three is taken. In the
# short form it shows that nobody waits for the backlog, which takes seconds.
DELAY_SECONDS, SHORT_DELAY_SECONDS = 0.010, 1.0


def defer_many(server, devices):
    """Each device registers CONTACTS contacts, one after the other. Returns
    {aor: [CSeq of each event]}."""
    events = {}
    uas = server.devices(devices)
    slots = threading.Semaphore(200)
    for number in range(CONTACTS):
        # A way of its own for each round, since it keeps every message.
        way = Transport(server.address)
        under_way = []
        for ua in uas:
            ua.transport = way
            slots.acquire()
            under_way.append(ua.start_register(
                retransmit=True, preemptive=True,
                contacts=[f"<sip:{ua.user}@127.0.0.1:{7000 + number}>"],
                on_done=lambda _r: slots.release()))
        for registration in under_way:
            answer = registration.wait(60)
            assert answer.status == 200, answer.start_line
            events.setdefault(registration.ua.aor, []).append(
                registration.steps[-1].request.cseq)
        way.close()
    return events


def verdicts(server, count):
    """Seconds that new registrations take, one after the other, without the
    challenge."""
    taken = []
    for ua in server.devices(count):
        registration = ua.start_register()
        assert registration.wait().status == 200
        taken.append(registration.steps[-1].latency)
    return taken


@pytest.mark.parametrize("devices", [
    pytest.param(200, marks=pytest.mark.short, id="short"),
    pytest.param(5000, marks=pytest.mark.long, id="long")])
def test_backlog(devices, cms, server, row):
    """Many deferred events survive kill -9, reach the CMS in order, and delay
    no new registration."""
    count = devices * CONTACTS
    # Long: what a slow disk has not stored in time is not deferred.
    one = server(cms, "defer", {"breaker_cooldown": 200, "timeout": 8000},
                 options=["-m", "512"], settings={"USRLOC_DB_MODE": 0})
    cms.stop()
    began = time.monotonic()
    events = defer_many(one, devices)
    deferring = time.monotonic() - began
    assert one.status()["outbox"] == count
    one.kill()
    began = time.monotonic()
    one.start_again()
    starting = time.monotonic() - began
    one.wait_outbox(lambda waiting: waiting == count)

    slow = cms.rule(delay=CMS_SECONDS)
    cms.start()
    began = time.monotonic()
    # The first one finds out that the CMS is back.
    one.wait_outbox(lambda waiting: waiting < count)
    during = [verdicts(one, 10) for _ in range(3)]
    busy = one.status()["outbox"]
    one.wait_outbox(lambda waiting: waiting == 0, timeout=count / 20)
    delivering = time.monotonic() - began
    after = [verdicts(one, 10) for _ in range(3)]
    cms.remove_rule(slow)

    got = {}
    for request in cms.requests:
        body = request.json
        if body["aor"] in events:
            got.setdefault(body["aor"], []).append(body["cseq"])
    assert got == events  # each once, in order
    assert busy > 0, "the backlog was gone before new devices came"
    best = [min(map(statistics.median, of)) for of in (during, after)]
    slowness = best[1] - CMS_SECONDS  # of this machine, at this time
    most = DELAY_SECONDS if devices > 1000 else SHORT_DELAY_SECONDS
    assert best[0] - best[1] < most + slowness, \
        f"a new registration takes {best[0]:.4f} s while the backlog is " \
        f"delivered, {best[1]:.4f} s otherwise"
    row(Row(f"{count} events deferred, kill -9, the CMS comes back", "defer",
            f"{count} × 200, at {count / deferring:.0f} a second; new ones "
            f"meanwhile in {1000 * best[0]:.1f} ms, without a backlog "
            f"in {1000 * best[1]:.1f} ms",
            f"{count} POSTs, 0 repeated, 0 out of order", f"0 of {count}",
            f"Kamailio up {seconds(starting)}, all delivered "
            f"{seconds(delivering)} ({count / delivering:.0f} a second)"))


@pytest.fixture(scope="module")
def cluster():
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres(cluster):
    cluster.sql("DELETE FROM cms_outbox")
    return cluster


@modes("defer", short=0, alerts=True)
@pytest.mark.parametrize("dies", [False, True], ids=["both_live", "one_dies"])
def test_two_servers(mode, size, dies, cms, postgres, server, row):
    """Two servers share an outbox: each event is delivered, once. Also those of
    a server that is killed and does not come back."""
    a, b = (server(cms, mode, size.params, outbox=postgres.url,
                   settings={"NODE_NAME": name}, modules=["db_postgres"])
            for name in "ab")
    fleet = Fleet(a, size.devices, name="a")
    try:
        with Trial(b, [cms], size.devices, name="b") as trial:
            fleet.start()
            trial.warm_up()
            cms.stop()
            trial.load(size.seconds)
            fleet.finish()
            a.wait_outbox(lambda waiting: waiting > 0)
            cms.start()
            if dies:
                a.kill()
            trial.over()
            if dies:
                b.wait_log("of a server that has stopped", timeout=60)
                # what it says of the outbox may be of the moment before that
                until(lambda: not ledger.told(fleet.devices, trial.requests()), 60)
                b.wait_outbox(lambda waiting: waiting == 0)
            else:
                a.wait_outbox(lambda waiting: waiting == 0)
            taken = time.monotonic() - trial.over_at
            line = trial.end(
                "two servers on one PostgreSQL outbox"
                + (", one is killed for good" if dies else ""), others=[fleet],
                recovery=f"all delivered {seconds(taken)}")
            repeated = ledger.repeats(trial.requests())
            # what was on its way when it was killed
            assert repeated <= (8 if dies else 0)
            row(line, away(mode) | ({"Down"} if dies else set()), within=LASTS)
    finally:
        fleet.close()


def wait_look(postgres, servers):
    """Until each has looked, from now on, at what waits at the others."""
    (now,), = postgres.sql("SELECT clock_timestamp()")
    until(lambda: postgres.sql(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%owner <>%'"
        f" AND query_start > '{now}' AND pid <> pg_backend_pid()")
        == [[str(servers)]])


@pytest.mark.parametrize("dies", [
    pytest.param(False, marks=[pytest.mark.short, pytest.mark.long],
                 id="cannot_reach_the_cms"),
    pytest.param(True, marks=pytest.mark.long, id="dies")])
def test_device_moves(dies, make_cms, postgres, server):
    """A device registers at one server, which cannot tell the CMS, and later at
    another one, which can: the first one's event is not told after that."""
    cmses = make_cms(), make_cms()
    a, b = (server(cms, "defer", QUICK, outbox=postgres.url,
                   settings={"NODE_NAME": name, "SERVER_ID": number},
                   modules=["db_postgres"])
            for cms, name, number in zip(cmses, "ab", (1, 2)))
    cmses[0].stop()
    here = a.device()
    assert here.register(call_id="boot-1").status == 200
    a.wait_outbox(lambda waiting: waiting == 1)
    if dies:
        a.kill()
    for _ in range(2):  # what the first look has read is known at the second
        wait_look(postgres, servers=1 if dies else 2)
    there = b.device(here.user, contact=here.contact)
    assert there.register(call_id="boot-2").status == 200
    b.wait_outbox(lambda waiting: waiting == 0)
    cmses[0].start()
    if dies:
        b.wait_log("of a server that has stopped", timeout=60)
        b.wait_outbox(lambda waiting: waiting == 0)
    else:
        a.wait_outbox(lambda waiting: waiting == 0, timeout=90)
        a.settle()
    b.settle()
    assert_in_order(*cmses)
    assert not postgres.sql("SELECT event_id FROM cms_outbox WHERE state <> 3")
