"""With batch_max above 1 a POST carries the events that wait when a connection is
free. Each has its own result, and what is wrong with one of them touches no other.

One connection, and the CMS keeps what is on it: the events that come meanwhile are
the next batch.
"""

import contextlib
import json

import pytest

from deferring import NOTIFY as DEFERRING
from deferring import DEFER, drained, rows, url
from harness import (ReferenceCms, fails_to_start, registrar, shown, shipped_with,
                     until)
from webhook import read_key

pytestmark = pytest.mark.contract

MAX = 50


def batches(*params, **kw):
    """A small server with one connection."""
    values = {"batch_max": MAX, "http_processes": 1, "max_connections": 1,
              "timeout": 10000, **dict(params)}
    return lambda server, cms: registrar(server, cms, params=[
        ("cms_notify", name, value) for name, value in values.items()], **kw)


class Held:
    """The connection is taken by a first event, until the end."""

    def __init__(self, server, cms):
        self.server = server
        self.cms = cms

    def __enter__(self):
        self.cms.rule(hold=True, times=1)
        before = self.cms.held
        self._first = self.server.device().start_register()
        self.cms.wait_until(lambda: self.cms.held > before)
        return self

    def register(self, *uas, **kw):
        """They are new, and wait in this order."""
        registrations = []
        for ua in uas:
            queued = self.server.status()["queued"]
            registrations.append(ua.start_register(**kw))
            until(lambda: self.server.status()["queued"] > queued)
        return registrations

    def __exit__(self, kind, *_rest):
        self.cms.release(1)
        if kind is None:
            assert self._first.wait().status == 200


def gathered(server, cms, count, before=lambda: None):
    """That many new devices in one batch. Returns (devices, what the script saw of
    each); the first POST is another one's."""
    uas = [server.device() for _ in range(count)]
    with Held(server, cms) as held:
        registrations = held.register(*uas)
        before()
    return uas, [shown(r.wait()) for r in registrations]


def sizes(cms):
    return [len(r.json) for r in cms.requests]


def names(request):
    return [event["username"] for event in request.json]


# -- what goes out -----------------------------------------------------------------

def test_what_waits_goes_together_and_each_has_its_result(kamailio, cms):
    server = kamailio(cms, config=batches())
    uas = [server.device() for _ in range(5)]
    cms.refuse(uas[1].user, text="stolen")
    with Held(server, cms) as held:
        registrations = held.register(*uas)
    seen = [shown(r.wait()) for r in registrations]
    assert sizes(cms) == [1, 5]
    assert names(cms.requests[1]) == [ua.user for ua in uas]
    assert [s["verdict"] for s in seen] == \
        ["accepted", "rejected", "accepted", "accepted", "accepted"]
    assert (seen[1]["status"], seen[1]["text"]) == ("403", "stolen")
    assert [s["id"] for s in seen] == [e["id"] for e in cms.requests[1].json]
    assert not cms.invalid()
    assert server.stats()["accepted"] == 5 and server.stats()["rejected"] == 1


def test_a_device_that_comes_alone_waits_for_nobody(kamailio, cms):
    """It is a batch of one, with the id as its key."""
    server = kamailio(cms, config=batches())
    for _ in range(3):
        seen = shown(server.device().register())
        assert seen["verdict"] == "accepted"
    assert sizes(cms) == [1, 1, 1]
    request = cms.requests[2]
    assert request.get("Idempotency-Key") == f'"{request.json[0]["id"]}"'
    assert seen["body"] == json.dumps(
        {"text": "ok", "id": seen["id"], "status": 200})
    assert not cms.invalid()


def test_no_more_than_batch_max(kamailio, cms):
    server = kamailio(cms, config=batches(("batch_max", 3)))
    gathered(server, cms, 8)
    assert sizes(cms) == [1, 3, 3, 2]
    assert not cms.invalid()


def test_off_each_event_is_a_post_of_its_own(kamailio, cms):
    server = kamailio(cms, config=batches(("batch_max", 1)))
    gathered(server, cms, 3)
    assert [type(r.json) for r in cms.requests] == [dict] * 4
    assert not cms.invalid()


def test_no_two_events_of_an_aor(kamailio, cms):
    """The second one ends the batch."""
    server = kamailio(cms, config=batches())
    ua, other, last = (server.device() for _ in range(3))
    again = server.device(user=ua.user)
    with Held(server, cms) as held:
        registrations = held.register(ua, other, again, last)
    assert all(r.wait().status == 200 for r in registrations)
    assert [names(r) for r in cms.requests[1:]] == [
        [ua.user, other.user], [ua.user, last.user]]
    assert not cms.invalid()


def test_a_batch_is_not_longer_than_a_megabyte(kamailio, cms):
    server = kamailio(cms, config=batches(
        ("body", json.dumps({"id": "$cms(id)", "a": ["$hdr(X)"] * 15}))))
    cms.validate = False
    uas = [server.device(transport="tcp") for _ in range(10)]
    with Held(server, cms) as held:
        registrations = held.register(*uas, headers=[("X", "y" * 10000)])
    assert all(shown(r.wait(20))["verdict"] == "accepted" for r in registrations)
    assert sizes(cms) == [1, 6, 4]
    assert all(len(r.body) < 1000000 for r in cms.requests)


def test_a_key_is_the_same_for_the_same_events_and_no_others(kamailio, cms):
    """At another endpoint, too; and it is no event's id."""
    with ReferenceCms() as second:
        server = kamailio(cms, config=batches(("cms_url", second.url)))
        gathered(server, cms, 3, lambda: cms.rule(status=503, times=1))
        gathered(server, cms, 3)
        keys = [r.get("Idempotency-Key") for r in cms.requests]
        assert sizes(cms) == [1, 3, 1, 3] and len(set(keys)) == 4
        assert sizes(second) == [3]
        assert second.requests[0].get("Idempotency-Key") == keys[1]
        assert second.requests[0].body == cms.requests[1].body
        assert not cms.invalid() and not second.invalid()


def test_the_signature_is_of_the_bytes_that_are_sent(kamailio, tmp_path):
    key = tmp_path / "key"
    key.write_text("whsec_" + "QUJD" * 8 + "\n")
    with ReferenceCms(sign_keys=[read_key(key)]) as cms:
        server = kamailio(cms, config=batches(("sign_key_file", str(key))))
        _uas, seen = gathered(server, cms, 4)
        assert sizes(cms) == [1, 4]
        assert {s["verdict"] for s in seen} == {"accepted"}
        request = cms.requests[1]
        assert f'"{request.get("webhook-id")}"' == request.get("Idempotency-Key")
        assert not cms.invalid()


# -- results -----------------------------------------------------------------------

def judged(kamailio, cms, **rule):
    """Of three events in a batch the middle one is what the rule is about. Returns
    (server, what the script saw of the three)."""
    server = kamailio(cms, config=batches(("max_answer_size", 256)))
    uas = [server.device() for _ in range(3)]
    cms.rule(match={"username": uas[1].user}, **rule)
    with Held(server, cms) as held:
        registrations = held.register(*uas)
    seen = [shown(r.wait()) for r in registrations]
    assert sizes(cms) == [1, 3]
    assert [seen[i]["verdict"] for i in (0, 2)] == ["accepted"] * 2
    return server, seen[1]


@pytest.mark.parametrize("status, verdict", [
    (200, "accepted"), (204, "accepted"), (299, "accepted"), (302, "unavailable"),
    (400, "rejected"), (403, "rejected"), (404, "rejected"), (408, "unavailable"),
    (409, "unavailable"), (425, "unavailable"), (429, "unavailable"),
    (500, "unavailable"), (503, "unavailable"), (599, "unavailable")])
def test_a_result_is_the_answer_to_its_event(kamailio, cms, status, verdict):
    _server, seen = judged(kamailio, cms, status=status, text="so it is")
    cause = "http" if verdict == "unavailable" else "none"
    assert (seen["verdict"], seen["cause"], seen["status"]) == \
        (verdict, cause, str(status))
    body = json.loads(seen["body"])
    assert (body["id"], body["status"]) == (seen["id"], status)
    if verdict == "rejected":
        assert seen["text"] == "so it is"


def test_a_pause_is_of_its_event(kamailio, cms):
    _server, seen = judged(kamailio, cms, status=503,
                           headers=[("Retry-After", "77")])
    assert 77 <= int(seen["retry_after"]) <= 90


@pytest.mark.parametrize("results", [
    [], [{"status": 200}, {"status": 200}], [{"status": 199}], [{"status": 600}],
    [{"status": "200"}], [{"status": None}], [{}], [{"id": "x", "status": 200}],
    [{"id": 7, "status": 200}]], ids=str)
def test_an_event_without_a_good_result_is_unavailable(kamailio, cms, results):
    server, seen = judged(kamailio, cms, results=results)
    assert (seen["verdict"], seen["cause"], seen["status"]) == \
        ("unavailable", "bad_answer", "0")
    assert seen["body"] in ("", None)
    unasked = [r for r in results if "id" in r]
    assert server.stats()["unasked"] == len(unasked)


def test_a_result_that_is_too_big_is_of_its_event(kamailio, cms):
    _server, seen = judged(kamailio, cms, text="x" * 300)
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "too_big")


def test_a_result_that_nobody_asked_for_is_counted(kamailio, cms):
    server, seen = judged(kamailio, cms, results=[
        {"id": "0" * 32, "status": 403}, {"status": 200}])
    assert seen["verdict"] == "accepted"
    assert server.stats()["unasked"] == 1


# -- an answer to all --------------------------------------------------------------

@pytest.mark.parametrize("rule, cause", [
    ({"status": 503}, "http"), ({"status": 302}, "http"), ({"status": 429}, "http"),
    ({"status": 409}, "http"), ({"body": {"status": 200}}, "bad_answer"),
    ({"body": "ok"}, "bad_answer"), ({"body": ""}, "bad_answer"),
    ({"body": '[{"id": "x"}'}, "bad_answer"), ({"raw": b"nonsense"}, "bad_answer"),
    ({"close": "answer"}, "connect"), ({"body_size": 1000}, "too_big")], ids=str)
def test_an_answer_to_all_counts_for_all(kamailio, cms, rule, cause):
    server = kamailio(cms, config=batches(("max_answer_size", 256)))
    _uas, seen = gathered(server, cms, 3, lambda: cms.rule(**rule, times=1))
    assert sizes(cms) == [1, 3]
    assert {(s["verdict"], s["cause"]) for s in seen} == {("unavailable", cause)}
    assert server.stats()[cause] == 3


def test_a_batch_may_be_answered_by_as_much_as_its_events(kamailio, cms):
    server = kamailio(cms, config=batches(("max_answer_size", 256)))
    cms.rule(match={"event": "register"}, text="x" * 150)
    _uas, seen = gathered(server, cms, 5)
    assert {s["verdict"] for s in seen} == {"accepted"}
    assert len(cms.requests[1].answer) > 5 * 200


def test_what_is_refused_as_a_whole_is_taken_apart(kamailio, cms):
    """The CMS takes no batch with a bad event in it: all others get through, before
    anything that came later."""
    server = kamailio(cms, config=batches())
    uas = [server.device() for _ in range(4)]
    cms.rule(match={"username": uas[2].user}, whole=True, status=400, text="bad")
    with Held(server, cms) as held:
        registrations = held.register(*uas)
        cms.rule(hold=True, match={"username": uas[0].user}, whole=True, status=400,
                 times=1)
    cms.wait_until(lambda: cms.held == 1)
    later = server.device().start_register()
    until(lambda: server.status()["queued"] == 1)
    cms.release(1)
    seen = [shown(r.wait()) for r in registrations]
    assert later.wait().status == 200
    assert [s["verdict"] for s in seen] == \
        ["accepted", "accepted", "rejected", "accepted"]
    assert seen[2]["text"] == "bad"
    assert [names(r) for r in cms.requests[1:-1]] == [
        [ua.user for ua in uas], *[[ua.user] for ua in uas]]
    assert not cms.invalid()


def test_a_cms_that_refuses_all_is_believed(kamailio, cms):
    server = kamailio(cms, config=batches())
    _uas, seen = gathered(server, cms, 3, lambda: cms.rule(status=401))
    assert sizes(cms) == [1, 3, 1, 1, 1]
    assert {(s["verdict"], s["status"]) for s in seen} == {("rejected", "401")}


# -- endpoints ---------------------------------------------------------------------

@contextlib.contextmanager
def two(kamailio, cms, *params):
    """(server, the second CMS)"""
    with ReferenceCms() as second:
        yield kamailio(cms, config=batches(("cms_url", second.url), *params)), \
            second


@pytest.mark.parametrize("rule", [
    {"status": 503}, {"body": "no array"}, {"close": "answer"}], ids=str)
def test_a_batch_moves_on_as_a_whole(kamailio, cms, rule):
    with two(kamailio, cms) as (server, second):
        _uas, seen = gathered(server, cms, 4, lambda: cms.rule(**rule, times=1))
        assert {s["verdict"] for s in seen} == {"accepted"}
        assert (sizes(cms), sizes(second)) == ([1, 4], [4])
        assert not second.invalid()


@pytest.mark.parametrize("rule", [
    {"status": 503}, {"status": 408}, {"status": 429}, {"status": 425},
    {"results": []}], ids=str)
def test_an_event_moves_on_alone(kamailio, cms, rule):
    """With its own id as the key."""
    with two(kamailio, cms) as (server, second):
        uas = [server.device() for _ in range(3)]
        cms.rule(match={"username": uas[1].user}, **rule)
        with Held(server, cms) as held:
            registrations = held.register(*uas)
        assert [shown(r.wait())["verdict"] for r in registrations] == \
            ["accepted"] * 3
        assert sizes(cms) == [1, 3]
        assert [names(r) for r in second.requests] == [[uas[1].user]]
        assert not second.invalid()


@pytest.mark.parametrize("status", [200, 403, 409])
def test_what_is_decided_moves_nowhere(kamailio, cms, status):
    with two(kamailio, cms) as (server, second):
        uas = [server.device() for _ in range(2)]
        cms.rule(match={"username": uas[1].user}, status=status)
        with Held(server, cms) as held:
            registrations = held.register(*uas)
        assert shown(registrations[1].wait())["status"] == str(status)
        server.settle()
        assert not second.requests


def state(server):
    """Of the breaker of its only endpoint."""
    endpoint, = server.rpc("cms_notify.endpoints")
    return endpoint["state"]


def test_results_do_not_open_a_breaker(kamailio, cms):
    """A CMS that says 503 of each event works."""
    server = kamailio(cms, config=batches(("breaker_failures", 2),
                                          ("breaker_cooldown", 600000)))
    cms.rule(match={"event": "register"}, status=503)
    for _ in range(4):
        assert shown(server.device().register())["status"] == "503"
    assert cms.count == 4
    assert state(server) == "closed"


def test_no_array_opens_a_breaker(kamailio, cms):
    server = kamailio(cms, config=batches(("breaker_failures", 2),
                                          ("breaker_cooldown", 600000)))
    cms.rule(body="ok")
    for _ in range(2):
        assert shown(server.device().register())["cause"] == "bad_answer"
    assert shown(server.device().register())["verdict"] == "unavailable"
    assert cms.count == 2
    assert state(server) == "open"


def test_who_left_its_batch_is_sent_to_the_endpoints_in_force(
        kamailio, cms, tmp_path):
    """Its place in a list means nothing in the next one."""
    settings = tmp_path / "settings"
    with ReferenceCms() as second:
        settings.write_text(f"cms_url = {cms.url}\ncms_url = {second.url}\n")
        server = kamailio(cms, config=batches(("settings_file", str(settings))))
        uas = [server.device() for _ in range(3)]
        cms.rule(match={"username": uas[0].user}, status=503)
        cms.rule(match={"username": uas[1].user}, status=503)
        second.rule(hold=True, times=1)
        with Held(server, cms) as held:
            registrations = held.register(*uas)
        # one of the two is there, the other one has no connection
        second.wait_until(lambda: second.held == 1)
        cms.clear_rules()
        settings.write_text(f"cms_url = {cms.url}\n")
        server.rpc("cms_notify.reload")
        second.release()
        assert [shown(r.wait())["verdict"] for r in registrations] == \
            ["accepted"] * 3
        assert [names(r) for r in second.requests] == [[uas[0].user]]
        assert [names(r) for r in cms.requests[2:]] == [[uas[1].user]]


# -- deadlines ---------------------------------------------------------------------

def test_each_event_keeps_its_deadline(kamailio, cms):
    """The one that came first is told that its time has passed; the other one, in
    the same POST, is answered in its own."""
    server = kamailio(cms, config=batches(("timeout", 16000)))
    first, last = server.device(), server.device()
    with Held(server, cms) as held:
        early, = held.register(first)
        # a long time, but not so long that the CMS is taken for hanging
        until(lambda: waiting_ms(server, first) > 3000)
        late, = held.register(last)
        cms.rule(hold=True, times=1)
    cms.wait_until(lambda: cms.held == 1)
    assert sizes(cms) == [1, 2]
    seen = shown(early.wait())
    assert (seen["verdict"], seen["cause"]) == ("unavailable", "timeout")
    assert not late.steps[-1].finals
    cms.release()
    assert shown(late.wait(10))["verdict"] == "accepted"


def waiting_ms(server, ua):
    return next(row["waiting_ms"] for row in server.rpc("cms_notify.parked")
                if row["aor"] == ua.aor)


def test_a_batch_ends_at_its_last_deadline(kamailio, cms):
    server = kamailio(cms, config=batches(("timeout", 5000)))
    _uas, seen = gathered(server, cms, 3, lambda: cms.rule(hang=True, times=1))
    assert {(s["verdict"], s["cause"]) for s in seen} == {
        ("unavailable", "timeout")}
    assert sizes(cms) == [1, 3]
    assert shown(server.device().register())["verdict"] == "accepted"


# -- outbox ------------------------------------------------------------------------

def deferring(*params):
    """The same with an outbox."""
    def config(server, cms):
        more = (("outbox_db_url", url(server)), ("breaker_cooldown", 100), *params)
        return batches(*more, notify=DEFERRING, verdict=DEFER)(server, cms)
    return config


def deferred(server, cms, count):
    """So many events that the CMS could not take wait in the outbox."""
    server.rpc("cms_notify.pause")
    rule = cms.rule(status=503)
    uas = [server.device() for _ in range(count)]
    for ua in uas:
        assert ua.register().get("X-Deferred") == "1"
    until(lambda: len(rows(server, "state = 0")) == count)
    cms.remove_rule(rule)
    cms.clear()
    return uas


def test_events_of_a_batch_are_deferred_each(kamailio, cms):
    server = kamailio(cms, config=deferring())
    uas = [server.device() for _ in range(4)]
    cms.rule(match={"username": uas[1].user}, status=503)
    cms.rule(match={"username": uas[2].user}, status=403)
    with Held(server, cms) as held:
        registrations = held.register(*uas)
        server.rpc("cms_notify.pause")
    answers = [r.wait() for r in registrations]
    assert [(a.status, a.get("X-Deferred")) for a in answers] == \
        [(200, None), (200, "1"), (403, None), (200, None)]
    cms.clear_rules()
    server.rpc("cms_notify.resume")
    drained(server)
    assert [names(r) for r in cms.requests[2:]] == [[uas[1].user]]


def test_the_outbox_is_delivered_in_batches(kamailio, cms):
    """One at a time until the CMS is known to work, then what waits."""
    server = kamailio(cms, config=deferring())
    uas = deferred(server, cms, 40)
    server.rpc("cms_notify.resume")
    drained(server)
    assert max(sizes(cms)) > 1 and sum(sizes(cms)) == 40
    assert sorted(n for r in cms.requests for n in names(r)) == \
        sorted(ua.user for ua in uas)
    assert not cms.invalid()


def dead_aors(server):
    return [letter["aor"]
            for letter in server.rpc("cms_notify.outbox")["dead_letters"]]


def test_a_dead_letter_spoils_no_other_in_its_batch(kamailio, cms):
    """Whether the CMS says so of the event, or of the batch that it is in."""
    server = kamailio(cms, config=deferring())
    bad = []
    for whole in (False, True):
        uas = deferred(server, cms, 20)
        cms.rule(match={"username": uas[-1].user}, status=422, whole=whole)
        server.rpc("cms_notify.resume")
        drained(server)
        told = {n for r in cms.requests for n in names(r)}
        assert told == {ua.user for ua in uas}
        until(lambda: len(rows(server, "state = 1")) == 1 + whole)
        bad.append(uas[-1].aor.removeprefix("sip:"))
        until(lambda: sorted(dead_aors(server)) == bad)
        cms.clear_rules()


def test_leaving_events_and_snapshots_are_batches(kamailio, cms):
    server = kamailio(cms, config=deferring(("events", "register,unregister"),
                                            ("resync_rate", 100000)))
    uas = [server.device() for _ in range(20)]
    for ua in uas:
        assert ua.register().status == 200
    cms.clear()
    server.rpc("cms_notify.resync")
    until(lambda: server.rpc("cms_notify.status")["resync"]["state"] == "idle"
          and server.rpc("cms_notify.status")["resync"]["sent"] == 20)
    server.settle()
    events = [e for r in cms.requests for e in r.json]
    assert [e["event"] for e in events] == ["snapshot"] * 20
    cms.clear()
    server.rpc("cms_notify.pause")
    for ua in uas:
        assert ua.register(expires=0).status == 200
    until(lambda: len(rows(server)) == 20)
    server.rpc("cms_notify.resume")
    drained(server)
    events = [e for r in cms.requests for e in r.json]
    assert [e["event"] for e in events] == ["unregister"] * 20
    assert max(sizes(cms)) > 1
    assert not cms.invalid()


# -- the rest ----------------------------------------------------------------------

def test_a_body_of_ones_own_in_a_batch(kamailio, cms):
    cms.validate = False
    server = kamailio(cms, config=batches(
        ("body", json.dumps({"Device": "$tU", "id": "$cms(id)"}))))
    uas, seen = gathered(server, cms, 3)
    assert cms.requests[1].json == [
        {"Device": ua.user, "id": s["id"]} for ua, s in zip(uas, seen)]
    assert {s["verdict"] for s in seen} == {"accepted"}


def test_a_body_without_the_id_is_refused_at_the_start():
    lines = fails_to_start(batches(("body", '{"Device": "$tU"}')))
    said = "\n".join(lines)
    assert "batch_max is 50" in said and "$cms(id)" in said


def test_what_is_in_a_batch_ends_when_the_server_stops(kamailio, cms):
    server = kamailio(cms, config=batches(("drain_timeout", 300)))
    uas = [server.device() for _ in range(3)]
    with Held(server, cms) as held:
        registrations = held.register(*uas)
        cms.rule(hold=True, times=1)
    cms.wait_until(lambda: cms.held == 1 and sizes(cms) == [1, 3])
    server.stop()
    seen = [shown(r.wait()) for r in registrations]
    assert {(s["verdict"], s["cause"]) for s in seen} == {
        ("unavailable", "shutdown")}


def test_the_shipped_configuration_in_batches(kamailio, cms):
    server = kamailio(cms, config=shipped_with("", {
        "CMS_BATCH_MAX": 20, "CMS_MAX_CONNECTIONS": 1, "CMS_HTTP_PROCESSES": 1,
        "CMS_TIMEOUT": 20000}))
    with Held(server, cms):
        registrations = [server.device().start_register() for _ in range(5)]
        until(lambda: server.status()["queued"] == 5)
    assert {r.wait().status for r in registrations} == {200}
    assert sizes(cms) == [1, 5]
    assert not cms.invalid()
