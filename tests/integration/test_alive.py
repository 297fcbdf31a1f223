"""Who gives no sign of life any more, and who has lost its connection, is off
line: cms_alive() and alive_timeout."""

import contextlib
import os
import signal
import sqlite3
import time
from datetime import datetime

import pytest

import harness
from deferring import (
    LEAVING, defer, deferring, drained, rows, table, wait_event)
from harness import Transport, repeated, until
from metrics import by_rpc

pytestmark = pytest.mark.contract

LONG = 3600  # nobody falls silent in a test
KEEPALIVE = """
	if (is_method("MESSAGE")) {
		if (cms_alive("location"%s)) send_reply("200", "OK");
		else send_reply("404", "Not registered");
		exit;
	}"""


def alive(timeout, *params, uri="", **kw):
    """A configuration in which a MESSAGE is a sign of life."""
    return deferring(LEAVING, ("alive_timeout", timeout), *params,
                     before=KEEPALIVE % uri, **kw)


def usrloc(mode, interval=1):
    return [("usrloc", "db_mode", mode), ("usrloc", "timer_interval", interval)]


def keepalive(ua, timeout=10.0, **kw):
    """The status of the answer."""
    return ua.send(ua.build("MESSAGE", **kw)).wait(timeout).status


def told(cms, ua):
    """[(event, reason)]: what the CMS has accepted, each once, although it may
    have been told twice."""
    seen = {r.json["id"]: (r.json["event"], r.json["reason"])
            for r in cms.requests
            if r.outcome == 200 and r.json["username"] == ua.user}
    return list(seen.values())


def events(cms, ua):
    return [event for event, _reason in told(cms, ua)]


def written(server, ua):
    """Is it in usrloc's table?"""
    with contextlib.closing(
            sqlite3.connect(server.database, timeout=10)) as db:
        return db.execute("SELECT 1 FROM location WHERE username = ?",
                          (ua.user,)).fetchone() is not None


def stays(sign, until_true, timeout, what, last=None):
    """Give signs until something is true. @return True: each came soon enough
    after the one before, and the first one after `last`."""
    last, in_time = last or time.monotonic(), True
    end = last + 60
    while not until_true():
        assert time.monotonic() < end
        sign()
        now = time.monotonic()
        in_time &= now - last < timeout
        last = now
        time.sleep(0.1)
    if not in_time:
        repeated(what)
    return in_time


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_falls_silent(cms, kamailio, mode):
    """Who is silent for alive_timeout, and not before, is off line: the CMS is
    told so once, the binding is gone, and the device returns."""
    server = kamailio(cms, config=alive(5, more=usrloc(mode)))
    ua = server.device(user_agent="silent/1")
    assert ua.register().status == 200
    began = time.monotonic()
    assert keepalive(ua) == 200
    post = wait_event(cms, "offline")
    assert time.monotonic() - began > 5
    assert post.errors == []
    body = post.json
    assert (body["aor"], body["call_id"], body["user_agent"]) == (
        ua.aor, ua.call_id, "silent/1")
    contact, = body["contacts"]
    assert f"<{contact['uri']}>" == ua.contact and contact["expires"] == 0
    assert server.rpc("cms_notify.device", ua.aor)["contacts"] == []
    assert keepalive(ua) == 404
    until(lambda: not written(server, ua))  # usrloc has purged it
    assert ua.register().status == 200
    assert told(cms, ua) == [("register", "new"), ("offline", None),
                             ("register", "returned")]
    assert keepalive(ua) == 200
    assert server.stats()["offline"] == 1


@pytest.mark.parametrize("db_mode", [0, 2])
def test_returns_before_it_is_purged(cms, kamailio, db_mode):
    """The same, for a device that is back before usrloc has purged it."""
    server = kamailio(cms, config=alive(4, more=usrloc(db_mode, 600)))
    ua = server.device()
    assert ua.register().status == 200
    wait_event(cms, "offline")
    assert ua.register().status == 200
    assert told(cms, ua) == [("register", "new"), ("offline", None),
                             ("register", "returned")]
    assert keepalive(ua) == 200


SIGNS = {
    "keepalive": keepalive,
    "register": lambda ua: ua.register().status,
}


@pytest.mark.parametrize("sign", SIGNS)
def test_heard(cms, kamailio, sign):
    """Who is heard stays: by cms_alive(), or by a REGISTER."""
    server = kamailio(cms, config=alive(5))
    for _ in range(3):
        ua, silent = server.device(), server.device()
        for one in (ua, silent):
            assert one.register().status == 200
        if stays(lambda: SIGNS[sign](ua),
                 lambda: "offline" in events(cms, silent), 5, sign):
            break
    assert events(cms, ua) == ["register"]
    assert keepalive(ua) == 200
    assert events(cms, silent) == ["register", "offline"]


@pytest.mark.parametrize("by", ["address", "contact"])
def test_two_contacts(cms, kamailio, by):
    """Of a device with two contacts the one that is silent leaves: they are
    known by their address, or else by their Contact."""
    server = kamailio(cms, config=alive(5))
    for _ in range(3):
        ua = server.device()
        other = server.device(user=ua.user)
        if by == "contact":
            ua.contact, other.contact = [
                f"<sip:{ua.user}@127.0.0.1:{port}>" for port in (7001, 7002)]
        for one in (ua, other):
            assert one.register().status == 200
        headers = [("Contact", ua.contact)] if by == "contact" else []
        if stays(lambda: keepalive(ua, headers=headers),
                 lambda: "offline" in events(cms, ua), 5, by):
            break
    post = [r for r in cms.requests if r.json["event"] == "offline"][-1]
    assert f"<{post.json['contacts'][0]['uri']}>" == other.contact
    assert [f"<{c['contact']}>" for c in server.rpc(
        "cms_notify.device", ua.aor)["contacts"]] == [ua.contact]
    assert other.register().status == 200
    assert [r for r in cms.requests if r.json["event"] == "register"
            ][-1].json["reason"] == "returned"


def test_which_of_two(cms, kamailio):
    """A keepalive that may be of either contact is of none."""
    server = kamailio(cms, config=alive(LONG))
    ua = server.device()
    for port in (7001, 7002):
        assert ua.register(
            contacts=[f"<sip:{ua.user}@127.0.0.1:{port}>"]).status == 200
    assert keepalive(ua) == 404
    assert keepalive(ua, headers=[
        ("Contact", f"<sip:{ua.user}@127.0.0.1:7002>")]) == 200


def test_unknown(cms, kamailio):
    """A device that is not registered gets an error, and registers."""
    server = kamailio(cms, config=alive(LONG))
    ua = server.device()
    assert keepalive(ua) == 404
    assert ua.register().status == 200
    assert keepalive(ua) == 200
    assert ua.unregister().status == 200
    assert keepalive(ua) == 404


def listed(server):
    """The devices in the order of usrloc's lists, one for each slot."""
    domain, = server.rpc("ul.dump")["Domains"]
    return [record["Info"]["AoR"].partition("@")[0]
            for record in domain["Domain"]["AoRs"]]


def turns(order, names):
    """How often the names go back in the order."""
    places = [order.index(name) for name in names]
    return sum(a > b for a, b in zip(places, places[1:]))


@pytest.mark.parametrize("db_mode", [0, 2])
def test_order_of_the_list(cms, kamailio, db_mode):
    """Who is heard moves to the end of its slot's list; the list stays whole,
    also while devices come and go."""
    server = kamailio(cms, config=alive(LONG, more=[
        ("usrloc", "hash_size", 2), *usrloc(db_mode)]))  # four slots
    devices = [server.device() for _ in range(24)]
    for ua in devices:
        assert ua.register().status == 200
    for order in (devices, devices[::-1], devices[::2] + devices[1::2]):
        for ua in order:
            assert keepalive(ua) == 200
        names = [ua.user for ua in order]
        assert sorted(listed(server)) == sorted(names)
        assert turns(names, listed(server)) <= 3
        leaves = order.pop()
        assert leaves.unregister().status == 200
        assert keepalive(leaves) == 404
        assert leaves.register().status == 200
        assert keepalive(leaves) == 200
        devices = [*order, leaves]
    assert all(keepalive(ua) == 200 for ua in devices)


@pytest.mark.parametrize("uri, from_, to", [
    ("", None, "<sip:platform@somewhere.com>"),
    (', "sip:$fU@telecom.com"', "<sip:{user}@127.0.0.1:5060>", None)])
def test_whose(cms, kamailio, uri, from_, to):
    """The AOR is that of who sends the message, or what the script says."""
    server = kamailio(cms, config=alive(LONG, uri=uri))
    ua = server.device()
    assert ua.register().status == 200
    assert keepalive(ua, to=to, from_=from_ and from_.format(user=ua.user)) \
        == 200


@pytest.mark.parametrize("mode", [0, 2])
def test_lost_connection(cms, kamailio, mode):
    """Whose TCP connection is lost is off line at once; who has one is not, nor
    who came through a proxy whose connection that was."""
    server = kamailio(cms, config=alive(LONG, more=[
        *usrloc(mode), ("registrar", "use_path", 1)]))
    stayer, loser, behind = [
        server.device(transport=Transport(server.address, "tcp"))
        for _ in range(3)]
    for ua in (stayer, loser):
        assert ua.register().status == 200
    assert behind.register(path="<sip:127.0.0.1:9;lr>",
                           supported="path").status == 200
    behind.transport.close()
    loser.transport.close()
    wait_event(cms, "offline")
    assert told(cms, loser) == [("register", "new"), ("offline", None)]
    loser.transport = Transport(server.address, "tcp")
    assert loser.register().status == 200
    assert told(cms, loser)[2:] == [("register", "returned")]
    loser.transport.close()
    until(lambda: events(cms, loser).count("offline") == 2)
    drained(server)
    for ua in (stayer, behind):
        assert events(cms, ua) == ["register"]
        assert len(server.contacts(ua)) == 1


def waited_for_cpu(server):
    """Seconds in which those who look after connections could have run, and
    something else did."""
    total = 0
    for pid in server.pids("tcp") + server.pids("cms_notify alive"):
        with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[1])
    return total / 1e9


def seconds_until_told(server, ua):
    """From when the connection is closed until the event is made, without what
    the server has waited for the machine."""
    waited, closed = waited_for_cpu(server), time.time()
    ua.transport.close()
    until(lambda: "offline" in events(server.cms, ua), 60)
    post = [r for r in server.posts(ua) if r.json["event"] == "offline"][0]
    made = datetime.fromisoformat(post.json["time"].replace("Z", "+00:00"))
    return made.timestamp() - closed - (waited_for_cpu(server) - waited)


def test_lost_connection_within_a_second(cms, kamailio):
    """Each just after the one before was told, so that the next look is as far
    off as it can be."""
    server = kamailio(cms, config=alive(LONG))
    uas = [server.device(transport=Transport(server.address, "tcp"))
           for _ in range(6)]
    for ua in uas:
        assert ua.register().status == 200
    late = 0
    for ua in uas:
        if seconds_until_told(server, ua) > 1:
            late += 1
            repeated("a lost connection")
    assert late <= 2


def test_keepalive_over_another_connection(cms, kamailio):
    """It is no sign of life of a contact whose connection is lost, also before
    that is told: the device registers."""
    server = kamailio(cms, config=alive(LONG))
    ua = server.device(transport=Transport(server.address, "tcp"))
    assert ua.register().status == 200
    lost, ua.transport = ua.transport, Transport(server.address, "tcp")
    assert keepalive(ua) == 200  # it is there still
    looks, = server.pids("cms_notify alive")
    os.kill(looks, signal.SIGSTOP)
    lost.close()
    until(lambda: keepalive(ua) == 404)
    os.kill(looks, signal.SIGCONT)
    wait_event(cms, "offline")
    assert keepalive(ua) == 404
    assert ua.register().status == 200
    assert keepalive(ua) == 200
    assert told(cms, ua) == [("register", "new"), ("offline", None),
                             ("register", "returned")]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_connection_of_before(cms, kamailio, end):
    """A connection that was there before a restart is not lost by it."""
    server = kamailio(cms, config=alive(LONG, more=usrloc(2)))
    ua, other = [server.device(transport=Transport(server.address, "tcp"))
                 for _ in range(2)]
    assert ua.register().status == 200
    until(lambda: written(server, ua))
    getattr(server, end)()
    server.start()
    other.transport = Transport(server.address, "tcp")
    assert other.register().status == 200
    other.transport.close()
    wait_event(cms, "offline")
    drained(server)
    assert events(cms, ua) == ["register"]
    ua.transport = Transport(server.address, "tcp")
    assert keepalive(ua) == 200


def test_in_order(cms, kamailio):
    """What happens while the CMS is away is told in order."""
    server = kamailio(cms, config=alive(1))
    cms.stop()
    ua = server.device()
    defer(server, ua)
    until(lambda: [r["event"] for r in rows(server)] == ["register", "offline"])
    cms.start()
    drained(server)
    assert ua.register().status == 200
    assert told(cms, ua)[:3] == [("register", "new"), ("offline", None),
                                 ("register", "returned")]


def test_back_before_it_was_told(cms, kamailio):
    """That a device was off line is not told after it is back."""
    server = kamailio(cms, config=alive(6))
    ua = server.device()
    assert ua.register().status == 200
    server.settle()
    cms.stop()
    until(lambda: [r["event"] for r in rows(server)] == ["offline"])
    defer(server, ua)
    until(lambda: keepalive(ua) == 200)
    server.stop()
    server.configure(config=alive(LONG))  # it stays, whatever the test takes
    cms.start()
    server.start()
    drained(server)
    assert events(cms, ua) == ["register", "register"]


def test_database_of_the_outbox_hangs(cms, kamailio):
    """Nothing is off line before that is stored; who is back by then never was."""
    server = kamailio(cms, config=alive(4, more=[
        ("cms_notify", "sqlite_busy_timeout", 30000)]))
    server.allow_errors("locked", "commit failed", "db_", "cannot use its database")
    ua = server.device()
    assert ua.register().status == 200
    server.settle()
    with contextlib.closing(sqlite3.connect(table(server))) as db:
        db.execute("BEGIN EXCLUSIVE")
        until(lambda: [c["state"] for c in server.rpc(
            "cms_notify.device", ua.aor)["contacts"]] == ["off line"])
        assert len(server.contacts(ua)) == 1
        assert keepalive(ua) == 404
        assert ua.register().status == 200
        db.rollback()
    assert told(cms, ua)[:2] == [("register", "new"), ("register", "returned")]
    assert keepalive(ua) == 200
    # it is told when it is silent again, and not for the time before
    wait_event(cms, "offline")
    drained(server)
    assert told(cms, ua)[2:] == [("offline", None)]


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_restart(cms, kamailio, end):
    """After a restart, however long it took, everybody has alive_timeout: who is
    heard is not off line, who is not is, and is told once."""
    server = kamailio(cms, config=alive(5, more=usrloc(2)))
    for _ in range(3):
        ua, silent = server.device(), server.device()
        for one in (ua, silent):
            assert one.register().status == 200
        until(lambda: written(server, ua) and written(server, silent))
        getattr(server, end)()
        if events(cms, ua) != ["register"]:
            server.start()
            repeated("a slow start")
            continue
        time.sleep(5.5)  # all have been silent for longer than alive_timeout
        began = time.monotonic()
        server.start()
        if stays(lambda: keepalive(ua),
                 lambda: "offline" in events(cms, silent), 5, end, began):
            break
    assert events(cms, ua) == ["register"]
    drained(server)
    assert events(cms, silent) == ["register", "offline"]


def test_killed_before_it_was_told(cms, kamailio):
    """A kill at the moment when a device is off line loses nothing: the CMS is
    told, and the device returns."""
    server = kamailio(cms, config=alive(5, more=usrloc(2)))
    ua = server.device()
    assert ua.register().status == 200
    until(lambda: written(server, ua))
    cms.stop()
    until(lambda: rows(server))
    server.kill()
    cms.start()
    server.start()
    wait_event(cms, "offline")
    drained(server)
    assert told(cms, ua) == [("register", "new"), ("offline", None)]
    until(lambda: not written(server, ua))
    assert ua.register().status == 200
    assert told(cms, ua)[2:] == [("register", "returned")]


def test_deferred_silent_and_killed(cms, kamailio):
    """Whom a restart brings back before the CMS knew it at all, the CMS is told of."""
    kept = usrloc(1, interval=LONG)  # it is not purged
    server = kamailio(cms, config=alive(5, more=kept))
    cms.stop()
    ua = server.device()
    defer(server, ua)
    until(lambda: "offline" in [r["event"] for r in rows(server)])
    server.kill()
    server.configure(config=alive(LONG, more=kept))
    cms.start()
    server.start()
    drained(server)
    assert keepalive(ua) == 200
    assert events(cms, ua) == ["register"]


def test_many_at_once(cms, kamailio):
    """A network that fails makes more events than the outbox holds: each device
    is told of, once."""
    server = kamailio(cms, config=alive(5, ("outbox_max", 100)))
    uas = server.devices(400)
    for ua in uas:
        assert ua.register().status == 200
    names = {ua.user for ua in uas}
    until(lambda: names == {r.json["username"] for r in cms.requests
                            if r.json["event"] == "offline"}, 60)
    drained(server)
    told_all = sum(events(cms, ua).count("offline") for ua in uas)
    assert told_all == server.stats()["offline"]


def test_operator(cms, kamailio):
    """How many are alive, and when a device was heard last."""
    server = kamailio(cms, config=alive(LONG))
    ua, other = server.device(), server.device()
    for one in (ua, other):
        assert one.register().status == 200
    assert server.status()["alive"] == 2
    until(lambda: by_rpc(server).get("alive") == 2)
    until(lambda: server.rpc(
        "cms_notify.device", ua.aor)["contacts"][0]["heard_s"] > 0)
    before = time.time()
    assert keepalive(ua) == 200
    shown = server.rpc("cms_notify.device", ua.aor)
    contact, = shown["contacts"]
    assert shown["aor"] == ua.aor
    assert f"<{contact['contact']}>" == ua.contact
    assert contact["state"] == "registered"
    assert contact["heard_s"] <= time.time() - before + 1
    assert 0 < contact["expires_s"] <= 3600
    nobody = server.rpc("cms_notify.device", "nobody@telecom.com")
    assert (nobody["aor"], nobody["contacts"]) == ("nobody@telecom.com", [])
    assert other.unregister().status == 200
    assert server.status()["alive"] == 1
    until(lambda: by_rpc(server).get("alive") == 1)
    assert "heard_s" in server.kamcmd("cms_notify.device", ua.aor)


def test_off(cms, kamailio):
    """Without alive_timeout nobody is looked after."""
    server = kamailio(cms, config=alive(0))
    ua = server.device(transport=Transport(server.address, "tcp"))
    assert ua.register().status == 200
    assert keepalive(ua) == 200
    assert "alive" not in server.status()
    assert ("cms_notify_alive", ()) not in by_rpc(server).samples
    assert server.pids("cms_notify alive") == []


LUA = """
function ksr_request_route()
	if KSR.is_method_in("M") then
		if KSR.cms_notify.alive("location", "") == 1 then
			KSR.sl.send_reply(200, "OK")
		else
			KSR.sl.send_reply(404, "Not registered")
		end
		return 1
	end
	KSR.registrar.save("location", 0)
	return 1
end
"""


def test_kemi(cms, kamailio):
    """KSR.cms_notify.alive() is cms_alive()."""
    def config(server, url):
        script = server.write("script.lua", LUA)
        text = alive(4, modules=["app_lua"], more=[
            ("app_lua", "load", script), ("usrloc", "preload", "location")])(
                server, url)
        return text[:text.index("request_route {")] + 'cfgengine "lua"\n'
    server = kamailio(cms, config=config)
    ua = server.device()
    assert keepalive(ua) == 404
    assert ua.register().status == 200
    assert keepalive(ua) == 200
    wait_event(cms, "offline")
    assert keepalive(ua) == 404


@pytest.mark.parametrize("params, said", [
    ([("cms_notify", "outbox_db_url", "")], "set outbox_db_url"),
    ([("cms_notify", "alive_timeout", -1)], "alive_timeout is -1"),
    ([("usrloc", "handle_lost_tcp", 1)], "remove handle_lost_tcp"),
    ([("usrloc", "db_mode", 3), ("usrloc", "use_domain", 0)],
     "its db_mode must not be 3"),
])
def test_refused(params, said):
    """What alive_timeout needs is said at the start."""
    lines = harness.fails_to_start(config=deferring(
        ("alive_timeout", 60), more=params))
    assert any(said in line for line in lines)
