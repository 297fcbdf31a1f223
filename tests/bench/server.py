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
from usage import SystemCalls, Usage  # noqa: E402

HOST = "127.0.0.1"
START_SECONDS = 300  # with a database full of bindings
# tm frees a transaction 5 s after its answer.
SETTLE_SECONDS = 30


# A checkout of another commit: its module is measured beside this one's.
BEFORE = os.environ.get("BENCH_BEFORE") or ""


@dataclasses.dataclass(frozen=True)
class Configuration:
    """One row of the comparison; `define` chooses the lines of kamailio.cfg."""
    name: str
    title: str
    define: str
    settings: tuple = ()
    scheme: str = "http"
    module: str = ""  # of which checkout, if not of this one

    @property
    def has_http_processes(self):
        return self.define in ("CMS_NOTIFY", "HTTP_ASYNC_CLIENT")

    @property
    def sends_batches(self):
        return "BATCH_MAX" in dict(self.settings)

    @property
    def calls_cms(self):
        return self.define != "NO_CMS"


CONFIGURATIONS = {c.name: c for c in (
    Configuration("a", "no CMS call", "NO_CMS"),
    Configuration("b", "cms_notify", "CMS_NOTIFY"),
    Configuration("b-before", "cms_notify before", "CMS_NOTIFY",
                  module=BEFORE),
    Configuration("b-still", "cms_notify, history 0", "CMS_NOTIFY",
                  (("HISTORY", 0),)),
    Configuration("b-batch", "cms_notify, batches of 20", "CMS_NOTIFY",
                  (("BATCH_MAX", 20),)),
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


def with_before(names):
    """The names of these configurations, with (b-before) where it is wanted."""
    return [name for each in names for name in (
        (each, "b-before") if each == "b" and BEFORE else (each,))]


@functools.lru_cache(maxsize=None)
def module_folder(checkout):
    """Where the module of a checkout is; that of another one is built first."""
    if not checkout:
        return environment()["CMS_NOTIFY_MODULE_DIR"]
    build = [f"{checkout}/scripts/build-module"]
    tree = _output(TOP / "scripts" / "kamailio-source", "installed")
    _output(*build, tree)
    return os.path.dirname(_output(*build, "--print", tree))


def commit(checkout):
    return _output("git", "-C", checkout, "describe", "--always", "--dirty")


def _output(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{command[0]} fails")
    return done.stdout.strip()


@functools.lru_cache(maxsize=None)
def environment():
    """Where Kamailio and its modules are (scripts/kamailio-env)."""
    text = _output(TOP / "scripts" / "kamailio-env", "installed")
    return dict(line.split("=", 1) for line in text.splitlines())


def define(name, value):
    """An option of the command line; strings are quoted in the script."""
    text = str(value) if isinstance(value, int) else f'"{value}"'
    return ["-A", f"{name}={text}"]


def halves():
    """(CPUs of Kamailio, CPUs of SIPp and the CMS); (None, None): all."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
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
def awake():
    """The CPUs do not halt: on a virtual machine one that does comes back late,
    with what a neighbour has left in its caches. What keeps them busy runs only
    where nothing else wants to."""
    busy = [subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", "taskset", "-c", str(cpu),
         "chrt", "--idle", "0", "sh", "-c", "while :; do :; done"])
        for cpu in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


class Server:
    """A running registrar in a folder of its own; a context manager.

    database   SQLite file with the subscribers
    settings   {name of a #!define: value} besides those of the configuration;
               "": not defined
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
            "CMS_TIMEOUT_MS": 4000, "MAX_BRANCHES": 2, "WORKERS": 4,
            "USRLOC_DB_MODE": 0,
            **dict(configuration.settings), **(settings or {})}
        if configuration.scheme == "https":
            values["CMS_TLS_CA"] = f"{tls_folder}/ca.pem"
            values["CMS_TLS_CA_FOLDER"] = str(tls_folder)
        rival = os.path.join(env["CMS_NOTIFY_MODULE_DIR"], "rival")
        modules = module_path(
            {**env, "CMS_NOTIFY_MODULE_DIR": module_folder(
                configuration.module)}, rival)
        options = ["-A", configuration.define]
        for name, value in values.items():
            if value != "":
                options += define(name, value)
        options += ["-L", modules, "-l", f"udp:{HOST}:{port}",
                    "-x", allocator, "-m", str(shm_mb), "-M", str(pkg_mb)]
        self._process = KamailioProcess(
            binary or env["KAMAILIO"], str(HERE / "kamailio.cfg"), self.folder,
            lambda line: None, self._on_end, options)
        self._cpus = cpus
        self._kamcmd = env["KAMCMD"]
        self._known = {}

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
        while not self._answers_rpc() or (
                self.configuration.has_http_processes and not self.pids("http")):
            if time.monotonic() > deadline:
                raise RuntimeError("not all processes start:\n"
                                   + self.complaints())
            time.sleep(0.02)

    def _answers_rpc(self):
        """The process that does may start after those for SIP."""
        with contextlib.suppress(RuntimeError):
            return bool(self.kamcmd("core.version"))
        return False

    def processes(self):
        """{pid: kind} of all, those left out that answer our own questions:
        they are no part of a registration."""
        deadline = time.monotonic() + START_SECONDS
        while not self._known or set(self._known) != set(
                group(next(iter(self._known)))):
            if time.monotonic() > deadline:
                raise RuntimeError("not all of Kamailio's processes are known")
            # The first one is the main process.
            self._known = {int(pid): kind_of(text) for pid, text in re.findall(
                r"PID: (\d+)\s+DSC: ([^\n]+)", self.kamcmd("core.psx"))}
        return {pid: kind for pid, kind in self._known.items()
                if kind != "ctl"}

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

    def usage(self):
        """What all processes have used so far."""
        return Usage.of(self.processes())

    def system_calls(self):
        """A context manager that counts those of all processes."""
        return SystemCalls(self.processes())

    def process_memory(self):
        """Bytes that the processes have beside the shared memory."""
        total = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                total += int(re.search(r"RssAnon:\s+(\d+)",
                                       file.read()).group(1)) * 1024
        return total

    def pids(self, kind):
        return [pid for pid, its in self.processes().items() if its == kind]


def group(leader):
    """The processes that came of this one."""
    for path in glob.glob("/proc/[0-9]*/stat"):
        with contextlib.suppress(OSError), open(path, encoding="utf-8",
                                                errors="replace") as file:
            if int(file.read().rpartition(")")[2].split()[2]) == leader:
                yield int(path.split("/")[2])


def kind_of(description):
    for kind, pattern in (("main", r"^main process"), ("sip", r"receiver"),
                          ("http", r"http"), ("verdict", r"verdict"),
                          ("outbox", r"outbox"), ("alive", r"alive"),
                          ("timer", r"timer"),
                          ("ctl", r"ctl")):
        if re.search(pattern, description, re.I):
            return kind
    return "other"
