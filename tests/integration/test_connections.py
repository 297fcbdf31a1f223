"""Few connections to the CMS, used again and again."""

import concurrent.futures
import contextlib
import time

import pytest

from harness import until
from sip_ua import register_all

pytestmark = pytest.mark.contract

# Each process has connections of its own. A busy machine takes its time.
ONE = {"CMS_HTTP_PROCESSES": 1, "CMS_TIMEOUT": 25000}


@pytest.mark.parametrize("processes, most", [(1, 8), (3, 24)])
def test_never_more_connections_than_max_connections(
        kamailio, cms, processes, most):
    server = kamailio(cms, settings={
        "CMS_TIMEOUT": 25000, "CMS_MAX_CONNECTIONS": 8,
        "CMS_HTTP_PROCESSES": processes,
        "USRLOC_DB_MODE": 0})
    cms.rule(delay=0.02)
    uas = server.devices(500)
    registrations = register_all(uas, window=500)
    assert {r.result.status for r in registrations} == {200}
    assert cms.max_open_connections <= most
    # What was possible has been used, too.
    assert cms.max_in_flight >= 8
    assert len(server.posts()) == 500


@contextlib.contextmanager
def answering_by_hand(kamailio, cms, **settings):
    """A server with at most 8 POSTs under way, and 500 registrations, 40 at a time, so
    that some always wait. The CMS answers those that it is told to; in the end all."""
    server = kamailio(cms, settings={
        **ONE, "CMS_ATTEMPT_TIMEOUT": 25000, "CMS_MAX_CONNECTIONS": 8,
        "USRLOC_DB_MODE": 0, **settings})
    cms.rule(hold=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        done = pool.submit(register_all, server.devices(500), window=40)
        try:
            until(lambda: cms.held == 8)
            yield server
        finally:
            cms.clear_rules()
            cms.release()
            done.result()


def endpoint(server):
    return server.rpc("cms_notify.endpoints")[0]


def limit(server):
    return endpoint(server)["limit"]


def test_no_more_under_way_than_the_cms_has_use_for(kamailio, cms):
    """Of a CMS that answers one after the other, each in 20 ms: all are answered only
    after the time after which the limit changes at the latest. It is shown."""
    with answering_by_hand(kamailio, cms) as server:
        found = limit(server)
        assert found == 8
        while found == 8:
            time.sleep(0.02)
            cms.release(1)
            until(lambda: cms.held == 8 or limit(server) < 8)
            found = limit(server)
        assert 1 <= found < 8
        # it may be another one after twice as many answers
        while cms.held > found:
            cms.release(1)
        for _ in range(3):
            until(lambda: cms.held == endpoint(server)["in_flight"] == found)
            cms.release(1)
        assert limit(server) == found
        name = f'cms_notify_attempts_limit{{endpoint="{cms.url}"}} {found}\n'
        assert name in server.rpc("cms_notify.metrics")


def test_no_fewer_under_way_than_min_connections(kamailio, cms):
    with answering_by_hand(kamailio, cms, CMS_MIN_CONNECTIONS=8) as server:
        for _ in range(200):
            cms.release(1)
            until(lambda: cms.held == 8)
            assert limit(server) == 8


def test_connections_are_kept_and_used_again(kamailio, cms):
    server = kamailio(cms, settings={"USRLOC_DB_MODE": 0, **ONE})
    registrations = register_all(server.devices(1000), window=50)
    assert {r.result.status for r in registrations} == {200}
    assert len(server.posts()) == 1000
    assert cms.connections <= 32


def test_one_after_the_other_goes_over_one_connection(kamailio, cms):
    server = kamailio(cms, settings=ONE)
    for ua in server.devices(20):
        assert ua.register().status == 200
    assert cms.connections == 1


def test_an_answer_that_was_not_read_to_its_end_spoils_no_other(
        kamailio, cms):
    """The rest of a big answer is not taken for the next one."""
    server = kamailio(cms, settings=ONE)
    big, *others = server.devices(5)
    cms.rule(match={"username": big.user}, body_size=200_000)
    assert big.register().status == 503
    assert [ua.register().status for ua in others] == [200] * 4


@pytest.mark.parametrize("rule", [
    {"status": 403, "text": "no"}, {"status": 500}, {"status": 302}], ids=str)
def test_a_failure_by_status_keeps_the_connection(kamailio, cms, rule):
    server = kamailio(cms, settings=ONE)
    cms.rule(**rule)
    for ua in server.devices(5):
        ua.register()
    assert (len(server.posts()), cms.connections) == (5, 1)


def test_two_posts_at_once_are_not_sent_on_one_connection(kamailio, cms):
    """HTTP/1.1 without pipelining: an answer belongs to what was asked."""
    server = kamailio(cms, settings={**ONE, "CMS_MAX_CONNECTIONS": 2})
    cms.rule(hold=True)
    registrations = [ua.start_register() for ua in server.devices(6)]
    cms.wait_until(lambda: cms.held == 2)
    until(lambda: server.status()["queued"] == 4)
    assert not any(r.result for r in registrations)
    for held in (2, 2, 2):
        cms.wait_until(lambda: cms.held == held)
        cms.release()
    assert {r.wait().status for r in registrations} == {200}
    assert cms.max_in_flight == 2
