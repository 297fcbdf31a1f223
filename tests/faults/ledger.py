"""What must hold after every fault, whatever it was.

    told     every device that is on line is known to the CMS
    order    of one device the CMS was told in the order in which it happened
    once     every REGISTER had one final answer, and no second one that differs
    settled  nothing is parked, queued, under way; nothing waits in the outbox,
             nothing has become a dead letter

Each returns what breaks it, as lines of text; [] if nothing does.
"""

import collections
import json
import time


class Part:
    """An event of a batch, as a request of its own: it has the outcome that the CMS
    has said of it, None if it has said nothing or too much."""

    def __init__(self, request, event):
        self.json = event
        self.arrived = request.arrived
        self.late = request.late
        self.answered = request.answered
        self.outcome = request.outcome
        if request.outcome == 200:
            self.outcome = _result(request.answer, event["id"])

    def get(self, name):
        return f'"{self.json["id"]}"' if name == "Idempotency-Key" else None


def _result(answer, event_id):
    try:
        results = json.loads(answer.partition(b"\r\n\r\n")[2])
    except ValueError:
        return None
    if not isinstance(results, list):
        return None
    found = [r["status"] for r in results if r["id"] == event_id
             and "status" in r]
    return found[0] if len(found) == 1 else None


def parts(requests):
    """Requests of one event each."""
    return [part for r in requests for part in (
        [Part(r, event) for event in r.json] if isinstance(r.json, list)
        else [r])]


def told(devices, requests):
    acknowledged = {(r.json["aor"], r.json["call_id"])
                    for r in requests if r.outcome == 200}
    return [f"{d.ua.aor}: on line by {d.boot.call_id}, the CMS does not know"
            for d in devices
            if d.settled and (d.ua.aor, d.boot.call_id) not in acknowledged]


def order(devices, requests, by_number=False):
    """A repeat of an event that the CMS has seen is no new event; one that is
    older than what the CMS has accepted must not come. What a CMS on a busy
    machine reads when its sender has given it up already, came in time.
    `by_number`: it may come, if its number says that it is older."""
    lines = []
    number = {(d.ua.aor, b.call_id): b.number
              for d in devices for b in d.boots}
    newest, newest_seq = collections.Counter(), collections.Counter()
    accepted, seen = {}, set()
    for request in sorted(requests, key=lambda r: r.arrived):
        body = request.json
        aor, key = body["aor"], request.get("Idempotency-Key")
        this = number[aor, body["call_id"]]
        says_so = by_number and body["seq"] < newest_seq[aor]
        if this < newest[aor] and not says_so and not request.late and (
                key not in seen or request.outcome == 200):
            late = request.arrived - accepted[aor]
            lines.append(f"{aor}: boot {this} reached the CMS at "
                         f"{request.arrived:.3f}, {late:.4f} s "
                         f"after boot {newest[aor]} was accepted, event "
                         f"{body['id']}, seen before: {key in seen}")
        seen.add(key)
        if request.outcome == 200 and this >= newest[aor]:
            newest[aor] = this
            newest_seq[aor] = body["seq"]
            accepted[aor] = request.answered
    return lines


def once(devices, patience, died=()):
    """`died`: [(when Kamailio was killed, when it was there again)]; who waited
    then was answered when it tried again, which finish() has seen."""
    lines = []
    for boot in (b for d in devices for b in d.boots):
        for attempt in boot.attempts:
            for step in attempt.steps:
                finals = {r.raw for r in step.finals if r.status != 401}
                if len(finals) > 1:
                    lines.append(
                        f"{boot.call_id} CSeq {step.request.cseq}: "
                        f"{sorted(r.start_line for r in step.finals)}")
                if not step.finals and not _excused(
                        step.request.time, patience, died):
                    lines.append(f"{boot.call_id} CSeq {step.request.cseq}: "
                                 "no final answer")
    return lines


def _excused(sent, patience, died):
    return any(sent <= there + patience and gone <= sent + patience
               for gone, there in died)


def settled(server, timeout):
    """Waits."""
    deadline = time.monotonic() + timeout
    while True:
        status = server.status()
        left = {name: status[name]
                for name in ("queued", "in_flight", "parked", "outbox")
                if status.get(name)}
        if not left:
            break
        if time.monotonic() > deadline:
            return [f"after {timeout} s still {left}"]
        time.sleep(0.02)
    dead = server.dead_letters()
    return [f"{dead} dead letters"] if dead else []


def repeats(requests):
    """Arrivals of an event that the CMS had acknowledged already."""
    count, done = 0, set()
    for request in sorted(requests, key=lambda r: r.arrived):
        key = request.get("Idempotency-Key")
        count += key in done
        if request.outcome == 200:
            done.add(key)
    return count
