"""What a storm was like: the claims, a summary in Markdown, a plot in SVG."""

import subprocess
import typing
from bisect import bisect_left
from datetime import date

import harness

MB = 1 << 20
OPTIONS_SECONDS = 0.050
BUSY = 0.90
BEHIND = 5.0  # seconds after the last device has come, with batches
REPEATS = 0.001
# times the CMS's own time and the interval of the devices that have one
IN_TIME = 1.2


class Sample(typing.NamedTuple):
    when: float
    queued: int
    in_flight: int
    parked: int
    shm: int
    own: int  # memory of the processes besides that


def percentile(values, percent):
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def spread(refused):
    return (f"503 for each device: median {percentile(refused, 50)}, 99 % at most "
            f"{percentile(refused, 99)}, all at most {max(refused, default=0)}")


def listed(names):
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"


def page(old, section):
    """The page with this section in it; what it has of other storms stays."""
    parts = {text.partition("\n")[0]: "## " + text
             for text in old.split("\n## ")[1:]}
    parts[section.removeprefix("## ").partition("\n")[0]] = section
    return "\n".join(["# Storms of devices", "",
                      "Written by `make storm`. Settings: the shipped ones where "
                      "nothing else is said.", "",
                      *(part.rstrip("\n") + "\n" for part in parts.values())])


class Report:
    def __init__(self, options, devices, began, cms, pings, watched, errors,
                 fired, dashboard):
        self.options = options
        self.devices = devices
        self.began = began
        self.cms = cms
        self.errors = errors
        self.fired = fired
        self.dashboard = dashboard
        self.samples, self.stats, self.shm_most, self.cpu = watched
        self.on_line = sorted(when for when in devices.on_line if when)
        end = self.on_line[-1] if self.on_line else began
        self.seconds = end - began
        self.timed_pings = pings
        self.pings = [taken for when, taken in pings if began < when < end]
        self.claims = self._claims()
        self.broken = [c for c in self.claims if not c[1]]

    # -- claims --------------------------------------------------------------

    def busy(self):
        """Share of what the CMS could have taken between its first POST and
        its last, that it took."""
        arrived = [a for a, _done in self.cms.posts]
        if not arrived:
            return 0.0
        lasted = max(d for _a, d in self.cms.posts) - min(arrived)
        return len(arrived) / (self.options.rate * lasted)

    def slow(self):
        since, until, factor = self.options.slow
        if factor == 1:
            return ""
        return f" ({factor:g} times that from {since:g} to {until:g} s)"

    def repeats(self):
        return sum(self.cms.devices.values()) - len(self.cms.devices)

    def memory(self):
        """MB by which the processes have grown at the most."""
        own = [s.own for s in self.samples]
        return (max(own) - own[0]) / MB if own else 0.0

    def own(self):
        """Seconds that the CMS alone needs."""
        return self.options.devices / self.options.rate

    def refusals(self, fixed):
        """503 for each of the devices that come after an interval of their own,
        or of the others."""
        return [n for n, interval in zip(self.devices.refusals,
                                         self.devices.intervals)
                if (interval is not None) == fixed]

    def _on_line(self):
        count = self.options.devices
        measured = (f"{len(self.on_line)} of {count} after {self.seconds:.0f} s; "
                    f"the CMS alone needs {self.own():.0f} s")
        if not self.options.fixed:
            return ("all devices are on line", len(self.on_line) == count,
                    measured)
        most = self.options.interval[1]
        return (f"all devices are on line within {IN_TIME:g} times the CMS's own "
                f"time and {most:g} s", len(self.on_line) == count
                and self.seconds <= IN_TIME * (self.own() + most), measured)

    def _once(self):
        most = 0 if self.options.fixed else REPEATS * self.options.devices
        return ("it sees each device once"
                + (", and at most 0.1 % again" if most else ""),
                self.repeats() <= most,
                f"{self.repeats()} repeats, {self.cms.abandoned} given up")

    def _speed(self):
        """What there is to say of it: one event in a POST takes all that the CMS
        has, a batch takes what there is. While devices stay away for a minute
        the CMS may have nothing to do."""
        if self.options.batch > 1:
            yield (f"all of them at most {BEHIND:g} s after the last one came",
                   self.seconds <= self.options.seconds + BEHIND,
                   f"after {self.seconds:.1f} s; {len(self.cms.posts)} POSTs, "
                   f"{len(self.cms.events) / max(1, len(self.cms.posts)):.1f} "
                   "events in each")
        elif not self.options.fixed:
            yield ("it is at least 90 % busy until the end", self.busy() >= BUSY,
                   f"{100 * self.busy():.1f} %")

    def _patient(self):
        refused = self.refusals(False)
        if refused:
            yield ("who comes back when it was told to is not sent away again, "
                   "but for 1 %", percentile(refused, 99) <= 1, spread(refused))

    def _alerts(self):
        must = self.options.must_fire
        if must is not None:
            yield (f"alerts that fire: {listed(must)}", self.fired == must,
                   listed(self.fired))

    def _claims(self):
        """(claim, holds, what was measured)"""
        options, cms = self.options, self.cms
        slowest = 1000 * percentile(self.pings, 99)
        shm = self.shm_most / MB
        return [
            self._on_line(),
            ("the CMS never has more in flight than allowed",
             cms.max_in_flight <= options.connections,
             f"{cms.max_in_flight} of {options.connections}"),
            self._once(),
            *self._speed(),
            ("OPTIONS takes less than 50 ms at the 99th percentile",
             slowest < 1000 * OPTIONS_SECONDS,
             f"{slowest:.1f} ms; median "
             f"{1000 * percentile(self.pings, 50):.1f} ms, slowest "
             f"{1000 * max(self.pings, default=0):.0f} ms of "
             f"{len(self.pings)}"),
            ("memory is bounded", shm < 0.9 * options.memory,
             f"at most {shm:.0f} of {options.memory} MB of shared memory; "
             f"the processes grew by {self.memory():.0f} MB"),
            *self._patient(),
            *self._alerts(),
            ("nobody waits in vain", self.stats["timeout"] == 0,
             f"{self.stats['timeout']} had no verdict of the CMS in time"),
            ("Kamailio has no error to tell of", not self.errors,
             f"{len(self.errors)} lines"
             + (f", such as {self.errors[0][:200]!r}" if self.errors else "")),
        ]

    # -- summary ----------------------------------------------------------------

    def _devices(self):
        """Who comes, and what the CMS is like."""
        options = self.options
        least, most = options.interval
        cores = subprocess.run(["nproc"], capture_output=True, text=True,
                               check=True).stdout.strip()
        fixed = "All come back when `Retry-After` says"
        if options.fixed:
            fixed = (f"{options.fixed} % do not care for `Retry-After`; each of "
                     "them comes back after an interval of its own, "
                     f"{least:g} to {most:g} s")
        return (f"{options.devices} devices register within "
                f"{options.seconds:g} s at a CMS that takes {options.rate} POSTs "
                f"a second and {1000 * options.service:g} ms for each"
                f"{self.slow()}. {fixed}. {options.connections} connections to "
                "the CMS" + (f", `CMS_BATCH_MAX` {options.batch}"
                             if options.batch > 1 else "")
                + "".join(f", `{name}` {value}" for name, value in options.set)
                + f". Measured on {date.today()}, Kamailio "
                f"{harness.environment()['KAMAILIO_VERSION']}, {cores} cores, "
                "devices and CMS on the same machine.")

    def title(self):
        fixed = {0: "Devices that come back when they are told to",
                 100: "Devices that come back after an interval of their own"}
        return (fixed.get(self.options.fixed, "Devices of both kinds")
                + (", in batches" if self.options.batch > 1 else ""))

    def section(self, plot):
        devices = self.devices
        waits = sorted(
            when - self.began for when in devices.on_line if when)
        lines = [
            f"## {self.title()}", "", self._devices(), "",
            f"![registered devices, and those that wait]({plot}.svg)", "",
            f"[The dashboard meanwhile]({plot}-dashboard.svg)", "",
            "| Claim | | Measured |", "|---|---|---|"]
        lines += [f"| {claim} | {'yes' if holds else '**no**'} | {measured} |"
                  for claim, holds, measured in self.claims]
        answers = ", ".join(
            f"{n} × {status}"
            for status, n in sorted(devices.statuses.items()))
        pauses = sorted(devices.retry_after.elements())
        lines += [
            "", f"- Answers: {answers}; {devices.retransmissions} "
            f"retransmissions by devices, {devices.given_up} given up.",
            "- On line, after the first device came: half of them after "
            f"{percentile(waits, 50):.0f} s, 99 % after "
            f"{percentile(waits, 99):.0f} s.",
            f"- `Retry-After`: median {percentile(pauses, 50)} s, at most "
            f"{max(pauses, default=0)} s."]
        if self.options.fixed:
            lines.append("- With an interval of their own: "
                         + spread(self.refusals(True)) + ".")
        lines += [
            f"- CMS: {self.cms.connections} connections in all.",
            f"- CPU seconds: Kamailio {self.cpu:.0f}, "
            f"{1e6 * self.cpu / max(1, len(self.on_line)):.0f} µs for each "
            f"device that is on line; the devices {devices.cpu:.0f}, the CMS "
            f"{self.cms.cpu:.0f}.",
            f"- The load generator was late by at most "
            f"{1000 * devices.latest:.0f} ms.", ""]
        return "\n".join(lines)

    def series(self):
        """The data of the plot, a line for each sample."""
        done = sorted(done for _arrived, done in self.cms.posts)
        pings = sorted(self.timed_pings)
        last = self.began
        lines = ["seconds on_line parked queued in_flight posts shm_mb ping_ms"]
        for s in self.samples:
            taken = [t for when, t in pings if last <= when < s.when]
            lines.append(
                f"{s.when - self.began:.1f} {bisect_left(self.on_line, s.when)}"
                f" {s.parked} {s.queued} {s.in_flight}"
                f" {bisect_left(done, s.when) - bisect_left(done, last)}"
                f" {s.shm / MB:.0f} {1000 * max(taken, default=0):.0f}")
            last = s.when
        return "\n".join(lines)

    # -- plot --------------------------------------------------------------------

    def plot(self):
        registered = [
            (s.when - self.began, bisect_left(self.on_line, s.when))
            for s in self.samples]
        waiting = [(s.when - self.began, s.parked) for s in self.samples]
        queued = [(s.when - self.began, s.queued) for s in self.samples]
        seconds = [int(done - self.began) for _a, done in self.cms.posts]
        rate = [(t + 0.5, seconds.count(t))
                for t in range(max(seconds, default=0) + 1)]
        end = max(self.seconds, 1.0)
        return svg(end, [
            ("devices on line", self.options.devices,
             [("on line", "#1f77b4", registered)]),
            ("devices that wait for their verdict",
             max([n for _t, n in waiting], default=1),
             [("parked", "#d62728", waiting), ("queued", "#ff7f0e", queued)]),
            ("POSTs answered by the CMS, a second",
             max([n for _t, n in rate], default=1),
             [("POSTs", "#2ca02c", rate)])])


WIDTH, HEIGHT, LEFT, TOP, GAP = 760, 170, 70, 30, 50


def svg(end, panels):
    """Panels (title, most, [(name, colour, [(x, y)])]) over the same time."""
    height = TOP + len(panels) * (HEIGHT + GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 30}"'
        f' height="{height}" font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>']
    for number, (title, most, curves) in enumerate(panels):
        parts += panel(TOP + number * (HEIGHT + GAP), title, end, most or 1,
                       curves)
    return "\n".join(parts + ["</svg>", ""])


def panel(top, title, end, most, curves):
    def x(seconds):
        return LEFT + WIDTH * min(max(seconds / end, 0), 1)

    def y(value):
        return top + HEIGHT * (1 - value / most)

    yield f'<text x="{LEFT}" y="{top - 8}" font-weight="bold">{title}</text>'
    for part in range(5):
        value, seconds = most * part / 4, end * part / 4
        yield (f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y(value):.1f}" '
               f'y2="{y(value):.1f}" stroke="#ddd"/>')
        yield (f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" '
               f'text-anchor="end">{value:.0f}</text>')
        yield (f'<text x="{x(seconds):.1f}" y="{top + HEIGHT + 16}" '
               f'text-anchor="middle">{seconds:.0f} s</text>')
    for number, (name, colour, points) in enumerate(curves):
        line = " ".join(f"{x(t):.1f},{y(v):.1f}" for t, v in points
                        if 0 <= t <= end)
        yield (f'<polyline points="{line}" fill="none" stroke="{colour}" '
               'stroke-width="1.5"/>')
        yield (f'<text x="{LEFT + WIDTH - 8}" y="{top + 16 + 16 * number}" '
               f'text-anchor="end" fill="{colour}">{name}</text>')
