"""Many devices, and one device many times at once."""

import collections
import random

import pytest

from harness import registrar, shown, until
from sip_ua import register_all

DEVICES = 1000


def small(*params):
    """A registrar without authentication and with more workers than usual, so
    that requests really overtake each other."""
    return lambda server, url: registrar(
        server, url, core="children=8",
        params=[("cms_notify", "verdict_processes", 4), *params])


def statuses(registrations):
    return collections.Counter(
        r.result.status if r.result else None for r in registrations)


def posts_per_device(server):
    return collections.Counter(r.json["aor"] for r in server.posts())


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_thousand_devices(kamailio, cms, transport):
    """1,000 devices register: 1,000 POSTs, one each. All refresh: none. All
    leave: none. All return: 1,000."""
    # Five transactions of each device live at once: more than 64 MB.
    # A hundred at a time, each with a connection: a slow machine would be told to
    # come back.
    server = kamailio(cms, options=["-m", "256"], settings={
        "CHILDREN": 4, "CMS_TIMEOUT": 28000, "CMS_MAX_CONNECTIONS": 64})
    way = server.device(transport=transport).transport
    uas = server.devices(DEVICES, transport=way)
    for expires, told in ((3600, 1), (3600, 0), (0, 0), (3600, 1), (3600, 0)):
        cms.clear()
        done = register_all(uas, expires=expires, timeout=200)
        assert statuses(done) == {200: DEVICES}, server.stats()
        assert posts_per_device(server) == {ua.aor: 1 for ua in uas} \
            if told else posts_per_device(server) == {}
        assert cms.invalid() == []
        assert cms.duplicates == 0
    assert server.stats("usrloc")["registered_users"] == DEVICES
    status = server.settle()
    assert status["events"] == status["accepted"] == 2 * DEVICES
    assert status["rejected"] == status["unavailable"] == status["busy"] == 0


def one_final_each(server, transactions):
    """Every request has one final answer, and gets no second one."""
    for transaction in transactions:
        transaction.wait()
    server.settle()
    assert {len(t.finals) for t in transactions} == {1}
    return collections.Counter(t.final.status for t in transactions)


@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
def test_twenty_at_once_same_call_id(kamailio, cms, order):
    """20 REGISTERs of one device under way at once, same Call-ID: one POST,
    one answer each, all 200, and the binding is that of the highest CSeq."""
    server = kamailio(cms, config=small())
    ua = server.device()
    cseqs = list(range(1, 21))
    if order == "descending":
        cseqs.reverse()
    elif order == "shuffled":
        random.Random(20).shuffle(cseqs)
    cms.rule(hold=True)
    transactions = [ua.send(ua.build_register(cseq=cseq)) for cseq in cseqs]
    server.wait_parked(20)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    assert one_final_each(server, transactions) == {200: 20}
    assert len(server.posts()) == 1
    binding, = server.contacts(ua)
    assert binding["CSeq"] == 20
    assert server.stats()["joined"] == 19
    assert len({shown(t.final)["id"] for t in transactions}) == 1


def test_twenty_at_once_other_call_ids(kamailio, cms):
    """20 REGISTERs of one device under way at once, each with a Call-ID of
    its own: one POST, one answer each, and the last one's binding stands."""
    server = kamailio(cms, config=small())
    ua = server.device()
    cms.rule(hold=True)
    transactions = []
    for n in range(1, 21):
        transactions.append(ua.send(ua.build_register(
            cseq=21 - n, call_id=f"call{n}")))
        server.wait_parked(n)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    assert one_final_each(server, transactions) == {200: 20}
    assert len(server.posts()) == 1
    binding, = server.contacts(ua)
    assert binding["Call-ID"] == "call20"


@pytest.mark.parametrize("answer, status", [
    ({"status": 403}, 403), ({"status": 500}, 503), ({"close": "request"},
                                                     503)])
def test_twenty_at_once_without_luck(kamailio, cms, answer, status):
    """Whatever the verdict is, all 20 get it, once."""
    server = kamailio(cms, config=small())
    ua = server.device()
    cms.rule(hold=True, **answer)
    transactions = [ua.send(ua.build_register()) for _ in range(20)]
    server.wait_parked(20)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    assert one_final_each(server, transactions) == {status: 20}
    assert server.contacts(ua) == []
    assert server.status()["events"] == 1


@pytest.mark.parametrize("call_ids", ["same", "other"])
@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_twenty_race(kamailio, cms, transport, call_ids):
    """Fifty devices, one after the other, each with 20 REGISTERs that nothing
    holds back: they come before, with and after the verdict. One POST a
    device, one answer each, the highest CSeq stands."""
    server = kamailio(cms, config=small())
    server.allow_errors(r"registrar.*invalid cseq")
    for _ in range(50):
        ua = server.device(transport=transport)
        transactions = [
            ua.send(ua.build_register(
                call_id=f"{ua.user}-{n}" if call_ids == "other" else None))
            for n in range(20)]
        outcome = one_final_each(server, transactions)
        posts = server.posts(ua)
        assert len(posts) == 1, [p.json for p in posts]
        assert len(server.contacts(ua)) == 1
        if call_ids == "same":
            # A lower CSeq that comes after a higher one has been saved is
            # refused, as ever.
            assert transactions[-1].final.status == 200
            assert server.contacts(ua)[0]["CSeq"] == 20
        else:
            assert outcome == {200: 20}


def test_twenty_of_fifty_devices(kamailio, cms):
    """20 REGISTERs of each of 50 devices at once: 50 POSTs, 1,000 answers,
    the highest CSeq of each stands."""
    server = kamailio(cms, config=small(("cms_notify", "timeout", 20000)))
    uas = server.devices(50)
    cms.rule(hold=True)
    transactions = []
    for count in range(1, 21):
        transactions += [ua.send(ua.build_register()) for ua in uas]
        server.wait_parked(count * len(uas))
    cms.clear_rules()
    cms.release()
    assert one_final_each(server, transactions) == {200: 1000}
    assert posts_per_device(server) == {ua.aor: 1 for ua in uas}
    for ua in uas:
        binding, = server.contacts(ua)
        assert binding["CSeq"] == 20
    status = server.status()
    assert (status["events"], status["joined"]) == (50, 950)


def test_more_than_may_wait(kamailio, cms):
    """A device that sends beyond all reason while its POST is under way is
    turned away, with one answer a request; still one POST, and the device
    gets in."""
    server = kamailio(cms, config=small())
    ua = server.device()
    cms.rule(hold=True)
    first = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    more = [ua.send(ua.build_register()) for _ in range(200)]
    # What comes after the verdict may be refused for its CSeq.
    server.handle(ua)
    busy = [t.final for t in more if t.final]
    assert {r.status for r in busy} == {503}
    assert {shown(r)["cause"] for r in busy} == {"busy"}
    assert {shown(r)["route"] for r in busy} == {"busy"}
    cms.release()
    assert first.wait().status == 200
    outcome = one_final_each(server, more)
    assert set(outcome) == {200, 503}
    assert len(server.posts()) == 1
    assert server.stats()["busy"] == outcome[503]


def test_leaving_and_coming_back_at_once(kamailio, cms):
    """REGISTER, un-REGISTER and REGISTER of one device, all at once: at the
    end it is registered, and the CMS has heard of it."""
    server = kamailio(cms, config=small())
    server.allow_errors(r"registrar.*invalid cseq")
    ua = server.device()
    cms.rule(hold=True)
    transactions = [ua.send(ua.build_register())]
    cms.wait_until(lambda: cms.held == 1)
    transactions.append(ua.send(ua.build_register(expires=0)))
    server.handle(ua)
    transactions.append(ua.send(ua.build_register()))
    server.handle(ua)
    cms.clear_rules()
    cms.release()
    assert one_final_each(server, transactions) == {200: 3}
    binding, = server.contacts(ua)
    assert binding["CSeq"] >= 3
    assert 1 <= len(server.posts()) <= 2


SLOW = """
	if ($cms(verdict) != "accepted") {
		send_reply("403", "No");
		route(WAIT);
		exit;
	}
	route(WAIT);
	if (!save("location")) send_reply("500", "Not saved");
	exit;"""
# At most a hundred times, as Kamailio has it.
WAIT = """
route[WAIT] {
	while ($shv(go) != 1) {
		usleep(200000);
	}
	return;
}"""


def slow(server, url):
    """Verdict routes that do not end before go()."""
    return registrar(server, url, modules=["cfgutils"], verdict=SLOW,
                     routes=WAIT)


def go(server):
    server.rpc("pv.shvSet", "go", "int", 1)


def test_retry_right_after_a_refusal(kamailio, cms):
    """A device that has been refused and tries again has a POST of its own,
    even if the verdict route of the first has not come to its end."""
    server = kamailio(cms, config=slow)
    ua = server.device()
    cms.rule(status=403, times=1)
    assert ua.register().status == 403
    assert server.status()["parked"] == 1
    again = ua.start_register()
    server.wait_parked(2)
    go(server)
    assert again.wait().status == 200
    assert len(server.posts()) == 2


def test_register_while_the_verdict_is_carried_out(kamailio, cms):
    """A REGISTER that comes between the CMS's yes and save() makes no second
    POST."""
    server = kamailio(cms, config=slow)
    ua = server.device()
    first = ua.send(ua.build_register())
    until(lambda: server.stats()["accepted"])
    assert server.contacts(ua) == []
    second = ua.send(ua.build_register())
    server.wait_parked(2)
    go(server)
    assert [first.wait().status, second.wait().status] == [200, 200]
    assert len(server.posts()) == 1
    assert [len(first.finals), len(second.finals)] == [1, 1]
    assert server.contacts(ua)[0]["CSeq"] == 2
