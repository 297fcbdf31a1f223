"""Bindings that are told again, for a CMS that has lost them."""

import time
from datetime import datetime

import pytest

import harness
from deferring import defer, deferring, events
from harness import until

pytestmark = pytest.mark.contract


def resynced(server, timeout=60):
    until(lambda: server.status()["resync"]["state"] == "idle", timeout)
    return server.status()["resync"]


def snapshots(cms):
    return [r for r in cms.requests
            if r.json["event"] == "snapshot" and r.outcome == 200]


def test_resync(cms, kamailio):
    """Every live binding is told again, at the rate that is set."""
    server = kamailio(cms, config=deferring(("resync_rate", 50)))
    uas = [server.device() for _ in range(30)]
    for ua in uas:
        assert ua.register().status == 200
    gone = server.device()
    assert gone.register().status == 200
    assert gone.unregister().status == 200
    server.settle()
    cms.clear()
    began = time.monotonic()
    assert server.rpc("cms_notify.resync")["state"] == "started"
    progress = resynced(server)
    assert 0.4 < time.monotonic() - began
    assert (progress["percent"], progress["sent"], progress["waiting"],
            progress["refused"], progress["failed"]) == (100, 30, 0, 0, 0)
    told = snapshots(cms)
    assert sorted(r.json["aor"] for r in told) == sorted(u.aor for u in uas)
    assert not any(r.errors for r in told)
    body = told[0].json
    assert body["reason"] is None and 0 < body["contacts"][0]["expires"] <= 3600


def test_a_contact_that_never_expires(cms, kamailio):
    """An operator has added it ("kamctl ul add"): 0 is said of those that leave."""
    server = kamailio(cms, config=deferring())
    server.rpc("ul.add", "location", "lobby@" + harness.DOMAIN,
               "sip:lobby@127.0.0.1:7001", 0, 1.0, ".", 0, 0, 0)
    shown, = server.rpc("cms_notify.device", "lobby@" + harness.DOMAIN)["contacts"]
    server.rpc("cms_notify.resync")
    assert resynced(server)["sent"] == 1
    post, = snapshots(cms)
    assert not post.errors
    assert post.json["contacts"][0]["expires"] == shown["expires_s"] == 2147483647


def test_resync_of_one(cms, kamailio):
    """The contacts of one address alone."""
    server = kamailio(cms, config=deferring())
    ua, other = server.device(), server.device()
    for port in (7001, 7002):
        assert ua.register(
            contacts=[f"<sip:x@127.0.0.1:{port}>"]).status == 200
    assert other.register().status == 200
    server.settle()
    server.rpc("cms_notify.resync", ua.aor)
    assert resynced(server)["sent"] == 2
    assert {r.json["contacts"][0]["uri"] for r in snapshots(cms)} == {
        "sip:x@127.0.0.1:7001", "sip:x@127.0.0.1:7002"}
    server.rpc("cms_notify.resync", "nobody@nowhere")
    assert resynced(server)["sent"] == 0


def test_resync_with_a_cms_that_comes_and_goes(cms, kamailio):
    """A binding that could not be told is told later; one that is refused is
    counted."""
    server = kamailio(cms, config=deferring(("resync_rate", 1000)))
    uas = [server.device() for _ in range(20)]
    for ua in uas:
        assert ua.register().status == 200
    server.settle()
    cms.clear()
    cms.refuse(uas[0].aor)
    cms.stop()
    server.rpc("cms_notify.resync")
    server.wait_log("the outbox waits for the CMS")
    cms.start()
    progress = resynced(server)
    assert (progress["sent"], progress["refused"], progress["failed"]) == \
        (19, 1, 0)
    assert len({r.json["aor"] for r in snapshots(cms)}) == 19


def test_resync_shows_how_far_it_is(cms, kamailio):
    """At no more than resync_rate, and both the command's own answer and the
    status say how far it is, which begins no other one; while the outbox is
    paused it waits."""
    server = kamailio(cms, config=deferring(("resync_rate", 10)))
    uas = [server.device() for _ in range(40)]
    for ua in uas:
        assert ua.register().status == 200
    server.settle()
    cms.clear()
    assert server.rpc("cms_notify.resync")["state"] == "started"
    until(lambda: server.rpc("cms_notify.resync")["sent"] >= 8)
    server.rpc("cms_notify.pause")
    for progress in (server.rpc("cms_notify.resync"),
                     server.rpc("cms_notify.resync", uas[0].aor),
                     server.status()["resync"]):
        assert (progress["state"], progress["aor"]) == ("running", "")
        assert progress["sent"] >= 8
        assert progress["sent"] + progress["waiting"] <= 40
    server.settle()
    count = cms.count
    time.sleep(0.5)  # nothing is to come
    assert cms.count == count < 40
    assert server.status()["resync"]["state"] == "running"
    server.rpc("cms_notify.resume")
    assert resynced(server)["sent"] == 40
    # by the server's clock: the CMS may have been late to look
    times = sorted(datetime.fromisoformat(r.json["time"]).timestamp()
                   for r in snapshots(cms))
    assert len(times) == 40
    for _ in range(3):
        assert server.status()["resync"]["state"] == "idle"
    server.settle()
    assert cms.count == 40
    # 36 take 3.5 s, less what it catches up, 0.1 s, and what the machine is busy
    assert all(b - a > 2.5 for a, b in zip(times, times[35:]))


def test_resync_after_what_waits(cms, kamailio):
    """What is older comes first: a device's snapshot follows what the outbox
    has of it."""
    server = kamailio(cms, config=deferring())
    ua = server.device()
    assert ua.register().status == 200
    cms.stop()
    event = defer(server, ua, contacts=[f"<sip:{ua.user}@127.0.0.1:7001>"])
    server.rpc("cms_notify.resync", ua.aor)
    cms.clear()
    cms.start()
    assert resynced(server)["sent"] == 2
    ids = [r.json["id"] for r in cms.requests if r.outcome == 200]
    assert ids[0] == event and len(ids) == 3
    assert events(cms) == ["register", "snapshot", "snapshot"]


@pytest.mark.parametrize("user, written", [
    ("CamX", "sip:CamX@telecom.com"), ("CamX", "CamX@telecom.com"),
    ("CamX", "camx@telecom.com"), ("CamX", "SIP:CamX@telecom.com"),
    ("CamX", "sip:camx@TELECOM.com:5060"), ("CamX", "sips:camx@telecom.com"),
    ("a%22b", "sip:a%22b@telecom.com"), ("a%22b", 'a"b@telecom.com')])
def test_resync_as_it_is_written(cms, kamailio, user, written):
    """An AOR as the operator knows it: as the CMS has it, or as usrloc."""
    server = kamailio(cms, config=deferring())
    ua = server.device(user)
    assert ua.register().status == 200
    server.settle()
    server.rpc("cms_notify.resync", written)
    assert resynced(server)["sent"] == 1


def test_resync_refuses_nonsense(cms, kamailio):
    """An address that no device can have is refused."""
    server = kamailio(cms, config=deferring())
    server.allow_errors("jsonrpcs|binrpc|ctl ")
    with pytest.raises(harness.RpcError, match="too long"):
        server.rpc("cms_notify.resync", "x" * 300)
    assert server.status()["resync"]["state"] == "idle"
