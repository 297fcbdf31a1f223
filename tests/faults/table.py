"""What the fault suite has measured, as a page of the documentation."""

import subprocess
from datetime import date

import harness

HEAD = """\
# What happens when

Measured by `make test-faults`{where}; the file is written by it. The
settings are the shipped ones where the row does not say otherwise, and
`detect_reboot`, so that each start of a device is an event. "Lost" counts
registrations that a device was told are good and that the CMS does not know;
each run also fails when the CMS saw the events of a device in another order,
when a REGISTER got no final answer or two, or when something stayed parked.

| Fault | Mode | What the devices saw | What the CMS saw | Lost | Recovery |
|---|---|---|---|---|---|
"""


def write(path, rows):
    lines = [HEAD.format(where=_where())]
    lines += ["| " + " | ".join((r.fault, f"`{r.mode}`", r.device, r.cms,
                                 r.lost, r.recovery)) + " |\n" for r in rows]
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(lines)


def _where():
    cores = subprocess.run(["nproc"], capture_output=True, text=True,
                           check=True).stdout.strip()
    return (f" on {date.today()}, Kamailio "
            f"{harness.environment()['KAMAILIO_VERSION']}, {cores} cores")
