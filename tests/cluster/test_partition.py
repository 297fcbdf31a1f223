"""A server that is cut off from the database, or from the CMS."""

import sys

import pytest

from cluster import NUMBERS, apart, cms_of, database, register
from harness import HOST, TOP, ReferenceCms, until
from postgres import Postgres
from test_cluster import at, is_drained, seconds_until_handed_over

sys.path.insert(0, str(TOP / "tests" / "faults"))

from network import private_network  # noqa: E402

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def network():
    with private_network() as firewall:
        yield firewall


@pytest.fixture(scope="module")
def postgres(network):
    with Postgres([HOST, *map(database, NUMBERS)]) as server:
        yield server


@pytest.fixture(scope="module")
def reference(network):
    with ReferenceCms(host="0.0.0.0") as server:
        yield server


@pytest.fixture(scope="module")
def settings(postgres, reference):
    return apart(postgres, reference)


@pytest.fixture
def firewall(network, cluster):
    yield network
    network.clear()


def number_of(cluster, server):
    return cluster.servers.index(server) + 1


def test_from_the_database(cluster, firewall):
    """The balancer takes the server out. Its devices go to others and are not new
    there; back at it they are not either. What reaches it meanwhile does not wait."""
    ua = cluster.device()
    register(ua)
    first = cluster.server_of(ua)
    first.allow_errors(".")
    firewall.drop_host(database(number_of(cluster, first)))
    until(lambda: not cluster.front.is_up(first))
    register(ua)
    assert cluster.server_of(ua) is not first
    with at(first, ua) as here:
        request = here.send(here.build_register())
        first.wait_idle(first.pids("udp receiver"))
        assert not request.responses
    firewall.clear()
    until(lambda: cluster.front.is_up(first))
    register(ua)
    assert cluster.server_of(ua) is first
    assert cluster.events(ua) == [("register", "new", first.name)]


def test_what_it_has_deferred_is_taken_soon(cluster, firewall):
    """Within five seconds, and told once."""
    for server in cluster.servers:
        server.allow_errors(".")
    cluster.cms.stop()
    def cut_off(server):
        firewall.drop_host(database(number_of(cluster, server)))

    def bring_back(server):
        until(lambda: not cluster.front.is_up(server))
        firewall.clear()
        until(lambda: cluster.front.is_up(server))

    tries = (seconds_until_handed_over(cluster, cut_off, bring_back)
             for _ in range(3))
    assert any(seconds < 5 for seconds in tries)
    cluster.cms.start()
    until(lambda: is_drained(cluster))
    told = [e["id"] for r in cluster.cms.requests for e in r.events]
    assert len(told) == len(set(told))


def test_from_the_cms(cluster, firewall):
    """Its events wait. It is told what another server has registered meanwhile before
    that, and in the end the CMS knows the newest."""
    ua, other = cluster.device(), cluster.device()
    register(ua)
    first = cluster.server_of(ua)
    firewall.drop_host(cms_of(number_of(cluster, first)))
    register(ua, contacts=["<sip:x@127.0.0.9:7000>"])
    register(other)
    firewall.clear()
    until(lambda: is_drained(cluster), 60)
    assert [e[1] for e in cluster.events(ua)] == ["new", "moved"]
    assert [e[1] for e in cluster.events(other)] == ["new"]
