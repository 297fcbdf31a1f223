"""Devices that repeat their REGISTER while the CMS is away: what one of them was
told 200 for, the CMS learns, or something newer."""

import collections
import contextlib
import re
import select
import socket
import time

import pytest

import harness
from deferring import deferring, is_empty
from harness import until
from trial import Row

TIMES = 4
PAUSE = 0.45
TIMEOUT_MS = 1000
SOCKETS = 32

REGISTER = (
    "REGISTER sip:{domain} SIP/2.0\r\n"
    "Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{user}.{n}\r\n"
    "From: <sip:{user}@{domain}>;tag={user}.{n}\r\n"
    "To: <sip:{user}@{domain}>\r\n"
    "Call-ID: {call_id}\r\n"
    "CSeq: {cseq} REGISTER\r\n"
    "User-Agent: {n}\r\n"  # the body has it
    "Contact: <sip:{user}@127.0.0.1:{port}>\r\n"
    "Max-Forwards: 70\r\n"
    "Expires: 3600\r\n"
    "Content-Length: 0\r\n\r\n")


class Crowd:
    """Devices that send `TIMES` REGISTERs each, whatever is answered: one in
    three goes on counting, one has a new Call-ID each time, as after a restart,
    and one has the same Call-ID and CSeq again."""

    def __init__(self, address, count):
        self.count = count
        self.sockets = []
        self.epoll = select.epoll()
        for _ in range(SOCKETS):
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            sock.bind((harness.HOST, 0))
            sock.connect(address)
            sock.setblocking(False)
            self.sockets.append(sock)
            self.epoll.register(sock.fileno(), select.EPOLLIN)
        self.by_fd = {s.fileno(): s for s in self.sockets}
        # of each device: {event id: the first time that was answered 200 for it}
        self.told = collections.defaultdict(dict)
        self.statuses = collections.Counter()

    def run(self, killer=lambda n: None):
        """Each device once, then each for the second time, and so on."""
        for n in range(1, TIMES + 1):
            began = time.monotonic()
            for device in range(self.count):
                self._send(device, n)
                if device % 20 == 0:
                    self._read(0)
                if device == self.count // 2:
                    killer(n)
            while (left := began + PAUSE - time.monotonic()) > 0:
                self._read(left)
        # none is answered later than that
        end = time.monotonic() + TIMEOUT_MS / 1000 + 1
        while (left := end - time.monotonic()) > 0:
            self._read(left)

    def _send(self, device, n):
        sock = self.sockets[device % SOCKETS]
        user = f"r{device}"
        boot = n if device % 3 == 1 else 0
        data = REGISTER.format(
            domain=harness.DOMAIN, user=user, n=n,
            cseq=1 if device % 3 == 2 else n,
            port=sock.getsockname()[1], call_id=f"{user}.{boot}@test")
        with contextlib.suppress(OSError):  # lost; it is sent again anyway
            sock.send(data.encode())

    def _read(self, timeout):
        for fd, _event in self.epoll.poll(timeout):
            with contextlib.suppress(OSError):
                while True:
                    self._answered(self.by_fd[fd].recv(8192).decode())

    def _answered(self, text):
        status = int(text[8:11])
        self.statuses[status] += 1
        event = re.search(r"^X-CMS-id: (\w+)", text, re.M)
        if status != 200 or not event or event[1] == "<null>":
            return
        user, n = re.search(r"branch=z9hG4bK(\w+)\.(\d+)", text).groups()
        first = self.told[user].get(event[1], int(n))
        self.told[user][event[1]] = min(first, int(n))

    def close(self):
        for sock in self.sockets:
            sock.close()


def ledger(crowd, requests):
    """(events with a 200 of which the CMS knows neither them nor a newer one,
    devices whose events it got out of order)"""
    lost, disordered = [], []
    accepted = collections.defaultdict(list)
    in_order = collections.defaultdict(list)
    for request in requests:
        if request.outcome == 200:
            accepted[request.json["username"]].append(request.json)
        # what is read when it has been given up came before
        if request.outcome == 200 and not request.late:
            in_order[request.json["username"]].append(request.json["seq"])
    for user, told in crowd.told.items():
        ids = {body["id"] for body in accepted[user]}
        newest = max((int(body["user_agent"]) for body in accepted[user]),
                     default=0)
        lost += [(user, event) for event, n in told.items()
                 if event not in ids and newest < n]
    for user, numbers in in_order.items():
        if numbers != sorted(numbers):
            disordered.append((user, numbers))
    return lost, disordered


def storm(make_cms, devices, killed):
    """@return the crowd, and after how many seconds the outbox was empty"""
    cms = make_cms()
    with contextlib.ExitStack() as stack:
        stack.callback(cms.close)
        server = harness.Kamailio(
            cms, config=deferring(("timeout", TIMEOUT_MS), ("detect_reboot", 1)),
            options=["-m", "256", "-x", "tlsf"])
        stack.callback(server.close)
        server.start()
        cms.stop()
        crowd = Crowd((harness.HOST, server.port), devices)
        stack.callback(crowd.close)

        def killer(n):
            if killed and n == 2:
                server.kill()
                server.start()
        crowd.run(killer)
        cms.start()
        began = time.monotonic()
        until(lambda: is_empty(server), 60)
        took = time.monotonic() - began
        lost, disordered = ledger(crowd, cms.requests)
        assert not lost, f"{len(lost)} of {len(crowd.told)}: {lost[:5]}"
        assert not disordered, disordered[:5]
        assert server.stop() == 0
    return crowd, took


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
@pytest.mark.parametrize("devices, runs", [
    pytest.param(300, 1, marks=pytest.mark.short, id="short"),
    pytest.param(1500, 10, marks=pytest.mark.long, id="long")])
def test_repeats(killed, devices, runs, make_cms, row):
    """The CMS is away, comes back, and knows whoever was told 200; also when
    Kamailio is killed in between."""
    told, slowest, statuses = 0, 0, collections.Counter()
    for _ in range(runs):
        crowd, took = storm(make_cms, devices, killed)
        told += len(crowd.told)
        statuses += crowd.statuses
        slowest = max(slowest, took)
    # a machine that is slow stores fewer of them in time
    assert told > runs * devices / 10
    row(Row(
        f"{devices} devices repeat their REGISTER {TIMES} times, {PAUSE} s"
        f" apart, with and without a new CSeq, `timeout` {TIMEOUT_MS} ms, the"
        " CMS is away" + ("; kill -9 of Kamailio in between" if killed else ""),
        "defer", ", ".join(f"{n} × {status}" for status, n in
                           sorted(statuses.items())) + f" in {runs} runs",
        "0 out of order", f"0 of {told}",
        f"outbox empty after {slowest:.2f} s (slowest run)"))
