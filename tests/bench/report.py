"""From the samples of a run to results.md and the plots."""

import statistics

from chart import bars
from server import CONFIGURATIONS

# (measure, value, file of the plot, its title, unit, factor)
PLOTS = (
    ("saturation", "per_second", "saturation", "Registrations a second, at most",
     "1/s", 1),
    ("latency", "p50_ms", "latency-p50", "Latency, 50th percentile", "ms", 1),
    ("latency", "p99_ms", "latency-p99", "Latency, 99th percentile", "ms", 1),
    ("parked", "shm_bytes", "memory",
     "Shared memory per parked registration", "kB", 1e-3),
)
CPUS = {
    "steady": "Kamailio on CPUs of its own, none halts",
    "usual": "every process on any CPU, idle CPUs halt",
}


class Found:
    """The samples, asked for by measure, allocator and configuration."""

    def __init__(self, samples):
        self._samples = samples

    def on(self, cpus):
        """Those that were taken with the CPUs used like this."""
        return Found([s for s in self._samples if s["cpus"] == cpus])

    def rounds(self, measure, allocator, configuration, value):
        """{round: value}"""
        return {s["round"]: s[value] for s in self._samples
                if s["measure"] == measure and s["allocator"] == allocator
                and s["configuration"] == configuration and value in s}

    def values(self, *which):
        return list(self.rounds(*which).values())

    def added(self, measure, allocator, configuration, value):
        """What it is more than (a) in the same round."""
        base = self.rounds(measure, allocator, "a", value)
        mine = self.rounds(measure, allocator, configuration, value)
        return {n: mine[n] - base[n] for n in mine if n in base}

    def ratios(self, measure, allocator, one, other, value, over_a):
        """{round: one / other}; of what they add to (a), if over_a."""
        get = self.added if over_a else self.rounds
        ones = get(measure, allocator, one, value)
        others = get(measure, allocator, other, value)
        return {n: ones[n] / others[n] for n in ones
                if others.get(n, 0) > 0}

    def present(self, field, measures=None):
        return list(dict.fromkeys(
            s[field] for s in self._samples
            if measures is None or s["measure"] in measures))

    def by_rate(self, kind):
        """{registrations a second: name of the measure}"""
        names = [name for name in self.present("measure")
                 if name.startswith(kind + "-")]
        return {int(name.rpartition("-")[2]): name for name in names}


def spread(values, digits=0, factor=1.0):
    """median (least-most)"""
    values = [v * factor for v in values]
    if not values:
        return "–"
    middle = f"{statistics.median(values):,.{digits}f}"
    if len(values) == 1:
        return middle
    return f"{middle} ({min(values):,.{digits}f}–{max(values):,.{digits}f})"


def table(header, rows):
    yield "| " + " | ".join(header) + " |"
    yield "|" + "---|" * len(header)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def prices_table(prices):
    yield "## What this machine charges"
    yield ""
    yield from table(
        ("a wake-up of a process, by another one", "us",
         "CPU of both processes, us"),
        [(where, f"{price['us']:.1f}", f"{price['cpu_us']:.1f}")
         for where, price in prices["wake_ups"].items()])
    yield (f"A write that wakes nobody: {prices['write_us']:.2f} us. An eventfd, "
           "from Python.")
    yield ""


def counts(found, ways, allocators, configurations):
    """What is much the same on every machine."""
    yield "## Counted for each registration"
    yield ""
    for value, words in (
            ("switches", "Voluntary context switches (wake-ups) of all Kamailio "
             "processes"),
            ("calls", "System calls of all Kamailio processes, counted by perf "
             "in a load that nothing else is measured in")):
        for allocator in allocators:
            columns = [(cpus, measure, words_of(rate))
                       for cpus in ways for rate, measure in (
                           *found.on(cpus).by_rate("fixed").items(),
                           ("saturation", "saturation"))]
            yield f"{words}, `-x {allocator}`:"
            yield ""
            yield from table(
                ("", *(f"{at}, {cpus}" for cpus, _, at in columns)),
                [(title(name), *(spread(found.on(cpus).values(
                    measure, allocator, name, value), 2)
                    for cpus, measure, _ in columns))
                 for name in configurations])


def words_of(rate):
    return rate if isinstance(rate, str) else f"{rate:,}/s"


def of_allocator(found, ways, allocator, configurations):
    yield f"## Allocator {allocator} (`-x {allocator}`)"
    yield ""
    for cpus in ways:
        those = found.on(cpus)
        for rate, measure in those.by_rate("fixed").items():
            yield f"{rate:,} registrations a second, {cpus}:"
            yield ""
            yield from cpu_table(those, measure, allocator, configurations)
        if "saturation" in those.present("measure"):
            yield f"As many as are answered, {cpus}:"
            yield ""
            yield from table(
                ("", "registrations/s", *USED, "POSTs per registration",
                 "TCP connections to the CMS"),
                [saturation_row(those, allocator, name)
                 for name in configurations])
    those = found.on(ways[0])
    if those.present("measure", {"latency"}):
        yield from table(
            ("", "latency p50, ms", "p99, ms", "added p50, ms",
             "added p99, ms"),
            [latency_row(those, allocator, name) for name in configurations])
    if those.present("measure", {"parked"}):
        yield from table(
            ("", "shared memory per parked registration, bytes",
             "other memory per parked registration, bytes"),
            [(title(name), *(spread(those.values(
                "parked", allocator, name, value))
                for value in ("shm_bytes", "process_bytes")))
             for name in those.present("configuration", {"parked"})])


def title(name):
    return f"({name}) {CONFIGURATIONS[name].title}"


USED = ("CPU per registration, us", "added by the CMS call, us",
        "CPU by process, us", "context switches", "system calls")


def used(found, measure, allocator, name):
    """The columns of USED."""
    which = (measure, allocator, name)
    added = "" if name == "a" else spread(
        found.added(*which, "cpu_us").values())
    return (spread(found.values(*which, "cpu_us")), added,
            by_process(found.values(*which, "kinds_us"), 0),
            by_process(found.values(*which, "kinds_switches"), 2),
            by_process(found.values(*which, "kinds_calls"), 2))


def by_process(samples, digits):
    """The kinds of process that use most of it."""
    medians = {kind: statistics.median(s.get(kind, 0) for s in samples)
               for kind in (samples[0] if samples else ())}
    return ", ".join(
        f"{kind} {value:.{digits}f}" for kind, value in sorted(
            medians.items(), key=lambda item: -item[1])
        if round(value, digits) > 0) or "–"


def cpu_table(found, measure, allocator, configurations):
    return table(
        ("", *USED, "POSTs per registration", "TCP connections to the CMS",
         "messages that had to be repeated"),
        [cpu_row(found, measure, allocator, name) for name in configurations])


def cpu_row(found, measure, allocator, name):
    def get(value):
        return found.values(measure, allocator, name, value)
    calls = ("", "") if name == "a" else (
        spread(get("posts_each"), 2), spread(get("connections")))
    return (title(name), *used(found, measure, allocator, name), *calls,
            spread(get("repeated")))


def saturation_row(found, allocator, name):
    def get(value):
        return found.values("saturation", allocator, name, value)
    return (title(name), spread(get("per_second")),
            *used(found, "saturation", allocator, name),
            spread(get("posts_each"), 2), spread(get("connections")))


def latency_row(found, allocator, name):
    def latency(value, get=found.rounds):
        return spread(get("latency", allocator, name, value).values(), 2)
    row = [title(name), latency("p50_ms"), latency("p99_ms")]
    if name == "a":
        return [*row, "", ""]
    return [*row, latency("p50_ms", found.added),
            latency("p99_ms", found.added)]


# (what, measure, value, of what is added to (a), sense, target); measure "fixed":
# a line for each rate
OVER_RIVAL = (
    ("Context switches{at}: (b) over (c)", "fixed", "switches", False,
     "at most", 1.0),
    ("System calls{at}: (b) over (c)", "fixed", "calls", False, "at most", 1.0),
    ("CPU that the CMS call adds{at}: (b)-(a) over (c)-(a)", "fixed", "cpu_us",
     True, "at most", 0.5),
    ("The same at saturation", "saturation", "cpu_us", True, "at most", 0.3),
    ("Saturation: (b) over (c)", "saturation", "per_second", False,
     "at least", 2.5),
    ("Shared memory per parked registration: (b) over (c)", "parked",
     "shm_bytes", False, "at most", 0.35),
    ("Added latency, 99th percentile: (b)-(a) over (c)-(a)", "latency",
     "p99_ms", True, "at most", 1.0),
)
OVER_UNCONFIRMED = (
    ("CPU{at}", "fixed", "cpu_us", False, "", None),
    ("CPU at saturation", "saturation", "cpu_us", False, "at most", 1.6),
    ("Registrations a second, at most", "saturation", "per_second", False, "",
     None),
)
BATCHES_OVER_UNCONFIRMED = (
    ("CPU{at}", "fixed", "cpu_us", False, "", None),
    ("CPU at saturation", "saturation", "cpu_us", False, "at most", 1.3),
    ("Registrations a second, at most", "saturation", "per_second", False, "",
     None),
)
OVER_BEFORE = (
    ("Context switches{at}", "fixed", "switches", False, "at most", 1.0),
    ("System calls{at}", "fixed", "calls", False, "at most", 1.0),
    ("CPU{at}", "fixed", "cpu_us", False, "at most", 1.0),
    ("CPU that the CMS call adds{at}", "fixed", "cpu_us", True, "at most", 1.0),
    ("CPU at saturation", "saturation", "cpu_us", False, "at most", 1.0),
    ("Saturation", "saturation", "per_second", False, "at least", 1.0),
    ("Latency, 50th percentile", "latency", "p50_ms", False, "at most", 1.0),
    ("Latency, 99th percentile", "latency", "p99_ms", False, "at most", 1.0),
    ("Shared memory per parked registration", "parked", "shm_bytes", False,
     "at most", 1.0),
)


def ratios(found, ways, allocators, heading, one, other, lines):
    """A table of (one) over (other)."""
    yield f"## {heading}"
    yield ""
    columns = [(cpus, allocator) for cpus in ways for allocator in allocators]
    rows = []
    for words, kind, value, over_a, sense, target in lines:
        for at, measure in places(found, kind):
            row = [words.format(at=at), f"{sense} {target}" if sense else ""]
            for cpus, allocator in columns:
                row.append(verdict(list(found.on(cpus).ratios(
                    measure, allocator, one, other, value, over_a).values()),
                    sense, target))
            rows.append(row)
    yield from table(("ratio in one round, median (least–most)", "target",
                      *(f"{cpus}, {allocator}" for cpus, allocator in columns)),
                     rows)


def places(found, kind):
    if kind != "fixed":
        return [("", kind)]
    return [(f" at {rate:,}/s", measure)
            for rate, measure in found.by_rate("fixed").items()]


def over_tls(found, allocators):
    """Connections that are encrypted, and HTTP/2."""
    for rate, measure in found.by_rate("tls").items():
        yield f"## Over TLS, and with HTTP/2, at {rate:,} registrations a second"
        yield ""
        for allocator in allocators:
            yield f"Allocator {allocator}:"
            yield ""
            yield from cpu_table(
                found, measure, allocator,
                found.present("configuration", {measure}))


def verdict(ratios, sense, target):
    if not ratios:
        return "–"
    if not sense:
        return spread(ratios, 2)
    middle = statistics.median(ratios)
    met = middle <= target if sense == "at most" else middle >= target
    return f"{spread(ratios, 2)} {'✓' if met else '✗'}"


HEAD = """# What telling the CMS costs

{cpu}, {cpus} CPUs, Linux {kernel}; Kamailio {kamailio} (Debian), module at
{commit}{before}; {time}; load of the machine at the start {load_at_start:.2f}.

{rounds} rounds, the configurations in turn in each; medians, in brackets
the least and the most. One registration is REGISTER, 401, REGISTER with
credentials, 200, from a device that was not registered. Users in SQLite,
usrloc with `db_mode` {BENCH_USRLOC_DB_MODE}, {BENCH_WORKERS} SIP processes, {processes}; the CMS is nginx on the same machine. At a fixed rate all configurations run
at the same time and are loaded in turn, {BENCH_TURNS} times for {BENCH_TURN_SECONDS} s each in a round,
after {BENCH_WARM_SECONDS} s of load to warm up, until tm has freed the last transaction; what
an idle server costs meanwhile is taken off. At most: {BENCH_AT_ONCE} registrations
under way at any time. Latency: from the authenticated REGISTER to its 200, by the
packets, at half of what (c) does at most. Parked: {BENCH_PARKED} registrations wait
for a CMS that hangs, tm's transaction included. {ways}

Microseconds differ from machine to machine, and ratios of them with what a wake-up
costs there; the counts hardly do. Repeat it: `make bench`; settings and method:
`tests/bench/README.md`; every sample: `raw.json`. What the history of the devices and
a scrape of the metrics cost: `seen.md`.
"""


def head(result, ways):
    settings = result["settings"]
    processes = [f"{words} processes: {settings[name] or 'by default'}"
                 for name, words in (("BENCH_HTTP_PROCESSES", "HTTP"),
                                     ("BENCH_VERDICT_PROCESSES", "verdict"))]
    before = result["machine"]["before"]
    return HEAD.format(**{
        **result["machine"], **settings,
        "before": before and f", (b-before) at {before}",
        "rounds": max(s["round"] for s in result["samples"]),
        "processes": ", ".join(processes),
        "ways": " ".join(f"*{cpus}*: {CPUS[cpus]}." for cpus in ways)})


def write_report(result, folder):
    found = Found(result["samples"])
    tls = set(found.by_rate("tls").values())
    configurations = found.present(
        "configuration", set(found.present("measure")) - tls)
    allocators, ways = found.present("allocator"), found.present("cpus")
    lines = [head(result, ways)]
    lines += prices_table(result["machine"]["prices"])
    lines += counts(found, ways, allocators, configurations)
    lines += ratios(found, ways, allocators, "cms_notify over http_async_client",
                    "b", "c", OVER_RIVAL)
    lines += ratios(found, ways, allocators, "A confirmed registration, (b), over "
                    "an unconfirmed one, (a)", "b", "a", OVER_UNCONFIRMED)
    if "b-batch" in configurations:
        lines += ratios(found, ways, allocators, "The same in batches, (b-batch), "
                        "over an unconfirmed one, (a)", "b-batch", "a",
                        BATCHES_OVER_UNCONFIRMED)
    if "b-before" in configurations:
        lines += ratios(found, ways, allocators, "(b) over (b-before)", "b",
                        "b-before", OVER_BEFORE)
    for allocator in allocators:
        lines += of_allocator(found, ways, allocator, configurations)
    lines += over_tls(found, allocators)
    for cpus in ways:
        lines += plots(found.on(cpus), cpus, allocators, configurations, folder)
    (folder / "results.md").write_text("\n".join(lines), encoding="utf-8")


def plots(found, cpus, allocators, configurations, folder):
    at_rates = [(measure, "cpu_us", f"cpu-{rate}",
                 f"CPU per registration at {rate:,}/s, all Kamailio processes",
                 "us", 1) for rate, measure in found.by_rate("fixed").items()]
    for measure, value, name, words, unit, factor in (*at_rates, *PLOTS):
        groups = [(f"-x {allocator}", [
            (title(c), *(f * factor for f in range_of(
                found.values(measure, allocator, c, value))))
            for c in configurations
            if found.values(measure, allocator, c, value)])
            for allocator in allocators]
        if any(its for _, its in groups):
            words = f"{words}, {cpus}"
            (folder / f"{name}-{cpus}.svg").write_text(
                bars(words, unit, groups), encoding="utf-8")
            yield f"![{words}]({name}-{cpus}.svg)"
            yield ""


def range_of(values):
    return statistics.median(values), min(values), max(values)
