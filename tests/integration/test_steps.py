"""What became of one device: its last steps, in cms_notify.device."""

import re

import pytest

from deferring import LEAVING, defer, deferring, drained
from harness import DOMAIN, registrar, until
from sip_ua import register_all

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    return module_kamailio(module_cms, settings={"CMS_FLAP_LIMIT": 3})


@pytest.fixture
def ms(module_cms):
    return module_cms


def steps(server, ua):
    """The newest first."""
    return server.rpc("cms_notify.device", getattr(ua, "aor", ua))["steps"]


def kinds(server, ua):
    return [step["step"] for step in steps(server, ua)]


def texts(server, ua):
    """What this server has refused."""
    return [step["text"] for step in steps(server, ua)
            if step["step"] == "refused"]


def test_new(server, ms):
    """When, from where, what it asked for, why the CMS was asked, what that said."""
    ms.rule(text="welcome")
    ua = server.device()
    assert ua.register(expires=77).status == 200
    post, = server.posts(ua)
    step, = steps(server, ua)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", step.pop("time"))
    assert step.pop("ms") >= 0
    host, port = ua.transport.local
    assert step == {
        "step": "register", "times": 1, "reason": "new", "verdict": "accepted",
        "cause": "none", "status": 200, "id": post.json["id"],
        "text": '{"text": "welcome"}', "source": host, "port": port,
        "transport": "udp", "cseq": post.json["cseq"], "expires": 77, "contacts": 1}


def test_refreshed(server):
    """Refreshes are one step, however many."""
    ua = server.device()
    for _ in range(4):
        assert ua.register().status == 200
        server.settle()  # or the next one joins it
    refresh, register = steps(server, ua)
    assert (refresh["step"], refresh["times"]) == ("refresh", 3)
    assert "verdict" not in refresh
    assert (register["step"], register["times"]) == ("register", 1)


def test_refused(server, ms):
    """By the CMS: with its words."""
    ua = server.device()
    ms.refuse(ua.user, "stolen")
    assert ua.register().status == 403
    step, = steps(server, ua)
    assert (step["step"], step["reason"], step["verdict"], step["status"],
            step["text"]) == ("register", "new", "rejected", 403, "stolen")


def test_no_answer(server, ms):
    """Why there was none, and how long it took."""
    ua = server.device()
    ms.rule(match={"username": ua.user}, status=500)
    assert ua.register().status == 503
    step, = steps(server, ua)
    assert (step["verdict"], step["cause"], step["status"]) == (
        "unavailable", "http", 500)


def test_waits(server, ms):
    """While the CMS is asked: the step, and what is parked."""
    ua = server.device()
    ms.rule(match={"username": ua.user}, hold=True)
    registration = ua.start_register()
    server.wait_parked(1)
    ms.wait_until(lambda: ms.held)
    known = server.rpc("cms_notify.device", ua.aor)
    parked, = known["parked"]
    assert (parked["reason"], parked["state"], parked["requests"]) == (
        "new", "in_flight", 1)
    step, = known["steps"]
    assert (step["step"], step["verdict"]) == ("register", "waiting")
    ms.release()
    assert registration.wait().status == 200
    server.settle()
    known = server.rpc("cms_notify.device", ua.aor)
    assert known["parked"] == []
    assert [s["verdict"] for s in known["steps"]] == ["accepted"]
    assert known["steps"][0]["id"] == parked["id"]


def test_joined(server, ms):
    """Another REGISTER of it shares the verdict."""
    ua = server.device()
    ms.rule(match={"username": ua.user}, hold=True)
    first = ua.start_register()
    server.wait_parked(1)
    second = ua.start_register()
    server.wait_parked(2)
    ms.wait_until(lambda: ms.held)
    assert kinds(server, ua) == ["joined", "register"]
    ms.release()
    assert {first.wait().status, second.wait().status} == {200}
    joined, register = sorted(steps(server, ua), key=lambda s: s["step"])
    assert joined["verdict"] == register["verdict"] == "accepted"
    assert joined["id"] == register["id"]


def test_left(server):
    ua = server.device()
    assert ua.register().status == 200
    server.settle()
    assert ua.unregister().status == 200
    assert kinds(server, ua) == ["unregister", "register"]


def test_ran_out(server):
    ua = server.device()
    assert ua.register(expires=1).status == 200
    until(lambda: kinds(server, ua) == ["expired", "register"], 20)
    assert ua.register().status == 200
    assert steps(server, ua)[0]["reason"] == "returned"


def test_asked(server):
    """A REGISTER without a Contact binds nothing."""
    ua = server.device()
    assert ua.register().status == 200
    assert ua.register(contacts=[]).status == 200
    assert kinds(server, ua) == ["query", "register"]


def test_wrong_password(server):
    """Of a user that there is; then it has the right one."""
    ua = server.device()
    ua.password = "wrong"
    for _ in range(3):
        assert ua.register().status == 401
    step, = steps(server, ua)
    assert (step["step"], step["text"]) == ("refused", "wrong password")
    assert step["source"] == ua.transport.local[0] and step["times"] >= 3
    ua.password = "123456"
    assert ua.register().status == 200
    assert kinds(server, ua) == ["register", "refused"]


def test_unknown_user(server):
    ua = server.device()
    ua.user = ua.auth_user = "nobody"
    assert ua.register().status == 401
    assert texts(server, "sip:nobody@telecom.com") == ["unknown user"]


def test_another_users_address(server):
    ua, other = server.device(), server.device()
    ua.auth_user = other.user
    assert ua.register().status == 403
    assert texts(server, ua) == ["another user's address"]
    assert steps(server, other) == []


def test_foreign_domain(server):
    """Is found where the operator looks for it."""
    ua = server.device()
    ua.domain = "wrong.example"
    assert ua.register().status == 404
    assert texts(server, f"sip:{ua.user}@{DOMAIN}") == [
        "domain wrong.example, to wrong.example"[:30]]


def test_bad_request(server):
    """A contact at which nobody can be reached."""
    ua = server.device()
    assert ua.register(contacts="<sip:x@0.0.0.0:0>").status == 400
    assert texts(server, ua) == ["nobody could reach this device"]


def test_flood(kamailio, cms):
    """What exceeds FLOOD_DENSITY is dropped, and yet is a step of the device."""
    server = kamailio(cms, settings={"FLOOD_DENSITY": 5})
    server.allow_errors("PIKE")
    ua = server.device(local=("127.9.0.1", 0))

    def dropped():
        ua.send(ua.build_register())
        return "flood" in texts(server, ua)

    until(dropped, 20)


def flap(ua, times):
    for _ in range(times):
        assert ua.register().status == 200
        assert ua.unregister().status == 200


def test_flapping(server, ms):
    """Who registers anew more than flap_limit times within an hour: the CMS is told
    how often, an operator is told once, and each is counted."""
    ua = server.device()
    before = server.stats()["flapping"]
    flap(ua, 3)
    known = server.rpc("cms_notify.device", ua.aor)
    assert (known["flaps"], known["flapping"]) == (3, "no")
    assert server.stats()["flapping"] == before
    flap(ua, 2)
    known = server.rpc("cms_notify.device", ua.aor)
    assert (known["flaps"], known["flapping"]) == (5, "yes")
    assert server.stats()["flapping"] == before + 2
    assert [r.json["flaps"] for r in server.posts(ua)] == [0, 1, 2, 3, 4]
    assert ms.invalid() == []
    assert len(server.log(rf"{ua.user}@.* flaps")) == 1
    other = server.device()
    assert other.register().status == 200
    assert server.posts(other)[0].json["flaps"] == 0


def test_who_flaps_pushes_nobody_out(kamailio, cms):
    """With room for 64 steps; the other device's is the oldest."""
    server = kamailio(cms, settings={"CMS_HISTORY": 64})
    other, ua = server.device(), server.device()
    assert other.register().status == 200
    flap(ua, 50)
    assert kinds(server, other) == ["register"]
    known = server.rpc("cms_notify.device", ua.aor)
    assert known["flaps"] == 50 and len(known["steps"]) == 16


def test_the_oldest_go_first(kamailio, cms):
    """With room for 4 steps."""
    server = kamailio(cms, settings={"CMS_HISTORY": 4})
    uas = server.devices(8)
    for ua in uas:
        assert ua.register().status == 200
    assert [len(steps(server, ua)) for ua in uas] == [0] * 4 + [1] * 4


def test_strangers_push_nobody_out(kamailio, cms):
    """A flood of names that nobody has: devices keep their steps, and one that is
    known and has a wrong password now has that step, too."""
    server = kamailio(cms, settings={"CMS_HISTORY": 256})
    ua = server.device()
    assert ua.register().status == 200
    crowd = server.device()
    for n in range(300):
        crowd.user = crowd.auth_user = f"nobody{n}"
        assert crowd.register().status in (401, 503)
    server.settle()
    ua.password = "wrong"
    assert ua.register().status == 401
    assert kinds(server, ua) == ["refused", "register"]
    noted = sum(len(steps(server, f"sip:nobody{n}@{DOMAIN}"))
                for n in range(300))
    assert 0 < noted <= 65


def test_deferred(cms, kamailio):
    """And what waits in the outbox; then it is delivered."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ua = server.device()
    event = defer(server, ua)
    known = server.rpc("cms_notify.device", ua.aor)
    step, = known["steps"]
    assert (step["step"], step["verdict"], step["cause"], step["id"]) == (
        "register", "deferred", "connect", event)
    # what is being stored, and its row, are counted both for a moment
    until(lambda: server.rpc("cms_notify.device", ua.aor)["outbox"] == 1)
    cms.start()
    drained(server)
    known = server.rpc("cms_notify.device", ua.aor)
    delivered = known["steps"][0]
    assert (delivered["step"], delivered["event"], delivered["status"],
            delivered["id"]) == ("delivered", "register", 200, event)
    until(lambda: server.rpc("cms_notify.device", ua.aor)["outbox"] == 0)


def test_dead_letter(cms, kamailio):
    """The CMS has refused what it was told later."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ua = server.device()
    event = defer(server, ua)
    cms.rule(status=410)
    cms.start()
    until(lambda: kinds(server, ua) == ["dead", "register"], 20)
    dead = steps(server, ua)[0]
    assert (dead["event"], dead["status"], dead["id"]) == (
        "register", 410, event)
    until(lambda: server.rpc("cms_notify.device", ua.aor)["outbox"] == 1)


def test_off_line(cms, kamailio):
    """It gave no sign of life."""
    server = kamailio(cms, config=deferring(LEAVING, ("alive_timeout", 1)))
    ua = server.device()
    assert ua.register().status == 200
    until(lambda: "delivered" in kinds(server, ua), 20)
    until(lambda: server.contacts(ua) == [], 20)  # usrloc has purged it
    found = kinds(server, ua)
    assert found[-1] == "register" and set(found) == {
        "register", "offline", "delivered"}


def test_too_early(cms, kamailio):
    """It was told when to come, and has come before."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "queue_size", 1),
                        ("cms_notify", "max_connections", 1),
                        ("cms_notify", "http_processes", 1),
                        ("cms_notify", "timeout", 25000),
                        ("cms_notify", "attempt_timeout", 25000)]))
    cms.rule(hold=True)
    for _ in range(2):
        server.device().start_register()
    server.wait_parked(2)
    early = []

    def comes_too_early():
        # behind those who have been turned away before
        register_all(server.devices(100), window=20)
        ua = server.device()
        for _ in range(2):
            assert ua.register().get("X-Route") == "busy"
        known = server.rpc("cms_notify.device", ua.aor)
        early[:] = [s for s in known["steps"] if s["step"] == "early"]
        return early and "reservation_s" in known

    until(comes_too_early, 60)
    assert (early[0]["reason"], early[0]["verdict"], early[0]["cause"]) == (
        "new", "unavailable", "busy")
    assert re.fullmatch(r"\d+ s before its moment", early[0]["text"])
    cms.clear_rules()  # the second is not held in its turn
    cms.release()


@pytest.mark.parametrize("refused", ["too many contacts",
                                     "its CSeq is not higher"])
def test_save_refuses(cms, kamailio, refused):
    """What save() is going to refuse."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("registrar", "max_contacts", 1)]))
    server.allow_errors("cseq", "contacts")
    ua = server.device()
    assert ua.register(cseq=5).status == 200
    server.settle()
    if refused == "too many contacts":
        ua.register(contacts="<sip:other@127.0.0.1:9>")
    else:
        ua.register(cseq=4, call_id=ua.call_id)
    assert texts(server, ua) == [refused]


def test_off(cms, kamailio):
    """history=0: nothing is kept, and the CMS is told of no flaps."""
    server = kamailio(cms, settings={"CMS_HISTORY": 0})
    ua = server.device()
    assert ua.register().status == 200
    known = server.rpc("cms_notify.device", ua.aor)
    assert known["steps"] == [] and "flaps" not in known
    post, = server.posts(ua)
    assert post.json["flaps"] is None and post.errors == []


def test_kamcmd(server):
    """Shows the same."""
    ua = server.device()
    assert ua.register().status == 200
    printed = server.kamcmd("cms_notify.device", ua.aor)
    assert "step: register" in printed and "verdict: accepted" in printed
    # without its scheme, as usrloc knows it
    assert "step: register" in server.kamcmd(
        "cms_notify.device", ua.aor.removeprefix("sip:"))


def test_an_answer_is_shown_as_one_line(server, ms):
    """Whatever the CMS has sent."""
    ua = server.device()
    ms.rule(match={"username": ua.user}, body=b"\x1b[2J\r\n\xff" + b"x" * 50)
    assert ua.register().status == 200
    step, = steps(server, ua)
    assert step["text"] == r"\x1b[2J\x0d\x0a\xff" + "x" * 23
    assert r"\x1b[2J\x0d" in server.kamcmd("cms_notify.device", ua.aor)


def test_by_the_script(cms, kamailio):
    """cms_step() is for REGISTERs, and for addresses."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, before="""
	if (is_method("MESSAGE")) {
		if (cms_step("no")) send_reply("200", "OK");
		else send_reply("480", "No step");
		exit;
	}
	if ($ua == "refuse") {
		if (cms_step("said $ua", "sip:of@example.com") && cms_step("to"))
			send_reply("403", "Refused");
		else send_reply("500", "No step");
		exit;
	}
	if ($ua == "wrong" && !cms_step("x", "no address")) {
		send_reply("480", "No step");
		exit;
	}"""))
    server.allow_errors("bad uri|parse")
    ua = server.device(user_agent="refuse")
    assert ua.register().status == 403
    assert texts(server, "sip:of@example.com") == ["said refuse"]
    assert texts(server, ua) == ["to"]
    ua.user_agent = "wrong"
    assert ua.register().status == 480
    assert ua.send(ua.build("MESSAGE")).wait().status == 480
