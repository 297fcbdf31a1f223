"""The breaker of an endpoint: when it opens, who finds out, what is said."""

import os
import signal
import time

import pytest

import harness
from harness import registrar, shown, until

COOLDOWN = 0.6


def breaking(*params, processes=1, failures=3, second=None, timeout=10000):
    """A configuration with breakers that open early."""
    urls = [("cms_url", second)] if second else []
    return lambda server, url: registrar(server, url, params=[
        ("cms_notify", name, value) for name, value in [
            *urls, ("http_processes", processes), ("timeout", timeout),
            ("breaker_failures", failures),
            ("breaker_cooldown", int(1000 * COOLDOWN)), *params]])


def states(server):
    return [e["state"] for e in server.rpc("cms_notify.endpoints")]


def edges(server):
    """away, back: one NOTICE each."""
    return [line.rsplit(" is ", 1)[1].split(":")[0]
            for line in server.log(r"NOTICE: cms_notify.*the CMS at endpoint")]


def break_it(server, cms, status=503):
    """Failures until the breaker of the only endpoint is open."""
    rule = cms.rule(status=status)
    while states(server) != ["open"]:
        assert server.device().register().status == 503
    cms.remove_rule(rule)


def keep_trying(server, found):
    """Devices come one after the other until somebody has found out. Returns
    the registrations that are under way."""
    waiting = []
    deadline = time.monotonic() + harness.WAIT_SECONDS
    while not found():
        assert time.monotonic() < deadline, "nobody tries"
        waiting = [r for r in waiting if r.result is None]
        waiting.append(server.device().start_register())
        time.sleep(0.02)  # they come one after the other
    return waiting


def wait_for_the_one(waiting):
    """Until all of them but the one whose POST finds out have their answers: who
    comes to the server after that would be a success, too."""
    until(lambda: sum(r.result is None for r in waiting) <= 1)


def wait_edges(server, *expected):
    """A line of the log may come after the state."""
    until(lambda: len(edges(server)) >= len(expected))
    assert edges(server) == list(expected)


@pytest.mark.parametrize("processes", [1, 3])
def test_it_opens_after_failures_in_a_row(cms, kamailio, processes):
    """Counted over all HTTP processes together; one success begins anew."""
    server = kamailio(cms, config=breaking(processes=processes, failures=4))
    for status, expected in [*[(503, "closed")] * 3, (200, "closed"),
                             *[(503, "closed")] * 3, (503, "open")]:
        rule = cms.rule(status=status, times=1)
        assert server.device().register().status == status
        server.settle()
        cms.remove_rule(rule)
        assert states(server) == [expected]
    count = cms.count
    answer = server.device().register()
    seen = shown(answer)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "http")
    assert int(seen["elapsed_ms"]) < 5000 and cms.count == count
    wait_edges(server, "away")


@pytest.mark.parametrize("processes", [1, 3])
def test_one_post_finds_out(cms, kamailio, processes):
    """After the cooldown one POST of one device is under way, whoever else
    comes; when it has succeeded all go through, and one line says so."""
    server = kamailio(cms, config=breaking(processes=processes))
    break_it(server, cms)
    cms.clear()
    cms.rule(hold=True)
    waiting = keep_trying(server, lambda: cms.held > 0)
    assert states(server) == ["half-open"]
    wait_for_the_one(waiting)
    for _ in range(10):
        assert server.device().register().status == 503
    assert (cms.held, cms.count) == (1, 1)
    cms.clear_rules()
    cms.release()
    assert [r.wait().status for r in waiting].count(200) == 1
    until(lambda: states(server) == ["closed"])
    for _ in range(10):
        assert server.device().register().status == 200
    server.settle()
    wait_edges(server, "away", "back")


@pytest.mark.parametrize("processes", [1, 3])
def test_it_goes_on_trying(cms, kamailio, processes):
    """A CMS that stays away gets one POST after each cooldown, and nothing more
    is said of it."""
    server = kamailio(cms, config=breaking(processes=processes))
    break_it(server, cms)
    cms.clear()
    cms.rule(status=503)
    began = time.monotonic()
    keep_trying(server, lambda: cms.count >= 4)
    took = time.monotonic() - began
    assert took >= 3 * COOLDOWN
    times = [r.arrived for r in cms.requests]
    assert all(b - a >= COOLDOWN * 0.95 for a, b in zip(times, times[1:]))
    server.settle()
    wait_edges(server, "away")


def test_it_does_not_stick_to_a_post_without_an_answer(cms, kamailio):
    """The POST that was to find out hangs: it ends at its deadline, and another
    one tries."""
    server = kamailio(cms, config=breaking(timeout=2000))
    break_it(server, cms)
    hanging = cms.rule(hang=True)
    cms.clear()
    keep_trying(server, lambda: cms.count >= 1)
    cms.remove_rule(hanging)
    keep_trying(server, lambda: edges(server) == ["away", "back"])
    assert server.device().register().status == 200


@pytest.mark.parametrize("nth", [0, 1])
def test_it_does_not_stick_to_a_process_that_stands_still(cms, kamailio, nth):
    """The HTTP process that was to find out does not come back: another one
    tries."""
    server = kamailio(cms, config=breaking(processes=2, timeout=2000))
    server.allow_errors("watchdog|overdue|does not")
    break_it(server, cms)
    cms.clear()
    cms.rule(hold=True)
    keep_trying(server, lambda: cms.held > 0)
    process = server.pids("cms_notify http")[nth]
    os.kill(process, signal.SIGSTOP)
    try:
        cms.clear_rules()
        cms.release()
        keep_trying(server, lambda: states(server) == ["closed"])
        until(lambda: server.device().register().status == 200)
    finally:
        os.kill(process, signal.SIGCONT)
    server.settle()
    wait_edges(server, "away", "back")


@pytest.mark.parametrize("status", [409, 425, 403, 400])
def test_an_answer_of_any_kind_is_one(cms, kamailio, status):
    """A CMS that refuses, or cannot decide about this event now, works."""
    server = kamailio(cms, config=breaking(failures=2))
    cms.rule(status=status)
    for _ in range(6):
        server.device().register()
    server.settle()
    assert states(server) == ["closed"] and not edges(server)
    assert cms.count == 6


@pytest.mark.parametrize("status", [409, 425, 403])
def test_an_answer_of_any_kind_closes_it(cms, kamailio, status):
    """The CMS is back when it answers at all."""
    server = kamailio(cms, config=breaking())
    break_it(server, cms)
    cms.rule(status=status)
    keep_trying(server, lambda: states(server) == ["closed"])
    wait_edges(server, "away", "back")


def test_the_others_do_not_wait_for_the_first(cms, kamailio):
    """While the first endpoint is away the second has all events; one after
    each cooldown tries the first, and goes to the second by the same id."""
    with harness.ReferenceCms() as first:
        server = kamailio(first, config=breaking(second=cms.url))
        first.rule(status=503)
        for _ in range(3):
            assert server.device().register().status == 200
        assert states(server) == ["open", "closed"]
        first.clear()
        cms.clear()
        registered = 0
        while first.count < 3:
            assert server.device().register().status == 200
            registered += 1
        told = [r.get("Idempotency-Key") for r in cms.requests]
        assert len(told) == len(set(told)) == registered
        for r in first.requests:
            assert told.count(r.get("Idempotency-Key")) == 1
        times = [r.arrived for r in first.requests]
        assert all(b - a >= COOLDOWN * 0.95 for a, b in zip(times, times[1:]))
        first.clear_rules()
        while states(server) != ["closed", "closed"]:
            assert server.device().register().status == 200
        cms.clear()
        assert server.device().register().status == 200
        assert cms.count == 0
        server.settle()
        wait_edges(server, "away", "back")


def test_endpoints_while_one_is_away(cms, kamailio, tmp_path):
    """cms_notify.endpoints: what has failed, how, and how often; an event that
    was not sent is no attempt."""
    settings = tmp_path / "settings"
    settings.write_text("breaker_cooldown = 600000\n")
    server = kamailio(cms, config=breaking(
        ("max_connections", 4), ("settings_file", str(settings)), failures=3))
    break_it(server, cms)
    for _ in range(5):
        assert server.device().register().status == 503
    one, = server.rpc("cms_notify.endpoints")
    assert (one["state"], one["attempts"], one["failures"], one["in_flight"],
            one["last_cause"], one["last_status"]) == (
                "open", 3, 3, 0, "http", 503)
    cms.rule(hold=True)
    settings.write_text("breaker_cooldown = 10\n")
    server.rpc("cms_notify.reload")
    waiting = keep_trying(server, lambda: cms.held > 0)
    wait_for_the_one(waiting)
    one, = server.rpc("cms_notify.endpoints")
    assert (one["state"], one["attempts"], one["in_flight"]) == (
        "half-open", 4, 1)
    cms.clear_rules()
    cms.release()
    until(lambda: states(server) == ["closed"])
    one, = server.rpc("cms_notify.endpoints")
    assert (one["attempts"], one["failures"], one["in_flight"],
            one["last_status"]) == (4, 3, 0, 200)
    for registration in waiting:
        registration.wait()


def test_many_at_once(cms, kamailio):
    """A crowd whose POSTs fail together makes one line, and so does its way
    back."""
    server = kamailio(cms, config=breaking(processes=3, failures=5))
    cms.rule(status=503, delay=0.1)
    assert {r.wait().status for r in
            [ua.start_register() for ua in server.devices(60)]} == {503}
    assert states(server) == ["open"]
    cms.clear_rules()
    cms.rule(delay=0.1)
    until(lambda: server.device().register().status == 200)
    assert {r.wait().status for r in
            [ua.start_register() for ua in server.devices(60)]} == {200}
    server.settle()
    wait_edges(server, "away", "back")


@pytest.mark.parametrize("processes", [1, 3])
def test_it_follows_a_cms_that_comes_and_goes(cms, kamailio, processes):
    """Each time that it goes and comes back makes one line; afterwards nothing
    is left of it."""
    server = kamailio(cms, config=breaking(
        ("breaker_failures", 2), processes=processes, timeout=3000))
    ways = [{"status": 503}, {"hang": True}, {"close": "request"},
            {"raw": "nonsense\r\n\r\n"}, {"status": 429},
            {"close": "answer", "text": "cut"}]
    for n, way in enumerate(ways, 1):
        rule = cms.rule(**way)
        waiting = keep_trying(
            server, lambda n=n: len(edges(server)) == 2 * n - 1)
        assert states(server) != ["closed"]
        # what began before may not fail after the CMS is back
        assert {r.wait().status for r in waiting} <= {503}
        cms.remove_rule(rule)
        waiting = keep_trying(server, lambda n=n: len(edges(server)) == 2 * n)
        for registration in waiting:
            registration.wait()
        assert states(server) == ["closed"]
    server.settle()
    assert edges(server) == ["away", "back"] * len(ways)
    assert server.device().register().status == 200
    one, = server.rpc("cms_notify.endpoints")
    assert one["in_flight"] == 0
