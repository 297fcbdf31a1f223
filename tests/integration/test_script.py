"""What a script may call and read, natively and through KEMI."""

import re
import time

import pytest

import harness
from harness import fails_to_start, registrar, shown, until


@pytest.fixture
def start(kamailio, cms):
    """start(...): a server with registrar(...) and these arguments."""
    def starter(**kw):
        return kamailio(cms, config=lambda s, url: registrar(s, url, **kw))
    return starter


# -- cms_is_new ------------------------------------------------------------------

ASK = """
	if (cms_is_new("location")) {
		append_to_reply("X-New: yes\\r\\n");
	} else {
		append_to_reply("X-New: no\\r\\n");
	}
	cms_is_new("location");
	if (is_present_hf("X-Just-Ask")) {
		send_reply("202", "Asked");
		exit;
	}"""
ASK_ONLY = [("X-Just-Ask", "1")]


@pytest.mark.contract
def test_is_new_has_no_side_effect(start, cms):
    """cms_is_new() says what cms_notify() would do, and does nothing."""
    server = start(before=ASK)
    ua = server.device()
    for _ in range(3):
        response = ua.register(headers=ASK_ONLY)
        assert (response.status, response.get("X-New")) == (202, "yes")
    status = server.settle()
    assert status["events"] == status["refreshes"] == 0
    assert server.posts() == []
    assert server.contacts(ua) == []

    assert ua.register().get("X-New") == "yes"
    server.settle()
    assert ua.register(headers=ASK_ONLY).get("X-New") == "no"
    assert ua.register().get("X-New") == "no"
    assert len(server.posts()) == 1


@pytest.mark.contract
@pytest.mark.parametrize("what", [
    {"expires": 0}, {"contacts": "*", "expires": 0},
    {"contacts": [], "expires": None}], ids=["leaving", "star", "query"])
def test_is_new_of_what_is_never_told(start, cms, what):
    """cms_is_new() is false for what cms_notify() lets pass."""
    server = start(before=ASK)
    ua = server.device()
    assert ua.register(**what).get("X-New") == "no"
    assert server.posts() == []


@pytest.mark.contract
def test_is_new_while_parked(start, cms):
    """While a POST of the device is under way cms_notify() would not make
    another: cms_is_new() is false."""
    server = start(before=ASK)
    ua = server.device()
    cms.rule(hold=True)
    parked = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    assert ua.register(headers=ASK_ONLY).get("X-New") == "no"
    cms.release()
    assert parked.wait().get("X-New") == "yes"


def test_not_a_register(start, cms):
    """For another request than REGISTER both functions are false, with one
    line in the log; nothing is sent."""
    server = start(before=ASK)
    server.allow_errors("cms_notify.*REGISTER")
    ua = server.device()
    response, _ = ua.options(ruri=f"sip:{ua.user}@{ua.domain}")
    assert (response.status, response.get("X-New")) == (503, "no")
    assert shown(response)["route"] == "busy"
    assert server.posts() == []
    server.wait_log("ERROR: cms_notify")


# -- $cms(...) -------------------------------------------------------------------

def plausible(values):
    """What is true of every verdict."""
    assert 1 <= int(values["retry_after"]) <= 3600
    assert values["text"] and "\n" not in values["text"]
    return values


@pytest.mark.contract
@pytest.mark.parametrize("answer, status, expected", [
    ({"text": "welcome"}, 200,
     {"verdict": "accepted", "status": "200", "cause": "none",
      "text": "welcome", "body": '{"text": "welcome"}'}),
    ({"status": 204}, 200,
     {"verdict": "accepted", "status": "204", "cause": "none", "body": ""}),
    ({"status": 201, "body": "<ok/>"}, 200,
     {"verdict": "accepted", "status": "201", "cause": "none",
      "body": "<ok/>"}),
    ({"status": 403, "text": "stolen \u2014 r\u00e9form\u00e9"}, 403,
     {"verdict": "rejected", "status": "403", "cause": "none",
      "text": "stolen \u2014 r\u00e9form\u00e9"}),
    ({"status": 404, "body": {"text": "line\r\nX-Evil: yes\r\n\r\nmore"}}, 403,
     {"verdict": "rejected", "status": "404", "cause": "none"}),
    ({"status": 404}, 403,
     {"verdict": "rejected", "status": "404", "cause": "none", "body": ""}),
    ({"status": 500, "text": "database"}, 503,
     {"verdict": "unavailable", "status": "500", "cause": "http"}),
    ({"close": "request"}, 503,
     {"verdict": "unavailable", "status": "0", "cause": "connect"}),
], ids=["accepted", "no body", "no json", "rejected", "line breaks",
        "rejected without body", "unavailable", "no answer"])
def test_values(start, cms, answer, status, expected):
    """$cms(...) in the verdict route says what became of the event."""
    server = start()
    ua = server.device()
    cms.rule(**answer)
    began = time.monotonic()
    response = ua.register()
    lasted = time.monotonic() - began
    assert response.status == status
    assert response.get("X-Evil") is None
    values = plausible(shown(response))
    assert {name: values[name] for name in expected} == expected
    assert values["route"] == "verdict"
    assert values["reason"] == "new"
    assert {r.json["id"] for r in server.posts()} == {values["id"]}
    assert int(values["elapsed_ms"]) <= 1000 * lasted


@pytest.mark.contract
def test_elapsed(start, cms):
    """$cms(elapsed_ms) is the time from parking to the verdict, for each
    request its own."""
    server = start()
    ua = server.device()
    cms.rule(hold=True)
    sent, parked = [], []
    for number in (1, 2):
        sent.append(ua.send(ua.build_register()))
        server.wait_parked(number)
        parked.append(time.monotonic())
        time.sleep(0.3)
    cms.wait_until(lambda: cms.held == 1)
    released = time.monotonic()
    cms.release()
    for transaction, since in zip(sent, parked):
        elapsed = int(shown(transaction.wait())["elapsed_ms"])
        # whole ms
        assert 1000 * (released - since) - 1 <= elapsed \
            <= 1000 * transaction.latency + 1


@pytest.mark.contract
def test_reason_of_a_return(start, cms):
    """$cms(reason) is the event's."""
    server = start(params=[("usrloc", "timer_interval", 600)])
    ua = server.device()
    ua.register(expires=1)
    server.settle()  # or else it shares the verdict of the first
    until = int(time.time()) + 1.1
    time.sleep(max(0, until - time.time()))
    assert shown(ua.register())["reason"] == "returned"


@pytest.mark.contract
def test_retry_after_of_the_cms(start, cms):
    """$cms(retry_after) is not below what the CMS asked for."""
    server = start()
    cms.rule(status=503, headers=[("Retry-After", "77")])
    assert int(shown(server.device().register())["retry_after"]) >= 77


@pytest.mark.contract
def test_values_when_the_queue_is_full(start, cms):
    """cms_notify() is false when nothing more fits: $cms(...) says so."""
    server = start(params=[("cms_notify", "queue_size", 1),
                           ("cms_notify", "http_processes", 1),
                           ("cms_notify", "max_connections", 1)])
    cms.rule(hold=True)
    waiting = []
    full = None
    while full is None:
        ua = server.device()
        one = ua.send(ua.build_register())
        waiting.append(one)
        assert len(waiting) < 10
        until(lambda: one.final
              or server.status()["parked"] == len(waiting))
        if len(waiting) == 1:
            cms.wait_until(lambda: cms.held == 1)
        full = one.final
    assert full.status == 503
    values = plausible(shown(full))
    assert values["route"] == "busy"
    assert values["verdict"] == "unavailable"
    assert values["cause"] == "busy"
    assert values["status"] == "0"
    assert values["reason"] == "new"
    cms.clear_rules()
    cms.release()
    assert {one.wait().status for one in waiting[:-1]} == {200}
    assert ua.register().status == 200


@pytest.mark.contract
def test_no_value_elsewhere(start, cms):
    """Where there is no verdict $cms(...) is null: before cms_notify(), for a
    refresh, in the worker that has just turned another request away."""
    show = 'append_to_reply("X-Before: $cms(verdict)$cms(id)\\r\\n");'
    server = start(before=show, core="children=1",
                   params=[("cms_notify", "queue_size", 1),
                           ("cms_notify", "http_processes", 1),
                           ("cms_notify", "max_connections", 1)])
    known = server.device()
    assert known.register().get("X-Before") == "<null><null>"
    server.settle()
    cms.rule(hold=True)
    for ua in [server.device() for _ in range(4)]:
        ua.send(ua.build_register())
    until(lambda: server.stats()["busy"])
    for _ in range(3):
        response = known.register()
        assert shown(response) == {"route": "main"}
        assert response.get("X-Before") == "<null><null>"
    cms.clear_rules()
    cms.release()


def test_unknown_value():
    """A $cms(name) that does not exist is refused at the start."""
    lines = fails_to_start(lambda s, url: registrar(
        s, url, before='xlog("$cms(nonsense)");'))
    assert [line for line in lines if "nonsense" in line]


# -- routes ----------------------------------------------------------------------

def test_unknown_literal_route():
    """A verdict route that does not exist: Kamailio refuses to start, and
    says which."""
    lines = fails_to_start(lambda s, url: registrar(
        s, url, notify='cms_notify("location", "NO_SUCH_ROUTE"); exit;'))
    assert [line for line in lines
            if "ERROR: cms_notify" in line and "NO_SUCH_ROUTE" in line]


COMPUTED = """
	$var(route) = $hdr(X-Verdict-Route);
	if (!cms_notify("location", "$var(route)")) {
		route(SHOW);
		append_to_reply("X-Route: busy\\r\\n");
		send_reply("503", "Busy");
		exit;
	}
	append_to_reply("X-Route: main\\r\\n");
	save("location");
	exit;"""
OTHER = """
route[OTHER] {
	append_to_reply("X-Route: other\\r\\n");
	if (!save("location")) send_reply("500", "Not saved");
}"""


REWRITTEN = f"""
	if (!pv_www_authenticate("{harness.REALM}", "{harness.PASSWORD}", "0")) {{
		www_challenge("{harness.REALM}", "0");
		exit;
	}}
	consume_credentials();
	remove_hf("X-Padding");
	subst_hf("Contact", "/7000/7001/", "a");"""


@pytest.mark.contract
@pytest.mark.skipif(harness.version() < (6, 1),
                    reason="no msg_apply_changes_mode before Kamailio 6.1")
def test_a_message_that_the_transaction_rewrites(start, cms):
    """With msg_apply_changes_mode the transaction writes the script's changes
    into the message: the CMS is told what save() stores, and who the device
    has shown to be."""
    server = start(before=REWRITTEN, modules=["auth"], core="""
msg_apply_changes_mode=1
tcp_clone_rcvbuf=1""")
    devices = [server.device(contact=f"<sip:d{n}@192.0.2.1:7000>",
                             user_agent=f"device/{n}") for n in range(3)]
    padding = [("X-Padding", "p" * 700)]
    for ua in devices:
        assert ua.register(headers=padding).status == 200
        post, = server.posts(ua)
        assert not post.errors
        told, = post.json["contacts"]
        stored, = server.contacts(ua)
        assert told["uri"] == stored["Address"] \
            == ua.contact.strip("<>").replace("7000", "7001")
        assert post.json["call_id"] == ua.call_id
        assert post.json["user_agent"] == ua.user_agent
        assert post.json["auth_user"] == ua.user
        assert post.json["realm"] == harness.REALM
    assert devices[0].register(headers=padding).status == 200
    assert len(server.posts()) == 3


@pytest.mark.contract
def test_computed_route(start, cms):
    """The route's name may be computed for each request."""
    server = start(notify=COMPUTED, routes=OTHER)
    for name, seen in (("CMS_VERDICT", "verdict"), ("OTHER", "other")):
        response = server.device().register(
            headers=[("X-Verdict-Route", name)])
        assert response.status == 200
        assert shown(response)["route"] == seen
    assert len(server.posts()) == 2


@pytest.mark.contract
@pytest.mark.parametrize("name", ["NOWHERE", "x" * 3000, "$$", None])
def test_unknown_computed_route(start, cms, name):
    """A computed name of no route: false at once, the CMS is not told, the
    device is answered."""
    server = start(notify=COMPUTED, routes=OTHER)
    server.allow_errors("ERROR: cms_notify")
    ua = server.device()
    response = ua.register(headers=[
        ("X-Verdict-Route", name)] if name else [])
    assert (response.status, shown(response)["route"]) == (503, "busy")
    assert server.posts() == []
    server.wait_log("ERROR: cms_notify")
    assert len(server.log("ERROR: cms_notify")) == 1
    assert server.settle()["events"] == 0
    assert ua.register(headers=[("X-Verdict-Route", "OTHER")]).status == 200


@pytest.mark.contract
def test_each_request_its_route(start, cms):
    """Requests that wait for one verdict go on in the route that each of them
    named."""
    server = start(notify=COMPUTED, routes=OTHER)
    ua = server.device()
    cms.rule(hold=True)
    first = ua.send(ua.build_register(
        headers=[("X-Verdict-Route", "CMS_VERDICT")]))
    cms.wait_until(lambda: cms.held == 1)
    second = ua.send(ua.build_register(
        headers=[("X-Verdict-Route", "OTHER")]))
    server.wait_parked(2)
    cms.release()
    assert shown(first.wait())["route"] == "verdict"
    assert shown(second.wait())["route"] == "other"
    assert len(server.posts()) == 1


def test_another_table(kamailio, cms):
    """Each table has its own bindings: what is known in one is new in the
    other."""
    notify = """
	if (is_present_hf("X-Other")) {
		if (!cms_notify("elsewhere", "OTHER_TABLE")) exit;
		save("elsewhere");
		exit;
	}
	if (!cms_notify("location", "CMS_VERDICT")) exit;
	save("location");
	exit;"""
    routes = """
route[OTHER_TABLE] {
	if (!save("elsewhere")) send_reply("500", "Not saved");
}"""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, notify=notify, routes=routes))
    ua = server.device()
    for headers in ((), [("X-Other", "1")], (), [("X-Other", "1")]):
        assert ua.register(headers=headers).status == 200
        server.settle()
    assert [p.json["reason"] for p in server.posts()] == ["new", "new"]


@pytest.mark.parametrize("verdict", ["", "drop;", "return;", "exit;"])
def test_silent_verdict_route(start, cms, verdict):
    """A verdict route that answers nothing: the device gets one final answer
    for all that, at once."""
    server = start(verdict=verdict)
    ua = server.device()
    transaction = ua.send(ua.build_register())
    assert transaction.wait(20).status >= 500
    server.settle()
    assert len(transaction.finals) == 1
    assert server.contacts(ua) == []


def test_notify_again_in_the_verdict_route(start, cms):
    """cms_notify() once more in the verdict route does not go round in
    circles: one final answer."""
    server = start(verdict="""
	if (!cms_notify("location", "CMS_VERDICT")) {
		send_reply("500", "Not again");
		exit;
	}
	send_reply("500", "Again");
	exit;""")
    server.allow_errors("cms_notify", "tm ")
    ua = server.device()
    transaction = ua.send(ua.build_register())
    assert transaction.wait(20).status >= 500
    server.settle()
    assert len(transaction.finals) == 1
    assert len(server.posts()) <= 2


# -- what a request takes along ----------------------------------------------------

CARRY = """
	if (is_present_hf("X-Mark")) {
		$avp(mark) = $hdr(X-Mark);
		$avp(i:77) = 4711;
		$xavp(x=>mark) = $hdr(X-Mark);
		$xavu(u=>mark) = $hdr(X-Mark);
		setflag(5);
		setbflag(1);
		setbflag(3);
		append_to_reply("X-Early: $hdr(X-Mark)\\r\\n");
	}
"""
SHOW_CARRIED = """
	append_to_reply("X-Seen: $avp(mark) $avp(i:77) $xavp(x=>mark) $hdr(X-Mark)\\r\\n");
	append_to_reply("X-From: $si $sp $proto $Rp $ci $cs $tU $fU $ua\\r\\n");
	append_to_reply("X-Body: $rb\\r\\n");
	if (isflagset(5)) append_to_reply("X-Flag: 5\\r\\n");
	if (isbflagset(1)) append_to_reply("X-BFlag: 1\\r\\n");
	if (isbflagset(2)) append_to_reply("X-BFlag: 2\\r\\n");
	if (isbflagset(3)) append_to_reply("X-BFlag: 3\\r\\n");
	save("location");
	exit;
"""


@pytest.mark.contract
@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("newtran", ["", "\n\tt_newtran();"],
                         ids=["no transaction", "t_newtran"])
def test_what_the_request_takes_along(start, cms, newtran, transport):
    """AVPs, XAVPs, flags, branch flags, headers and body of the request are
    there in the verdict route, and usrloc gets the NAT flag."""
    server = start(before=CARRY + newtran, verdict=SHOW_CARRIED)
    ua = server.device(transport=transport)
    response = ua.register(headers=[("X-Mark", "hello"),
                                    ("Content-Type", "text/plain")],
                           body=b"some body")
    assert response.status == 200
    assert response.get("X-Seen") == "hello 4711 hello hello"
    host, port = ua.transport.local
    assert response.get("X-From") == (
        f"{host} {port} {transport} {server.port} {ua.call_id} 1 "
        f"{ua.user} {ua.user} {ua.user_agent}")
    assert response.get("X-Body") == "some body"
    assert response.get("X-Flag") == "5"
    assert response.all("X-BFlag") == ["1", "3"]
    assert response.get("X-Early") == "hello"
    binding, = server.contacts(ua)
    assert binding["CFlags"] == (1 << 1) | (1 << 3)


@pytest.mark.contract
def test_contact_as_it_was_sent(start):
    """save() in the verdict route makes of a contact what it makes of it
    elsewhere: no q value comes from nowhere, also for a worker's very first
    request."""
    server = start(core="children=8")
    for _ in range(32):
        ua = server.device()
        assert ua.register().contacts == [f"{ua.contact};expires=3600"]
    response = ua.register(contacts=[ua.contact + ";q=0.7"])
    assert response.contacts == [f"{ua.contact};q=0.7;expires=3600"]


@pytest.mark.contract
@pytest.mark.parametrize("process", ["http_processes", "verdict_processes"])
def test_nothing_leaks_from_one_to_the_next(start, cms, process):
    """What is set for one request is not seen in another, though they wait at
    the same time and one process resumes both."""
    server = start(before=CARRY, verdict=SHOW_CARRIED, core="children=1",
                   params=[("cms_notify", process, 1)])
    cms.rule(hold=True)
    uas = [server.device() for _ in range(12)]
    transactions = []
    for number, ua in enumerate(uas):
        mark = [("X-Mark", f"mark{number}")] if number % 2 == 0 else []
        transactions.append(ua.send(ua.build_register(headers=mark)))
    server.wait_parked(len(uas))
    cms.clear_rules()
    cms.release()
    for number, (ua, transaction) in enumerate(zip(uas, transactions)):
        response = transaction.wait()
        binding, = server.contacts(ua)
        if number % 2 == 0:
            mark = f"mark{number}"
            assert response.get("X-Seen") == f"{mark} 4711 {mark} {mark}"
            assert response.get("X-Early") == mark
            assert response.all("X-BFlag") == ["1", "3"]
            assert binding["CFlags"] == (1 << 1) | (1 << 3)
        else:
            assert response.get("X-Seen") == "<null> <null> <null> <null>"
            assert response.get("X-Early") is None
            assert response.all("X-BFlag") == []
            assert response.get("X-Flag") is None
            assert binding["CFlags"] == 0
        assert response.get("X-From").split()[4] == ua.call_id
        assert shown(response)["id"] in {
            r.json["id"] for r in cms.requests if r.json["aor"] == ua.aor}


@pytest.mark.contract
def test_worker_forgets_what_it_parked(start, cms):
    """The worker's next request does not see the AVPs of the one that it
    parked."""
    server = start(core="children=1", before=CARRY + """
	append_to_reply("X-Now: $avp(mark) $xavp(x=>mark)\\r\\n");""")
    cms.rule(hold=True)
    ua, other = server.device(), server.device()
    first = ua.send(ua.build_register(headers=[("X-Mark", "secret")]))
    cms.wait_until(lambda: cms.held == 1)
    second = other.send(other.build_register())
    cms.wait_until(lambda: cms.held == 2)
    cms.release()
    assert first.wait().get("X-Now") == "secret secret"
    assert second.wait().get("X-Now") == "<null> <null>"


@pytest.mark.contract
def test_transaction_made_before(start, cms):
    """t_newtran() before cms_notify(): retransmissions are absorbed and the
    answer is repeated all the same."""
    server = start(before="\tt_newtran();")
    ua = server.device()
    cms.rule(hold=True)
    parked = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    parked.resend()
    parked.resend()
    server.handle(ua)
    assert parked.responses == []
    cms.release()
    parked.wait()
    parked.resend()
    first, second = parked.wait_finals(2)
    assert first.raw == second.raw and first.status == 200
    assert len(server.posts()) == 1


@pytest.mark.contract
@pytest.mark.parametrize("before", ["", "\tt_lookup_request();",
                                    "\tt_newtran();"],
                         ids=["nothing", "t_lookup_request", "t_newtran"])
def test_without_precheck(kamailio, cms, before):
    """A script that does not look for its transactions first, or goes on with
    one that it has found: cms_notify() absorbs the retransmission of a parked
    request by itself, and that of an answered one is answered again."""
    def config(server, url):
        text = registrar(server, url, before=before)
        lines = [line for line in text.splitlines()
                 if not re.search(r"t_precheck_trans|t_check_trans", line)]
        assert len(lines) < len(text.splitlines())
        return "\n".join(lines)

    server = kamailio(cms, config=config)
    ua = server.device()
    cms.rule(hold=True)
    parked = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    parked.resend()
    parked.resend()
    server.handle(ua)
    assert parked.responses == []
    assert server.status()["parked"] == 1
    cms.release()
    assert parked.wait().status == 200
    server.settle()
    assert len(parked.finals) == 1
    parked.resend()
    assert [r.status for r in parked.wait_finals(2)] == [200, 200]
    assert len(server.posts()) == 1


# -- KEMI ------------------------------------------------------------------------

LUA = """
function show(route)
	local names = { "verdict", "status", "cause", "text", "id", "reason",
		"retry_after", "elapsed_ms" }
	for _, name in ipairs(names) do
		KSR.hdr.append_to_reply("X-CMS-" .. name .. ": " ..
			tostring(KSR.pv.gete("$cms(" .. name .. ")")) .. "\\r\\n")
	end
	KSR.hdr.append_to_reply("X-Route: " .. route .. "\\r\\n")
end

function ksr_request_route()
	if KSR.is_OPTIONS() and KSR.pv.is_null("$rU") then
		KSR.sl.sl_send_reply(200, "OK")
		return 1
	end
	if KSR.tmx.t_precheck_trans() > 0 then
		KSR.tm.t_check_trans()
		return 1
	end
	if KSR.tm.t_check_trans() == 0 then return 1 end
	KSR.pv.sets("$avp(mark)", KSR.pv.gete("$hdr(X-Mark)"))
	KSR.hdr.append_to_reply("X-New: " ..
		tostring(KSR.cms_notify.is_new("location", "")) .. "\\r\\n")
	local callback = KSR.pv.gete("$hdr(X-Verdict-Route)")
	if callback == "" then callback = "ksr_cms_verdict" end
	local rc = KSR.cms_notify.notify("location", callback, "", "")
	if rc < 0 then
		show("busy")
		KSR.tm.t_send_reply(503, "Busy")
		return 1
	end
	if rc == 0 then
		KSR.warn("parked\\n")
		return 1
	end
	KSR.hdr.append_to_reply("X-Route: main\\r\\n")
	KSR.registrar.save("location", 0)
	return 1
end

function ksr_cms_verdict()
	show("verdict")
	KSR.hdr.append_to_reply("X-Mark: " .. KSR.pv.gete("$avp(mark)") .. "\\r\\n")
	local verdict = KSR.pv.gete("$cms(verdict)")
	if verdict == "accepted" then
		if KSR.registrar.save("location", 0) < 0 then
			KSR.tm.t_send_reply(500, "Not saved")
		end
	elseif verdict == "rejected" then
		KSR.tm.t_send_reply(403, "Rejected")
	else
		KSR.tm.t_send_reply(503, "Unavailable")
	end
	return 1
end
"""
PYTHON = '''
import KSR


def mod_init():
    return kamailio()


class kamailio:
    def child_init(self, rank):
        return 0

    def show(self, route):
        for name in ("verdict", "status", "cause", "text", "id", "reason",
                     "retry_after", "elapsed_ms"):
            KSR.hdr.append_to_reply("X-CMS-%s: %s\\r\\n" % (
                name, KSR.pv.gete("$cms(%s)" % name)))
        KSR.hdr.append_to_reply("X-Route: %s\\r\\n" % route)

    def ksr_request_route(self, msg):
        if KSR.is_OPTIONS() and KSR.pv.is_null("$rU"):
            KSR.sl.sl_send_reply(200, "OK")
            return 1
        if KSR.tmx.t_precheck_trans() > 0:
            KSR.tm.t_check_trans()
            return 1
        if KSR.tm.t_check_trans() == 0:
            return 1
        KSR.pv.sets("$avp(mark)", KSR.pv.gete("$hdr(X-Mark)"))
        KSR.hdr.append_to_reply("X-New: %s\\r\\n" %
                                KSR.cms_notify.is_new("location", ""))
        callback = KSR.pv.gete("$hdr(X-Verdict-Route)") or "ksr_cms_verdict"
        rc = KSR.cms_notify.notify("location", callback, "", "")
        if rc < 0:
            self.show("busy")
            KSR.tm.t_send_reply(503, "Busy")
            return 1
        if rc == 0:
            KSR.warn("parked\\n")
            return 1
        KSR.hdr.append_to_reply("X-Route: main\\r\\n")
        KSR.registrar.save("location", 0)
        return 1

    def ksr_cms_verdict(self, msg):
        self.show("verdict")
        KSR.hdr.append_to_reply("X-Mark: %s\\r\\n" % KSR.pv.gete("$avp(mark)"))
        verdict = KSR.pv.gete("$cms(verdict)")
        if verdict == "accepted":
            if KSR.registrar.save("location", 0) < 0:
                KSR.tm.t_send_reply(500, "Not saved")
        elif verdict == "rejected":
            KSR.tm.t_send_reply(403, "Rejected")
        else:
            KSR.tm.t_send_reply(503, "Unavailable")
        return 1
'''
ENGINES = {"lua": ("app_lua", "script.lua", LUA),
           "python": ("app_python3", "script.py", PYTHON)}


@pytest.fixture(params=ENGINES)
def kemi(request, kamailio, cms):
    """kemi(...): a server whose script is Lua, or Python."""
    module, name, text = ENGINES[request.param]

    def start(**kw):
        def config(server, url):
            path = server.write(name, text)
            base = registrar(
                server, url, modules=[module], **{
                    **kw, "params": [(module, "load", path),
                                     ("usrloc", "preload", "location"),
                                     *kw.get("params", [])]})
            base = base[:base.index("request_route {")]
            return base + f'cfgengine "{request.param}"\n'
        return kamailio(cms, config=config)
    return start


@pytest.mark.contract
def test_kemi(kemi, cms):
    """KSR.cms_notify does what the native functions do: parked, told once,
    resumed in the callback with $cms(...) and the request's AVPs; a refresh
    goes on at once."""
    server = kemi()
    ua = server.device()
    response = ua.register(headers=[("X-Mark", "kept")])
    assert response.status == 200
    values = plausible(shown(response))
    assert values["route"] == "verdict"
    assert (values["verdict"], values["status"], values["cause"],
            values["reason"], values["text"]) == (
        "accepted", "200", "none", "new", "ok")
    post, = server.posts()
    assert post.errors == []
    assert values["id"] == post.json["id"]
    assert response.get("X-Mark") == "kept"
    assert response.get("X-New") == "1"

    response = ua.register()
    assert response.status == 200
    assert shown(response) == {"route": "main"}
    assert response.get("X-New") == "-1"
    assert len(server.posts()) == 1
    server.wait_log("parked")
    assert len(server.log("parked")) == 1
    assert len(server.contacts(ua)) == 1


@pytest.mark.contract
@pytest.mark.parametrize("answer, status", [
    ({"status": 403, "text": "no"}, 403), ({"status": 500}, 503)])
def test_kemi_refused(kemi, cms, answer, status):
    """KEMI: the other verdicts."""
    server = kemi()
    ua = server.device()
    cms.rule(**answer)
    assert ua.register().status == status
    assert server.contacts(ua) == []


@pytest.mark.contract
def test_kemi_waits_and_joins(kemi, cms):
    """KEMI: a retransmission is absorbed, a second REGISTER joins, and each
    is answered once."""
    server = kemi()
    ua = server.device()
    cms.rule(hold=True)
    first = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    first.resend()
    second = ua.send(ua.build_register())
    server.wait_parked(2)
    assert not first.responses and not second.responses
    cms.release()
    assert [first.wait().status, second.wait().status] == [200, 200]
    assert len(server.posts()) == 1
    assert [len(first.finals), len(second.finals)] == [1, 1]


@pytest.mark.contract
def test_kemi_busy(kemi, cms):
    """KEMI: -1 when nothing more fits, with $cms(cause)."""
    server = kemi(params=[("cms_notify", "queue_size", 1),
                          ("cms_notify", "http_processes", 1),
                          ("cms_notify", "max_connections", 1)])
    cms.rule(hold=True)
    transactions = []
    for _ in range(6):
        ua = server.device()
        transactions.append(ua.send(ua.build_register()))
    until(lambda: [t for t in transactions if t.final])
    busy = shown(next(t.final for t in transactions if t.final))
    assert (busy["route"], busy["verdict"], busy["cause"]) == (
        "busy", "unavailable", "busy")
    cms.clear_rules()
    cms.release()
    for transaction in transactions:
        assert transaction.wait().status in (200, 503)


def test_kemi_unknown_callback(kemi, cms):
    """KEMI: a callback that does not exist does not leave the device without
    an answer."""
    server = kemi()
    server.allow_errors("app_|cms_notify|tm ")
    ua = server.device()
    transaction = ua.send(ua.build_register(
        headers=[("X-Verdict-Route", "ksr_nowhere")]))
    assert transaction.wait(20).status >= 500
    server.settle()
    assert len(transaction.finals) == 1
    assert server.contacts(ua) == []


def test_kemi_not_a_register(kemi, cms):
    """KEMI: for another request than REGISTER both functions are false."""
    server = kemi()
    server.allow_errors("cms_notify.*REGISTER")
    ua = server.device()
    response, _ = ua.options(ruri=f"sip:{ua.user}@{ua.domain}")
    assert (response.status, response.get("X-New")) == (503, "-1")
    assert server.posts() == []


def test_kemi_from_the_native_script(start, cms):
    """A native script that is loaded besides KEMI modules still names route
    blocks."""
    server = start(modules=["app_lua"])
    assert shown(server.device().register())["route"] == "verdict"
    assert harness.version() >= (5, 6)
