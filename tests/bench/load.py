"""Devices that register: SIPp, and what it counted.

    Devices   subscribers in a database, and the file that SIPp reads
    Sipp      one load
    Load      what came of it
    Capture   its latencies, from the packets
"""

import csv
import hashlib
import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile
from pathlib import Path

from server import on_cpus

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
HOST = "127.0.0.1"
REALM, PASSWORD = "kedacom.com", "123456"


class Devices:
    """`count` devices with a database of their own; a context manager.

    registered_at  they are registered already, from this port: SIPp's
    known          so many others are registered
    """

    def __init__(self, count, registered_at=None, known=0):
        self.count, self._known = count, known
        self._registered_at = registered_at
        self.folder = tempfile.mkdtemp(prefix="bench-devices-")
        self.database = os.path.join(self.folder, "kamailio.sqlite")
        self.file = os.path.join(self.folder, "devices.csv")

    def __enter__(self):
        subprocess.run([TOP / "scripts" / "database", "sqlite",
                        self.database], check=True,
                       stdout=subprocess.DEVNULL)
        rows = [(name, REALM, hashlib.md5(
            f"{name}:{REALM}:{PASSWORD}".encode()).hexdigest())
            for name in map(self.name, range(self.count))]
        db = sqlite3.connect(self.database)
        with db:
            db.executemany(
                "INSERT INTO subscriber (username, domain, password, ha1)"
                " VALUES (?, ?, '', ?)", rows)
            if self._registered_at:
                add_bindings(db, (name for name, _, _ in rows),
                             self._registered_at)
            add_bindings(db, (f"known{i}" for i in range(self._known)), 5060)
        db.close()
        with open(self.file, "w", encoding="ascii") as file:
            file.write("SEQUENTIAL\n")
            file.writelines(
                f"{name};[authentication username={name} "
                f"password={PASSWORD}]\n" for name, _, _ in rows)
        return self

    def __exit__(self, *_exc):
        shutil.rmtree(self.folder, ignore_errors=True)

    def part(self, first, count):
        """A file of these devices alone."""
        path = f"{self.file}.{first}-{count}"
        if not os.path.exists(path):
            if first + count > self.count:
                raise RuntimeError(f"{self.count} devices are too few")
            with open(self.file, encoding="ascii") as file:
                lines = file.readlines()[1 + first:1 + first + count]
            with open(path, "w", encoding="ascii") as file:
                file.writelines(["SEQUENTIAL\n", *lines])
        return path

    @staticmethod
    def name(number):
        return f"cam{number}"


def add_bindings(db, names, port):
    """As a refresh has left them: usrloc has room for the next one's values.
    db_sqlite keeps times as Julian days."""
    db.executemany(
        "INSERT INTO location (ruid, username, domain, contact, callid,"
        " user_agent, expires) VALUES (?, ?, 'telecom.com', ?, ?,"
        " 'TELECOM ncsip/1.0', julianday('now', '+1 day'))",
        ((f"bench-{name}", name, f"sip:{name}@{HOST}:{port}",
          f"bench-{name}".ljust(64, "-")) for name in names))


class Sipp:
    """Registers `calls` devices, `rate` a second; or as fast as they are
    answered, `at_once` under way at any time. A context manager: what still
    runs at its end is ended.

    own_port  that it sends from
    first     number of the first device
    seconds   end after so long, whatever is left
    repeats   send again what is not answered in time, as SIP does over UDP
    cpus      that it may use; None: all
    """

    def __init__(self, devices, port, calls, rate, own_port, first=0,
                 at_once=None, seconds=None, cpus=None, repeats=True):
        self._calls, self._seconds, self._cpus = calls, seconds, cpus
        self._folder = Path(tempfile.mkdtemp(prefix="bench-sipp-"))
        self._command = [
            "setpriv", "--pdeathsig", "KILL", "--",
            "sipp", f"{HOST}:{port}", "-sf", HERE / "register.xml",
            "-inf", devices.part(first, calls), "-i", HOST, "-p", own_port,
            "-m", calls,
            "-r", rate, "-l", at_once or max(calls, 1000),
            "-trace_stat", "-stf", "stat.csv", "-fd", "1",
            "-trace_err", "-error_file", "errors.log",
            "-recv_timeout", "30000", "-buff_size", "4194304", "-nostdin"]
        if not repeats:
            self._command.append("-nr")
        if seconds:
            self._command += ["-timeout", f"{seconds}s"]
        self._process = None

    def __enter__(self):
        with on_cpus(self._cpus), open(self._folder / "out", "wb") as out:
            self._process = subprocess.Popen(
                list(map(str, self._command)), cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TERM": "dumb"})
        return self

    def __exit__(self, *_exc):
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def wait(self):
        """Load, once it has ended. Without `seconds` it is an error if more
        than one in a hundred was not registered."""
        self._process.wait(600)
        path = self._folder / "stat.csv"
        if not path.exists():
            raise RuntimeError("SIPp does not start: " + self._text("out"))
        load = Load(path)
        if not self._seconds and load.registered < self._calls * 0.99:
            raise RuntimeError(
                f"SIPp: {load.registered} of {self._calls} registered, "
                f"{load.failed} failed\n{self._text('errors.log')}")
        return load

    def _text(self, name):
        path = self._folder / name
        return path.read_text(errors="replace")[:500] if path.exists() else ""


class Load:
    """What SIPp counted: `registered`, `failed`, `repeated` messages."""

    def __init__(self, path):
        with open(path, encoding="ascii", errors="replace",
                  newline="") as file:
            self._rows = list(csv.DictReader(file, delimiter=";"))
        self.registered = self._last("SuccessfulCall(C)")
        self.failed = self._last("FailedCall(C)")
        self.repeated = self._last("Retransmissions(C)")

    def _last(self, column):
        return int(self._rows[-1][column])

    def per_second(self):
        """Registrations a second, its first second and its last left out."""
        steady = [(float(row["CurrentTime"].split("\t")[-1]),
                   int(row["SuccessfulCall(C)"])) for row in self._rows[1:-1]
                  if int(row["SuccessfulCall(C)"])]
        if len(steady) < 2:
            raise RuntimeError("too short a load to say how many a second")
        (began, first), (ended, last) = steady[0], steady[-1]
        return (last - first) / (ended - began)


class Capture:
    """Latencies in seconds, from the authenticated REGISTER to its 200, as the
    kernel saw the packets: SIPp's own clock has steps of milliseconds.

    with Capture(port) as capture: ...
    capture.latencies
    """

    def __init__(self, port, cpus=None):
        self.port, self._cpus = port, cpus
        self.latencies = []
        self._folder = self._process = None

    def __enter__(self):
        self._folder = tempfile.mkdtemp(prefix="bench-capture-")
        self._path = os.path.join(self._folder, "packets")
        with on_cpus(self._cpus):
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", "tcpdump", "-i", "lo",
                 "-n", "-Z", "root", "-B", "65536", "-s", "1000",
                 "-w", self._path, "--time-stamp-precision=nano",
                 "udp", "port", str(self.port)],
                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if "listening on" in line:
                return self
        raise RuntimeError("tcpdump does not start")

    def __exit__(self, kind, *_exc):
        try:
            # What libpcap still has in its buffer, the last second at most,
            # is not missed.
            self._process.terminate()
            said = self._process.stderr.read()
            self._process.wait()
            if kind is None:
                dropped = [line for line in said.splitlines()
                           if "dropped by kernel" in line]
                if dropped and not dropped[0].startswith("0 "):
                    raise RuntimeError(f"tcpdump: {dropped[0]}")
                self.latencies = latencies(packets(self._path), self.port)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)


def packets(path):
    """(seconds, payload of the UDP datagram, source port) of a capture."""
    with open(path, "rb") as file:
        data = file.read()
    magic, _, _, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    if magic != 0xa1b23c4d or link != 1:
        raise RuntimeError("not what tcpdump writes on the loopback")
    place = 24
    while place + 16 <= len(data):
        seconds, nanos, size, _ = struct.unpack_from("<IIII", data, place)
        place += 16
        frame = data[place:place + size]
        place += size
        if len(frame) < 42 or frame[12:14] != b"\x08\x00":
            continue
        header = 14 + (frame[14] & 15) * 4
        yield (seconds * 10**9 + nanos, frame[header + 8:],
               int.from_bytes(frame[header:header + 2], "big"))


def call_id(payload):
    start = payload.find(b"\nCall-ID:")
    return payload[start:payload.find(b"\r", start)]


def latencies(found, port):
    sent, result = {}, []
    for when, payload, source in found:
        if payload.startswith(b"REGISTER ") and b"\nAuthorization:" in payload:
            sent.setdefault(call_id(payload), when)
        elif source == port and payload.startswith(b"SIP/2.0 200"):
            began = sent.pop(call_id(payload), None)
            if began is not None:
                result.append((when - began) / 1e9)
    return result
