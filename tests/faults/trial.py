"""A fault while devices register, from before it to after it.

    with Trial(server, [cms], devices=50) as trial:
        trial.warm_up()
        ... make the fault ...
        trial.over()            # it is gone; the clock of the recovery runs
        trial.load(1.0)         # the devices go on
        trial.end(row("CMS killed and restarted"))

end() waits until all is quiet, checks the invariants (ledger) and gives the
line of the table.
"""

import dataclasses
import time

import ledger
from fleet import Fleet


@dataclasses.dataclass
class Row:
    """A line of the table that the documentation shows."""
    fault: str
    mode: str
    device: str
    cms: str
    lost: str
    recovery: str


class Trial:
    def __init__(self, server, cmses, devices=50, pause=1.0, boots=None,
                 **kw):
        self.server = server
        self.cmses = cmses
        self.fleet = Fleet(server, devices, pause, boots, **kw)
        self.died = []
        self.over_at = self._empty = None

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.fleet.close()

    def requests(self):
        """What all endpoints got, an event each, in order of arrival."""
        return sorted((r for cms in self.cmses
                       for r in ledger.parts(cms.requests)),
                      key=lambda r: r.arrived)

    def warm_up(self):
        """All devices on line, some of them for the second time."""
        self.fleet.start()
        self.fleet.wait_boots(len(self.fleet.devices) * 3 // 2)
        return self

    def load(self, seconds):
        """The load goes on, for as long as the fault is to last."""
        time.sleep(seconds)

    def kill(self):
        """kill -9 of the server, and a new one."""
        began = time.monotonic()
        self.server.kill()
        self.server.start_again()
        self.died.append((began, time.monotonic()))

    def first_answer(self, timeout=30.0):
        """Seconds from the last kill until a device that registered since has
        its answer."""
        since, _there = self.died[-1]

        def found():
            return min((b.answers[-1][0]
                        for b in (d.boot for d in self.fleet.devices)
                        if b.answers and b.answers[-1][0] > since
                        and b.attempts[-1].started > since), default=None)

        if not self.fleet.hub.wait(lambda: found() is not None, timeout):
            raise AssertionError(f"no device answered {timeout} s after a kill")
        return found() - since

    def over(self, timeout=60.0):
        """The fault is gone. Waits until the outbox is empty, under load."""
        self.over_at = time.monotonic()
        if self.server.mode == "defer":
            self.server.wait_outbox(lambda waiting: waiting == 0, timeout)
            self._empty = time.monotonic()

    def end(self, fault, timeout=60.0, recovery=None, note=None,
            others=()):
        """Row. AssertionError with everything that is not as it must be.
        `others`: more fleets that must be known to the CMS."""
        self.fleet.finish(timeout)
        devices = [d for f in (self.fleet, *others) for d in f.devices]
        broken = ledger.settled(self.server, timeout)
        requests = self.requests()
        lost = ledger.told(devices, requests)
        broken += lost + ledger.order(
            devices, requests, getattr(self.server, "by_number", False))
        broken += ledger.once(devices, self.fleet.patience, self.died)
        assert not broken, f"{len(broken)} claims broken:\n" \
            + "\n".join(broken[:20]) + self._died()
        return Row(
            fault, self.server.mode, self._device(), self._cms(requests),
            f"{len(lost)} of {self.fleet.registered()}",
            "; ".join(filter(None, [recovery or self._recovery(requests),
                                    note])))

    def _died(self):
        return "\nkilled at " + ", ".join(
            f"{gone:.3f}" for gone, _there in self.died) if self.died else ""

    def _device(self):
        answers = self.fleet.answers()
        words = [f"{count} × {status}"
                 for status, count in sorted(answers.items())]
        if self.fleet.unanswered():
            words.append(f"{self.fleet.unanswered()} × no answer, sent again")
        return (f"{', '.join(words)}; slowest answer "
                f"{seconds(self.fleet.slowest())}, on line after at most "
                f"{seconds(self.fleet.longest_wait())}")

    def _cms(self, requests):
        accepted = sum(r.outcome == 200 for r in requests)
        posts = sum(cms.count for cms in self.cmses)
        events = f" of {len(requests)} events" if posts < len(requests) else ""
        return (f"{posts} POSTs{events}, {accepted} accepted, "
                f"{ledger.repeats(requests)} repeated, 0 out of order")

    def _recovery(self, requests):
        """From the end of the fault."""
        first = min((r.answered for r in requests if r.outcome == 200
                     and r.answered > self.over_at), default=None)
        words = []
        if first is not None:
            words.append(f"first event after {seconds(first - self.over_at)}")
        if self._empty is not None:
            words.append("outbox empty after "
                         + seconds(self._empty - self.over_at))
        last = max(b.on_line for b in self.fleet.boots
                   if b.began <= self.over_at)
        words.append("all waiting devices on line after "
                     + seconds(max(0.0, last - self.over_at)))
        return ", ".join(words)


def seconds(number):
    return f"{number:.2f} s" if number < 10 else f"{number:.0f} s"
