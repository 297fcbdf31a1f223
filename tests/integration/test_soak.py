"""What runs for months must not grow."""

import collections
import contextlib
import re
import time

import pytest

from harness import DOMAIN, HOST, REALM, Transport, Ua
from sip_ua import register_all

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

DEVICES, ROUNDS = 1000, 50
UNLUCKY = {"status": {"status": 500}, "refused": {"status": 403},
           "cut": {"close": "answer"}, "broken": {"raw": b"\xff\r\n\r\n"}}


def idle(server):
    """Wait until no transaction is left and no binding: what is in use then,
    is in use for good."""
    server.settle()
    deadline = time.monotonic() + 60
    while server.rpc("tm.stats")["current"] > 0 \
            or server.stats("usrloc")["registered_users"] > 0:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def private_bytes(pid):
    """Memory of the process alone, shared memory not counted."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"RssAnon:\s+(\d+) kB", file.read())[1]) * 1024


def usage(server):
    """Bytes in use: shared memory, private memory of each process, and what
    the HTTP process has from the system (libcurl's memory)."""
    idle(server)
    return {
        "shm": server.shm_used(),
        "pkg": {p["pid"]: p["used"] for p in server.rpc("pkg.stats")},
        "http": {pid: private_bytes(pid)
                 for pid in server.pids("cms_notify http")}}


def cycle(server, names):
    """Each device registers, refreshes and leaves. Some are refused."""
    with contextlib.closing(Transport(server.address)) as way:
        uas = [Ua(user=name, domain=DOMAIN, transport=way,
                  uri=f"sip:{REALM}") for name in names]
        for ua in uas:
            ua.contact = f"<sip:{ua.user}@{HOST}:{way.local[1]}>"
        for expires in (3600, 3600, 0):
            done = register_all(uas, expires=expires)
            seen = collections.Counter(
                r.result.status if r.result else None for r in done)
            lucky = len([n for n in names if n.startswith("cam")])
            assert seen[None] == 0
            assert seen[200] == (lucky if expires else len(names)), seen


def test_memory_stays_where_it_was(kamailio, cms):
    """50,000 times register, refresh and leave, with refusals and failures
    among them: shared and private memory are in use as after the first
    1,000."""
    cms.validate = False
    server = kamailio(cms, settings={"CHILDREN": 2, "TCP_CHILDREN": 1},
                      options=["-m", "256"])
    names = [f"cam{n}" for n in range(DEVICES - 10 * len(UNLUCKY))]
    for kind, answer in UNLUCKY.items():
        for n in range(10):
            names.append(f"{kind}{n}")
            cms.rule(match={"username": names[-1]}, **answer)
    server.add_subscribers(names)

    for number in range(ROUNDS):
        cycle(server, names)
        assert cms.count >= DEVICES
        assert cms.invalid() == []
        cms.clear()
        if number == 0:
            before = usage(server)
    after = usage(server)

    print(before, after)
    assert after["shm"] <= before["shm"] + 64 * 1024
    assert set(after["pkg"]) == set(before["pkg"])
    grown = {pid: (used, after["pkg"][pid])
             for pid, used in before["pkg"].items()
             if after["pkg"][pid] > used + 16 * 1024}
    assert grown == {}
    for pid, used in before["http"].items():
        assert after["http"][pid] <= used + (4 << 20)
