"""Devices as they are in the field: they restart, come with other addresses, and
send what no proper device sends. Against the shipped configuration, where a test
does not say otherwise."""

import time

import pytest

from deferring import LEAVING, deferring, drained, url, wait_event
from harness import registrar, shipped_with, shown, until

pytestmark = pytest.mark.contract

TRANSPORTS = ["udp", "tcp"]
# A busy machine takes its time.
PATIENT = {"CMS_TIMEOUT": 20000, "CMS_ATTEMPT_TIMEOUT": 20000}


@pytest.fixture
def start(kamailio, cms):
    """start(NAME=value): a server with these settings."""
    return lambda **settings: kamailio(cms, settings={**PATIENT, **settings})


def told(server, ua):
    posts = server.posts(ua)
    assert [p.errors for p in posts if p.errors] == []
    return [p.json["reason"] for p in posts]


def binding(server, ua):
    """The only one."""
    found, = server.contacts(ua)
    return found


def wait_expired(seconds=1):
    """Until what was registered just now, for that long, has expired: the
    server counts whole seconds."""
    time.sleep(max(0.0, int(time.time()) + seconds + 0.1 - time.time()))


def register(server, ua, status=200, **kw):
    """What was sent before has ended by then."""
    server.settle()
    answer = ua.register(**kw)
    assert answer.status == status, answer.raw.decode()
    return answer


@pytest.mark.parametrize("most, lifetime", [(7200, 7260), (0, 31536000)],
                         ids=["limit", "no limit"])
def test_a_connection_lasts_as_long_as_a_registration(start, most, lifetime):
    """The longest that there may be. Without a limit it was closed after a minute
    in which nobody said anything."""
    server = start(MAX_EXPIRES=most)
    ua = server.device(transport="tcp")
    register(server, ua, expires=3600)
    server.settle()  # it is set after the answer
    connection, = (c for c in server.rpc("core.tcp_list")
                   if c["src_port"] == ua.transport.local[1])
    assert connection["lifetime"] == lifetime


# -- a device restarts ----------------------------------------------------------

def power_cut(ua, cseq=0):
    """The device counts its CSeqs from here, and has forgotten its nonce."""
    ua.cseq = cseq
    ua.challenge = None


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("cseq", [0, 20], ids=["lower", "equal"])
def test_a_restart_with_the_call_id_of_before(start, cseq, transport):
    """It is back in one attempt, with its whole interval; detect_reboot is off,
    so that the CMS is not told."""
    server = start()
    ua = server.device(transport=transport)
    ua.cseq = 20
    register(server, ua, expires=600)
    power_cut(ua, cseq)
    answer = register(server, ua, expires=3600)
    assert "expires=3600" in answer.contacts[0]
    assert binding(server, ua)["CSeq"] == cseq + 2
    assert binding(server, ua)["Expires"] > 3500
    assert told(server, ua) == ["new"]
    # and from there on as ever
    register(server, ua, expires=3600)
    assert binding(server, ua)["CSeq"] == cseq + 4
    assert told(server, ua) == ["new"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_restart_is_told_with_detect_reboot(start, transport):
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device(transport=transport)
    ua.cseq = 20
    register(server, ua, expires=600)
    power_cut(ua)
    register(server, ua)
    register(server, ua)
    assert told(server, ua) == ["new", "reboot"]
    assert binding(server, ua)["CSeq"] == 4
    power_cut(ua, 2)  # its second request then has an equal CSeq
    register(server, ua)
    assert told(server, ua) == ["new", "reboot", "reboot"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("reboot", [0, 1])
@pytest.mark.parametrize("cseq", [0, 20], ids=["lower", "equal"])
def test_a_restarted_device_leaves(start, cseq, reboot, transport):
    """Expires 0 with a CSeq that is not higher: it leaves, and is told so."""
    server = start(CMS_DETECT_REBOOT=reboot)
    ua = server.device(transport=transport)
    ua.cseq = 20
    register(server, ua)
    power_cut(ua, cseq)
    register(server, ua, expires=0)
    assert server.contacts(ua) == []
    assert told(server, ua) == ["new"]


def test_a_restart_that_the_cms_refuses(start, cms):
    """The device is asked about again each time; the old binding is as it was."""
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device()
    ua.cseq = 20
    register(server, ua)
    before = binding(server, ua)
    cms.rule(status=403, times=2)
    power_cut(ua)
    register(server, ua, 403)
    register(server, ua, 403)
    # the device has its answer before the script has ended
    until(lambda: {**binding(server, ua), "Expires": 0, "Last-Keepalive": 0}
          == {**before, "Expires": 0, "Last-Keepalive": 0})
    register(server, ua)
    assert told(server, ua) == ["new"] + ["reboot"] * 3
    assert binding(server, ua)["CSeq"] == 6


def test_a_restart_after_the_binding_has_expired(start):
    """It returns, whatever its CSeq."""
    server = start(USRLOC_SYNC=600)
    ua = server.device()
    ua.cseq = 20
    register(server, ua, expires=1)
    wait_expired()
    power_cut(ua)
    register(server, ua)
    assert told(server, ua) == ["new", "returned"]
    assert binding(server, ua)["CSeq"] == 2


def test_a_restarted_device_repeats_itself(start):
    """The same bytes again are a retransmission: the same answer, nothing told,
    nothing saved."""
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device()
    ua.cseq = 20
    register(server, ua)
    power_cut(ua)
    last = ua.start_register()
    first = last.wait()
    last.steps[-1].resend()
    second = last.steps[-1].wait_finals(2)[1]
    assert first.raw == second.raw and first.status == 200
    assert told(server, ua) == ["new", "reboot"]


def test_two_restarts_while_the_cms_thinks(start, cms):
    """Both are answered, both were done."""
    server = start(CMS_DETECT_REBOOT=1)
    ua = server.device()
    ua.cseq = 20
    register(server, ua)
    server.settle()  # what is parked from now on is not this one
    cms.rule(hold=True)
    answers = []
    for n in (1, 2):
        power_cut(ua)
        answers.append(ua.start_register())
        server.wait_parked(n)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    assert [a.wait().status for a in answers] == [200, 200]
    assert told(server, ua) == ["new", "reboot"]
    assert binding(server, ua)["CSeq"] == 2


@pytest.mark.parametrize("expires", [600, 0])
def test_an_equal_cseq_without_cseq_restart(kamailio, cms, expires):
    """It is a refresh, or leaves: what is answered 200 has been done."""
    server = kamailio(cms, config=lambda s, url: registrar(s, url, params=[
        ("cms_notify", "detect_reboot", 1)]))
    ua = server.device()
    register(server, ua, cseq=7, expires=60)
    answer = register(server, ua, cseq=7, expires=expires)
    assert shown(answer)["route"] == "main"
    found = [c["Expires"] > 500 for c in server.contacts(ua)]
    assert found == ([True] if expires else [])
    assert told(server, ua) == ["new"]


def test_an_equal_cseq_leaves_while_the_first_is_parked(kamailio, cms):
    server = kamailio(cms, config=lambda s, url: registrar(s, url, params=[
        ("cms_notify", "timeout", 20000)]))
    ua = server.device()
    cms.rule(hold=True)
    coming = ua.send(ua.build_register(cseq=7))
    cms.wait_until(lambda: cms.held == 1)
    leaving = ua.send(ua.build_register(cseq=7, expires=0))
    server.wait_parked(2)
    cms.release()
    assert [t.wait().status for t in (coming, leaving)] == [200, 200]
    assert server.contacts(ua) == []


def test_an_equal_cseq_without_bindings_in_memory(kamailio, cms):
    """usrloc's db_mode 3: 400, since save() would say 200 and do nothing."""
    server = kamailio(cms, config=lambda s, url: registrar(s, url, params=[
        ("usrloc", "db_mode", 3)]))
    ua = server.device()
    register(server, ua, cseq=7, expires=60)
    answer = register(server, ua, 503, cseq=7, expires=0)
    assert shown(answer)["cause"] == "bad_request"
    assert len(server.contacts(ua)) == 1


LUA = """
function ksr_request_route()
	if KSR.is_OPTIONS() then
		KSR.sl.sl_send_reply(200, "OK")
		return 1
	end
	if KSR.cms_notify.notify("location", "verdict", "", "") > 0 then
		KSR.registrar.save("location", 0)
	end
	return 1
end

function verdict()
	KSR.registrar.save("location", 0)
	return 1
end
"""


@pytest.mark.parametrize("reboot", [0, 1])
@pytest.mark.parametrize("cseq", [3, 20], ids=["lower", "equal"])
def test_a_restart_with_kemi(kamailio, cms, cseq, reboot):
    """KSR.cms_notify.notify() with cseq_restart: the stale binding gives way to a
    device that has restarted, and to one that leaves."""
    def config(server, to):
        script = server.write("script.lua", LUA)
        text = registrar(server, to, modules=["app_lua"], params=[
            ("app_lua", "load", script), ("usrloc", "preload", "location"),
            ("cms_notify", "cseq_restart", 1),
            ("cms_notify", "detect_reboot", reboot)])
        return text[:text.index("request_route {")] + 'cfgengine "lua"\n'
    server = kamailio(cms, config=config)
    ua = server.device()
    register(server, ua, cseq=20, expires=600)
    register(server, ua, cseq=cseq, expires=3600)
    assert binding(server, ua)["CSeq"] == cseq
    assert binding(server, ua)["Expires"] > 3500
    register(server, ua, cseq=cseq + 1)
    assert told(server, ua) == ["new"] + ["reboot"] * reboot
    register(server, ua, cseq=cseq, expires=0)
    assert server.contacts(ua) == []
    assert told(server, ua) == ["new"] + ["reboot"] * reboot


# -- an address is one device -------------------------------------------------------

def contact(ua, port, more=""):
    return f"<sip:{ua.user}@192.0.2.1:{port}{more}>"


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_camera_comes_with_another_port_after_each_power_cut(
        kamailio, cms, transport):
    """WITH_ONE_CONTACT: the newest contact is the only one, however often; the CMS
    is told of the device once, and not that it has left."""
    server = kamailio(cms, config=lambda s, to: shipped_with("", {
        "WITH_ONE_CONTACT": 1, "MAX_CONTACTS": 10, "WITH_OUTBOX": 1,
        "CMS_EVENTS": "register,unregister,expire",
        "CMS_OUTBOX_DB_URL": url(s)})(s, to))
    server.shipped = True  # with passwords
    ua = server.device(transport=transport)
    for port in range(5060, 5073):
        register(server, ua, contacts=[contact(ua, port)],
                 call_id=f"boot-{port}")
        assert binding(server, ua)["Address"] == contact(ua, port)[1:-1]
    assert told(server, ua) == ["new"]
    register(server, ua, contacts=[contact(ua, 5072)], expires=0)
    left = wait_event(server.cms, "unregister")
    assert left.json["live"] == 0
    assert [p.json["event"] for p in server.posts(ua)] \
        == ["register", "unregister"]


def test_a_second_contact_while_the_first_is_parked(start, cms):
    """WITH_ONE_CONTACT: it waits for the same verdict and then is the only one."""
    server = start(WITH_ONE_CONTACT=1)
    ua = server.device()
    cms.rule(hold=True)
    answers = []
    for n, port in enumerate((5060, 5061)):
        answers.append(ua.start_register(contacts=[contact(ua, port)]))
        server.wait_parked(n + 1)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    assert [a.wait().status for a in answers] == [200, 200]
    assert binding(server, ua)["Address"] == contact(ua, 5061)[1:-1]
    assert told(server, ua) == ["new"]


def test_one_contact_and_the_cms_hears_of_each(start):
    """WITH_ONE_CONTACT and CMS_IDENTITY "contact": each port is told."""
    server = start(WITH_ONE_CONTACT=1, CMS_IDENTITY="contact")
    ua = server.device()
    for port in (5060, 5061, 5061):
        register(server, ua, contacts=[contact(ua, port)])
    assert binding(server, ua)["Address"] == contact(ua, 5061)[1:-1]
    assert told(server, ua) == ["new", "moved"]


# -- the address of record is not the To header's -------------------------------------

URI = '"sip:$tU@telecom.com"'
OWN_ADDRESS = f"""
	if (cms_is_new("location", {URI}))
		append_to_reply("X-New: yes\\r\\n");
	if (!cms_notify("location", "CMS_VERDICT", "", {URI})) {{
		send_reply("503", "Busy");
		exit;
	}}
	append_to_reply("X-Route: main\\r\\n");
	save("location", "0x00", {URI});
	exit;"""
OWN_VERDICT = f"""
	save("location", "0x00", {URI});
	exit;"""


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_to_header_with_the_cameras_own_address(kamailio, cms, transport):
    """cms_notify() and cms_is_new() take the address of record as save() does:
    what is told, who joins, what is a refresh, and who leaves agree."""
    server = kamailio(cms, config=lambda s, to: registrar(
        s, to, notify=OWN_ADDRESS, verdict=OWN_VERDICT, params=[
            ("cms_notify", "outbox_db_url", url(s)),
            ("cms_notify", "timeout", 20000), ("cms_notify", *LEAVING)]))
    ua = server.device(transport=transport)
    cms.rule(hold=True, times=1)
    sent = []
    for n, host in enumerate(("192.0.2.7:5060", "192.0.2.8")):
        sent.append(ua.send(ua.build_register(to=f"<sip:{ua.user}@{host}>")))
        server.wait_parked(n + 1)
    cms.wait_until(lambda: cms.held == 1)
    cms.release()
    answers = [t.wait() for t in sent]
    assert [a.status for a in answers] == [200, 200]
    assert [a.get("X-New") for a in answers] == ["yes", None]
    assert shown(answers[0])["id"] == shown(answers[1])["id"]
    assert len(server.contacts(ua)) == 1
    refresh = register(server, ua, to=f"<sip:{ua.user}@192.0.2.9>")
    assert shown(refresh)["route"] == "main" and not refresh.get("X-New")
    register(server, ua, to=f"<sip:{ua.user}@192.0.2.9>", expires=0)
    wait_event(cms, "unregister")
    drained(server)
    assert [(p.json["event"], p.json["aor"], p.json["domain"])
            for p in cms.requests] == [("register", ua.aor, "telecom.com"),
                                       ("unregister", ua.aor, "telecom.com")]


# -- contacts ---------------------------------------------------------------------------

@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_case_of_the_transport(start, transport):
    """";transport=TLS" and ";transport=tls" are one contact: for the CMS, for
    save(), whether it was parked or not."""
    server = start()
    ua = server.device(transport=transport)
    for more in (";transport=TCP", ";transport=tcp", ";Transport=Tcp"):
        register(server, ua, contacts=[contact(ua, 5060, more)])
        assert binding(server, ua)["Address"] \
            == contact(ua, 5060, ";transport=tcp")[1:-1]
    assert told(server, ua) == ["new"]
    post, = server.posts(ua)
    assert post.json["contacts"][0]["uri"].endswith(";transport=tcp")


def test_the_case_of_all_else_counts(start):
    """A user's name may look like parameters."""
    server = start()
    ua = server.device()
    register(server, ua, contacts=[
        f"<sip:{ua.user};transport=TLS@127.0.0.1:5060;X=Y;transport=UDP;Z=Z>"])
    assert binding(server, ua)["Address"] == (
        f"sip:{ua.user};transport=TLS@127.0.0.1:5060;X=Y;transport=udp;Z=Z")


def test_a_device_does_not_move_where_nobody_can_reach_it(start):
    """Also when its instance is bound already, at another address."""
    server = start()
    server.allow_errors(r"parse_uri|sanity|invalid port")
    ua = server.device()
    instance = ';+sip.instance="<urn:uuid:1>";reg-id=1'
    register(server, ua, contacts=[contact(ua, 5060) + instance])
    for bad in ("0.0.0.0:5060", "192.0.2.1:x"):
        register(server, ua, 400, contacts=[f"<sip:{ua.user}@{bad}>{instance}"])
    assert binding(server, ua)["Address"] == contact(ua, 5060)[1:-1]
    assert told(server, ua) == ["new"]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("value", [
    "<sip:{}@0.0.0.0:5060>", "<sip:{}@[::]:5060>", "<sip:{}@192.0.2.1:0>",
    "<sip:{}@192.0.2.1:x>", "<nonsense>", "<http://192.0.2.1/>",
    '<sip:{}@192.0.2.1>;+sip.instance="<urn:uuid:1>";reg-id=0'])
def test_a_contact_that_nobody_can_reach(start, value, transport):
    """It is a bad request, also in a second header; nothing is told or bound."""
    server = start()
    server.allow_errors(r"parse_uri|sanity|invalid port")
    ua = server.device(transport=transport)
    bad = value.format(ua.user)
    for contacts in ([bad], [ua.contact, bad], [f"{ua.contact}, {bad}"]):
        register(server, ua, 400, contacts=contacts)
    assert server.contacts(ua) == []
    assert told(server, ua) == []
    register(server, ua)


def test_behind_a_nat_such_a_contact_is_reached(kamailio, cms):
    """Where the request came from is noted: it is registered, and may leave."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, before="if (is_present_hf(\"X-NAT\")) fix_nated_register();"))
    ua = server.device()
    bad = [f"<sip:{ua.user}@0.0.0.0:5060>"]
    answer = register(server, ua, 503, contacts=bad)
    assert shown(answer)["cause"] == "bad_request"
    register(server, ua, contacts=bad, headers=[("X-NAT", "1")])
    assert binding(server, ua)["Received"]
    register(server, ua, contacts=bad, expires=0)
    assert server.contacts(ua) == []


@pytest.mark.parametrize("closed", [True, False])
def test_the_same_bytes_over_another_connection(start, cms, closed):
    """While the first is parked: the answer goes to where the repetition came
    from, and there alone."""
    server = start()
    ua = server.device(transport="tcp")
    cms.rule(hold=True)
    first = ua.start_register()
    server.wait_parked(1)
    if closed:
        ua.transport.close()
    with server.device(ua.user, transport="tcp") as again:
        second = again.send(first.steps[-1].request.raw)
        again.options()  # what came before has been handled
        cms.wait_until(lambda: cms.held == 1)
        cms.release()
        answer = second.wait()
        assert answer.status == 200 and answer.contacts
        # also when the answer is lost
        second.resend()
        assert second.wait_finals(2)[1].raw == answer.raw
    assert first.steps[-1].finals == []
    assert told(server, ua) == ["new"]


# -- how many are live --------------------------------------------------------------------

def test_events_say_how_many_contacts_are_live(kamailio, cms):
    """With what is new, without what has left."""
    server = kamailio(cms, config=deferring(LEAVING, ("timeout", 10000)))
    ua = server.device()

    def events():
        return [(p.json["event"], p.json["live"]) for p in server.posts(ua)]

    register(server, ua, contacts=[contact(ua, 1)])
    register(server, ua, contacts=[contact(ua, 2), contact(ua, 3)])
    assert events() == [("register", 1), ("register", 3)]
    register(server, ua, contacts=[contact(ua, 1)], expires=0)
    wait_event(cms, "unregister")
    register(server, ua, contacts=[contact(ua, 4)], expires=1)
    wait_event(cms, "expire")
    server.rpc("cms_notify.resync", ua.aor)
    until(lambda: len(events()) == 7)
    assert events()[2:] == [("unregister", 2), ("register", 3), ("expire", 2),
                            ("snapshot", 2), ("snapshot", 2)]
