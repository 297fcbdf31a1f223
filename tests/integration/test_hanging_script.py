"""The verdict route of one device hangs, in a call that really blocks. Its process
runs nothing else until it is over; what all others notice of that."""

import contextlib
import os
import signal

import pytest

from deferring import DEFER, NOTIFY as NOTIFY_DEFER, drained, url as outbox_url
from harness import NOTIFY, VERDICT, registrar, shown, until

pytestmark = pytest.mark.contract

DEADLINE = 6000


class Gate:
    """Where the verdict route of the device "hang" waits until open()."""

    def __init__(self, server):
        self._fifo = os.path.join(server.folder, "gate")
        self._sign = os.path.join(server.folder, "hangs")
        os.mkfifo(self._fifo)
        # both ends: what is written stays until it is read
        self._end = os.open(self._fifo, os.O_RDWR)

    def script(self):
        return (f'\tif ($tU == "hang") exec_cmd("echo >{self._sign};'
                f' read x <{self._fifo}");\n')

    def wait(self):
        """Until somebody stands there."""
        until(lambda: os.path.exists(self._sign))

    def open(self):
        os.write(self._end, b"\n")

    def close(self):
        self.open()
        os.close(self._end)


@pytest.fixture
def start(kamailio, cms):
    """start(name=value): (server, gate), with these parameters."""
    gates = []

    def starter(notify=NOTIFY, verdict=VERDICT, **params):
        def config(server, url):
            gates.append(Gate(server))
            if "outbox_db_url" in params:
                params["outbox_db_url"] = outbox_url(server)
            return registrar(
                server, url, modules=["exec"], notify=notify,
                verdict=gates[-1].script() + verdict,
                params=[("cms_notify", name, value) for name, value in
                        {"verdict_processes": 0, "timeout": 20000,
                         "attempt_timeout": 20000, **params}.items()])
        return kamailio(cms, config=config), gates[-1]

    yield starter
    for gate in gates:
        gate.close()


def hang(server, gate):
    """A registration whose verdict route hangs."""
    registration = server.device("hang").start_register()
    gate.wait()
    return registration


def check_end(registration, gate):
    """The route goes on, and the device has its answer, once."""
    assert registration.result is None
    gate.open()
    assert registration.wait().status == 200
    assert len(registration.steps[-1].finals) == 1


PROCESSES = {"http": {"http_processes": 2},
             "verdict": {"http_processes": 1, "verdict_processes": 2}}


@pytest.mark.parametrize("processes", PROCESSES)
def test_the_others_are_served(start, cms, processes):
    """Another process runs their routes; the one that hangs takes no new job."""
    server, gate = start(**PROCESSES[processes])
    hanging = hang(server, gate)
    uas = server.devices(60)
    assert {ua.start_register().wait().status for ua in uas[:20]} == {200}
    at_once = [ua.start_register() for ua in uas[20:]]
    assert {r.wait().status for r in at_once} == {200}
    assert {ua.register().get("X-Route") for ua in uas[:5]} == {"main"}
    assert uas[0].options()[0].status == 200
    until(lambda: server.status()["parked"] == 1)
    check_end(hanging, gate)
    assert len(server.posts()) == len(uas) + 1


@contextlib.contextmanager
def standing_still(pids):
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    yield
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def unread(cms):
    """Connections to it with an answer that nobody has read yet."""
    port = f":{cms.port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return sum(row[2].endswith(port) and int(row[4].split(":")[1], 16) > 0
               for row in rows)


def test_what_was_decided_with_it_is_resumed_by_another_process(start, cms):
    """A process reads many answers at once, and the first of these scripts
    hangs."""
    server, gate = start(http_processes=2)
    cms.rule(hold=True)
    hanging = server.device("hang").start_register()
    cms.wait_until(lambda: cms.held == 1)
    others = [ua.start_register() for ua in server.devices(12)]
    cms.wait_until(lambda: cms.held == 13)
    with standing_still(server.pids("cms_notify http")):
        cms.release()
        until(lambda: unread(cms) == 13)
    gate.wait()
    assert {r.wait().status for r in others} == {200}
    check_end(hanging, gate)


def under_way(server, cms, gate):
    """A registration whose route hangs, and the others of that time: POSTs of
    this process and of the other one, and what waits for a connection."""
    cms.rule(hold=True)
    hanging = server.device("hang").start_register()
    cms.wait_until(lambda: cms.held == 1)
    others = [ua.start_register() for ua in server.devices(9)]
    cms.wait_until(lambda: cms.held == 8)
    cms.release(1)
    gate.wait()
    return hanging, others


SMALL = {"http_processes": 2, "max_connections": 4, "timeout": DEADLINE,
         "attempt_timeout": DEADLINE}


def test_its_posts_end_by_their_deadline(start, cms):
    """The watchdog ends them, and the other process answers."""
    server, gate = start(**SMALL)
    hanging, others = under_way(server, cms, gate)
    answers = [r.wait() for r in others]
    assert {(a.status, shown(a)["cause"]) for a in answers} \
        == {(503, "timeout")}
    check_end(hanging, gate)
    assert {len(r.steps[-1].finals) for r in others} == {1}


def test_its_posts_are_deferred(start, cms):
    """With an outbox they are stored, and the CMS is told later."""
    server, gate = start(notify=NOTIFY_DEFER, verdict=DEFER,
                         outbox_db_url=True, **SMALL)
    hanging, others = under_way(server, cms, gate)
    answers = [r.wait() for r in others]
    assert {(a.status, a.get("X-Deferred")) for a in answers} == {(200, "1")}
    check_end(hanging, gate)
    cms.clear_rules()
    cms.release()
    drained(server)
    assert {r.json["aor"] for r in cms.requests if r.outcome == 200} \
        == {r.ua.aor for r in (hanging, *others)}


def test_with_one_process_sip_goes_on(start, cms):
    """Nobody is there to run the others' routes. Their events are ended in time
    all the same, refreshes and other requests are answered at once, and each
    has its verdict as soon as the script lets go."""
    server, gate = start(http_processes=1, timeout=DEADLINE,
                         attempt_timeout=DEADLINE)
    known = server.device()
    assert known.register().status == 200
    hanging = hang(server, gate)
    others = [ua.start_register() for ua in server.devices(20)]
    server.wait_parked(21)
    assert known.register().get("X-Route") == "main"
    assert known.options()[0].status == 200
    until(lambda: {row["state"] for row in server.rpc("cms_notify.parked")}
          == {"decided"})
    assert not any(r.result for r in others)
    check_end(hanging, gate)
    answers = [r.wait() for r in others]
    assert {(a.status, shown(a)["cause"]) for a in answers} \
        == {(503, "timeout")}
    assert {len(r.steps[-1].finals) for r in others} == {1}
    assert server.device().register().status == 200


def test_the_server_stops_all_the_same(start, cms):
    """Who waits for the CMS has his answer, from the process that is left."""
    server, gate = start(http_processes=2, drain_timeout=500)
    hanging = hang(server, gate)
    cms.rule(hang=True)
    others = [ua.start_register() for ua in server.devices(5)]
    cms.wait(6)
    assert server.stop() == 0
    answers = [r.wait() for r in others]
    assert {(a.status, shown(a)["cause"]) for a in answers} \
        == {(503, "shutdown")}
    assert hanging.result is None
