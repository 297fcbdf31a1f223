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


class Found:
    """The samples, asked for by measure, allocator and configuration."""

    def __init__(self, samples):
        self._samples = samples

    def rounds(self, measure, allocator, configuration, value):
        """{round: value}"""
        return {s["round"]: s[value] for s in self._samples
                if s["measure"] == measure and s["allocator"] == allocator
                and s["configuration"] == configuration}

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


def of_allocator(found, allocator, configurations):
    yield f"## Allocator {allocator} (`-x {allocator}`)"
    yield ""
    for rate, measure in found.by_rate("fixed").items():
        yield f"{rate:,} registrations a second:"
        yield ""
        yield from cpu_table(found, measure, allocator, configurations)
    yield from table(
        ("", "at most, registrations/s", "latency p50, ms", "p99, ms",
         "added p50, ms", "added p99, ms"),
        [speed_row(found, allocator, name) for name in configurations])
    yield from table(
        ("", "shared memory per parked registration, bytes",
         "other memory per parked registration, bytes",
         "TCP connections to the CMS at saturation"),
        [cost_row(found, allocator, name) for name in configurations
         if CONFIGURATIONS[name].calls_cms])


def title(name):
    return f"({name}) {CONFIGURATIONS[name].title}"


def cpu_table(found, measure, allocator, configurations):
    return table(
        ("", "CPU per registration, us", "user + system", "added by the CMS "
         "call, us", "CPU by process, us", "POSTs per registration",
         "TCP connections to the CMS", "messages that had to be repeated"),
        [cpu_row(found, measure, allocator, name) for name in configurations])


def cpu_row(found, measure, allocator, name):
    def get(value):
        return found.values(measure, allocator, name, value)
    split = ""
    if get("user_us"):
        split = (f'{statistics.median(get("user_us")):.0f} + '
                 f'{statistics.median(get("system_us")):.0f}')
    kinds = get("kinds_us")
    named = {kind: statistics.median(k.get(kind, 0) for k in kinds)
             for kind in (kinds[0] if kinds else ())}
    by_process = ", ".join(
        f"{kind} {value:.0f}" for kind, value in sorted(
            named.items(), key=lambda item: -item[1]) if value >= 1)
    added = "" if name == "a" else spread(
        found.added(measure, allocator, name, "cpu_us").values())
    calls = ("", "") if name == "a" else (
        spread(get("posts_each"), 2), spread(get("connections")))
    return (title(name), spread(get("cpu_us")), split, added, by_process,
            *calls, spread(get("repeated")))


def speed_row(found, allocator, name):
    def latency(value, get=found.rounds):
        return spread(get("latency", allocator, name, value).values(), 2)
    row = [title(name),
           spread(found.values("saturation", allocator, name, "per_second")),
           latency("p50_ms"), latency("p99_ms")]
    if name == "a":
        return [*row, "", ""]
    return [*row, latency("p50_ms", found.added),
            latency("p99_ms", found.added)]


def cost_row(found, allocator, name):
    return (title(name),
            spread(found.values("parked", allocator, name, "shm_bytes")),
            spread(found.values("parked", allocator, name, "process_bytes")),
            spread(found.values("saturation", allocator, name,
                                "connections")))


# (what, measure, value, over (a), best is "least" or "most", target)
TARGETS = (
    ("The same at saturation", "saturation", "cpu_us", True, "at most", 0.5),
    ("Shared memory per parked registration: (b) over {}", "parked",
     "shm_bytes", False, "at most", 0.35),
    ("Saturation: (b) over {}", "saturation", "per_second", False,
     "at least", 1.5),
    ("Added latency, 99th percentile: (b)-(a) over {}-(a)", "latency",
     "p99_ms", True, "at most", 1.0),
)


def targets(found, allocators, configurations):
    """(b) against each http_async_client."""
    yield "## cms_notify against http_async_client"
    yield ""
    others = [name for name in ("c", "c-sys") if name in configurations]
    rows = []
    at_rates = [(f"CPU that the CMS call adds at {rate:,}/s: "
                 "(b)-(a) over {}-(a)", measure, "cpu_us", True, "at most",
                 0.5) for rate, measure in found.by_rate("fixed").items()]
    for what, measure, value, over_a, sense, target in (*at_rates, *TARGETS):
        for other in others:
            row = [what.format(f"({other})"), f"{sense} {target}"]
            for allocator in allocators:
                ratios = list(found.ratios(measure, allocator, "b", other,
                                           value, over_a).values())
                row.append(verdict(ratios, sense, target))
            rows.append(row)
    yield from table(("ratio in one round, median (least–most)", "target",
                      *allocators), rows)


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
    middle = statistics.median(ratios)
    met = middle <= target if sense == "at most" else middle >= target
    return f"{spread(ratios, 2)} {'✓' if met else '✗'}"


HEAD = """# What telling the CMS costs

{cpu}, {cpus} CPUs, Linux {kernel}; Kamailio {kamailio} (Debian), module at
{commit}; {time}; load of the machine at the start {load_at_start:.2f}.

{rounds} rounds, the configurations in turn in each; medians, in brackets
the least and the most. One registration is REGISTER, 401, REGISTER with
credentials, 200, from a device that was not registered. Users in SQLite,
usrloc with `db_mode` {BENCH_USRLOC_DB_MODE}, {BENCH_WORKERS} SIP processes,
HTTP processes: {BENCH_HTTP_PROCESSES}; the CMS is nginx on the same machine. {pinned} CPU, at a
fixed rate: all configurations run at the same time and are loaded in turn, {BENCH_TURNS}
times for {BENCH_TURN_SECONDS} s each in a round, after {BENCH_WARM_SECONDS} s of load to warm up, until tm
has freed the last transaction; what an idle server costs meanwhile is taken off.
The CPUs do not halt. At most: {BENCH_AT_ONCE} registrations under way at any time.
Latency: from the authenticated REGISTER to its 200, by the packets, at half of
what (c) does at most. Parked: {BENCH_PARKED} registrations wait for a CMS that
hangs, tm's transaction included.

Figures differ from machine to machine; the ratios are what to compare.
Repeat it: `make bench`; settings and method: `tests/bench/README.md`; every
sample: `raw.json`.
"""


def head(result):
    pinned = ("Kamailio has half of the CPUs, SIPp and the CMS the other half."
              if result["settings"]["BENCH_PIN"] and
              result["machine"]["cpus"] > 1 else "")
    return HEAD.format(**result["machine"], **result["settings"],
                       rounds=max(s["round"] for s in result["samples"]),
                       pinned=pinned)


def write_report(result, folder):
    found = Found(result["samples"])
    tls = set(found.by_rate("tls").values())
    configurations = found.present(
        "configuration", set(found.present("measure")) - tls)
    allocators = found.present("allocator")
    lines = [head(result)]
    lines += targets(found, allocators, configurations)
    for allocator in allocators:
        lines += of_allocator(found, allocator, configurations)
    lines += over_tls(found, allocators)
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
        if not any(its for _, its in groups):
            continue
        (folder / f"{name}.svg").write_text(bars(words, unit, groups),
                                            encoding="utf-8")
        lines += [f"![{words}]({name}.svg)", ""]
    (folder / "results.md").write_text("\n".join(lines), encoding="utf-8")


def range_of(values):
    return statistics.median(values), min(values), max(values)
