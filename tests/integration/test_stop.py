"""Kamailio is told to stop: what is under way is finished, everybody who waits
is answered, and nothing that is registered gets lost."""

import os
import threading
import time

import pytest

from harness import registrar, until

CMS_TIMEOUT = 25000
DRAIN = 4000
LONG_DRAIN = 13000  # a server that has not stopped in 15 s is killed
# usrloc counts whole seconds; an expiry of one has passed after this.
EXPIRED = 2.2


def config(*params, drain=DRAIN):
    params = [("cms_notify", "timeout", CMS_TIMEOUT),
              ("cms_notify", "drain_timeout", drain), *params]
    return lambda s, url: registrar(s, url, params=params)


def stop(server):
    """SIGTERM; how long it took."""
    began = time.monotonic()
    assert server.stop() == 0
    return time.monotonic() - began


def test_a_post_under_way_is_finished(kamailio, cms):
    """An answer of the CMS that comes while the server stops still reaches the
    device."""
    server = kamailio(cms, config=config(drain=LONG_DRAIN))
    cms.rule(hold=True)
    ua = server.device()
    sent = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    workers = server.pids("receiver")
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers))
    cms.release()
    stopping.join()
    assert server.exit_status == 0
    assert sent.wait().status == 200
    assert len(sent.finals) == 1


def test_nobody_is_left_without_an_answer(kamailio, cms):
    """Whom the CMS does not answer in time gets 503, cause shutdown, at the end
    of drain_timeout; who waits for a connection gets it at once."""
    server = kamailio(cms, config=config(
        ("cms_notify", "http_processes", 1),
        ("cms_notify", "max_connections", 2)))
    cms.rule(hang=True)
    devices = [server.device() for _ in range(20)]
    sent = [ua.send(ua.build_register()) for ua in devices]
    cms.wait(2)
    server.wait_parked(20)
    began = time.monotonic()
    assert DRAIN / 1000 <= stop(server) < CMS_TIMEOUT / 2000
    answers = [s.wait() for s in sent]
    assert {a.status for a in answers} == {503}
    assert {a.get("X-CMS-cause") for a in answers} == {"shutdown"}
    assert all(len(s.finals) == 1 for s in sent)
    at_once = [a for a in answers if a.time - began < DRAIN / 1000]
    assert len(at_once) == 18


SLEEPY = '''
	if (is_method("INFO")) {
		xlog("L_WARN", "begun\\n");
		usleep("300000");
		sl_send_reply("200", "OK");
		exit;
	}'''


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_request_at_hand_is_finished(kamailio, cms, transport):
    """A SIP worker that ends in the middle of one may hold a lock, for which
    Kamailio's main process waits in vain."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, modules=("cfgutils",), before=SLEEPY))
    ua = server.device(transport=transport)
    sent = ua.send(ua.build("INFO"))
    server.wait_log("begun")
    stop(server)
    assert sent.wait().status == 200


def test_an_idle_server_stops_at_once(kamailio, cms):
    """Nobody waits for drain_timeout when nothing is under way."""
    server = kamailio(cms, config=config(drain=LONG_DRAIN))
    assert server.device().register().status == 200
    assert stop(server) < LONG_DRAIN / 1000


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
