"""Which alerts fire, seen by a Prometheus; and the page that says it.

Alerts wait for minutes, faults of the tests last for seconds: so all times of the rules
are FASTER times shorter (`for:`, `[5m]`, `offset`, the age of the oldest event), and
Prometheus asks every 0.5 s instead of every 15 s. Rates are left as they are.
"""

import contextlib
import fcntl
import re
import subprocess
import tempfile
from datetime import date
from pathlib import Path

import harness
from prometheus import RULES_FILE, Prometheus

FASTER = 30
LASTS = 20.0  # a fault, in seconds
EVERY = "500ms"
SECONDS = {"s": 1, "m": 60, "h": 3600}

HEAD = """\
# Which alerts fire when

This page lists which alerts of `scripts/monitoring/cms_notify.rules.yml` fired during each
fault, without `CmsNotify` in front of their names. `make test-alerts` and `make storm` make
the faults while a Prometheus watches, and write this page. They fail if an alert fires that
is not expected, or if an expected alert does not fire.

The alerts wait for minutes, but a fault in the tests lasts {lasts:g} s. So the tests make all
times in the rules {faster} times shorter, and Prometheus scrapes every {every}. For the alerts
a fault lasts {minutes:g} minutes.

`reject` and `defer` say what happens to new devices while the CMS is away: with `defer`
(`WITH_DEFER`) they are served. An alert in brackets did not fire in this run, but may fire
in another: the fault lasts about as long as the alert waits.
{where}

| Fault | Mode | Alerts |
|---|---|---|
"""


def away(mode):
    """No endpoint is there."""
    return {"CmsAway", "EndpointAway"} | turned_away(mode)


def turned_away(mode):
    """New devices are, unless they can be deferred."""
    return {"TurnedAway"} if mode == "reject" else set()


def quicker(rules):
    """The rules, with times that are FASTER times shorter."""
    def duration(match):
        milliseconds = 1000 * int(match[2]) * SECONDS[match[3]] // FASTER
        return f"{match[1]}{milliseconds}ms"

    def seconds(match):
        return f"{match[1]}{int(match[2]) / FASTER:g}"

    return re.sub(r"(_seconds > )(\d+)", seconds, re.sub(
        r"(\bfor: |\[|\boffset )(\d+)([smh])\b", duration, rules))


class Watch(contextlib.ExitStack):
    """Prometheus with the quicker rules; it asks the servers at these ports."""

    def __init__(self, ports):
        super().__init__()
        folder = Path(self.enter_context(
            tempfile.TemporaryDirectory(prefix="prometheus-")))
        rules = folder / "rules.yml"
        rules.write_text(quicker(RULES_FILE.read_text("utf-8")), encoding="utf-8")
        self.prometheus = Prometheus(
            folder, [f"{harness.HOST}:{port}" for port in ports], rules, EVERY)
        self.callback(self.prometheus.close)

    def fired(self):
        """Of the alerts that have fired, without "CmsNotify"."""
        return {name.removeprefix("CmsNotify") for name in self.prometheus.fired()}


def update(path, rows):
    """The page with these rows, [(fault, mode, declared, fired)], in it; what it has
    of other faults stays. Several processes may do so at a time."""
    path = Path(path)
    with open(path, "a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        found = dict(re.findall(r"^(\| .+ \| `\w+` \|) (.+) \|$", file.read(), re.M))
        found |= {f"| {fault} | `{mode}` |": _shown(declared, fired)
                  for fault, mode, declared, fired in rows}
        file.truncate(0)
        file.write(HEAD.format(
            lasts=LASTS, minutes=LASTS * FASTER / 60, faster=FASTER,
            every=EVERY.replace("ms", " ms"), where=_where()))
        file.writelines(f"{key} {value} |\n" for key, value in sorted(found.items()))


def _shown(declared, fired):
    quiet = {name.rstrip("?") for name in declared} - fired
    return ", ".join([f"`{name}`" for name in sorted(fired)]
                     + [f"(`{name}`)" for name in sorted(quiet)]) or "none"


def _where():
    cores = subprocess.run(["nproc"], capture_output=True, text=True,
                           check=True).stdout.strip()
    return (f"Last run on {date.today()}, Kamailio "
            f"{harness.environment()['KAMAILIO_VERSION']}, {cores} cores.")
