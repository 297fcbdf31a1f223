"""A real Kamailio for a test: configured, started, asked, watched, stopped.

    Kamailio         one server in a folder of its own
    local_settings   text of a kamailio-local.cfg, for the shipped kamailio.cfg
    registrar        text of a small configuration that a test is about
"""

import contextlib
import functools
import hashlib
import itertools
import os
import random
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts" / "lib"))

from kamailio_process import (KamailioProcess, RpcError, all_run,  # noqa: E402
                              module_path, rpc)
import reference_cms  # noqa: E402
from sip_ua import WAIT_SECONDS, NoAnswer, Transport, Ua  # noqa: E402

GB28181 = TOP / "scripts" / "etc" / "kamailio-gb28181.cfg"
HOST = "127.0.0.1"
DOMAIN, REALM, PASSWORD = "telecom.com", "kedacom.com", "123456"
START_SECONDS = 60
# Below the range from which the system hands out ports for UAs and the CMS.
PORTS = tuple(map(int, os.environ.get("TEST_PORTS", "20000-29999").split("-")))
GAUGES = ("queued", "in_flight", "parked")
BAD_LINE = re.compile(r"^\s*\d+\(\d+\) (ERROR|CRITICAL|ALERT|BUG|EMERG): ")
NOT_BAD = (
    # What Kamailio's TCP process says of the others when all are told to stop,
    r"receive_fd\(\): EOF on \d+",
    # and of itself when it is called twice within a clock tick.
    r"local_timer_run\(\): backwards or still time",
    # Of a client that has closed before it has read all of its answers: a slow
    # machine, and the line may come when the next test has begun.
    r"tcp_read_data\(\): (error reading: Connection reset by peer|-> \[)",
    r"tcp_read_req\(\): ERROR: tcp_read_req: error reading",
    # The same, after its answer.
    r"set_connection_lifetime_cid\(\): invalid connection id",
)


MEMORY = "/dev/shm"
MEMORY_BYTES = 1 << 30  # much more than all tests have at once


def files_in_memory():
    """A disk that is busy with other things takes seconds to write down what is
    deferred, and then its device gets 503, as it should: files of a test, which
    is not about that, are in memory where there is some."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    memory = os.statvfs(MEMORY)
    if memory.f_bavail * memory.f_frsize >= MEMORY_BYTES \
            and not memory.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = MEMORY
        tempfile.tempdir = None  # looks again


@functools.lru_cache(maxsize=None)
def environment():
    """Where Kamailio and the module are (tests/README.md)."""
    names = ("KAMAILIO", "KAMAILIO_MODULES", "KAMAILIO_VERSION",
             "KAMAILIO_SQL", "KAMCMD", "CMS_NOTIFY_MODULE_DIR")
    if all(name in os.environ for name in names):
        return {name: os.environ[name] for name in names}
    text = subprocess.run([TOP / "scripts" / "kamailio-env", "installed"],
                          check=True, capture_output=True, text=True).stdout
    return dict(line.split("=", 1) for line in text.splitlines())


def version():
    """(5, 6, 3)"""
    return tuple(int(n) for n in re.findall(
        r"\d+", environment()["KAMAILIO_VERSION"])[:3])


def with_a_broken_module(folder):
    """Kamailio's modules in a folder where cms_notify.so is none."""
    shutil.copytree(environment()["KAMAILIO_MODULES"].split(":")[0], folder,
                    copy_function=os.symlink)
    broken = folder / "cms_notify.so"
    broken.unlink(missing_ok=True)
    broken.write_text("no module")
    return folder


def until(predicate, timeout=WAIT_SECONDS):
    """Wait for what nobody reports."""
    deadline = time.monotonic() + timeout
    while not predicate():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not true in {timeout} s")
        time.sleep(0.005)


_repeats = []


def repeated(what):
    """A measurement is made again, since something else may have kept the
    machine busy. Each is shown at the end of the run."""
    _repeats.append(what)


def take_repeats():
    """Those since the last call."""
    taken = _repeats[:]
    _repeats.clear()
    return taken


class Port:
    """A UDP and TCP port that no other test takes, in whatever process."""

    def __init__(self):
        first, last = PORTS
        start = random.randrange(first, last + 1)
        for number in itertools.chain(range(start, last + 1),
                                      range(first, start)):
            # An abstract name is held by one process at a time and is gone
            # with it.
            self._lock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                self._lock.bind(f"\0cms_notify test port {number}")
                self._probe(number)
            except OSError:
                self._lock.close()
                continue
            self.number = number
            return
        raise RuntimeError(f"no free port in {first}-{last}")

    @staticmethod
    def _probe(number):
        for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET,
                                     socket.SO_REUSEADDR, 1)
                probe.bind((HOST, number))

    def close(self):
        self._lock.close()


class ReferenceCms(reference_cms.ReferenceCms):
    """One whose port is nobody else's, also while it is stopped: a CMS of
    another test would answer there."""

    def __init__(self, port=None, **kw):
        self._port = None if port else Port()
        super().__init__(port=port or self._port.number, **kw)

    def close(self):
        super().close()
        if self._port:
            self._port.close()


# -- database ----------------------------------------------------------------

READY_USERS = 2000  # cam1, cam2, ...: nobody writes while the server does


@functools.lru_cache(maxsize=None)
def _new_database():
    """Made once per test process; a copy for each server."""
    folder = tempfile.TemporaryDirectory(prefix="kamailio-db-")
    path = os.path.join(folder.name, "new.sqlite")
    subprocess.run(
        [TOP / "scripts" / "database", "sqlite", path], check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "KAMAILIO_SQL": environment()["KAMAILIO_SQL"]})
    insert_subscribers(path, [f"cam{n}" for n in range(1, READY_USERS + 1)])
    return folder, path


def ha1(user, password=PASSWORD, realm=REALM):
    return hashlib.md5(f"{user}:{realm}:{password}".encode()).hexdigest()


def insert_subscribers(database, users, password=PASSWORD, realm=REALM):
    rows = [(user, realm, ha1(user, password, realm)) for user in users]
    with contextlib.closing(sqlite3.connect(database, timeout=10)) as db:
        # A short lock: Kamailio's own writes do not wait long.
        db.execute("PRAGMA synchronous=OFF")
        with db:
            db.executemany(
                "INSERT OR REPLACE INTO subscriber"
                " (username, domain, password, ha1) VALUES (?, ?, '', ?)",
                rows)


# -- configurations ----------------------------------------------------------

def quoted(value):
    """A value as a Kamailio script wants it."""
    if isinstance(value, int):
        return str(value)
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


# ms that an event has where a test does not say: the CMS and Kamailio share a
# busy machine. A device waits longer for its answer.
CMS_MS, CONNECT_MS = 15000, 10000
# verdict_processes where a test sets none.
VERDICT_PROCESSES = int(os.environ.get("TEST_VERDICT_PROCESSES", "0"))


def local_settings(server, cms_url, settings=None):
    """kamailio-local.cfg: every setting a #!define, over defaults that suit a
    test. None leaves one out."""
    defines = {
        "SIP_DOMAINS": DOMAIN, "SIP_REALM": REALM,
        "DB_URL": f"sqlite:///{server.database}",
        "CHILDREN": 2, "TCP_CHILDREN": 2, "MIN_EXPIRES": 1,
        "MAX_CONTACTS": 0, "NAT_PING_INTERVAL": 0, "USRLOC_SYNC": 1,
        "NODE_NAME": "test-node", "CMS_URL": cms_url,
        "CMS_TIMEOUT": CMS_MS, "CMS_CONNECT_TIMEOUT": CONNECT_MS,
        "CMS_VERDICT_PROCESSES": VERDICT_PROCESSES or None,
        "CMS_BREAKER_FAILURES": 1000000, **(settings or {})}
    lines = [f"#!define {name} {quoted(value)}"
             for name, value in defines.items()
             if value is not None]
    lines.append(f'#!substdef "|RUN_DIR|{server.folder}|g"')
    return "\n".join(lines + [
        f'mpath="{server.mpath}"',
        f"listen=udp:{HOST}:{server.port}",
        f"listen=tcp:{HOST}:{server.port}", ""])


def shipped_with(lines, settings=None):
    """The shipped kamailio.cfg, with more lines in kamailio-local.cfg; a `config`
    of Kamailio."""
    def config(server, cms_url):
        server.write("kamailio-local.cfg",
                     local_settings(server, cms_url, settings) + lines)
        return (TOP / "kamailio.cfg").read_text(encoding="utf-8")

    return config


CMS_VALUES = ("verdict", "status", "cause", "text", "id", "reason",
              "retry_after", "elapsed_ms")
SHOW = "\n".join(
    f'\tappend_to_reply("X-CMS-{name}: $cms({name})\\r\\n");'
    for name in CMS_VALUES) + """
	append_to_reply("X-CMS-body_size: $(cms(body){s.len})\\r\\n");
	# Kamailio's string buffer holds 8 KB.
	if ($(cms(body){s.len}) < 4000)
		append_to_reply("X-CMS-body: $(cms(body){s.encode.hexa})\\r\\n");"""

VERDICT = """
	if ($cms(verdict) == "accepted") {
		if (!save("location")) send_reply("500", "Not saved");
		exit;
	}
	if ($cms(verdict) == "rejected") {
		send_reply("403", "Rejected");
		exit;
	}
	send_reply("503", "Unavailable");
	exit;"""

NOTIFY = """
	if (!cms_notify("location", "CMS_VERDICT")) {
		route(SHOW);
		append_to_reply("X-Route: busy\\r\\n");
		send_reply("503", "Busy");
		exit;
	}
	append_to_reply("X-Route: main\\r\\n");
	save("location");
	exit;"""

MODULES = ("db_sqlite", "jsonrpcs", "ctl", "kex", "pv", "xlog", "textops",
           "textopsx", "siputils", "tm", "tmx", "sl", "rr", "path",
           "nathelper", "usrloc", "registrar", "cms_notify")


def registrar(server, cms_url, *, modules=(), params=(), before="",
              notify=NOTIFY, verdict=VERDICT, routes="", core="",
              without=()):
    """A registrar without authentication whose answers show what the script
    saw: X-Route is main, busy or verdict; X-CMS-<name> is $cms(name), in the
    last two (see shown()). A long body is shown by X-CMS-body_size alone.

    modules  loaded besides MODULES (minus `without`)
    params   (module, name, value), after the defaults
    before   script before `notify`; notify, verdict: script of the two places
    routes   whole route blocks besides; core: lines at the top
    cms_url  None: no cms_url is set
    """
    loaded = [m for m in (*MODULES, *modules) if m not in without]
    loaded.remove("cms_notify")
    loaded.append("cms_notify")
    defaults = [
        ("ctl", "binrpc", f"unix:{server.folder}/kamailio_ctl"),
        ("jsonrpcs", "transport", 6),
        ("jsonrpcs", "fifo_name", f"{server.folder}/kamailio_rpc.fifo"),
        ("jsonrpcs", "dgram_socket", f"{server.folder}/kamailio_rpc.sock"),
        ("usrloc", "db_mode", 0), ("usrloc", "timer_interval", 1),
        ("usrloc", "db_url", f"sqlite:///{server.database}"),
        ("usrloc", "use_domain", 1), ("usrloc", "nat_bflag", 1),
        ("registrar", "min_expires", 1), ("registrar", "max_expires", 7200),
        ("registrar", "received_avp", "$avp(RECEIVED)"),
        ("nathelper", "received_avp", "$avp(RECEIVED)"),
        # a test is about one answer of the CMS, whatever came before it
        ("cms_notify", "breaker_failures", 1000000),
        ("cms_notify", "timeout", CMS_MS),
        ("cms_notify", "connect_timeout", CONNECT_MS),
        ("cms_notify", "node", "test-node")]
    if VERDICT_PROCESSES:
        defaults.append(
            ("cms_notify", "verdict_processes", VERDICT_PROCESSES))
    if cms_url is not None:
        defaults.append(("cms_notify", "cms_url", cms_url))
    if "db_sqlite" in loaded:
        # as in the shipped configuration: who only looks at a database locks
        # the others out when he closes it
        defaults.append(("cms_notify", "sqlite_busy_timeout", 2000))
    lines = [f'modparam("{module}", "{name}", {quoted(value)})'
             for module, name, value in (*defaults, *params)
             if module in loaded]
    return "\n".join([
        "#!KAMAILIO", "debug=1", "children=2", "tcp_children=2",
        "auto_aliases=no", f'mpath="{server.mpath}"',
        f"listen=udp:{HOST}:{server.port}",
        f"listen=tcp:{HOST}:{server.port}", core,
        *(f'loadmodule "{module}.so"' for module in loaded), *lines,
        "request_route {",
        '\tif (is_method("OPTIONS") && $rU == $null) '
        '{ sl_send_reply("200", "OK"); exit; }',
        "\tif (t_precheck_trans()) { t_check_trans(); exit; }",
        "\tt_check_trans();", before, notify, "}",
        f"route[SHOW] {{\n{SHOW}\n\treturn;\n}}",
        "route[CMS_VERDICT] {", "\troute(SHOW);",
        '\tappend_to_reply("X-Route: verdict\\r\\n");', verdict, "}",
        routes, ""])


def shown(response):
    """What a registrar() answer shows: {"route": ..., "verdict": ...}."""
    values = {name[6:]: value for name, value in response.headers
              if name.startswith("X-CMS-")}
    values["route"] = response.get("X-Route")
    if "body" in values:
        hexa = values["body"]
        values["body"] = None if hexa == "<null>" else \
            bytes.fromhex(hexa).decode("utf-8", "surrogateescape")
    return values


# -- the server --------------------------------------------------------------

class _Process(KamailioProcess):
    stop_seconds = 50  # Kamailio itself waits for a minute

    def __init__(self, *args, options=(), **kw):
        super().__init__(*args, **kw)
        self._command += options

    @property
    def pid(self):
        return self._process.pid

    def kill(self):
        """SIGKILL to every process of it, as a power cut."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()


class Kamailio:
    """A server in a folder of its own.

    cms       ReferenceCms or URL that it reports to
    settings  the shipped kamailio.cfg with these settings; or
    config    function(server, cms_url) -> text of kamailio.cfg, for example
              lambda s, url: registrar(s, url, params=[...])
    options   more options of the kamailio command ("-m", "32", ...)

    lines     its log; see wait_log(), allow_errors()
    """

    def __init__(self, cms, settings=None, config=None, options=()):
        self.cms = cms
        self.folder = tempfile.mkdtemp(prefix="kamailio-")
        self._port = Port()
        self.port = self._port.number
        self.address = (HOST, self.port)
        self.env = environment()
        self.mpath = module_path(self.env)
        self.database = os.path.join(self.folder, "kamailio.sqlite")
        shutil.copyfile(_new_database()[1], self.database)
        self.config = os.path.join(self.folder, "kamailio.cfg")
        self.shipped = config is None
        self._options = list(options)
        self._users = itertools.count(1)
        self._uas = []
        self._process = None
        self.lines = []
        self.exit_status = None
        self._log_changed = threading.Condition()
        self.checked = 0
        self._allowed = []
        self.configure(settings=settings, config=config)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_exc):
        self.close()

    # -- configuration --------------------------------------------------------

    @property
    def cms_url(self):
        return getattr(self.cms, "url", self.cms)

    def configure(self, settings=None, config=None):
        """Write the configuration anew; for the next start."""
        if config is None:
            shutil.copyfile(TOP / "kamailio.cfg", self.config)
            shutil.copy(GB28181, self.folder)
            self.write("kamailio-local.cfg",
                       local_settings(self, self.cms_url, settings))
        else:
            self.write("kamailio.cfg", config(self, self.cms_url))

    def write(self, name, text):
        """A file in the server's folder; returns its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    # -- life -----------------------------------------------------------------

    def start(self):
        """Start, and wait until it answers over UDP, TCP and RPC."""
        self.spawn()
        try:
            self._wait_ready(time.monotonic() + START_SECONDS)
        except BaseException:
            self.stop()
            raise
        return self

    def spawn(self):
        """Start without waiting."""
        self.exit_status = None
        self._process = _Process(
            self.env["KAMAILIO"], self.config, self.folder,
            on_line=self._on_line, on_end=self._on_end,
            options=self._options)
        self._process.start()

    @property
    def pid(self):
        """Of the main process."""
        return self._process.pid

    @property
    def running(self):
        return self._process is not None and self._process.running

    def stop(self):
        """SIGTERM, and wait. Returns the exit status."""
        if self._process is not None:
            ended = self._process.stop()
            self.wait_exit()
            assert ended, f"it did not end:\n{self.lines[-5:]}"
        return self.exit_status

    def kill(self):
        """SIGKILL to all its processes."""
        self._process.kill()
        self.wait_exit()

    def restart(self):
        self.stop()
        return self.start()

    def close(self):
        """Stop, and leave nothing behind."""
        self.close_devices()
        try:
            self.stop()
        finally:
            self._port.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def wait_exit(self, timeout=START_SECONDS):
        """The exit status of a server that ends by itself."""
        with self._log_changed:
            if not self._log_changed.wait_for(
                    lambda: self.exit_status is not None, timeout):
                raise TimeoutError(f"still running after {timeout} s")
        return self.exit_status

    def _wait_ready(self, deadline):
        # A TCP connection waits in the backlog until somebody takes it, who
        # complains if it has been closed by then.
        for transport, timeout in (("udp", 0.05), ("tcp", WAIT_SECONDS)):
            while True:
                try:
                    with contextlib.closing(
                            Transport(self.address, transport)) as way:
                        ua = Ua(transport=way, domain=f"{HOST}:{self.port}")
                        ua.options(timeout=timeout)
                        port = way.local[1]
                        break
                except (NoAnswer, ConnectionError):
                    self._check_alive(deadline)
        while not all_run(self.folder) or self._has_connection(port):
            self._check_alive(deadline)
            time.sleep(0.01)

    def _has_connection(self, port):
        """Is there a TCP connection of this port still? A TCP process that SIGTERM
        kills while it frees one leaves memory in which the main process crashes."""
        return any(c["src_port"] == port for c in self.rpc("core.tcp_list"))

    def _check_alive(self, deadline):
        if not self.running or time.monotonic() > deadline:
            raise RuntimeError("Kamailio did not start:\n"
                               + "\n".join(self.lines[-40:]))

    # -- log ------------------------------------------------------------------

    def _on_line(self, line):
        with self._log_changed:
            self.lines.append(line)
            self._log_changed.notify_all()

    def _on_end(self, status):
        with self._log_changed:
            self.exit_status = status
            self._log_changed.notify_all()

    def log(self, pattern, since=0):
        """The lines that match, from line number `since` on."""
        self._read_log()
        return self._matching(pattern, since)

    def _read_log(self):
        if self._process is not None:
            self._process.read_log()

    def _matching(self, pattern, since):
        return [line for line in self.lines[since:]
                if re.search(pattern, line)]

    def wait_log(self, pattern, timeout=WAIT_SECONDS, since=0):
        """The first line that matches, as soon as it is there."""
        with self._log_changed:
            if not self._log_changed.wait_for(
                    lambda: self._matching(pattern, since), timeout):
                raise TimeoutError(f"no log line {pattern!r} in {timeout} s")
        return self._matching(pattern, since)[0]

    def allow_errors(self, *patterns):
        """Error lines that the current test provokes."""
        self._allowed += patterns

    def begin_test(self):
        self._read_log()
        self.checked = len(self.lines)
        self._allowed = []

    def unexpected_errors(self):
        """Error lines of the current test that nobody allowed."""
        self._read_log()
        return [line for line in self.lines[self.checked:]
                if BAD_LINE.match(line)
                and not any(re.search(p, line) for p in (*NOT_BAD, *self._allowed))]

    # -- asking ---------------------------------------------------------------

    def rpc(self, method, *args, timeout=WAIT_SECONDS):
        """Result of an RPC command, through jsonrpcs. RpcError if refused."""
        return rpc(self.folder, method, args, timeout)

    def kamcmd(self, *args):
        """What kamcmd prints."""
        done = subprocess.run(
            [self.env["KAMCMD"], "-s", f"unix:{self.folder}/kamailio_ctl",
             *map(str, args)], capture_output=True, text=True, timeout=60)
        if done.returncode:
            raise RpcError((done.stderr or done.stdout).strip())
        return done.stdout

    def status(self):
        """cms_notify.status"""
        return self.rpc("cms_notify.status")

    def stats(self, group="cms_notify"):
        """The statistics of a group: {name: number}."""
        result = {}
        for line in self.rpc("stats.get_statistics", f"{group}:"):
            name, value = line.split(" = ")
            result[name.partition(":")[2]] = int(value)
        return result

    def shm_used(self):
        """Bytes of shared memory in use."""
        return int(self.rpc("core.shmmem")["used"])

    def settle(self, timeout=WAIT_SECONDS):
        """Wait until nothing is queued, under way, parked or about to be
        answered: what the CMS has got by now is all it gets. Returns the
        status."""
        deadline = time.monotonic() + timeout
        while True:
            status = self.status()
            left = {name: status[name] for name in GAUGES if status[name]}
            if not left and not self.rpc("cms_notify.parked", 1):
                return status
            if time.monotonic() > deadline:
                raise TimeoutError(f"still {left} after {timeout} s")
            time.sleep(0.005)

    def wait_parked(self, count, timeout=WAIT_SECONDS):
        """Until that many requests wait for a verdict."""
        until(lambda: self.status()["parked"] >= count, timeout)

    def handle(self, ua):
        """Wait until the script is through with all that this device has sent.
        Over TCP one worker takes one request after the other. Over UDP all take
        from one socket: it is empty, and each waits for more."""
        # the buffer may be full
        ua.send(ua.build("OPTIONS"), retransmit=True).wait()
        if ua.transport.name == "udp":
            self.wait_idle(self.pids("udp receiver"))

    def wait_idle(self, workers):
        """Until these processes have done all that came over UDP."""
        until(lambda: self._idle(workers))

    def _idle(self, workers):
        with open(f"/proc/{self.pid}/net/udp", encoding="ascii") as file:
            # who opens or closes a socket meanwhile may hide others
            fields = next((line.split() for line in file
                           if f":{self.port:04X} 00000000:" in line), None)
        if fields is None or int(fields[4].partition(":")[2], 16):
            return False
        return all(self._sleeps_on(pid, f"socket:[{fields[9]}]")
                   for pid in workers)

    @staticmethod
    def _sleeps_on(pid, file):
        """Is it in a system call whose first argument is this file?"""
        with open(f"/proc/{pid}/syscall", encoding="ascii") as text:
            call = text.read().split()
        if len(call) < 2:  # "running"
            return False
        try:
            return os.readlink(f"/proc/{pid}/fd/{int(call[1], 16)}") == file
        except (OSError, OverflowError):
            return False

    def contacts(self, aor):
        """The bindings of an AOR as usrloc knows them (ul.lookup); []: none.
        Takes a Ua, too."""
        try:
            found = self.rpc("ul.lookup", "location",
                             getattr(aor, "aor", aor).removeprefix("sip:"))
        except RpcError:
            return []
        return [c["Contact"] for c in found["Contacts"]]

    # -- devices --------------------------------------------------------------

    def add_subscribers(self, users, password=PASSWORD, realm=REALM):
        insert_subscribers(self.database, users, password, realm)

    def _new_users(self, count):
        """Names that nobody has used here, known to the database."""
        numbers = [next(self._users) for _ in range(count)]
        names = [f"cam{n}" for n in numbers]
        if self.shipped and numbers[-1] > READY_USERS:
            self.add_subscribers(names)
        return names

    def device(self, user=None, **kw):
        """A Ua with a name of its own, known to the database; closed at the
        end of the test. Its `server` is this one."""
        if user is None:
            user, = self._new_users(1)
        elif self.shipped:
            self.add_subscribers([kw.get("auth_user") or user])
        ua = Ua(self.address, user, DOMAIN, PASSWORD, **kw)
        ua.server = self
        self._uas.append(ua)
        return ua

    def close_devices(self):
        while self._uas:
            self._uas.pop().close()

    def devices(self, count, transport=None, **kw):
        """Many, over one socket unless told otherwise."""
        if transport is None:
            transport = Transport(self.address)
            self._uas.append(transport)
        return [Ua(user=name, domain=DOMAIN, password=PASSWORD,
                   transport=transport, contact=f"<sip:{name}@"
                   f"{transport.host_port}>", **kw)
                for name in self._new_users(count)]

    def posts(self, ua=None):
        """What the CMS got (from this device), once nothing is under way."""
        self.settle()
        return [r for r in self.cms.requests
                if ua is None or any(e.get("aor") == ua.aor for e in r.events)]

    def sockets(self):
        """Its file descriptors for the network, all processes."""
        count = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for fd in os.scandir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        count += os.readlink(fd.path).startswith("socket:")
        return count

    def pids(self, description=""):
        """Process ids, of those whose description (core.psx) contains this."""
        return [int(p["PID"]) for p in self.rpc("core.psx")
                if description in p["DSC"]]


def fails_to_start(config=None, settings=None, cms="http://127.0.0.1:9/",
                   timeout=START_SECONDS):
    """The log lines of a server that must refuse to start (AssertionError if
    it runs)."""
    server = Kamailio(cms, settings=settings, config=config)
    try:
        server.spawn()
        try:
            status = server.wait_exit(timeout)
        except TimeoutError:
            raise AssertionError("Kamailio has started") from None
        assert status != 0, "Kamailio has ended as if it were told to"
        return server.lines
    finally:
        server.close()
