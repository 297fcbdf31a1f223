"""Kamailio dies, in whole or in part, is stopped, or sees another time."""

import os
import random
import statistics
import time

import pytest

from alerts import away, turned_away
from harness import until
from server import QUICK
from sizes import modes
from trial import Trial, seconds

LIBRARY = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


@modes("defer", "reject")
def test_killed_at_random(mode, size, cms, server, row):
    """kill -9 at random moments while devices register, the CMS being there
    half of the time."""
    times = size.pick(8, 100)
    dice = random.Random(times)
    one = server(cms, mode, size.refused)
    with Trial(one, [cms], size.devices, pause=0.2, patience=4.5) as trial:
        trial.warm_up()
        recoveries = []
        for n in range(times):
            if n % 2:
                cms.start()
            else:
                cms.stop()
            trial.load(dice.uniform(0, 0.5))
            trial.kill()
            recoveries.append(trial.first_answer())
        cms.start()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end(
            f"kill -9 of Kamailio, {times} times at random", recovery="next "
            f"device answered {seconds(statistics.median(recoveries))} after "
            f"the kill (median, restart included), at most "
            f"{seconds(max(recoveries))}; {one.status()['delivered']} "
            "delivered by the last server"),
            turned_away(mode) | {"Restarts", "Down?", "Slow?"})


@pytest.mark.parametrize("process", ["http", "verdict", "outbox"])
@modes("defer", "reject")
def test_child_killed(mode, size, process, cms, server, row):
    """kill -9 of one of the module's processes: Kamailio ends, says so, and is
    started again."""
    if process == "outbox" and mode == "reject":
        pytest.skip("there is no outbox process")
    own = {"verdict_processes": 2} if process == "verdict" else {}
    one = server(cms, mode, {**size.refused, **own})
    with Trial(one, [cms], size.devices) as trial:
        trial.warm_up()
        cms.stop()
        trial.load(size.seconds / 2)
        began = time.monotonic()
        one.kill_process(f"cms_notify {process}")
        status = one.wait_exit()
        ended = time.monotonic() - began
        assert status != 0, "Kamailio ended as if it were told to"
        one.start_again()
        trial.died.append((began, time.monotonic()))
        cms.start()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end(f"kill -9 of the {process} process",
                      note=f"Kamailio ended by itself after {seconds(ended)}"),
            turned_away(mode) | {"CmsAway", "EndpointAway?", "Down?"})


@modes("defer", "reject")
def test_terminated(mode, size, cms, server, row):
    """SIGTERM under load, with POSTs under way: who is parked is answered."""
    one = server(cms, mode, size.refused)
    with Trial(one, [cms], size.devices) as trial:
        trial.warm_up()
        cms.rule(delay=0.2)
        trial.load(size.seconds / 4)
        until(lambda: one.rpc("cms_notify.parked"))
        attempts = {d.ua.aor: d.boot.attempts[-1] for d in trial.fleet.devices
                    if d.boot.attempts}
        parked = [attempts[waiting["aor"]]
                  for waiting in one.rpc("cms_notify.parked")
                  if waiting["aor"] in attempts]
        began = time.monotonic()
        assert one.stop() == 0
        took = time.monotonic() - began
        # their answers may still have to be read
        until(lambda: all(a.steps[-1].final for a in parked))
        cms.clear_rules()
        one.start_again()
        # Nobody was there to answer what was sent meanwhile.
        trial.died.append((began, time.monotonic()))
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("SIGTERM under load, started again",
                      note=f"stopped in {seconds(took)}, "
                      f"{len(parked)} parked devices answered"))


@pytest.mark.short
@pytest.mark.long
def test_stopped_with_expired_bindings(cms, server):
    """An ordinary stop, with registrations that have run out and that usrloc
    has not purged yet."""
    one = server(cms, "defer", QUICK,
                 settings={"MIN_EXPIRES": 1, "USRLOC_SYNC": 60})
    for ua in one.devices(5):
        assert ua.register(expires=1).status == 200
    time.sleep(2.1)  # usrloc counts whole seconds
    assert one.stop() == 0


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])
@modes("defer", "reject")
def test_clock(mode, size, hours, cms, server, row, tmp_path):
    """The clock that Kamailio sees jumps by an hour, with the CMS away; the
    monotonic clock does not, as with a real one."""
    if not os.path.exists(LIBRARY):
        pytest.skip("no libfaketime (package faketime)")
    control = tmp_path / "clock"

    def step(seconds):
        # at once: libfaketime ends a process that reads half of it
        (tmp_path / "new").write_text(f"{seconds:+d}\n")
        os.replace(tmp_path / "new", control)

    step(0)
    one = server(cms, mode, size.refused, wrap=[
        "env", f"LD_PRELOAD={LIBRARY}", f"FAKETIME_TIMESTAMP_FILE={control}",
        "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1"])
    with Trial(one, [cms], size.devices) as trial:
        trial.warm_up()
        cms.stop()
        trial.load(size.seconds / 2)
        seen = clock(one)
        step(3600 * hours)
        trial.load(size.seconds / 2)
        assert abs(clock(one) - seen - 3600 * hours) < 60, \
            "Kamailio has not seen the clock jump"
        cms.start()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("clock stepped an hour "
                      + ("forward" if hours > 0 else "back")), away(mode))


def clock(one):
    """Seconds since 1970, as Kamailio sees it."""
    now = one.rpc("core.uptime")["now"]
    return time.mktime(time.strptime(now, "%a %b %d %H:%M:%S %Y"))
