"""One of many servers dies, or is cut off from what all share."""

import sys
import time

import pytest

from harness import HOST, TOP
from network import private_network
from postgres import Postgres
from sizes import modes
from trial import Trial

sys.path.insert(0, str(TOP / "tests" / "cluster"))

from cluster import (DEVICES, NUMBERS, Cluster, apart, cms_of,  # noqa: E402
                     database)

# Those that the harness would set otherwise.
SHIPPED = dict.fromkeys((
    "CMS_BREAKER_FAILURES", "CMS_BREAKER_COOLDOWN", "CMS_TIMEOUT",
    "CMS_CONNECT_TIMEOUT", "CMS_EVENTS"))


class Servers(Cluster):
    """All of them, as a trial has one."""

    mode = "defer"
    devices_at = DEVICES
    # What one server has been at for seconds another may have overtaken.
    by_number = True

    def __init__(self, postgres, cms):
        each = apart(postgres, cms)
        super().__init__(
            postgres, cms,
            lambda number: {**SHIPPED, "CMS_DETECT_REBOOT": 1, **each(number)},
            ["-m", "256", "-x", "tlsf"])
        self.address = self.front.address

    def _rows(self, where):
        return int(self.postgres.sql(
            f"SELECT count(*) FROM cms_outbox WHERE {where}")[0][0])

    def status(self):
        each = [server.status() for server in self.servers]
        return {"outbox": self._rows("state IN (0, 2)"), **{
            name: sum(status[name] for status in each)
            for name in ("queued", "in_flight", "parked")}}

    def dead_letters(self):
        return self._rows("state = 1")

    def wait_outbox(self, predicate, timeout):
        deadline = time.monotonic() + timeout
        while not predicate(waiting := self.status()["outbox"]):
            assert time.monotonic() < deadline, f"{waiting} events in the outbox"
            time.sleep(0.05)


@pytest.fixture
def firewall():
    with private_network() as network:
        yield network


@pytest.fixture
def reference(firewall, make_cms):
    return make_cms(host="0.0.0.0")


@pytest.fixture
def servers(firewall, reference):
    with Postgres([HOST, *map(database, NUMBERS)]) as postgres:
        cluster = Servers(postgres, reference)
        try:
            yield cluster.start()
        finally:
            cluster.close()


@modes("defer", short=0)
def test_each_is_killed(mode, size, servers, reference, row):
    """kill -9 of one after the other; each is started again."""
    with Trial(servers, [reference], size.devices) as trial:
        trial.warm_up()
        for server in servers.servers:
            servers.lose(server)
            trial.load(size.seconds / 3)
            servers.bring_back(server)
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("kill -9 of each of three servers in turn"))


@modes("defer", short=0)
@pytest.mark.parametrize("what, where", [("the database", database),
                                         ("the CMS", cms_of)])
def test_one_is_cut_off(mode, size, what, where, servers, reference, firewall, row):
    """One of three, for as long as the fault lasts."""
    with Trial(servers, [reference], size.devices) as trial:
        trial.warm_up()
        began = time.monotonic()
        firewall.drop_host(where(1))
        trial.load(size.seconds)
        firewall.clear()
        # Who asks it before it is given up has no answer.
        trial.died.append((began, time.monotonic()))
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end(f"one of three servers is cut off from {what}"))
