"""Batches that the CMS answers badly, in part or not at all; and Kamailio dies with
one under way. What is wrong with a batch loses none of its events, and what is
wrong with an event touches no other."""

import contextlib

from sizes import modes
from trial import Trial

BATCHES = {"batch_max": 50, "http_processes": 1, "max_connections": 1}
# With one connection: meanwhile others come, and are the next batch.
SERVICE = 0.05
# Events that a batch has left are sent one by one, which is too slow for all.
BUSY = {"TurnedAway?"}

WHOLE = [
    {"status": 500}, {"status": 409}, {"body": "ok"}, {"body": "[]"},
    {"raw": b"nonsense"}, {"close": "answer"},
    {"close": "request", "reset": True}]


@contextlib.contextmanager
def trial_of(mode, size, cms, server):
    """Devices on line, by batches."""
    cms.rule(delay=SERVICE)
    one = server(cms, mode, {**size.params, **BATCHES})
    with Trial(one, [cms], size.devices) as trial:
        trial.warm_up()
        wait_batch(cms, 0)
        yield trial


def wait_batch(cms, before):
    """Until one of several events is among those after the first so many. A rule
    that spoils what is alone, too, may see none: the CMS is then asked one by one."""
    cms.wait_until(lambda: any(len(r.json) > 1 for r in cms.requests[before:]), 30)


@contextlib.contextmanager
def batch_held(cms):
    """The CMS has read a batch, and does not answer."""
    rule = cms.rule(hold=True, several=True)
    cms.wait_until(lambda: cms.held, 30)
    yield
    cms.remove_rule(rule)


def spoiled(trial, devices):
    """How often one of them was turned away, other than because it was late."""
    stats = trial.server.stats()
    late = stats["unavailable"] - stats["bad_answer"] + stats["busy"]
    return sum(status != 200 for d in devices for b in d.boots
               for _when, status in b.answers) - late


@modes("defer", "reject", short=2)
def test_answers_to_the_whole(mode, size, cms, server, row):
    """One after the other, all that can be wrong with an answer."""
    with trial_of(mode, size, cms, server) as trial:
        for rule in WHOLE:
            bad = cms.rule(delay=SERVICE, several=True, **rule)
            wait_batch(cms, cms.count)
            trial.load(size.seconds / len(WHOLE))
            cms.remove_rule(bad)
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("batches answered as a whole: 500, 409, no array, an empty "
                      "one, no HTTP, half of it, a reset"), BUSY)


@modes("defer", "reject", short=2)
def test_half_of_the_results(mode, size, cms, server, row):
    """Every other device has none. The rest notices nothing."""
    with trial_of(mode, size, cms, server) as trial:
        devices = trial.fleet.devices
        bad = [cms.rule(match={"username": d.ua.user}, results=[])
               for d in devices[::2]]
        wait_batch(cms, cms.count)
        trial.load(size.seconds)
        assert mode == "defer" or spoiled(trial, devices[1::2]) <= 0
        for rule in bad:
            cms.remove_rule(rule)
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("half of the devices have no result in their batches"), BUSY)


@modes("reject")
def test_a_batch_refused_for_one(mode, size, cms, server, row):
    """400 for each batch with a certain device in it. The rest notices nothing."""
    with trial_of(mode, size, cms, server) as trial:
        one, *rest = trial.fleet.devices
        before = cms.count
        bad = cms.rule(match={"username": one.ua.user}, whole=True, status=400)
        refused = trial.server.stats()["rejected"]
        trial.server.wait_stat("rejected", lambda n: n > refused)
        wait_batch(cms, before)
        trial.load(size.seconds)
        assert spoiled(trial, rest) <= 0
        cms.remove_rule(bad)
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("a batch is refused because of one device in it"), BUSY)


@modes("defer", "reject", short=2)
def test_a_cms_that_dies_with_a_batch(mode, size, cms, server, row):
    """It has read one, and is killed before it answers; again and again."""
    with trial_of(mode, size, cms, server) as trial:
        for _ in range(size.pick(3, 10)):
            with batch_held(cms):
                cms.stop()
            trial.load(size.seconds / 10)
            cms.start()
            trial.load(size.seconds / 10)
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("CMS killed with a batch that it has read"),
            BUSY | {"CmsAway?", "EndpointAway?"})


@modes("defer", "reject", short=2)
def test_kamailio_dies_with_a_batch(mode, size, cms, server, row):
    """kill -9 while the CMS has a batch: it answers to nobody, what waits in the
    outbox meanwhile is told by the next one."""
    with trial_of(mode, size, cms, server) as trial:
        for _ in range(size.pick(3, 20)):
            with batch_held(cms):
                trial.load(size.seconds / 10)
                trial.kill()
            trial.first_answer()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("kill -9 of Kamailio with a batch under way"),
            BUSY | {"Restarts", "Slow?", "Down?"})
