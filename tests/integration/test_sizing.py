"""What so many devices take: the arithmetic of doc/scaling.md, and its page."""

import importlib.machinery
import importlib.util
import json
import sys

import pytest

from harness import TOP

BENCH = TOP / "tests" / "bench"
sys.path.insert(0, str(BENCH))

import sizing  # noqa: E402

# Round numbers: a millisecond of a server, a tenth of it of the balancer, half of it of
# PostgreSQL, vacuum included.
ONE = {"servers_us": 1000, "front_us": 100, "postgres_us": 499}
READ = {"text": "select a", "wal_compressed": 500}
WRITTEN = {"text": "insert a", "wal_compressed": 10000}
COSTS = {"new": ONE, "refresh": ONE, "vacuum_us": 1,
         "keepalive": {"servers_us": 200, "front_us": 50, "postgres_us": 300},
         "statements": {**dict.fromkeys(("new", "refresh"), [*[READ] * 3, WRITTEN]),
                        "keepalive": [READ]}}
SITE = {"refresh": 1000, "storm": 1000, "keepalive": 0, "cores": 10, "busy": 0.5}


def need(costs=COSTS, **kw):
    return sizing.need(sizing.Site(**{**SITE, **kw}), costs)


def test_what_a_site_takes():
    """5,000 a second."""
    found = need(devices=5000000)
    assert found.cores == pytest.approx({"servers": 5, "front": 0.5, "postgres": 2.5})
    assert found.wal == pytest.approx(50)
    # Twice five cores, when one is dead: two servers of five usable ones. Three, at least.
    assert (found.shards, found.servers) == (1, 3)


@pytest.mark.parametrize("more, shards, servers", [
    ({}, 2, 6), ({"wal": 40}, 3, 9), ({"cores": 1}, 10, 40)])
def test_what_ends_first(more, shards, servers):
    """10,000 a second: PostgreSQL takes five cores of five, its WAL is 100 MB/s, and
    the servers take ten."""
    found = need(**{"devices": 10000000, "wal": 60, **more})
    assert (found.shards, found.servers) == (shards, servers)


def test_a_shard_has_ten_servers():
    """Thirty are needed, and PostgreSQL is hardly busy."""
    one = {**ONE, "postgres_us": 9}
    found = need({**COSTS, "new": one, "refresh": one}, devices=75000000, wal=10 ** 6)
    assert (found.shards, found.servers) == (3, 30)


def test_the_worst_time_counts():
    assert need(devices=1000000, storm=100).cores["servers"] == pytest.approx(10)
    assert need(devices=1000000, refresh=100).cores["servers"] == pytest.approx(10)


def test_keepalives_go_on():
    """5,000 a second of what else there is, and 10,000 keepalives."""
    found = need(devices=5000000, keepalive=500)
    assert found.cores == pytest.approx({"servers": 7, "front": 1, "postgres": 5.5})
    assert found.wal == pytest.approx(50)


def test_processes_that_wait():
    """Three servers, each of which may get 2,000 a second; half of a process's time is
    used: 6 ms for a refresh, 2 and 4 ms for who is new, 1 ms for a keepalive."""
    found = need(devices=3000000, refresh=1000, storm=10 ** 6)
    assert (found.children, found.verdicts) == (24, 2)
    found = need(devices=3000000, refresh=10 ** 6)
    assert (found.children, found.verdicts) == (8, 16)
    assert found.connections == 3 * (9 + 8 + 4 + 16)
    assert need(devices=3000000, keepalive=1000).children == 28


def test_devices_are_dealt_out_evenly():
    """To shards and to servers; who is next to a dead server has twice as many. Chosen
    by the same number, half of the servers would get nobody."""
    names = sizing.names(20000)
    assert len(set(names)) == 20000 and {len(name) for name in names} == {20}
    found = sizing.deal(names, 2, 4)
    assert found == {"shard": pytest.approx(1, abs=0.02),
                     "server": pytest.approx(1, abs=0.05),
                     "neighbour": pytest.approx(2, abs=0.1)}
    assert sizing.deal(names, 2, 4, by_slot=False)["server"] == pytest.approx(2, abs=0.1)


def test_the_page_has_what_is_calculated():
    """From the costs that were measured last."""
    loader = importlib.machinery.SourceFileLoader("sizes", str(BENCH / "sizes"))
    sizes = importlib.util.module_from_spec(
        importlib.util.spec_from_loader("sizes", loader))
    loader.exec_module(sizes)
    costs = json.loads((BENCH / "results" / "machines.json").read_text(encoding="utf-8"))
    page = (TOP / "modules/cms_notify/doc/scaling.md").read_text(encoding="utf-8")
    for text in sizes.tables(costs, sizes.usual_sites()).values():
        assert text in page
