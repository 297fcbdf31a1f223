"""Devices behind a balancer, three servers, one database."""

import contextlib
import os
import signal
import time

import pytest

from cluster import DEVICES, Fleet, register
from harness import DOMAIN, HOST, until
from sip_ua import Ua
from test_strangers import Dialog, both_directions


def is_drained(cluster):
    return not cluster.postgres.sql("SELECT 1 FROM cms_outbox WHERE state < 3")


def message(cluster, sender, ua, text):
    """From one device to another, through whatever server; its answer."""
    challenged = sender.send(
        sender.build("MESSAGE", ua.aor, to=f"<{ua.aor}>", body=text),
        retransmit=True).wait()
    assert challenged.status == 407, challenged.start_line
    sent = sender.send(sender.build(
        "MESSAGE", ua.aor, to=f"<{ua.aor}>", body=text, headers=[
            ("Proxy-Authorization", sender.authorization(
                challenged.challenge(), "MESSAGE", body=text))]),
        retransmit=True)
    request = ua.transport.wait_request("MESSAGE")
    assert request.body == text
    ua.transport.reply(request, 200)
    return sent.wait()


# -- refreshes ------------------------------------------------------------------------


def test_refresh_elsewhere_is_a_refresh(cluster):
    """Who is registered at one server is so at all, also when that one is dead, and
    when it is back."""
    ua = cluster.device()
    register(ua)
    first = cluster.server_of(ua)
    cluster.lose(first)
    register(ua)
    assert cluster.server_of(ua) is not first
    cluster.bring_back(first)
    register(ua)
    assert cluster.server_of(ua) is first
    assert cluster.events(ua) == [("register", "new", first.name)]


def test_moves_to_another_server(cluster):
    """With another address at another server: told once, as moved."""
    ua = cluster.device()
    register(ua)
    first = cluster.server_of(ua)
    cluster.lose(first)
    moved = cluster.device(ua.user)
    register(moved)
    register(moved)
    assert [e[:2] for e in cluster.events(ua)] == [
        ("register", "new"), ("register", "moved")]


def kill(cluster, server):
    """And its connections: what the balancer writes into them before it has read of
    their end is lost."""
    server.kill()
    until(lambda: not cluster.front.connections(server))


def test_over_tcp_nobody_sees_a_server_die(cluster):
    """Another one is asked, also if the balancer has not noticed. If there is none the
    device is told when to come again."""
    ua = cluster.device(transport="tcp")
    register(ua)
    first = cluster.server_of(ua)
    with cluster.front.asking_nobody(first):
        kill(cluster, first)
        cluster.take_out(first, False)
        register(ua)
    assert cluster.server_of(ua) is not first
    assert cluster.events(ua) == [("register", "new", first.name)]
    for server in cluster.others(first):
        kill(cluster, server)
    answer = ua.register()
    assert answer.status == 503 and answer.get("Retry-After") == "5"


def test_a_death_is_noticed_at_once(cluster):
    """By the end of a connection, not only by an OPTIONS without an answer."""
    ua = cluster.device()
    register(ua)
    first = cluster.server_of(ua)
    with cluster.front.asking_nobody(first):
        until(lambda: "CONN_OK" in cluster.front.connections(first))
        cluster.lose(first)
        register(ua)
    assert cluster.server_of(ua) is not first


def test_a_server_is_drained(cluster):
    """Its devices go to others, and are not new there."""
    ua = cluster.device()
    register(ua)
    first = cluster.server_of(ua)
    first.rpc("cms_notify.drain", 10)
    until(lambda: not cluster.front.is_up(first))
    register(ua)
    assert cluster.server_of(ua) is not first
    first.rpc("cms_notify.drain", "off")
    until(lambda: cluster.front.is_up(first))
    register(ua)
    assert cluster.server_of(ua) is first
    assert cluster.events(ua) == [("register", "new", first.name)]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_reached_through_whatever_server(cluster, transport):
    """A device gets what others send to it, also when its server is dead."""
    ua, sender = cluster.device(transport=transport), cluster.device()
    register(ua)
    assert message(cluster, sender, ua, b"all there").status == 200
    cluster.lose(cluster.server_of(ua))
    assert message(cluster, sender, ua, b"one is dead").status == 200


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("contact", [None, "<sip:x@10.1.2.3:5060>"],
                         ids=["plain", "NAT"])
def test_a_call(cluster, transport, contact):
    """Requests of a dialog go through the balancer, both ways."""
    both_directions(cluster.device(transport=transport, contact=contact),
                    cluster.device())


def test_a_call_leads_to_its_two_ends(cluster):
    """As without a balancer: its marks bring a request nowhere else."""
    alice, bob, carol = (cluster.device() for _ in range(3))
    register(alice)
    register(bob)
    call = Dialog(alice, bob)
    host, port = carol.transport.local
    for uri in (f"sip:x@{host}:{port}",
                f"sip:x@{bob.transport.host_port};alias={host}~{port}~1"):
        assert alice.send(call.build(alice, "INFO", uri)).wait().status == 403
    assert not carol.transport.received()


def test_connections_are_kept_for_devices(cluster):
    """The balancer keeps that over which somebody registers, and no other for long."""
    ua, other = (cluster.device(transport="tcp") for _ in range(2))
    register(ua)
    other.options(f"sip:{HOST}:{cluster.front.port}")
    kept = {c["src_port"]: c["lifetime"] > 120
            for c in cluster.front.rpc("core.tcp_list")}
    assert kept[ua.transport.local[1]] and not kept[other.transport.local[1]]


def test_the_event_says_where_the_device_is(cluster):
    """Not where the balancer is; what a device says of that itself is not believed."""
    ua = cluster.device()
    register(ua, path="<sip:192.0.2.66;lr>",
             headers=[("X-Source", "udp:192.0.2.66:5060")])
    source, = [e["source"] for r in cluster.cms.requests for e in r.events]
    assert (source["ip"], source["port"]) == (DEVICES, ua.transport.local[1])
    (path, received), = cluster.postgres.sql(
        f"SELECT path, received FROM location WHERE username = '{ua.user}'")
    assert "192.0.2.66" not in path + received


def test_a_repetition_goes_to_who_has_the_request(cluster):
    """Also if the device's own server is back meanwhile: one answers, once."""
    ua = cluster.device()
    register(ua)
    home = cluster.server_of(ua)
    cluster.take_out(home)
    rule = cluster.cms.rule(hold=True)
    registration = ua.start_register(contacts=[f"<sip:x@{DEVICES}:7000>"])
    until(lambda: any(s.status()["parked"] for s in cluster.servers))
    cluster.take_out(home, False)
    step = registration.steps[-1]
    step.resend()
    for one in cluster.all:
        one.wait_idle(one.pids("udp receiver"))
    assert not step.finals
    cluster.cms.remove_rule(rule)
    cluster.cms.release()
    assert registration.wait().status == 200
    assert len(registration.steps) == 2
    assert [e[:2] for e in cluster.events(ua)] == [
        ("register", "new"), ("register", "moved")]


# -- Digest ---------------------------------------------------------------------------


def test_a_challenge_comes_back_to_its_server(cluster):
    """All servers work, and nobody is challenged twice, whatever Call-IDs he has."""
    devices = [cluster.device() for _ in range(12)]
    for ua in devices:
        registration = register(ua, authenticated={"call_id": ua.user})
        assert len(registration.steps) == 2
    assert {cluster.server_of(ua).port for ua in devices} == {
        server.port for server in cluster.servers}


def at(server, ua):
    """The same device at the balancer's address, and nothing between."""
    return Ua(server.address, ua.user, ua.domain, ua.password, local=(HOST, 0))


def test_challenge_of_another_server(cluster):
    """Credentials for it are answered by a new challenge that says "stale": the
    device does not take its password for a wrong one."""
    a, b, _ = cluster.servers
    ua = cluster.device()
    with at(a, ua) as there, at(b, ua) as here:
        first = there.send(there.build_register()).wait().challenge()
        second = here.send(here.build_register(
            authorization=here.authorization(first))).wait()
        assert second.status == 401
        assert second.challenge()["stale"] == "true"
        assert second.challenge()["nonce"] != first["nonce"]
        assert here.send(here.build_register(authorization=here.authorization(
            second.challenge()))).wait().status == 200


def test_no_credentials_work_twice(cluster):
    """What somebody has captured is worth nothing, at no server."""
    ua = cluster.device()
    sent = register(ua).steps[-1].request
    cluster.events(ua)
    value = sent.get("Authorization")
    thieves = [cluster.device(ua.user),
               *(at(server, ua) for server in cluster.servers)]
    for thief in thieves:
        with thief:
            for call_id in (sent.get("Call-ID"), None):
                answer = thief.send(thief.build_register(
                    authorization=value, call_id=call_id)).wait()
                assert answer.status == 401, answer.start_line
    assert len(cluster.events(ua)) == 1
    assert cluster.bindings(ua) == [ua.contact[1:-1]]


def test_servers_answer_the_balancer_alone(cluster):
    server = cluster.servers[0]
    ua = cluster.device(to=server)
    stranger = ua.send(ua.build_register())
    with at(server, ua) as balancer:
        server.handle(balancer)
    server.wait_idle(server.pids("udp receiver"))
    assert not stranger.responses


# -- the outbox -----------------------------------------------------------------------


def test_deferred_by_who_is_dead(cluster):
    """Another server delivers what a dead one has stored, once."""
    ua = cluster.device()
    cluster.cms.stop()
    register(ua)
    server = cluster.server_of(ua)
    server.kill()
    cluster.cms.start()
    cluster.cms.wait_until(lambda: cluster.told(ua))
    until(lambda: is_drained(cluster))
    assert cluster.events(ua) == [("register", "new", server.name)]


def seconds_until_handed_over(cluster, lose, bring_back):
    """From the moment at which a server is lost until another one has what it
    deferred, by the clock of the database."""
    ua = cluster.device()
    register(ua)
    owner = f"SELECT owner FROM cms_outbox WHERE aor = '{ua.user}@{DOMAIN}'"
    before = cluster.postgres.sql(owner)
    server = cluster.server_of(ua)
    clock = "SELECT extract(epoch FROM clock_timestamp())"
    lost, = cluster.postgres.sql(clock)
    lose(server)
    until(lambda: cluster.postgres.sql(owner) != before)
    now, = cluster.postgres.sql(clock)
    bring_back(server)
    return float(now[0]) - float(lost[0])


def test_what_a_dead_server_has_left_is_taken_soon(cluster):
    """Within five seconds of its death."""
    cluster.cms.stop()
    tries = (seconds_until_handed_over(
        cluster, lambda server: server.kill(), cluster.bring_back)
        for _ in range(3))
    assert any(seconds < 5 for seconds in tries)  # others use the machine, too
    cluster.cms.start()
    until(lambda: is_drained(cluster))


def test_unregister_elsewhere_is_told_once(cluster):
    """Who registers at one server and leaves at another: the latter tells it."""
    ua = cluster.device()
    register(ua)
    cluster.lose(cluster.server_of(ua))
    register(ua, expires=0)
    cluster.cms.wait_until(lambda: len(cluster.told(ua)) > 1)
    assert [e[0] for e in cluster.events(ua)] == ["register", "unregister"]


def test_unregister_is_told_before_its_row_has_gone(cluster):
    """Within the second in which it registered: it has not come back."""
    ua = cluster.device()
    for count in range(1, 4):
        register(ua)
        with cluster.postgres.session() as session:
            session("UPDATE location SET last_modified = now()"
                    f" WHERE username = '{ua.user}'")
            session("BEGIN")
            session(f"SELECT 1 FROM location WHERE username = '{ua.user}' FOR UPDATE")
            leaving = ua.start_register(expires=0, retransmit=True)
            cluster.cms.wait_until(lambda n=count: len(cluster.told(ua)) == 2 * n)
            session("COMMIT")
        assert leaving.wait().status == 200
    assert [e[0] for e in cluster.events(ua)] == 3 * ["register", "unregister"]


@pytest.mark.long
def test_who_runs_out_is_told_once(cluster):
    """Also when the server at which he registered is dead."""
    uas = [cluster.device() for _ in range(6)]
    for ua in uas:
        register(ua, expires=6)
    cluster.lose(cluster.server_of(uas[0]))
    cluster.cms.wait_until(lambda: all(
        any(e["event"] == "expire" for e in cluster.told(ua)) for ua in uas), 60)
    until(lambda: is_drained(cluster))
    for ua in uas:
        assert not cluster.bindings(ua)
        first, last = cluster.told(ua)
        assert (first["event"], last["event"]) == ("register", "expire")
        assert first["seq"] < last["seq"]
        assert last["contacts"][0]["uri"] == ua.contact[1:-1]
        assert last["source"] == first["source"]


@contextlib.contextmanager
def stopped(servers):
    """Their outbox processes see nothing of what the others write."""
    pids = [pid for server in servers
            for pid in server.pids("cms_notify outbox")]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.long
@pytest.mark.parametrize("here", [True, False])
def test_who_is_back_has_not_run_out(cluster, here):
    """What was to be told of a contact that is there again is told to nobody, be it
    back at the server that was to tell it or at another, which has not heard of it."""
    first, other, _ = cluster.servers
    server = first if here else other
    ua = cluster.device()
    register(ua, expires=1)
    rule = cluster.cms.rule(status=503, match={"event": "expire"})
    for one in cluster.others(server):
        cluster.take_out(one)
    with stopped(cluster.others(first)):
        until(lambda: cluster.postgres.sql(
            "SELECT 1 FROM cms_outbox WHERE state = 0 AND aor ="
            f" '{ua.user}@{DOMAIN}'"), 60)
        register(ua)
        assert cluster.server_of(ua) is server
        cluster.cms.remove_rule(rule)
        until(lambda: is_drained(cluster), 60)
    assert [e["event"] for e in cluster.told(ua)] == ["register", "register"]


def a_minute_ago():
    """As usrloc writes it. What is older than an hour it deletes itself."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time.time() - 60))


def run_out_and_locked(cluster, session):
    """A device whose row this session has locked before a server did."""
    while True:
        ua = cluster.device()
        register(ua)
        session(f"UPDATE location SET expires = '{a_minute_ago()}'"
                f" WHERE username = '{ua.user}'")
        session("BEGIN")
        if session("SELECT 1 FROM location WHERE username ="
                   f" '{ua.user}' FOR UPDATE"):
            return ua
        session("COMMIT")


def test_who_is_registering_does_not_run_out(cluster):
    """A server passes over what another session has locked; the rest is told."""
    other = cluster.device()
    register(other)
    with cluster.postgres.session() as session:
        ua = run_out_and_locked(cluster, session)
        cluster.postgres.sql(
            f"UPDATE location SET expires = '{a_minute_ago()}'"
            f" WHERE username = '{other.user}'")
        cluster.cms.wait_until(lambda: len(cluster.told(other)) > 1, 60)
        session("UPDATE location SET expires = '2100-01-01'"
                f" WHERE username = '{ua.user}'")
        session("COMMIT")
    until(lambda: is_drained(cluster), 60)
    assert [e["event"] for e in cluster.told(other)] == ["register", "expire"]
    assert [e["event"] for e in cluster.told(ua)] == ["register"]
    assert cluster.bindings(ua) and not cluster.bindings(other)


def test_many_run_out_at_once(cluster):
    """More than a server takes in a transaction: each is told once."""
    count = 250
    cluster.postgres.sql(
        "INSERT INTO location (ruid, username, domain, contact, expires)"
        " SELECT 'test-' || n, 'many' || n, 'telecom.com',"
        f" 'sip:many' || n || '@192.0.2.9', '{a_minute_ago()}'"
        f" FROM generate_series(1, {count}) n")
    cluster.cms.wait_until(
        lambda: sum(len(r.events) for r in cluster.cms.requests) >= count, 60)
    until(lambda: is_drained(cluster))
    told = [(e["event"], e["username"]) for r in cluster.cms.requests
            for e in r.events]
    assert sorted(told) == sorted(
        ("expire", f"many{n}") for n in range(1, count + 1))
    assert not cluster.postgres.sql(
        "SELECT 1 FROM location WHERE ruid LIKE 'test-%'")


def test_database_away(cluster):
    """Devices are told to come back; what was registered is so when it is back."""
    ua, other = cluster.device(), cluster.device()
    register(ua)
    for server in cluster.servers:
        server.allow_errors(".")
    cluster.postgres.stop()
    for device in (ua, other):
        answer = device.register(retransmit=True)
        assert answer.status == 503 and int(answer.get("Retry-After")) > 0
    cluster.postgres.start()
    for device in (ua, other):
        until(lambda: device.register(retransmit=True).status == 200)
    until(lambda: all(
        server.rpc("cms_notify.outbox")["database"] == "ready"
        for server in cluster.servers))
    assert [e[:2] for e in cluster.events(ua)] == [("register", "new")]
    assert [e[:2] for e in cluster.events(other)] == [("register", "new")]


def given_up(cluster, since, but=None):
    """Has the balancer given up a server that was there, since that line of its log?
    It does when that has no CPU for a second."""
    return any(but is None or f":{but.port} does" not in line
               for line in cluster.front.log("does not answer", since))


def assert_one_answer(step):
    """A request has one final answer. When it is repeated that is repeated; of a
    challenge nothing is kept, and another one has another nonce."""
    answers = {answer.start_line if answer.status == 401 else answer.raw
               for answer in step.finals}
    assert len(answers) == 1, answers
    assert len({answer.to_tag for answer in step.finals}) == 1


@pytest.mark.long
def test_each_server_dies_under_load(cluster):
    """Each in turn, while devices register with one address after the other: each
    request has one answer, and who was told 200 is registered and known to the CMS."""
    fleet = Fleet([cluster.device() for _ in range(10)])
    alive_given_up, since = False, len(cluster.front.lines)
    with fleet:
        for server in cluster.servers:
            fleet.wait(2)
            cluster.lose(server)
            fleet.wait(2)
            cluster.bring_back(server)
            alive_given_up |= given_up(cluster, since, but=server)
            since = len(cluster.front.lines)
    alive_given_up |= given_up(cluster, since)
    until(lambda: is_drained(cluster), 60)
    for step in fleet.steps:
        if not alive_given_up:  # two may answer then
            assert_one_answer(step)
        assert step.finals
    for ua, contacts in fleet.registered.items():
        told = {c["uri"] for e in cluster.told(ua) for c in e["contacts"]}
        assert set(contacts) <= told
        assert set(contacts) <= set(cluster.bindings(ua))
        seqs = [e["seq"] for e in cluster.told(ua)]
        assert len(seqs) == len(set(seqs))
