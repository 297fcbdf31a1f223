"""Devices under load, and what each of them saw.

    Boot    one life of a device: from power-on until it registers anew
    Device  boots, registers, does as the answer says, boots again
    Fleet   many of them over a few sockets

A boot has a Call-ID of its own, which every attempt of it carries, as real
devices do; with detect_reboot each boot is news for the CMS, so that body's
call_id says which one the CMS was told of.
"""

import collections
import itertools
import random
import time

from harness import DOMAIN, HOST, PASSWORD
from sip_ua import Transport, Ua

# A device that hears nothing gives up and begins anew: after timer F of
# RFC 3261, cut short so that a test does not take that long.
PATIENCE = 6.0
RETRY = 0.5  # after an answer that names no time


class Boot:
    def __init__(self, device, number):
        self.device = device
        self.number = number
        self.call_id = f"{device.ua.user}-{number}"
        self.began = time.monotonic()
        self.attempts = []
        self.answers = []  # (time, status)
        self.unanswered = 0
        self.on_line = None  # when the 200 came

    @property
    def seconds(self):
        """From power-on to on line."""
        return self.on_line - self.began


class Device:
    def __init__(self, fleet, ua):
        self.fleet = fleet
        self.ua = ua
        self.boots = []
        self._attempt = None

    @property
    def boot(self):
        return self.boots[-1]

    @property
    def settled(self):
        """The latest boot is on line."""
        return bool(self.boots) and self.boot.on_line is not None

    def power_on(self):
        self.boots.append(Boot(self, len(self.boots) + 1))
        self._try()

    def _try(self):
        if self.fleet.closed:
            return
        boot = self.boot
        attempt = self.ua.start_register(
            retransmit=True, on_done=self._answered, call_id=boot.call_id)
        self._attempt = attempt
        boot.attempts.append(attempt)
        self.ua.transport.hub.call_at(
            time.monotonic() + self.fleet.patience,
            lambda: self._give_up(attempt))

    def _give_up(self, attempt):
        if attempt is self._attempt and attempt.result is None:
            self.boot.unanswered += 1
            attempt.abandon()
            self._try()

    def _answered(self, attempt):
        if attempt is not self._attempt:
            return  # too late: the device has given it up
        now = time.monotonic()
        boot, answer = self.boot, attempt.result
        boot.answers.append((now, answer.status))
        if answer.status == 200:
            boot.on_line = now
            self.fleet.came(self)
            return
        pause = float(answer.get("Retry-After") or RETRY)
        self.ua.transport.hub.call_at(now + pause, self._try)


class Fleet:
    """Devices that boot again and again, each `pause` seconds (on the average)
    after it came on line, until finish(). boots: at most so many each."""

    def __init__(self, server, count, pause=1.0, boots=None,
                 patience=PATIENCE, sockets=4, name="dev"):
        self.pause = pause
        self.patience = patience
        self._most = boots
        self._running = True
        self.closed = False
        self._dice = random.Random(count)
        at = getattr(server, "devices_at", HOST)
        self.transports = [Transport(server.address, local=(at, 0))
                           for _ in range(sockets)]
        names = [f"{name}{n}" for n in range(count)]
        server.add_subscribers(names)
        ways = itertools.cycle(self.transports)
        self.devices = [
            Device(self, Ua(user=user, domain=DOMAIN, password=PASSWORD,
                            transport=way, contact=f"<sip:{user}@"
                            f"{way.host_port}>"))
            for user, way in zip(names, ways)]
        self.hub = self.transports[0].hub

    def start(self, spread=None):
        """Power on, spread over so many seconds (default: `pause`)."""
        now = time.monotonic()
        spread = self.pause if spread is None else spread
        for device in self.devices:
            self.hub.call_at(now + self._dice.uniform(0, spread),
                             device.power_on)
        return self

    def came(self, device):
        """A device is on line (in the hub's thread)."""
        with self.hub.changed:
            self.hub.changed.notify_all()
        if self._running and (self._most is None
                              or len(device.boots) < self._most):
            pause = self._dice.uniform(0.5, 1.5) * self.pause
            self.hub.call_at(time.monotonic() + pause,
                             lambda: self._again(device))

    def _again(self, device):
        if self._running:
            device.power_on()

    @property
    def boots(self):
        return [b for d in self.devices for b in d.boots]

    def wait_boots(self, count, timeout=60.0):
        """Until so many registrations have succeeded."""
        if not self.hub.wait(lambda: self.registered() >= count, timeout):
            raise AssertionError(
                f"{self.registered()} of {count} registrations in {timeout} s")

    def registered(self):
        return sum(b.on_line is not None for b in self.boots)

    def finish(self, timeout=60.0):
        """No new boots; wait until every device is on line. AssertionError if
        one does not come."""
        self._running = False
        if not self.hub.wait(
                lambda: all(d.settled or not d.boots for d in self.devices),
                timeout):
            left = [d for d in self.devices if d.boots and not d.settled]
            raise AssertionError(
                f"{len(left)} devices not on line after {timeout} s, such as "
                f"{left[0].ua.aor}: {left[0].boot.answers[-5:]}")

    def close(self):
        self._running = False
        with self.hub.lock:
            self.closed = True
        for transport in self.transports:
            transport.close()

    # -- what they saw ---------------------------------------------------------

    def answers(self):
        """{status: how often}, of whole registrations."""
        return collections.Counter(
            status for b in self.boots for _when, status in b.answers)

    def unanswered(self):
        return sum(b.unanswered for b in self.boots)

    def slowest(self):
        """Seconds that the slowest answer took."""
        return max((a.seconds for b in self.boots for a in b.attempts
                    if a.seconds is not None), default=0.0)

    def longest_wait(self):
        """Seconds from power-on to on line, of the unluckiest device."""
        return max((b.seconds for b in self.boots if b.on_line is not None),
                   default=0.0)
