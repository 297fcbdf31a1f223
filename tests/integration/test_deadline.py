"""Every event has one deadline, and nobody waits for the CMS but the device
that is new."""

import os
import signal
import socket
import statistics
import subprocess
import time

import pytest

from harness import ReferenceCms, registrar, repeated, shown, until
from sip_ua import Transport

# a crowd takes its time
pytestmark = [pytest.mark.contract, pytest.mark.timeout(300)]

# Well below what else an answer might wait for: an attempt's time, a second more.
EARLY, LATE = 0.100, 0.700
CROWD_LATE = 10.0  # a crowd's answers take the time that the machine has


class TooSlow(Exception):
    """This machine did not park them all before it was too late for the first
    ones."""


def challenged(uas):
    """Each has its challenge: what is left for park() is quick."""
    for start in range(0, len(uas), PORTION):
        portion = uas[start:start + PORTION]
        asked = [ua.send(ua.build_register()) for ua in portion]
        for ua, transaction in zip(portion, asked):
            ua.challenge = transaction.wait().challenge()
    return uas


PORTION = 40  # so that no datagram gets lost


def park(server, uas, all_at_once=True):
    """A REGISTER of each, until all are events, or turned away at once: who
    cannot be answered in time is. TooSlow if the first ones have been answered
    by then."""
    def taken():
        status = server.status()
        return status["events"] + status["busy"]
    data = [(ua, ua.build_register(authorization=ua.authorization()))
            for ua in challenged(uas)]
    parked = []
    before = taken()
    for start in range(0, len(data), PORTION):
        parked += [ua.send(text) for ua, text in data[start:start + PORTION]]
        while taken() - before < len(parked):
            if all_at_once and any(t.final for t in parked):
                raise TooSlow
    return parked


# -- a hanging CMS and a crowd -------------------------------------------------------

# So many, with a deadline of so many seconds; the first that can be parked in time
CROWDS = (2000, 9), (2000, 18), (1000, 29), (200, 29)


class Crowd:
    """Many new devices at a CMS that hangs.

    count          how many
    quiet, busy    seconds of {"OPTIONS", "refresh"} without and with them
    parked         how many waited while `busy` was measured
    connections    to the CMS at that time
    registrations  of the new devices, at their end
    lasted         how long it took to park them; their answers take as long
    shm            bytes in use before and after
    """

    def __init__(self, server, cms, refreshers, count, timeout):
        self.count = count
        self._server = server
        self._refreshers = refreshers
        self._timeout = timeout
        uas = server.devices(count)
        rule = cms.rule(hang=True)
        try:
            self.quiet = self._measure()
            self._wait_no_transaction()
            self.shm = [server.shm_used()]
            self.registrations = park(server, uas)
            self.lasted = (self.registrations[-1].request.time
                           - self.registrations[0].request.time)
            self.busy = self._measure()
            self.parked = server.status()["parked"]
            self.connections = cms.open_connections
            if self.parked < count:
                raise TooSlow
            for registration in self.registrations:
                registration.wait(timeout + 30)
        finally:
            cms.remove_rule(rule)
        self.left = server.settle()
        self._wait_no_transaction()
        self.shm.append(server.shm_used())

    def _measure(self):
        """What SIP workers answer by themselves."""
        ways = {"OPTIONS": [], "refresh": []}
        for ua in self._refreshers:
            ways["OPTIONS"].append(ua.options()[1])
            refresh = ua.start_register(preemptive=True)
            assert refresh.wait().status == 200
            ways["refresh"].append(refresh.seconds)
        return ways

    def _wait_no_transaction(self):
        """tm keeps an answered one for some seconds."""
        until(lambda: not self._server.rpc("tm.stats")["current"])

    def lateness(self):
        """Seconds after (before: negative) the deadline, of each answer."""
        return [r.latency - self._timeout for r in self.registrations]

    def as_fast(self, what):
        quiet, busy = self.quiet[what], self.busy[what]
        return (statistics.median(busy)
                < 2 * statistics.median(quiet) + 0.005
                and percentile(busy, 99) < 2 * percentile(quiet, 99) + 0.050)


def percentile(values, percent):
    return statistics.quantiles(values, n=100)[percent - 1]


@pytest.fixture(scope="module")
def crowded(module_kamailio, module_cms):
    """crowded() -> Crowd, a new one each time. A slow machine gets a longer
    deadline to park them all, then fewer: when the CMS has said nothing for three
    sixteenths of it, who comes late is not parked any more."""
    def crowded():
        for count, timeout in CROWDS:
            server = module_kamailio(module_cms, settings={
                "CMS_TIMEOUT": 1000 * timeout, "USRLOC_DB_MODE": 0,
                "CMS_CONNECT_TIMEOUT": 1000 * timeout})
            way = Transport(server.address)
            refreshers = server.devices(200, transport=way)
            for ua in refreshers:
                assert ua.register().status == 200
            try:
                return Crowd(server, module_cms, refreshers, count, timeout)
            except TooSlow:
                repeated(f"too slow for {count} with a deadline of {timeout} s")
            finally:
                way.close()
                server.stop()
        raise TooSlow

    return crowded


@pytest.fixture(scope="module")
def crowd(crowded):
    return crowded()


def test_a_crowd_waits_while_the_others_are_measured(crowd):
    """Without this the next two tests would mean nothing."""
    assert crowd.parked == crowd.count


@pytest.mark.parametrize("what", ["OPTIONS", "refresh"])
def test_with_a_hanging_cms_and_a_crowd_the_others_are_as_fast(
        crowd, crowded, what):
    """Twice more if not: the machine may have been busy."""
    for _attempt in range(2):
        if crowd.as_fast(what):
            break
        repeated(f"{what} with a crowd is slower")
        crowd = crowded()
    assert crowd.as_fast(what), (crowd.quiet[what], crowd.busy[what])


def test_each_of_the_crowd_is_told_to_come_back(crowd):
    assert {r.final.status for r in crowd.registrations} == {503}
    assert all(1 <= int(r.final.get("Retry-After")) <= 3600
               for r in crowd.registrations)
    assert {len(r.finals) for r in crowd.registrations} == {1}


def test_the_crowd_is_spread_when_it_comes_back(crowd):
    """Not all in the same second, though the CMS was fast before it hung."""
    values = {int(r.final.get("Retry-After")) for r in crowd.registrations}
    assert len(values) >= 2


def test_each_of_the_crowd_is_told_when_its_deadline_passes(crowd):
    """Those that came together are answered together: the last one waits until
    all are, which takes about as long as it took to park them."""
    late = crowd.lateness()
    assert -EARLY < min(late) and max(late) < CROWD_LATE + 2 * crowd.lasted


def test_nothing_of_the_crowd_is_left(crowd):
    assert [crowd.left[name] for name in ("parked", "queued", "in_flight")] \
        == [0, 0, 0]
    before, after = crowd.shm
    assert after - before < 10_000, "bytes, of several million"


def test_a_crowd_takes_no_more_connections_than_allowed(crowd):
    assert crowd.connections == 2 * 32


# -- one deadline for everything ----------------------------------------------------

def seconds(ua):
    """(seconds until the answer, what the script saw)"""
    registration = ua.start_register()
    response = registration.wait()
    return registration.steps[-1].latency, shown(response)


def measured(function, expected):
    """function() until its first value is `expected` seconds, three times at
    most: the machine may have been busy. Returns the rest."""
    for _attempt in range(2):
        value, rest = function()
        if -EARLY < value - expected < LATE:
            return rest
        repeated(f"{value:.3f} s instead of {expected} s")
    value, rest = function()
    assert -EARLY < value - expected < LATE
    return rest


def small(timeout, **params):
    return lambda s, url: registrar(s, url, params=[
        ("cms_notify", name, value)
        for name, value in {"timeout": timeout, **params}.items()])


@pytest.mark.parametrize("timeout", [300, 1000, 2500])
@pytest.mark.parametrize("rule", [
    {"hang": True}, {"drip": 0.1, "body": "x" * 1000},
    {"body": "x" * 16000, "drip": 0.001}],
    ids=["hangs", "drips", "sends without an end"])
def test_the_answer_comes_when_the_deadline_passes(
        kamailio, cms, timeout, rule):
    server = kamailio(cms, config=small(timeout))
    cms.rule(**rule)
    seen = measured(lambda: seconds(server.device()), timeout / 1000)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "timeout")
    assert -1000 * EARLY < int(seen["elapsed_ms"]) - timeout < 1000 * LATE


def test_the_deadline_counts_from_the_request_and_not_from_the_post(
        kamailio, cms):
    """One connection, taken; those behind it wait in the queue."""
    server = kamailio(cms, config=small(
        1000, http_processes=1, max_connections=1))
    cms.rule(hang=True)

    def queued():
        first = server.device().start_register()
        cms.wait_until(lambda: cms.in_flight == 1)
        result = seconds(server.device())
        first.wait()
        return result

    seen = measured(queued, 1.0)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "timeout")


def test_an_answer_just_in_time_is_good(kamailio, cms):
    server = kamailio(cms, config=small(8000))
    cms.rule(delay=4.0)
    taken, seen = seconds(server.device())
    assert seen["verdict"] == "accepted" and taken >= 4.0


def test_a_connection_that_is_not_accepted_ends_after_connect_timeout(
        kamailio, cms):
    """Its backlog is full: the kernel drops what comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        waiting = []
        for _ in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        server = kamailio(f"http://127.0.0.1:{address[1]}/", config=small(
            4000, connect_timeout=500))
        seen = measured(lambda: seconds(server.device()), 0.5)
        for sock in waiting:
            sock.close()
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "connect")


# -- the HTTP process does not run -----------------------------------------------------

STOPPED_MS = 3000


@pytest.fixture
def stopped(kamailio, cms):
    """A server whose HTTP process stands still until resume(pid)."""
    server = kamailio(cms, settings={
        "CMS_TIMEOUT": STOPPED_MS, "USRLOC_DB_MODE": 0, "CMS_HTTP_PROCESSES": 1,
        "CMS_VERDICT_PROCESSES": 1})
    assert server.device().register().status == 200
    pids = server.pids("cms_notify http")
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGSTOP)
    yield server, pids[0]
    os.kill(pids[0], signal.SIGCONT)
    # Kamailio's main process remembers one signal: it must have seen that its
    # child goes on before it is told to stop.
    server.settle()


def test_a_stopped_http_process_stops_nobody_else(stopped):
    """No worker blocks on the way to it, however many are new."""
    server, _pid = stopped
    registrations = park(server, server.devices(600), all_at_once=False)
    with server.device() as ua:
        assert [ua.options()[0].status for _ in range(20)] == [200] * 20
    assert {r.wait().status for r in registrations} == {503}
    assert all(int(r.final.get("Retry-After")) >= 1 for r in registrations)
    # a slow answer to the first one makes the line too long for the last ones
    stats = server.stats()
    assert stats["timeout"] + stats["busy"] == len(registrations)
    assert stats["timeout"] > 100


def test_with_a_stopped_http_process_the_deadline_holds(stopped):
    server, _pid = stopped

    def late():
        registration = server.device().start_register()
        response = registration.wait()
        return registration.steps[-1].latency, response

    assert measured(late, STOPPED_MS / 1000).status == 503


def test_a_stopped_http_process_works_again_when_it_goes_on(stopped, cms):
    server, pid = stopped
    lost = [ua.start_register() for ua in server.devices(30)]
    assert {r.wait().status for r in lost} == {503}
    cms.clear()
    os.kill(pid, signal.SIGCONT)
    ua = server.device()
    assert ua.register().status == 200
    assert [r.json["aor"] for r in server.posts()] == [ua.aor], \
        "those that were told 503 are no news any more"


# -- a verdict process does not run --------------------------------------------------

def test_a_stopped_verdict_process_keeps_no_verdict(kamailio, cms):
    """Whichever of them stands still, and was woken for a verdict: another one
    is woken for it."""
    server = kamailio(cms, settings={
        "USRLOC_DB_MODE": 0, "CMS_VERDICT_PROCESSES": 2})
    pids = server.pids("cms_notify verdict")
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
        try:
            for ua in server.devices(3):
                # while it stands still
                assert ua.register().status == 200
        finally:
            os.kill(pid, signal.SIGCONT)
        server.settle()


# -- several endpoints --------------------------------------------------------------

ATTEMPT, WHOLE = 1500, 6000


@pytest.fixture(scope="module")
def second_cms():
    with ReferenceCms() as cms:
        yield cms


@pytest.fixture(scope="module")
def two(module_kamailio, module_cms, second_cms):
    """A server with two endpoints."""
    return module_kamailio(module_cms, config=small(
        WHOLE, attempt_timeout=ATTEMPT, cms_url=second_cms.url))


@pytest.fixture(autouse=True)
def _second_is_clear(second_cms):
    second_cms.clear()
    yield
    second_cms.clear_rules()


def both(module_cms, second_cms):
    """The one request that each of them got, for the same event."""
    first, = module_cms.requests
    second, = second_cms.requests
    assert first.get("Idempotency-Key") == second.get("Idempotency-Key")
    assert first.body == second.body
    return first, second


def test_the_first_endpoint_is_preferred(two, module_cms, second_cms):
    for _ in range(5):
        assert seconds(two.device())[1]["verdict"] == "accepted"
    assert (module_cms.count, second_cms.count) == (5, 0)


def test_when_the_first_hangs_the_second_is_asked_after_attempt_timeout(
        two, module_cms, second_cms):
    module_cms.rule(hang=True)

    def once():
        module_cms.clear()
        second_cms.clear()
        return seconds(two.device())

    seen = measured(once, ATTEMPT / 1000)
    assert (seen["verdict"], seen["status"]) == ("accepted", "200")
    both(module_cms, second_cms)


def test_when_the_first_refuses_connections_the_second_is_asked_at_once(
        two, module_cms, second_cms):
    module_cms.stop()
    try:
        seen = measured(lambda: seconds(two.device()), 0)
    finally:
        module_cms.start()
    assert seen["verdict"] == "accepted"


@pytest.mark.parametrize("rule", [
    {"status": 302, "headers": [("Location", "/elsewhere")]},
    {"status": 408}, {"status": 425}, {"status": 429}, {"status": 500},
    {"status": 503, "headers": [("Retry-After", "60")]},
    {"close": "request"}, {"close": "request", "reset": True}], ids=str)
def test_a_failure_of_the_first_moves_on_to_the_second_at_once(
        two, module_cms, second_cms, rule):
    module_cms.stop()  # no kept connection: its end would be a race
    module_cms.start()
    module_cms.rule(**rule)

    def once():
        module_cms.clear()
        second_cms.clear()
        return seconds(two.device())

    seen = measured(once, 0)
    assert (seen["verdict"], seen["cause"]) == ("accepted", "none")
    both(module_cms, second_cms)


@pytest.mark.parametrize("status, verdict", [
    (200, "accepted"), (204, "accepted"), (409, "unavailable"),
    (400, "rejected"), (403, "rejected"), (404, "rejected")])
def test_an_answer_of_the_first_is_not_asked_for_again(
        two, module_cms, second_cms, status, verdict):
    module_cms.rule(status=status)
    seen = seconds(two.device())[1]
    assert (seen["verdict"], seen["status"]) == (verdict, str(status))
    assert (len(two.posts()), second_cms.count) == (1, 0)


def test_when_both_fail_the_device_is_told_so_at_once(
        two, module_cms, second_cms):
    module_cms.rule(status=500)
    second_cms.rule(status=503)
    seen = measured(lambda: seconds(two.device()), 0)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "http")


def test_the_last_endpoint_has_all_the_time_that_is_left(
        two, module_cms, second_cms):
    module_cms.rule(status=500)
    second_cms.rule(delay=2.5 * ATTEMPT / 1000)
    assert seconds(two.device())[1]["verdict"] == "accepted"


def test_a_single_endpoint_has_all_the_time_there_is(kamailio, cms):
    server = kamailio(cms, config=small(8000, attempt_timeout=300))
    cms.rule(delay=1.0)
    assert seconds(server.device())[1]["verdict"] == "accepted"


def test_all_endpoints_together_have_one_deadline(
        two, module_cms, second_cms):
    module_cms.rule(hang=True)
    second_cms.rule(hang=True)
    seen = measured(lambda: seconds(two.device()), WHOLE / 1000)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "timeout")


@pytest.mark.parametrize("rest", [1, 2, 5])
def test_an_attempt_in_the_last_moment_ends_at_the_deadline_too(
        kamailio, cms, second_cms, rest):
    """When the first endpoint has had its time there are some milliseconds
    left for the second: hardly more than its clock's resolution."""
    server = kamailio(cms, config=small(
        200 + rest, attempt_timeout=200, cms_url=second_cms.url))
    cms.rule(hang=True)
    second_cms.rule(hang=True)
    # on a busy machine the time of the first often ends after the moment
    for _round in range(100):
        registrations = [ua.start_register() for ua in server.devices(10)]
        assert {r.wait().status for r in registrations} == {503}
        if _round >= 4 and second_cms.count:
            break
    server.settle()
    assert second_cms.count, "the last moment must have come"


@pytest.fixture
def busy_machine():
    """Something else wants the processors."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"])
             for _ in range(2)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_no_post_outlives_its_deadline(kamailio, cms, busy_machine):
    """Many are begun in the last moments of their events."""
    server = kamailio(cms, config=small(1500))
    for _round in range(60):
        kept = [ua.start_register(retransmit=True)
                for ua in server.devices(40)]
        for registration in kept:
            registration.wait(20)
        rule = cms.rule(hang=True)
        late = []
        for _ in range(20):
            late += [ua.start_register(retransmit=True)
                     for ua in server.devices(50)]
            time.sleep(0.03)
        for registration in late:
            registration.wait(30)
        cms.remove_rule(rule)
        server.settle(5)


def test_the_endpoints_tell_what_they_have_been_through(kamailio, cms):
    with ReferenceCms() as second:
        server = kamailio(cms, settings={
            "CMS_URL_2": second.url, "USRLOC_DB_MODE": 0})
        cms.rule(status=503)
        assert server.device().register().status == 200
        one, two = server.rpc("cms_notify.endpoints")
    assert (one["attempts"], one["failures"], one["last_status"],
            one["last_cause"]) == (1, 1, 503, "http")
    assert (two["attempts"], two["failures"], two["last_status"],
            two["last_cause"]) == (1, 0, 200, "none")
