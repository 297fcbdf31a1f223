#!/usr/bin/python3
"""Every device comes at once: how the server, and the CMS, take it.

Devices register within a minute at the shipped configuration, whose CMS takes
so many POSTs a second and needs 50 ms for each. A device that is told to come
back later (503) does so when Retry-After says, or after an interval of its own.
Shows whether all get on line, what that is like for the CMS and for
everybody else, and which alerts fire; writes a summary and plots. Exit status 1 if a
claim does not hold.

Four processes besides Kamailio: this one plays the devices, one the CMS, one
pings Kamailio, one looks at it.
"""

import argparse
import collections
import contextlib
import hashlib
import heapq
import multiprocessing
import os
import random
import select
import socket
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

import alerts  # noqa: E402
import dashboard  # noqa: E402
from harness import (DOMAIN, HOST, PASSWORD, REALM, Kamailio, Port,  # noqa: E402
                     ha1)
from storm_cms import Slow, serve  # noqa: E402
from storm_report import Report, Sample, page  # noqa: E402

HTTP_PROCESSES = 2  # as shipped
SOCKETS = 16
T1, T2, TIMER_F = 0.5, 4.0, 32.0
PING_SECONDS = 0.02
SAMPLE_SECONDS = 0.5
# What "make storm" plays: options that differ, and the alerts that must fire
STORMS = [({}, {"TurnedAway", "Slow"}),
          ({"batch": 50}, set()),
          ({"fixed": 100}, {"TurnedAway", "Slow"}),
          ({"fixed": 50}, {"TurnedAway", "Slow"})]
HA2 = hashlib.md5(f"REGISTER:sip:{DOMAIN}".encode()).hexdigest()

REGISTER = (
    "REGISTER sip:{domain} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{device:x}.{n:x}\r\n"
    "From: <sip:d{device}@{domain}>;tag={device:x}\r\n"
    "To: <sip:d{device}@{domain}>\r\n"
    "Call-ID: storm-{device}\r\n"
    "CSeq: {n} REGISTER\r\n"
    "Max-Forwards: 70\r\n"
    "User-Agent: TELECOM ncsip/1.0\r\n"
    "Contact: <sip:d{device}@127.0.0.1:{port}>\r\n"
    "Expires: 3600\r\n{authorization}Content-Length: 0\r\n\r\n")


class Devices:
    """All of them: lists instead of objects, one timer heap, few sockets."""

    def __init__(self, server, options):
        self.server = server
        self.count = count = options.devices
        self.seconds = options.seconds
        # of those that do not care for Retry-After: after how long they come
        dice = random.Random(1)
        self.intervals = [dice.uniform(*options.interval)
                          if n % 100 < options.fixed else None
                          for n in range(count)]
        self.secrets = [f"{ha1(f'd{n}')}:" for n in range(count)]
        self.sockets = []
        self.ports = []
        self.epoll = select.epoll()
        for _ in range(SOCKETS):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind(("127.0.0.1", 0))
            sock.connect(server)
            sock.setblocking(False)
            self.sockets.append(sock)
            self.ports.append(sock.getsockname()[1])
            self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.by_fd = {s.fileno(): s for s in self.sockets}
        self.cseq = [0] * count
        # what was sent last and is not answered yet: (bytes, when given up)
        self.open = [None] * count
        self.on_line = [0.0] * count
        self.registered = 0
        self.timers = []  # (when, device, CSeq or 0, interval)
        self.statuses = collections.Counter()
        self.retransmissions = self.given_up = 0
        self.retry_after = collections.Counter()
        self.refusals = [0] * count
        self.latest = 0.0  # how late a timer was served: the generator's lag

    def run(self, timeout):
        """Returns the moment of the first REGISTER."""
        began = time.monotonic() + 0.1
        step = self.seconds / self.count
        # in an order in which neighbours are far apart
        self.timers = [(began + n * step, (n * 7919) % self.count, 0, 0.0)
                       for n in range(self.count)]
        heapq.heapify(self.timers)
        while self.registered < self.count:
            now = time.monotonic()
            if now > began + timeout:
                break
            self._run_timers(now)
            pause = self.timers[0][0] - time.monotonic() if self.timers else 1
            for fd, _event in self.epoll.poll(max(0.0, min(pause, 1.0))):
                self._read(self.by_fd[fd])
        return began

    def _run_timers(self, now):
        timers = self.timers
        # A while at most: what has come in must be read, too.
        for _ in range(200):
            if not timers or timers[0][0] > now:
                return
            when, device, cseq, interval = heapq.heappop(timers)
            self.latest = max(self.latest, now - when)
            if cseq == 0:
                self._send(device, "", now)
            elif cseq == self.cseq[device] and self.open[device]:
                self._again(device, cseq, interval, now)

    def _again(self, device, cseq, interval, now):
        data, until = self.open[device]
        if now > until:
            self.given_up += 1
            self._send(device, "", now)
            return
        self.retransmissions += 1
        self._write(device, data)
        interval = min(2 * interval, T2)
        heapq.heappush(self.timers, (now + interval, device, cseq, interval))

    def _send(self, device, authorization, now):
        self.cseq[device] = n = self.cseq[device] + 1
        data = REGISTER.format(
            domain=DOMAIN, port=self.ports[device % SOCKETS], device=device,
            n=n, authorization=authorization).encode()
        self.open[device] = (data, now + TIMER_F)
        self._write(device, data)
        heapq.heappush(self.timers, (now + T1, device, n, T1))

    def _write(self, device, data):
        with contextlib.suppress(BlockingIOError):  # lost; sent again by timer
            self.sockets[device % SOCKETS].send(data)

    def _read(self, sock):
        for _ in range(100):
            try:
                data = sock.recv(8192)
            except BlockingIOError:
                return
            self._answered(data, time.monotonic())

    def _answered(self, data, now):
        start = data.index(b"branch=z9hG4bK") + 14
        middle = data.index(b".", start)
        device = int(data[start:middle], 16)
        end = middle + 1
        while data[end] in b"0123456789abcdef":
            end += 1
        if not self.open[device] \
                or int(data[middle + 1:end], 16) != self.cseq[device]:
            return  # a repeated answer
        status = int(data[8:11])
        self.statuses[status] += 1
        self.open[device] = None
        if status == 401:
            self._send(device, self._credentials(device, data), now)
        elif status == 200:
            self.on_line[device] = now
            self.registered += 1
        else:
            pause = self._pause(data)
            self.retry_after[pause] += 1
            self.refusals[device] += 1
            pause = self.intervals[device] or pause
            heapq.heappush(self.timers, (now + pause, device, 0, 0.0))

    def _credentials(self, device, data):
        start = data.index(b'nonce="') + 7
        nonce = data[start:data.index(b'"', start)].decode()
        response = hashlib.md5((f"{self.secrets[device]}{nonce}:00000001:"
                                f"storm:auth:{HA2}").encode()).hexdigest()
        return (f'Authorization: Digest username="d{device}", '
                f'realm="{REALM}", nonce="{nonce}", uri="sip:{DOMAIN}", '
                f'qop=auth, nc=00000001, cnonce="storm", '
                f'response="{response}"\r\n')

    @staticmethod
    def _pause(data):
        start = data.find(b"Retry-After: ")
        if start < 0:
            return 5
        return int(data[start + 13:data.index(b"\r", start)])

    def close(self):
        for sock in self.sockets:
            sock.close()


def ping(address, results):
    """Seconds that an OPTIONS takes, every 20 ms; with the moment."""
    taken = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(address)
    port = sock.getsockname()[1]
    due = time.monotonic()
    number = 0
    while not results.poll():
        number += 1
        sent = time.monotonic()
        branch = f"z9hG4bKping{number}"
        sock.send((f"OPTIONS sip:127.0.0.1:{address[1]} SIP/2.0\r\n"
                   f"Via: SIP/2.0/UDP 127.0.0.1:{port};rport;branch={branch}"
                   "\r\nFrom: <sip:ping@127.0.0.1>;tag=1\r\n"
                   f"To: <sip:127.0.0.1:{address[1]}>\r\n"
                   f"Call-ID: ping-{port}-{number}\r\nCSeq: {number} OPTIONS\r\n"
                   "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n").encode())
        taken.append((sent, answered(sock, branch, sent)))
        due = max(due + PING_SECONDS, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
    results.send(taken)


def answered(sock, branch, sent):
    """Seconds; 2.0 if there is no answer in that time."""
    while True:
        left = sent + 2.0 - time.monotonic()
        if left <= 0:
            return 2.0
        sock.settimeout(left)
        try:
            data = sock.recv(4096)
        except TimeoutError:
            return 2.0
        if branch.encode() in data:
            return time.monotonic() - sent


def watch(server, results):
    """What Kamailio says of itself, with the moment."""
    samples = []
    pids = server.pids()
    while not results.poll(SAMPLE_SECONDS):
        with contextlib.suppress(OSError):
            status = server.status()
            samples.append(Sample(
                time.monotonic(), status["queued"], status["in_flight"],
                status["parked"], server.shm_used(),
                sum(map(own_bytes, pids))))
    results.send((samples, server.stats(),
                  int(server.rpc("core.shmmem")["max_used"]),
                  sum(map(cpu_seconds, pids))))


def own_bytes(pid):
    """Memory of a process that is not Kamailio's shared memory."""
    with contextlib.suppress(OSError), \
            open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Anonymous:"):
                return 1024 * int(line.split()[1])
    return 0


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


class Process:
    """A function(*args, connection) in a process of its own."""

    def __init__(self, function, *args, daemon=True):
        """It starts with go(). One that is no daemon may have others."""
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(
            target=self._run, args=(function, args, theirs), daemon=daemon)
        self._process.start()
        theirs.close()

    @staticmethod
    def _run(function, args, channel):
        channel.recv()
        function(*args, channel)

    def go(self):
        self._ours.send(None)
        return self

    def receive(self):
        return self._ours.recv()

    def end(self):
        """Tell it to stop; what it has found out."""
        self._ours.send(None)
        result = self._ours.recv()
        self._process.join()
        return result


def add_subscribers(path, count):
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.executemany(
            "INSERT INTO subscriber (username, domain, password, ha1)"
            " VALUES (?, ?, '', ?)",
            ((f"d{n}", REALM, ha1(f"d{n}", PASSWORD)) for n in range(count)))


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--devices", type=int, default=100000)
    parser.add_argument("--seconds", type=float, default=60.0,
                        help="within which all register for the first time")
    parser.add_argument("--rate", type=int, default=1000,
                        help="POSTs a second that the CMS takes")
    parser.add_argument("--service", type=float, default=0.05,
                        help="seconds that it needs for one")
    parser.add_argument("--slow", type=slow, default="0:0:1",
                        metavar="SINCE:UNTIL:FACTOR",
                        help="seconds of the storm in which the CMS needs so "
                        "many times as long; the claims are for one that "
                        "does not change")
    parser.add_argument("--fixed", type=int, default=0, metavar="PERCENT",
                        help="devices that ignore Retry-After and come back "
                        "after an interval of their own")
    parser.add_argument("--interval", type=interval, default="60:90",
                        metavar="LEAST:MOST", help="the same, in seconds")
    parser.add_argument("--connections", type=int, default=64,
                        help="what it may have in flight: max_connections of "
                        f"each of {HTTP_PROCESSES} HTTP processes together")
    parser.add_argument("--batch", type=int, default=1,
                        help="batch_max: events that a POST may carry")
    parser.add_argument("--memory", type=int, default=1024,
                        help="shared memory of Kamailio, MB")
    parser.add_argument("--set", type=setting, action="append", default=[],
                        metavar="NAME=VALUE",
                        help="a setting of kamailio-local.cfg")
    parser.add_argument("--all", action="store_true",
                        help="the four storms of the documentation, one after "
                        "the other")
    parser.add_argument("--alerts", metavar="FILE",
                        help="write what fired into this table, too; with --all")
    parser.add_argument("--series", action="store_true",
                        help="print the data of the plot, too")
    parser.add_argument("--output", metavar="DIR", default="build/storm",
                        help="where storm.md and its plots are written")
    return parser.parse_args()


def storm(options):
    # Forked before there is a thread or a server.
    cms = Process(serve, options.rate, options.service, options.slow).go()
    metrics = Port()
    server = Kamailio(cms.receive(), settings={
        "CMS_HTTP_PROCESSES": HTTP_PROCESSES,
        "CMS_MAX_CONNECTIONS": max(1, options.connections // HTTP_PROCESSES),
        "CMS_BATCH_MAX": options.batch, "CHILDREN": None,
        "CMS_TIMEOUT": None, "CMS_CONNECT_TIMEOUT": None,
        "TCP_CHILDREN": None, "USRLOC_SYNC": None, "MIN_EXPIRES": None,
        "NAT_PING_INTERVAL": None,
        "WITH_METRICS": f"{HOST}:{metrics.number}", **dict(options.set)},
        options=["-m", str(options.memory), "-x", "tlsf"])
    pinger = Process(ping, server.address)
    watcher = Process(watch, server)
    add_subscribers(server.database, options.devices)
    devices = Devices(server.address, options)
    with server, alerts.Watch([metrics.number]) as look:
        look.prometheus.wait_up()
        since = time.time()
        pinger.go()
        watcher.go()
        # Twice the best that is possible, and a minute.
        began = devices.run(60 + 2 * max(
            options.devices / options.rate + options.interval[1],
            options.seconds))
        server.settle(30)
        devices.cpu = time.process_time()
        found = cms.end(), pinger.end(), watcher.end()
        errors = server.unexpected_errors()
        fired = look.fired()
        picture = dashboard.draw(
            look.prometheus, f"{options.devices} devices come within "
            f"{options.seconds:g} s; the CMS takes {options.rate} POSTs a second",
            since, time.time())
    devices.close()
    metrics.close()
    return Report(options, devices, began, *found, errors, fired,
                  picture)


def setting(text):
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError("NAME=VALUE")
    return name, int(value) if value.isdigit() else value


def slow(text):
    try:
        return Slow(*map(float, text.split(":")))
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError("SINCE:UNTIL:FACTOR") from None


def interval(text):
    try:
        least, most = map(float, text.split(":"))
        return least, most
    except ValueError:
        raise argparse.ArgumentTypeError("LEAST:MOST") from None


def name_of(options):
    """Of the plot."""
    if options.batch > 1:
        return "storm-batch"
    return {0: "storm", 100: "storm-fixed"}.get(options.fixed, "storm-mixed")


def play(options, channel):
    """In a process of its own: sends what is to be written of the storm."""
    report = storm(options)
    if options.series:
        print(report.series())
    if options.alerts and options.must_fire is not None:
        alerts.update(options.alerts, [
            ("storm: d" + report.title()[1:], "reject", report.fired,
             report.fired)])
    channel.send((report.section(name_of(options)), report.plot(),
                  report.dashboard, bool(report.broken)))


def main():
    options = arguments()
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "storm.md"
    status = 0
    for changes, must_fire in STORMS if options.all else [({}, None)]:
        one = argparse.Namespace(
            **{**vars(options), "must_fire": must_fire, **changes})
        section, plot, picture, broken = Process(play, one, daemon=False).go().receive()
        status |= broken
        old = file.read_text(encoding="utf-8") if file.exists() else ""
        file.write_text(page(old, section), encoding="utf-8")
        (folder / f"{name_of(one)}.svg").write_text(plot, encoding="utf-8")
        (folder / f"{name_of(one)}-dashboard.svg").write_text(
            picture, encoding="utf-8")
        print(section, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
