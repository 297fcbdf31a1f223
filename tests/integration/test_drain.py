"""cms_notify.drain: a server is emptied before maintenance, with the shipped
configuration."""

import pytest

from deferring import drained, events, url, wait_event
from harness import HOST, Port, RpcError, shipped_with, until
from metrics import request
from test_rpc import kamcmd_values

ELSEWHERE = "sip:34020000002000000002@192.0.2.9:5060"
OFF = {"state": "off"}
WRONG = "How many seconds at most: 1 to 86400; or: off"


@pytest.fixture
def start(kamailio, cms):
    def starter(**settings):
        return kamailio(cms, settings=settings)
    return starter


def drain(server, *args):
    return server.rpc("cms_notify.drain", *args)


def registered(server, *devices):
    """Who comes before its answer is through with the server waits no longer for the
    CMS, but is served as one who does."""
    for device in devices or [server.device()]:
        assert device.register().status == 200
    server.settle()
    return device


def untimed(shown):
    """Without the seconds that are left."""
    return {name: value for name, value in shown.items() if name != "left_s"}


def state(server):
    return server.status()["drain"]["state"]


def where(response):
    """What a device is told."""
    return response.status, response.get("Contact"), response.get("Retry-After")


LATER = (503, None, "30")
MOVED = (302, f"<{ELSEWHERE}>", None)
SETTINGS = pytest.mark.parametrize("settings, wanted", [
    ({}, LATER), ({"DRAIN_CONTACT": ELSEWHERE}, MOVED)])


# -- devices -----------------------------------------------------------------------

@SETTINGS
@pytest.mark.contract
def test_a_new_device(start, cms, settings, wanted):
    """It goes elsewhere, and the CMS is not asked, until draining is ended by hand."""
    server = start(**settings)
    device = server.device()
    assert drain(server)["state"] == "done"  # there is nobody
    assert where(device.register()) == wanted
    assert server.contacts(device) == [] and server.posts() == []
    step = server.rpc("cms_notify.device", device.aor)["steps"][0]
    assert (step["step"], step["text"]) == ("refused", "draining")
    assert drain(server, "off") == OFF
    assert device.register().status == 200
    assert len(server.posts(device)) == 1


def test_who_is_not_authenticated_is_told_nothing(start):
    server = start(DRAIN_CONTACT=ELSEWHERE)
    drain(server)
    stranger = server.device("nobody", auth_user="somebody")
    stranger.password = "wrong"
    assert stranger.register().status == 401


@pytest.mark.contract
def test_a_refresh_is_served_where_a_balancer_sends_it_elsewhere(start):
    server = start()
    device = registered(server)
    assert drain(server)["state"] == "draining"
    assert device.register().status == 200
    assert len(server.contacts(device)) == 1


@pytest.mark.contract
@pytest.mark.parametrize("how", [
    {}, {"expires": None}, {"expires": "4294967295"}, {"call_id": "another"}])
def test_a_refresh_is_sent_elsewhere(start, how):
    """It is not registered here any more, and is new when draining has ended."""
    server = start(DRAIN_CONTACT=ELSEWHERE)
    device = registered(server)
    assert drain(server)["contacts"] == 1
    assert where(device.register(**how)) == MOVED
    assert server.contacts(device) == []
    until(lambda: state(server) == "done")  # usrloc has purged it
    assert where(device.register()) == MOVED
    assert len(server.posts(device)) == 1
    drain(server, "off")
    assert device.register().status == 200
    assert len(server.posts(device)) == 2


def test_of_several_contacts_the_one_that_refreshes_leaves(start):
    """Also one that usrloc has in another spelling."""
    server = start(DRAIN_CONTACT=ELSEWHERE)
    one = server.device()
    other, last = (server.device(one.user) for _ in range(2))
    other.contact = other.contact.replace(">", ";transport=TLS>")
    registered(server, one, other, last)
    drain(server)
    assert where(one.register(call_id="another")) == MOVED
    assert len(server.contacts(one)) == 2
    assert where(other.register()) == MOVED
    contact, = server.contacts(one)
    assert f"<{contact['Address']}>" == last.contact


def test_all_contacts_of_a_request_leave(start):
    """In one header or two; another device's contact stays."""
    server = start(DRAIN_CONTACT=ELSEWHERE, MAX_BRANCHES=4)
    device = server.device()
    other = server.device(device.user)
    two = ["<sip:a@192.0.2.1:5060>", "<sip:a@192.0.2.1:506>"]
    registered(server, other)
    assert device.register(contacts=two).status == 200
    server.settle()
    assert len(server.contacts(device)) == 3
    drain(server)
    assert where(device.register(contacts=two)) == MOVED
    contact, = server.contacts(device)
    assert f"<{contact['Address']}>" == other.contact


def test_one_contact_leaves_whatever_its_address_has_become(start):
    """WITH_ONE_CONTACT: another contact of a registered address is a refresh."""
    server = start(DRAIN_CONTACT=ELSEWHERE, WITH_ONE_CONTACT=1)
    device = registered(server)
    drain(server)
    again = server.device(device.user)
    assert where(again.register()) == MOVED
    assert server.contacts(device) == []


@SETTINGS
@pytest.mark.parametrize("how", [
    {"expires": 0}, {"contacts": "*", "expires": 0}])
def test_who_leaves_is_served(start, settings, wanted, how):
    server = start(**settings)
    device = registered(server)
    drain(server)
    assert device.register(**how).status == 200
    assert server.contacts(device) == []
    until(lambda: state(server) == "done")


@SETTINGS
def test_who_asks_is_told_its_contacts(start, settings, wanted):
    server = start(**settings)
    device = registered(server)
    drain(server)
    response = device.register(contacts=[], expires=None)
    assert response.status == 200 and device.contact in response.get("Contact")


@SETTINGS
@pytest.mark.contract
def test_who_waits_for_the_cms_is_served(start, cms, settings, wanted):
    """And so is another request of a device that waits."""
    server = start(**settings)
    device = server.device()
    cms.rule(hold=True)
    waiting = [device.start_register()]
    server.wait_parked(1)
    shown = drain(server)
    assert (shown["state"], shown["parked"]) == ("draining", 1)
    waiting.append(device.start_register())
    server.wait_parked(2)
    assert where(server.device().register()) == wanted
    cms.clear_rules()
    cms.release()
    assert [one.wait().status for one in waiting] == [200, 200]
    assert len(server.contacts(device)) == 1
    assert state(server) == "draining"
    assert len(server.posts()) == 1


@pytest.mark.contract
def test_a_device_follows(start, cms):
    """From one server to another: it is registered at that one, and the CMS hears so,
    then what was left here is nothing."""
    other = start(NODE_NAME="other")
    server = start(DRAIN_CONTACT=f"sip:{HOST}:{other.port}", NODE_NAME="this")
    device = registered(server)
    drain(server)
    _, contact, _ = where(device.register())
    assert contact == f"<sip:{HOST}:{other.port}>"
    assert other.device(device.user).register().status == 200
    assert [post.json["node"] for post in server.posts(device)] == ["this", "other"]
    assert server.contacts(device) == [] and len(other.contacts(device)) == 1


# -- who asks whether this server is there -----------------------------------------

@pytest.mark.contract
def test_options(start):
    """503, also when it is done; a user's own OPTIONS is none of them."""
    server = start()
    device = server.device()
    assert device.options()[0].status == 200
    drain(server)
    assert device.options()[0].status == 503
    assert device.options(f"sip:nobody@{device.domain}")[0].status == 407
    drain(server, "off")
    assert device.options()[0].status == 200


@pytest.fixture
def port():
    free = Port()
    yield free.number
    free.close()


@pytest.mark.contract
def test_readyz(start, port):
    server = start(WITH_METRICS=f"{HOST}:{port}")
    drain(server)
    assert request(port, "/readyz")[::2] == (503, "draining\n")
    assert request(port, "/livez")[0] == 200
    drain(server, "off")
    assert request(port, "/readyz")[::2] == (200, "ready\n")


# -- the command -------------------------------------------------------------------

@pytest.mark.contract
def test_the_time_is_over(start):
    """It is done, and goes on: nobody is taken."""
    server = start()
    registered(server)
    assert drain(server, 1)["left_s"] == 1
    until(lambda: state(server) == "done")
    assert server.status()["drain"] == {
        "state": "done", "contacts": 1, "parked": 0, "left_s": 0}
    assert server.device().register().status == 503
    server.wait_log("NOTICE: .*draining: new devices are sent elsewhere")


def test_a_restart_ends_it(start):
    server = start()
    registered(server)
    drain(server, 3600)
    server.restart()
    assert server.status()["drain"] == OFF
    assert server.device().register().status == 200


def test_another_time(start):
    """The last one counts."""
    server = start()
    registered(server)
    assert drain(server, 1)["contacts"] == 1
    assert drain(server, "86400")["left_s"] > 86000
    assert drain(server) == {"state": "draining", "contacts": 1, "parked": 0}


@pytest.mark.parametrize("wrong", [0, -1, 86401, 1 << 40, "", "on", "OFF", "60s", "-1",
                                   True, None, [60]])
def test_a_wrong_time(start, wrong):
    """Nothing changes."""
    server = start()
    server.allow_errors("field is not a number to auto-convert")
    for before in ("off", 3600):
        shown = untimed(drain(server, before))
        with pytest.raises(RpcError, match=WRONG):
            drain(server, wrong)
        assert untimed(server.status()["drain"]) == shown


@pytest.mark.contract
def test_by_kamcmd(start):
    server = start()
    registered(server)
    shown = kamcmd_values(server.kamcmd("cms_notify.drain", 3600))
    assert int(shown.pop("left_s")) > 3000
    assert shown == {"state": "draining", "contacts": "1", "parked": "0"}
    assert kamcmd_values(server.kamcmd("cms_notify.drain")) == shown
    assert kamcmd_values(server.kamcmd("cms_notify.status"))["drain"] == shown
    for wrong in ("0", "86401", "on"):
        assert f"400 - {WRONG}" in server.kamcmd("cms_notify.drain", wrong)
    assert state(server) == "draining"
    assert kamcmd_values(server.kamcmd("cms_notify.drain", "off")) == OFF


# -- databases ---------------------------------------------------------------------

def test_the_outbox_is_delivered(kamailio, cms):
    """What waits, and that a device has been sent elsewhere."""
    def config(server, at):
        return shipped_with("", {
            "WITH_DEFER": 1, "CMS_OUTBOX_DB_URL": url(server),
            "CMS_EVENTS": "register,unregister", "CMS_BREAKER_COOLDOWN": 100,
            "DRAIN_CONTACT": ELSEWHERE})(server, at)

    server = kamailio(cms, config=config)
    server.add_subscribers(["gzj"])
    until(lambda: server.rpc("cms_notify.outbox")["database"] == "ready")
    device = server.device("gzj")
    cms.stop()
    assert device.register().status == 200
    drain(server)
    cms.start()
    drained(server)
    assert events(cms) == ["register"]
    assert where(device.register()) == MOVED
    post = wait_event(cms, "unregister")
    assert post.json["aor"] == device.aor and post.json["live"] == 0
    drained(server)
    assert events(cms) == ["register", "unregister"]


def test_bindings_in_a_database_are_everybodys(start):
    """Nobody has to leave there: the time is needed, and says when it is done."""
    server = start(USRLOC_DB_MODE=3, CMS_VERDICT_PROCESSES=2,
                   DRAIN_CONTACT=ELSEWHERE)
    device = registered(server)
    with pytest.raises(RpcError, match="How many seconds.*db_mode 3"):
        server.rpc("cms_notify.drain")
    assert server.status()["drain"] == OFF
    assert drain(server, 3600)["state"] == "draining"
    assert "contacts" not in server.status()["drain"]
    assert where(device.register()) == MOVED
    assert server.contacts(device) == []
    drain(server, 1)
    until(lambda: state(server) == "done")
