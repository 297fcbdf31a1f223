"""An ordinary stop loses nothing and ends by itself."""

import time

import pytest

from harness import ReferenceCms

pytestmark = pytest.mark.contract


# usrloc counts whole seconds; an expiry of one has passed after this.
EXPIRED = 2.2


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_bindings_that_have_expired_do_not_disturb_the_stop(
        kamailio, cms, mode):
    """usrloc has not purged them yet and does so while it stops."""
    server = kamailio(cms, settings={
        "USRLOC_SYNC": 60, "USRLOC_DB_MODE": mode})
    uas = server.devices(20)
    for ua in uas:
        assert ua.register(expires=1).status == 200
    time.sleep(EXPIRED)
    assert server.stop() == 0


def test_what_is_registered_outlives_an_ordinary_stop(kamailio, cms):
    """Also what usrloc would have written to the database later."""
    server = kamailio(cms, settings={"USRLOC_SYNC": 60})
    uas = server.devices(50)
    for ua in uas:
        assert ua.register().status == 200
    gone = server.devices(5)
    for ua in gone:
        assert ua.register(expires=1).status == 200
    time.sleep(EXPIRED)
    assert server.stop() == 0
    server.start()
    cms.clear()
    for ua in uas:
        assert ua.register().status == 200
    assert server.posts() == []


@pytest.mark.parametrize("rule", [{"hang": True}, {"hold": True}], ids=str)
def test_a_stop_while_the_cms_is_asked_ends_in_time(kamailio, rule):
    with ReferenceCms() as cms:
        server = kamailio(cms, settings={
            "CMS_TIMEOUT": 20000, "USRLOC_DB_MODE": 0})
        cms.rule(**rule)
        registrations = [ua.start_register() for ua in server.devices(100)]
        while server.status()["parked"] < 100:
            assert not any(r.result for r in registrations)
        begin = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begin < 5
