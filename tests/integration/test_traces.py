"""One grep finds the way of a registration: from the device to the CMS and back."""

import json
import re
import socket
import struct

import pytest

from harness import HOST

pytestmark = pytest.mark.contract

def lines_of(server, ua):
    """Of its registrations in the log."""
    return server.log(rf"registration: .*{ua.user}@")


def test_what_goes_well_is_no_line(kamailio, cms):
    """At the default level; what does not is a warning."""
    server = kamailio(cms)
    fine, refused, unlucky = (server.device() for _ in range(3))
    cms.refuse(refused.user)
    cms.rule(match={"username": unlucky.user}, status=500)
    assert [ua.register().status for ua in (fine, refused, unlucky)] == [
        200, 403, 503]
    assert fine.register().status == 200
    assert lines_of(server, fine) == []
    ids = {ua: server.posts(ua)[0].json["id"] for ua in (refused, unlucky)}
    for ua, ended in ((refused, "rejected status=403 cause=none"),
                      (unlucky, "unavailable status=500 cause=http")):
        line, = lines_of(server, ua)
        assert re.search(
            rf"WARNING: .*registration: verdict={ended} ms=\d+ reason=new "
            rf"id={ids[ua]} aor={ua.aor} contact={ua.contact[1:-1]}$", line)


def test_what_could_not_wait_is_a_line(kamailio, cms):
    """Without a POST; a contact that nobody could be reached at."""
    server = kamailio(cms)
    ua = server.device()
    assert ua.register(contacts="<sip:x@0.0.0.0>").status == 400
    line, = lines_of(server, ua)
    assert re.search("WARNING: .* verdict=unavailable status=0 cause=bad_request "
                     r"ms=0 reason=\S* id=- ", line)


def test_the_id_is_everywhere(kamailio, cms):
    """In the answer, in the POST, in the log and in the steps of the device."""
    server = kamailio(cms, settings={"LOG_LEVEL": 2,
                                     "EVENT_ID_HEADER": "X-Event-Id"})
    ua = server.device()
    answer = ua.register()
    event = answer.get("X-Event-Id")
    assert answer.status == 200 and re.fullmatch("[0-9a-f]{32}", event)
    post, = server.posts(ua)
    assert post.json["id"] == event and post.errors == []
    assert post.get("Idempotency-Key") == f'"{event}"'
    assert re.fullmatch(f"00-{event}-[0-9a-f]{{16}}-01",
                        post.get("traceparent"))
    line, = lines_of(server, ua)
    assert f" id={event} " in line
    step, = server.rpc("cms_notify.device", ua.aor)["steps"]
    assert step["id"] == event
    # a refresh is no event
    assert ua.register().get("X-Event-Id") is None


def test_the_id_is_in_a_refusal(kamailio, cms):
    """And in no answer where the setting is not set."""
    server = kamailio(cms, settings={"EVENT_ID_HEADER": "X-Event-Id"})
    ua = server.device()
    cms.refuse(ua.user)
    answer = ua.register()
    assert answer.status == 403
    assert answer.get("X-Event-Id") == server.posts(ua)[0].json["id"]
    server.stop()
    server.configure()
    server.start()
    other = server.device()
    assert other.register().get("X-Event-Id") is None


def test_each_attempt_is_a_span(kamailio, cms):
    """Of one trace, the event."""
    server = kamailio(cms, settings={"CMS_URL_2": cms.url + "2"})
    ua = server.device()
    cms.rule(match={"username": ua.user}, status=500, times=1)
    assert ua.register().status == 200
    first, second = (r.get("traceparent").split("-") for r in server.posts(ua))
    assert first[:2] == second[:2] and first[2] != second[2]
    assert set(first[2]) != {"0"}


def test_json(kamailio, cms):
    """Kamailio's own JSON log: each line is an object."""
    server = kamailio(cms, options=["--log-engine=json:Mc"])
    ua = server.device(user_agent='quo"te')
    cms.refuse(ua.user)
    assert ua.register().status == 403
    server.wait_log("registration: ")
    found = [json.loads(line) for line in server.lines
             if line.lstrip().startswith("{")]
    entry, = (e for e in found if "registration: " in e["message"])
    assert (entry["level"], entry["module"]) == ("WARNING", "cms_notify")
    assert f"aor={ua.aor} " in entry["message"]


def hep3(packet):
    """{chunk: payload} of a HEP 3 packet."""
    assert packet[:4] == b"HEP3"
    assert struct.unpack("!H", packet[4:6])[0] == len(packet)
    chunks, at = {}, 6
    while at < len(packet):
        vendor, kind, size = struct.unpack("!HHH", packet[at:at + 6])
        assert vendor == 0
        chunks[kind] = packet[at + 6:at + size]
        at += size
    return chunks


def test_a_capture_server_gets_all_messages(kamailio, cms):
    """WITH_HEP: the REGISTERs and their answers, with the addresses they had."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as capture:
        capture.bind((HOST, 0))
        capture.settimeout(20)
        server = kamailio(cms, settings={
            "WITH_HEP": "sip:%s:%d" % capture.getsockname()})
        ua = server.device()
        assert ua.register().status == 200
        seen = []
        while len(seen) < 4:
            chunks = hep3(capture.recv(65536))
            text = chunks[0x0f].decode("latin-1")
            if ua.call_id in text:
                seen.append((chunks, text.split("\r\n")[0]))
    assert sorted(line for _, line in seen) == sorted([
        "REGISTER sip:telecom.com SIP/2.0", "SIP/2.0 401 Unauthorized",
        "REGISTER sip:telecom.com SIP/2.0", "SIP/2.0 200 OK"])
    for chunks, line in seen:
        ports = [struct.unpack("!H", chunks[kind])[0] for kind in (7, 8)]
        assert socket.inet_ntoa(chunks[3]) == HOST
        there = [ua.transport.local[1], server.port]
        assert ports == (there if line.startswith("REG") else there[::-1])
