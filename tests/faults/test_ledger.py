"""The suite sees what it is there to see."""

import json
from types import SimpleNamespace

import pytest

import ledger
from server import QUICK
from trial import Trial

pytestmark = [pytest.mark.short, pytest.mark.long]


def boot(number, attempts=()):
    return SimpleNamespace(number=number, call_id=f"a-{number}",
                           attempts=list(attempts))


def devices(*boots):
    return [SimpleNamespace(ua=SimpleNamespace(aor="sip:a@b"), boots=boots,
                            boot=boots[-1], settled=True)]


def post(number, arrived, outcome=200, key=None, late=False, seq=0):
    body = {"aor": "sip:a@b", "call_id": f"a-{number}", "id": f"{number}",
            "seq": seq}
    return SimpleNamespace(
        json=body, arrived=arrived, answered=arrived, outcome=outcome,
        late=late, get=lambda _name: key or f"key-{number}")


def step(*finals, sent=0.0):
    return SimpleNamespace(
        request=SimpleNamespace(time=sent, cseq=1),
        finals=[SimpleNamespace(status=int(f[:3]), raw=f, start_line=f)
                for f in finals])


def test_told():
    assert not ledger.told(devices(boot(1), boot(2)), [post(2, 1)])
    assert ledger.told(devices(boot(1), boot(2)), [post(1, 1)])
    assert ledger.told(devices(boot(1)), [post(1, 1, outcome="abandoned")])


def test_order():
    two = devices(boot(1), boot(2))
    assert not ledger.order(two, [post(1, 1), post(2, 2)])
    assert ledger.order(two, [post(2, 1), post(1, 2)])
    # tried in vain, then outdated, then seen again
    assert ledger.order(two, [post(1, 1, 503), post(2, 2), post(1, 3)])
    assert not ledger.order(two, [post(1, 1), post(1, 2), post(2, 3)])
    # its sender had given it up when it was read
    assert not ledger.order(two, [post(2, 1), post(1, 2, late=True)])


def test_order_by_number():
    two = devices(boot(1), boot(2))
    older, newer = post(1, 2, seq=1), post(2, 1, seq=2)
    assert ledger.order(two, [newer, older])
    assert not ledger.order(two, [newer, older], by_number=True)
    assert ledger.order(two, [newer, post(1, 2, seq=3)], by_number=True)


def test_parts():
    """Of a batch the CMS knows the events that it has given one result."""
    events = [{"aor": "sip:a@b", "id": name} for name in "abcdef"]
    results = [{"id": "a", "status": 200}, {"id": "b", "status": 503},
               {"id": "c", "status": 200}, {"id": "c", "status": 200},
               {"id": "d"}, {"id": "x", "status": 200}, {"id": "f", "status": 200}]
    batch = SimpleNamespace(
        json=events, arrived=1, answered=2, outcome=200, late=False,
        answer=b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(results).encode())
    alone = post(1, 3)
    assert [p.outcome for p in ledger.parts([batch, alone])] == [
        200, 503, None, None, None, 200, 200]
    assert ledger.parts([batch])[1].get("Idempotency-Key") == '"b"'
    for whole in (500, "cut", "raw", "abandoned"):
        batch.outcome = whole
        assert {p.outcome for p in ledger.parts([batch])} == {whole}
    batch.outcome = 200
    for answer in (b"\r\n\r\nok", b"\r\n\r\n{}", b"\r\n\r\n"):
        batch.answer = answer
        assert {p.outcome for p in ledger.parts([batch])} == {None}


def test_once():
    def lines(*steps, died=()):
        attempt = SimpleNamespace(steps=steps)
        return ledger.once(devices(boot(1, attempts=[attempt])), 1.0,
                           died)

    assert not lines(step("401 a", "401 b"), step("200 a", "200 a"))
    assert lines(step("200 a", "200 b"))
    assert lines(step("503 a", "200 b"))
    assert lines(step())
    assert not lines(step(), died=[(0.5, 0.5)])
    assert not lines(step(sent=5), died=[(0.5, 9)])
    assert lines(step(), died=[(5.0, 5.0)])


def test_repeats():
    assert ledger.repeats([post(1, 1), post(1, 2), post(2, 3)]) == 1
    assert ledger.repeats([post(1, 1, 503), post(1, 2)]) == 0


def test_served_without_being_stored(cms, server):
    """A configuration that puts devices on line though nothing was stored."""
    one = server(cms, "defer", QUICK, run=False)
    with open(one.config, encoding="utf-8") as file:
        text = file.read()
    for old, new in (('"CMS_VERDICT", CMS_OPTIONS', '"CMS_VERDICT", ""'),
                     ('$cms(verdict) == "deferred"',
                      '$cms(verdict) == "unavailable"')):
        assert text.count(old) == 1
        text = text.replace(old, new)
    one.write("kamailio.cfg", text)
    one.start()
    with Trial(one, [cms], 10) as trial:
        trial.warm_up()
        cms.stop()
        trial.load(0.7)
        trial.fleet.finish()
        cms.start()
        trial.over()
        with pytest.raises(AssertionError, match="the CMS does not know"):
            trial.end("")


def test_rows_lost(cms, server):
    """Somebody deletes what is stored."""
    one = server(cms, "defer", QUICK)
    with Trial(one, [cms], 10) as trial:
        trial.warm_up()
        cms.stop()
        trial.load(0.7)
        trial.fleet.finish()
        one.wait_outbox(lambda waiting: waiting > 0)
        one.delete_outbox_rows()
        cms.start()
        with pytest.raises(AssertionError, match="the CMS does not know"):
            trial.end("", timeout=3)
