"""What the processes of a server use, by kind of process.

    Usage         CPU and voluntary context switches, so far or of a time
    SystemCalls   system calls, as perf counts them
"""

import dataclasses
import glob
import os
import re
import signal
import subprocess
import tempfile
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Usage:
    """{kind: microseconds of CPU}, {kind: voluntary context switches}. A process
    that waits has switched once: so often have its processes been woken."""
    cpu_us: dict
    switches: dict

    @classmethod
    def of(cls, processes):
        """Of {pid: kind}, since each has started."""
        cpu_us, switches = {}, {}
        for pid, kind in processes.items():
            for task in glob.glob(f"/proc/{pid}/task/*"):
                # The scheduler's own count of nanoseconds.
                nanoseconds = int(_read(f"{task}/schedstat").split()[0])
                cpu_us[kind] = cpu_us.get(kind, 0) + nanoseconds / 1e3
                switches[kind] = switches.get(kind, 0) + int(re.search(
                    r"\nvoluntary_ctxt_switches:\s*(\d+)",
                    _read(f"{task}/status")).group(1))
        return cls(cpu_us, switches)

    def __sub__(self, other):
        return Usage(*({kind: value - its.get(kind, 0)
                        for kind, value in mine.items()}
                       for mine, its in ((self.cpu_us, other.cpu_us),
                                         (self.switches, other.switches))))

    def __mul__(self, factor):
        return Usage(*({kind: value * factor for kind, value in its.items()}
                       for its in (self.cpu_us, self.switches)))

    def sample(self):
        """As a sample has it, in all and by kind."""
        return {"cpu_us": sum(self.cpu_us.values()),
                "kinds_us": self.cpu_us,
                "switches": sum(self.switches.values()),
                "kinds_switches": self.switches}


def _read(path):
    with open(path, encoding="ascii", errors="replace") as file:
        return file.read()


class SystemCalls:
    """Counts those of {pid: kind}. A context manager; where perf is missing or
    may not count, nothing is counted. perf slows what it counts, and all others
    too: nothing else is to be measured meanwhile."""

    def __init__(self, processes):
        self._processes = processes
        self._folder = tempfile.TemporaryDirectory(prefix="bench-perf-")
        self._found = Path(self._folder.name) / "counts"
        self._perf = self._control = self._answers = None

    def __enter__(self):
        orders, self._control = os.pipe()
        self._answers, answers = os.pipe()
        try:
            self._perf = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", "perf", "stat",
                 # It counts from "enable" to "disable", and says when it does.
                 "--delay", "-1", "--control", f"fd:{orders},{answers}",
                 "-x", ",", "--per-thread", "-e", "raw_syscalls:sys_enter",
                 "-p", ",".join(map(str, self._processes)), "-o", self._found],
                pass_fds=(orders, answers), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        finally:
            os.close(orders)
            os.close(answers)
        self._tell(b"enable")
        return self

    def __exit__(self, *_exc):
        self._tell(b"disable")
        self._perf.send_signal(signal.SIGINT)
        self._perf.wait()
        os.close(self._control)
        os.close(self._answers)

    def _tell(self, word):
        try:
            os.write(self._control, word + b"\n")
        except BrokenPipeError:
            return
        os.read(self._answers, 16)  # nothing, where perf has ended

    def sample(self, registered):
        """Of each registration, as a sample has it."""
        kinds = {}
        for pid, count in re.findall(r"^[^,]*-(\d+),(\d+),", self._text(),
                                     re.M):
            kind = self._processes.get(int(pid), "other")  # a thread
            kinds[kind] = kinds.get(kind, 0) + int(count) / registered
        self._folder.cleanup()
        return {"calls": sum(kinds.values()),
                "kinds_calls": kinds} if kinds else {}

    def _text(self):
        return _read(self._found) if self._found.exists() else ""
