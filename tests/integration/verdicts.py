"""One event from a device's REGISTER to its answer, as the tests of the CMS's
behaviour see it."""

from harness import shown

SIP = {"accepted": 200, "rejected": 403, "unavailable": 503}


def register(server):
    """A new device's registration; exactly one final answer came of it."""
    ua = server.device()
    registration = ua.start_register()
    response = registration.wait()
    server.settle()
    ua.options()
    assert len(registration.steps[-1].finals) == 1
    return response


def check(servers, verdict, cause, status):
    """The row holds, for the script and for a device of the shipped
    configuration. Returns what the script saw."""
    small, shipped = servers
    response = register(small)
    seen = shown(response)
    assert (seen["verdict"], seen["cause"]) == (verdict, cause)
    assert seen["route"] == "verdict" and seen["reason"] == "new"
    if status is not None:
        assert seen["status"] == str(status)
    assert seen["text"].strip() and seen["text"].isprintable()
    assert 1 <= int(seen["retry_after"]) <= 3600

    before = shipped.stats()
    response = register(shipped)
    assert response.status == SIP[verdict]
    if verdict == "unavailable":
        assert 1 <= int(response.get("Retry-After")) <= 3600
    after = shipped.stats()
    # what is open may be closed in between, and the other way round
    changed = {n for n in after if after[n] != before[n]} - {"connections"}
    assert changed == {"events", verdict} | ({cause} - {"none"})
    return seen
