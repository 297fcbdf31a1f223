"""A network of one's own, and a name server that can be told to fail.

Needs root, and CAP_NET_ADMIN in a container.
"""

import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading

import pytest

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextlib.contextmanager
def private_network():
    """This thread, and what it starts, has a loopback interface and no other
    network. Yields a Firewall."""
    ours = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        try:
            _checked(_libc.unshare(CLONE_NEWNET))
        except PermissionError as error:
            pytest.skip(f"no network namespace: {error}")
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield Firewall()
        finally:
            _checked(_libc.setns(ours, CLONE_NEWNET))
    finally:
        os.close(ours)


def clients_of(port):
    """The ports of those that are connected to that server's."""
    with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return [int(row[1].split(":")[1], 16) for row in rows
            if row[2].endswith(f":{port:04X}") and row[3] == "01"]


class Firewall:
    """Loses packets on their way to and from a TCP port, or an address."""

    def drop(self, port, probability=1.0, ways=("--dport", "--sport")):
        for way in ways:
            self._run("-A", "INPUT", "-p", "tcp", way, str(port), "-m",
                      "statistic", "--mode", "random", "--probability",
                      str(probability), "-j", "DROP")

    def drop_from(self, client, port):
        """What goes from one client's port to a server's."""
        self._run("-A", "INPUT", "-p", "tcp", "--sport", str(client),
                  "--dport", str(port), "-j", "DROP")

    def drop_host(self, host):
        for way in ("-s", "-d"):
            self._run("-A", "INPUT", way, host, "-j", "DROP")

    def clear(self):
        self._run("-F", "INPUT")

    @staticmethod
    def _run(*args):
        subprocess.run(["iptables", "-w", *args], check=True)


class NameServer:
    """Answers every question for an address with `address`. mode: "answer",
    "silent", "servfail". On port 53: for a private network."""

    def __init__(self, address="127.0.0.1"):
        self.mode = "answer"
        self.questions = 0
        self._address = socket.inet_aton(address)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        self._thread = threading.Thread(target=self._run, name="dns",
                                        daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def _run(self):
        while True:
            query, peer = self._socket.recvfrom(512)
            if not query:
                return
            self.questions += 1
            if self.mode != "silent":
                self._socket.sendto(self._answer(query), peer)

    def _answer(self, query):
        """RFC 1035 section 4: the question again, and what is known."""
        end = query.index(b"\0", 12) + 5
        kind, = struct.unpack("!H", query[end - 4:end - 2])
        code = 2 if self.mode == "servfail" else 0
        found = kind == 1 and code == 0
        head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, found, 0, 0)
        answer = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 0, 4) \
            + self._address if found else b""
        return head + query[12:end] + answer


def resolving(folder):
    """A command prefix: what runs under it asks the NameServer."""
    path = os.path.join(folder, "resolv.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("nameserver 127.0.0.1\n")
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c",
            f'mount --bind {path} /etc/resolv.conf && exec "$@"', "sh"]
