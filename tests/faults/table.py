"""What the fault suite has measured, as a page of the documentation."""

import subprocess
from datetime import date

import harness

HEAD = """\
# What happens when

Measured by `make test-faults`{where}, which writes this page. All
settings are the shipped ones, unless the row names others, and `detect_reboot`: with it
each start of a device is an event. "Lost" is the number of registrations that a device was
told are good and that the CMS does not know. A run also fails if the CMS saw the events of
a device in the wrong order, if a REGISTER got no final answer or two, or if something
stayed parked. The times under "Recovery" count from the end of the fault.

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
