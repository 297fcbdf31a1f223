"""Alerts for what no other fault of this suite is, or not for long enough."""

import math
import re

import pytest

from alerts import FASTER, SECONDS, away, quicker
from harness import until
from prometheus import RULES_FILE
from trial import Trial

pytestmark = pytest.mark.alerts

MB = 1 << 20


def register(one, count):
    for ua in one.devices(count):
        assert ua.register().status == 200


@pytest.mark.short
def test_no_time_is_left_as_it_was():
    """In what the rules wait for, and in what they look at."""
    def times(text):
        text = re.sub(r'^ +(summary|action): ".*"$', "", text, flags=re.M)
        found = re.findall(r"\b(\d+)(ms|[smh])\b|_seconds > ([\d.]+)", text)
        return [int(number) * {"ms": 0.001, **SECONDS}[unit] if unit
                else float(seconds) for number, unit, seconds in found]

    rules = RULES_FILE.read_text("utf-8")
    assert len(times(rules)) > 20
    assert [FASTER * time for time in times(quicker(rules))] == pytest.approx(
        times(rules))


def test_all_is_well(cms, server, fires):
    with Trial(server(cms), [cms], 40) as trial:
        trial.warm_up().load(15)
        fires("no fault", "defer", set())


def test_kamailio_is_away(cms, server, fires):
    server(cms).kill()
    fires("Kamailio is away", "defer", {"Down"})


def test_slow(cms, server, fires):
    cms.rule(delay=1.5)
    with Trial(server(cms), [cms], 40) as trial:
        trial.fleet.start()
        fires("the CMS takes 1.5 s for each event", "defer", {"Slow"})


def test_cms_is_away_for_long(cms, server, fires):
    one = server(cms)
    cms.stop()
    register(one, 10)
    fires("the CMS is away for half an hour", "defer",
          away("defer") | {"OutboxOld"})


def test_outbox_is_full(cms, server, fires):
    one = server(cms, settings={"CMS_OUTBOX_MAX": 10})
    cms.stop()
    register(one, 9)
    fires("the CMS is away, and the outbox is nearly full", "defer",
          away("defer") | {"OutboxFull"})


def test_paused(cms, server, fires):
    server(cms).rpc("cms_notify.pause")
    fires("the outbox has been paused for an hour", "defer", {"OutboxPaused"})


def test_draining(cms, server, fires):
    server(cms).rpc("cms_notify.drain")
    fires("the server has been draining for an hour", "defer", {"Draining"})


def test_dead_letters(cms, server, fires):
    one = server(cms)
    busy = cms.rule(status=503)
    register(one, 1)
    cms.rule(status=400)
    cms.remove_rule(busy)
    fires("the CMS refuses an event of the outbox", "defer", {"DeadLetters"})


def test_memory(cms, server, fires):
    one = server(cms, watched=False)
    used = one.shm_used()
    one.stop()
    server(cms, options=["-m", str(math.ceil(1.1 * used / MB))])
    fires("shared memory is low", "defer", {"Memory"})


def test_no_registrations(cms, server, fires):
    one = server(cms)
    counter = "sum(cms_notify_registrations_total)"
    until(lambda: one.watch.prometheus.ask(counter) == [0], 60)
    register(one, 10)
    fires("no device comes any more", "defer", {"NoRegistrations"})


def test_many_fall_silent(cms, server, fires):
    one = server(cms, params={"alive_timeout": 5})
    register(one, 10)
    fires("all devices fall silent", "defer", {"ManyOffline"})
