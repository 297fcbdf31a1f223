"""With every endpoint down: verdicts at once; and the way back."""

import statistics
import time

import pytest

from alerts import LASTS, away
from server import QUICK
from trial import Row, seconds

VERDICT_SECONDS = 0.010
DEVICES = 40
# A test machine has other things to do, too: the best round counts, without the
# slowest of it, and more than what an OPTIONS takes at that time.
ROUNDS = 5
SLOW = 4
OPTIONS = 5


def until_open(one):
    """Registrations until the breaker of each endpoint is open."""
    while any(e["state"] != "open" for e in one.rpc("cms_notify.endpoints")):
        waiting = [ua.start_register() for ua in one.devices(10)]
        for registration in waiting:
            assert registration.wait().status == 503


def answered(ua):
    """(status, seconds) of a registration, without the challenge."""
    registration = ua.start_register()
    status = registration.wait().status
    return status, registration.steps[-1].latency


@pytest.mark.parametrize("params", [
    pytest.param(QUICK, marks=pytest.mark.short, id="short"),
    pytest.param(QUICK, marks=pytest.mark.alerts, id="alerts"),
    pytest.param({}, marks=pytest.mark.long, id="long")])
def test_verdict_at_once(params, make_cms, server, row):
    """Two endpoints hang. Once both breakers are open nobody is asked, and a new
    registration has its verdict within 10 ms."""
    both = make_cms(), make_cms()
    for cms in both:
        cms.rule(hang=True)
    one = server(both[0], "reject",
                 {**params, "breaker_cooldown": 60000}, urls=[both[1].url])
    until_open(one)
    posts = sum(cms.count for cms in both)
    rounds = []
    for _ in range(ROUNDS):
        taken, quick = [], []
        for ua in one.devices(DEVICES):
            quick.append(ua.options()[1])
            status, latency = answered(ua)
            assert status == 503
            taken.append(latency)
        most = VERDICT_SECONDS + OPTIONS * sorted(quick)[-1 - SLOW]
        rounds.append(sorted(taken))
        if rounds[-1][-1 - SLOW] < most:
            break
    else:
        pytest.fail(f"verdicts are late: {rounds}")
    assert sum(cms.count for cms in both) == posts
    best = rounds[-1]
    row(Row("both endpoints hang, their breakers are open", "reject",
            f"503 after {1000 * statistics.median(best):.1f} ms (median), "
            f"{1000 * best[-1]:.1f} ms (slowest of {len(best)})",
            "nothing", "0 of 0", "–"), away("reject"), within=LASTS)


@pytest.mark.parametrize("how", ["refuses", "hangs"])
@pytest.mark.parametrize("params", [
    # a busy machine takes its time for the POST that is to find out
    pytest.param({**QUICK, "timeout": 4000}, marks=pytest.mark.short, id="short"),
    pytest.param({}, marks=pytest.mark.long, id="long")])
def test_first_one_after(params, how, cms, server, row):
    """The CMS is back: the first registration that comes after
    breaker_cooldown and the time of one attempt goes through, or one before it."""
    one = server(cms, "reject", params)
    # With one endpoint an attempt may take the whole of `timeout`.
    most = params.get("breaker_cooldown", 2000) / 1000
    if how == "refuses":
        cms.stop()
    else:
        hanging = cms.rule(hang=True)
        most += params.get("timeout", 4000) / 1000
    until_open(one)
    if how == "refuses":
        cms.start()
    else:
        cms.remove_rule(hanging)
    back = time.monotonic()
    tries = []
    while not any(t.result is not None and t.result.status == 200
                  for t in tries):
        assert time.monotonic() < back + most + 30, "no registration succeeds"
        tries.append(one.devices(1)[0].start_register())
        time.sleep(0.05)  # the devices come in one after the other
    found = min((t for t in tries if t.result is not None
                 and t.result.status == 200), key=lambda t: t.result.time)
    first = found.result.time
    sent = sorted(t.steps[-1].request.time for t in tries)
    # of two at the same time either may be the first for the server
    late = [when for when in sent if when > back + most][:2]
    assert found.steps[-1].request.time <= max(late, default=first)
    row(Row(f"the CMS {how}, and is back", "reject",
            f"the first 200 after {seconds(first - back)}; allowed: "
            f"{most:g} s", "–", "0 of 1", seconds(first - back)))
