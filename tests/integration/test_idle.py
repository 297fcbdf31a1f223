"""A server that has nothing to do wakes no process for it."""

import re
import time

import pytest

from harness import until

pytestmark = pytest.mark.contract

TICKS = 32  # of Kamailio's timer, in two seconds
# Of other modules: what is due once a second.
A_SECOND = 3


def sleeps(pid):
    """How often it has gone to sleep: as often it has been woken."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(r"\nvoluntary_ctxt_switches:\s*(\d+)",
                             file.read()).group(1))


def test_the_watchdog_wakes_no_process(kamailio, cms):
    """It runs where Kamailio counts its ticks, and wakes nobody else."""
    server = kamailio(cms)
    timer, = (int(p["PID"]) for p in server.rpc("core.psx")
              if p["DSC"] == "timer")
    others = server.pids("slow timer") + server.pids("cms_notify")
    began = time.monotonic()
    before = {pid: sleeps(pid) for pid in (timer, *others)}
    until(lambda: sleeps(timer) - before[timer] >= TICKS, timeout=30)
    after = {pid: sleeps(pid) for pid in others}
    seconds = time.monotonic() - began
    for pid in others:
        assert after[pid] - before[pid] < TICKS / 2 + seconds * A_SECOND
