"""A Kamailio of the benchmark: started, measured, stopped.

    CONFIGURATIONS   what is compared
    Server           one Kamailio, with one configuration and allocator
    awake()          CPUs that do not halt
"""

import contextlib
import dataclasses
import functools
import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
sys.path.insert(0, str(TOP / "scripts" / "lib"))

from kamailio_process import KamailioProcess, module_path  # noqa: E402

HOST = "127.0.0.1"
START_SECONDS = 300  # with a database full of bindings
# tm frees a transaction 5 s after its answer.
SETTLE_SECONDS = 30
CLOCK_TICK = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One row of the comparison; `define` chooses the lines of kamailio.cfg."""
    name: str
    title: str
    define: str
    settings: tuple = ()
    scheme: str = "http"

    @property
    def has_http_processes(self):
        return self.define in ("CMS_NOTIFY", "HTTP_ASYNC_CLIENT")

    @property
    def calls_cms(self):
        return self.define != "NO_CMS"


CONFIGURATIONS = {c.name: c for c in (
    Configuration("a", "no CMS call", "NO_CMS"),
    Configuration("b", "cms_notify", "CMS_NOTIFY"),
    Configuration("c", "http_async_client", "HTTP_ASYNC_CLIENT",
                  (("MEMORY_MANAGER", "shm"),)),
    Configuration("c-sys", "http_async_client, memory_manager sys",
                  "HTTP_ASYNC_CLIENT", (("MEMORY_MANAGER", "sys"),)),
    Configuration("d", "http_client (blocking)", "HTTP_CLIENT"),
    Configuration("b-tls", "cms_notify, https", "CMS_NOTIFY",
                  scheme="https"),
    Configuration("b-h2", "cms_notify, HTTP/2", "CMS_NOTIFY",
                  (("CMS_HTTP_VERSION", "2"),), scheme="https"),
    Configuration("c-tls", "http_async_client, https", "HTTP_ASYNC_CLIENT",
                  (("MEMORY_MANAGER", "shm"),), scheme="https"),
)}
ALLOCATORS = ("qm", "tlsf")


@functools.lru_cache(maxsize=None)
def environment():
    """Where Kamailio and its modules are (scripts/kamailio-env)."""
    text = subprocess.run([TOP / "scripts" / "kamailio-env", "installed"],
                          check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def define(name, value):
    """An option of the command line; strings are quoted in the script."""
    text = str(value) if isinstance(value, int) else f'"{value}"'
    return ["-A", f"{name}={text}"]


def halves(pin=True):
    """(CPUs of Kamailio, CPUs of SIPp and the CMS); (None, None): all."""
    cpus = sorted(os.sched_getaffinity(0))
    if not pin or len(cpus) < 2:
        return None, None
    half = len(cpus) // 2
    return set(cpus[half:]), set(cpus[:half])


@contextlib.contextmanager
def on_cpus(cpus):
    """What is started in here runs on these; None: anywhere."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def awake(wanted=True):
    """The CPUs do not halt: on a virtual machine one that does comes back late,
    with what a neighbour has left in its caches. What keeps them busy runs only
    where nothing else wants to."""
    busy = [subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", "taskset", "-c", str(cpu),
         "chrt", "--idle", "0", "sh", "-c", "while :; do :; done"])
        for cpu in os.sched_getaffinity(0)] if wanted else []
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


class Server:
    """A running registrar in a folder of its own; a context manager.

    database   SQLite file with the subscribers
    settings   {name of a #!define: value} besides those of the configuration
    tls_folder where CMS_TLS_CA (ca.pem) is, for https
    cpus       that it may use; None: all
    binary     instead of the installed one
    """

    def __init__(self, configuration, allocator, database, port, cms_url,
                 settings=None, tls_folder=None, cpus=None, binary=None,
                 shm_mb=2048, pkg_mb=32):
        self.configuration = configuration
        self.port = port
        self.folder = tempfile.mkdtemp(prefix="bench-kamailio-")
        self._ended = None
        env = environment()
        values = {
            "CMS_URL": cms_url, "HTTPCON": "cms=>" + cms_url.rsplit("/", 1)[0],
            "DB_URL": f"sqlite:///{database}",
            "CTL": f"unix:{self.folder}/ctl",
            "CMS_TIMEOUT_MS": 4000, "VERDICT_PROCESSES": 2,
            "MAX_BRANCHES": 12,
            "WORKERS": 4, "HTTP_PROCESSES": 1, "USRLOC_DB_MODE": 0,
            **dict(configuration.settings), **(settings or {})}
        if configuration.scheme == "https":
            values["CMS_TLS_CA"] = f"{tls_folder}/ca.pem"
            values["CMS_TLS_CA_FOLDER"] = str(tls_folder)
        modules = module_path(
            env, os.path.join(env["CMS_NOTIFY_MODULE_DIR"], "rival"))
        options = ["-A", configuration.define]
        for name, value in values.items():
            options += define(name, value)
        options += ["-L", modules, "-l", f"udp:{HOST}:{port}",
                    "-x", allocator, "-m", str(shm_mb), "-M", str(pkg_mb)]
        self._process = KamailioProcess(
            binary or env["KAMAILIO"], str(HERE / "kamailio.cfg"), self.folder,
            lambda line: None, self._on_end, options)
        self._cpus = cpus
        self._expected = {}
        if configuration.has_http_processes:
            self._expected["http"] = values["HTTP_PROCESSES"]
        if configuration.define == "CMS_NOTIFY":
            self._expected["verdict"] = values["VERDICT_PROCESSES"]
        self._kamcmd = env["KAMCMD"]
        self._pids = {}

    def __enter__(self):
        try:
            with on_cpus(self._cpus):
                self._process.start()
            self._wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        self._process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _on_end(self, status):
        self._ended = status

    def complaints(self):
        return "\n".join(self._process.complaints())

    def _wait_ready(self):
        """Until SIP is answered: every module has started by then."""
        probe = (f"OPTIONS sip:{HOST}:{self.port} SIP/2.0\r\n"
                 f"Via: SIP/2.0/UDP {HOST}:9;rport;branch=z9hG4bKready\r\n"
                 f"From: <sip:bench@{HOST}>;tag=1\r\nTo: <sip:bench@{HOST}>\r\n"
                 "Call-ID: ready\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 1\r\n"
                 "Content-Length: 0\r\n\r\n").encode()
        deadline = time.monotonic() + START_SECONDS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((HOST, self.port))
            sock.settimeout(0.1)
            while True:
                if self._ended is not None or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"Kamailio ({self.configuration.title}) does not "
                        f"start:\n{self.complaints()}")
                try:
                    sock.send(probe)
                    sock.recv(65536)
                    break
                except OSError:  # refused, or no answer yet
                    time.sleep(0.02)
        while not self._all_started():
            if time.monotonic() > deadline:
                raise RuntimeError("not all processes start:\n"
                                   + self.complaints())
            time.sleep(0.02)

    def _all_started(self):
        rows = re.findall(r"PID: (\d+)\s+DSC: ([^\n]+)",
                          self.kamcmd("core.psx"))
        self._pids = {int(pid): kind_of(text) for pid, text in rows}
        return self.pids("main") and all(
            len(self.pids(kind)) >= count
            for kind, count in self._expected.items()) and self._all_known()

    def _all_known(self):
        return set(self._pids) == set(group(*self.pids("main")))

    def wait_bindings(self, count):
        """SIP is answered before usrloc has read its table."""
        deadline = time.monotonic() + START_SECONDS
        while self._ended is None and int(re.search(
                r"location_contacts: (\d+)", self.kamcmd(
                    "stats.fetch", "usrloc:")).group(1)) < count:
            if time.monotonic() > deadline:
                raise RuntimeError("usrloc does not read its table:\n"
                                   + self.complaints())
            time.sleep(0.1)
        if self._ended is not None:
            raise RuntimeError("Kamailio has ended:\n" + self.complaints())

    def kamcmd(self, *words):
        done = subprocess.run(
            [self._kamcmd, "-s", f"unix:{self.folder}/ctl", *words],
            capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RuntimeError(f"kamcmd {' '.join(words)}: "
                               + (done.stderr or done.stdout).strip())
        return done.stdout

    def number(self, command, name):
        """A value of what an RPC command answers."""
        return int(re.search(rf"\b{name}: (\d+)",
                             self.kamcmd(command)).group(1))

    def shm_used(self):
        """Bytes of shared memory, what the allocator adds included."""
        return self.number("core.shmmem", "real_used")

    def transactions(self):
        return self.number("tm.stats", "current")

    def settle(self):
        """Wait until tm has freed every transaction: that is part of the cost
        of each."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self.transactions():
            if time.monotonic() > deadline:
                raise RuntimeError("transactions that do not end:\n"
                                   + self.complaints())
            time.sleep(0.2)

    def cpu(self):
        """What all processes have used so far."""
        if not self._all_known():
            raise RuntimeError("not all of Kamailio's processes are known")
        return Cpu.of(self._pids)

    def process_memory(self):
        """Bytes that the processes have beside the shared memory."""
        total = 0
        for pid in self._pids:
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                total += int(re.search(r"RssAnon:\s+(\d+)",
                                       file.read()).group(1)) * 1024
        return total

    def pids(self, kind):
        return [pid for pid, its in self._pids.items() if its == kind]


def group(leader):
    """The processes that came of this one."""
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8",
                                                errors="replace") as file:
            if int(file.read().rpartition(")")[2].split()[2]) == leader:
                yield int(path.split("/")[2])


def kind_of(description):
    for kind, pattern in (("main", r"^main process"), ("sip", r"receiver"), ("http", r"http"),
                          ("verdict", r"verdict"), ("timer", r"timer"),
                          ("ctl", r"ctl")):
        if re.search(pattern, description, re.I):
            return kind
    return "other"


class Cpu:
    """Seconds of CPU: in all, in user and in system mode, by kind of process.

    The scheduler counts nanoseconds; the split between user and system is by
    clock ticks, a sample.
    """

    def __init__(self, seconds, user, system, kinds):
        self.seconds, self.user, self.system = seconds, user, system
        self.kinds = kinds

    @classmethod
    def of(cls, pids):
        seconds = user = system = 0.0
        kinds = {}
        for pid, kind in pids.items():
            with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
                its = int(file.read().split()[0]) / 1e9
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                fields = file.read().rpartition(")")[2].split()
            user += int(fields[11]) / CLOCK_TICK
            system += int(fields[12]) / CLOCK_TICK
            # Our own questions (kamcmd) are no part of a registration.
            if kind != "ctl":
                seconds += its
                kinds[kind] = kinds.get(kind, 0.0) + its
        return cls(seconds, user, system, kinds)

    def __sub__(self, other):
        return Cpu(self.seconds - other.seconds, self.user - other.user,
                   self.system - other.system,
                   {kind: value - other.kinds.get(kind, 0.0)
                    for kind, value in self.kinds.items()})
