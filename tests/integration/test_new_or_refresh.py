"""Which REGISTER is the CMS told of? The table of the interface, row by row,
against the running server, and the cases in between.

Most of it runs without authentication, so that one REGISTER is one REGISTER;
test_seed.py has those that depend on it.
"""

import ipaddress
import time

import pytest

from harness import DOMAIN, HOST, NoAnswer, Ua, registrar, shown, until

pytestmark = pytest.mark.contract

BEFORE = """
	if (is_present_hf("X-NAT")) {
		fix_nated_register();
		setbflag(1);
	}"""


def config(*params, **kw):
    """A small registrar; expired bindings stay in memory for long."""
    params = (("usrloc", "timer_interval", 600), *params)
    return lambda server, url: registrar(
        server, url, params=params, before=BEFORE, **kw)


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    return module_kamailio(module_cms, config=config())


@pytest.fixture
def cms(module_cms):
    return module_cms


@pytest.fixture(params=["udp", "tcp"])
def ua(request, server):
    """A device, once over UDP and once over TCP."""
    return server.device(transport=request.param)


def reports(server, ua):
    """What the CMS was told of this AOR: [(reason, {contact: reason})]"""
    posts = server.posts(ua)
    assert [p.errors for p in posts if p.errors] == []
    return [(p.json["reason"],
             {c["uri"]: c["reason"] for c in p.json["contacts"]})
            for p in posts]


def reasons(server, ua):
    return [reason for reason, _contacts in reports(server, ua)]


def register(ua, status=200, route=None, **kw):
    """REGISTER; the answer must be this, from this part of the script. What
    was sent before has ended by then: it is not joined."""
    if hasattr(ua, "server"):
        ua.server.settle()
    response = ua.register(**kw)
    assert response.status == status, response.raw.decode()
    if route:
        assert shown(response)["route"] == route
    return response


def wait_expired(seconds=1):
    """Until what was registered just now, for that long, has expired: the
    server counts whole seconds."""
    until = int(time.time()) + seconds + 0.1
    time.sleep(max(0.0, until - time.time()))


def contact(user, number, parameters=""):
    return f"<sip:{user}@192.0.2.{number}:5060>{parameters}"


def uri(user, number):
    return f"sip:{user}@192.0.2.{number}:5060"


# -- the table ---------------------------------------------------------------

def test_new(server, ua):
    """No binding for this contact: the CMS is told, reason new."""
    response = register(ua, route="verdict")
    assert reports(server, ua) == [
        ("new", {ua.contact.strip("<>"): "new"})]
    assert shown(response)["reason"] == "new"
    assert len(server.contacts(ua)) == 1


def test_returned(server, ua):
    """The binding has expired but is still in memory: reason returned."""
    register(ua, expires=1)
    wait_expired()
    register(ua, route="verdict")
    assert reasons(server, ua) == ["new", "returned"]


def wait_purged(server):
    """Until usrloc has dropped the bindings that have expired."""
    until(lambda: not server.stats("usrloc")["registered_users"], 10)


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_purged(kamailio, cms, mode):
    """usrloc has purged the expired binding since: reason returned, too."""
    server = kamailio(cms, config=config(("usrloc", "timer_interval", 1),
                                         ("usrloc", "db_mode", mode)))
    ua = server.device()
    for _ in range(2):
        register(ua, expires=1, route="verdict")
        wait_purged(server)
    register(ua, route="verdict")
    register(ua, route="main")
    assert reasons(server, ua) == ["new", "returned", "returned"]


@pytest.mark.parametrize("mode", [0, 1, 2])
def test_left_and_purged(kamailio, cms, mode):
    """What has left has not expired, however usrloc disposes of it: when it
    comes back it is new."""
    server = kamailio(cms, config=config(("usrloc", "timer_interval", 1),
                                         ("usrloc", "db_mode", mode)))
    ua = server.device()
    for contacts in ([ua.contact], "*"):
        register(ua, route="verdict")
        register(ua, contacts=contacts, expires=0, route="main")
        wait_purged(server)
    register(ua, route="verdict")
    assert reasons(server, ua) == ["new", "new", "new"]


def test_purged_and_left(kamailio, cms):
    """A device that expired, returned and left is new when it comes back: it
    is not remembered as expired for ever."""
    server = kamailio(cms, config=config(("usrloc", "timer_interval", 1)))
    ua = server.device()
    register(ua, expires=1)
    wait_purged(server)
    register(ua)
    register(ua, expires=0)
    register(ua, route="verdict")
    assert reasons(server, ua) == ["new", "returned", "new"]


def test_another_contact_than_the_purged_one(kamailio, cms):
    """What is remembered is the contact: another one of the AOR is new."""
    server = kamailio(cms, config=config(("usrloc", "timer_interval", 1)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1)], expires=1)
    wait_purged(server)
    register(ua, contacts=[contact(ua.user, 2)], route="verdict")
    assert reasons(server, ua) == ["new", "new"]


def test_refresh(server, ua):
    """A live binding, same Call-ID: a refresh, no POST."""
    register(ua)
    register(ua, route="main")
    register(ua, route="main")
    assert reasons(server, ua) == ["new"]
    assert server.contacts(ua)[0]["CSeq"] == 3


def test_refresh_with_another_call_id(server, ua):
    """A live binding, another Call-ID: a refresh as well."""
    register(ua)
    register(ua, route="main", call_id=f"other-{ua.user}")
    assert reasons(server, ua) == ["new"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_reboot(kamailio, cms, transport):
    """detect_reboot: another Call-ID of a live binding is told, reason
    reboot; the same Call-ID is a refresh."""
    server = kamailio(cms, config=config(("cms_notify", "detect_reboot", 1)))
    ua = server.device(transport=transport)
    register(ua, call_id="boot1")
    register(ua, call_id="boot1", route="main")
    register(ua, call_id="boot2", route="verdict")
    register(ua, call_id="boot2", route="main")
    assert reasons(server, ua) == ["new", "reboot"]


def test_reboot_of_an_expired_binding(kamailio, cms):
    """detect_reboot: an expired binding is returned, whatever its Call-ID."""
    server = kamailio(cms, config=config(("cms_notify", "detect_reboot", 1)))
    ua = server.device()
    register(ua, call_id="boot1", expires=1)
    wait_expired()
    register(ua, call_id="boot2", route="verdict")
    assert reasons(server, ua) == ["new", "returned"]


def test_moved(server, ua):
    """Identity contact: another contact of an AOR with a live one is told,
    reason moved."""
    register(ua, contacts=[contact(ua.user, 1)])
    register(ua, contacts=[contact(ua.user, 2)], route="verdict")
    register(ua, contacts=[contact(ua.user, 1)], route="main")
    assert reports(server, ua) == [
        ("new", {uri(ua.user, 1): "new"}),
        ("moved", {uri(ua.user, 2): "moved"})]


def test_another_contact_of_an_expired_one(server, ua):
    """Identity contact: no other contact of the AOR is live: reason new."""
    register(ua, contacts=[contact(ua.user, 1)], expires=1)
    wait_expired()
    register(ua, contacts=[contact(ua.user, 2)], route="verdict")
    assert reasons(server, ua) == ["new", "new"]


@pytest.mark.parametrize("known", [True, False])
def test_leaving(server, ua, known):
    """Expires 0 is not told, whether the contact is known or not."""
    if known:
        register(ua)
    register(ua, expires=0, route="main")
    assert reasons(server, ua) == ["new"] * known
    assert server.contacts(ua) == []


def test_leaving_by_parameter(server, ua):
    """expires=0 as a parameter of the contact is leaving, too."""
    register(ua)
    register(ua, contacts=[ua.contact + ";expires=0"], route="main")
    assert reasons(server, ua) == ["new"]
    assert server.contacts(ua) == []


def test_leaving_and_coming_back(server, ua):
    """A device that has left is new when it comes back."""
    register(ua)
    register(ua, expires=0)
    register(ua, route="verdict")
    assert reasons(server, ua) == ["new", "new"]


@pytest.mark.parametrize("known", [True, False])
def test_star(server, ua, known):
    """Contact: * is not told."""
    if known:
        register(ua)
    register(ua, contacts="*", expires=0, route="main")
    assert reasons(server, ua) == ["new"] * known
    assert server.contacts(ua) == []


@pytest.mark.parametrize("known", [True, False])
def test_query(server, ua, known):
    """A REGISTER without a contact is a query and not told."""
    if known:
        register(ua)
    response = register(ua, contacts=[], expires=None, route="main")
    assert len(response.contacts) == known
    assert reasons(server, ua) == ["new"] * known


@pytest.mark.parametrize("lines", [1, 2], ids=["one header", "two headers"])
def test_several_new_contacts(server, ua, lines):
    """Several new contacts, in one header or in several: one POST with all."""
    contacts = [contact(ua.user, 1), contact(ua.user, 2)]
    register(ua, contacts=contacts if lines == 2 else [", ".join(contacts)],
             route="verdict")
    assert reports(server, ua) == [
        ("new", {uri(ua.user, 1): "new", uri(ua.user, 2): "new"})]
    assert len(server.contacts(ua)) == 2


@pytest.mark.parametrize("lines", [1, 2], ids=["one header", "two headers"])
def test_one_new_contact_of_several(server, ua, lines):
    """Of several contacts the POST lists the new ones only, in their order;
    save() keeps all of them."""
    register(ua, contacts=[contact(ua.user, 1)])
    contacts = [contact(ua.user, n) for n in (2, 1, 3)]
    register(ua, contacts=contacts if lines == 2 else [", ".join(contacts)],
             route="verdict")
    moved = reports(server, ua)[1]
    assert moved == ("moved", {uri(ua.user, 2): "moved",
                               uri(ua.user, 3): "moved"})
    assert list(moved[1]) == [uri(ua.user, 2), uri(ua.user, 3)]
    assert len(server.contacts(ua)) == 3


@pytest.mark.parametrize("order", [(1, 2), (2, 1)])
def test_reason_of_the_first_new_contact(server, ua, order):
    """The reason of the whole is the first new contact's, that of each stands
    at the contact."""
    register(ua, contacts=[contact(ua.user, 1)], expires=1)
    wait_expired()
    register(ua, contacts=[contact(ua.user, n) for n in order])
    each = {1: "returned", 2: "new"}
    assert reports(server, ua)[1] == (
        each[order[0]], {uri(ua.user, n): each[n] for n in order})


def test_several_contacts_refreshed(server, ua):
    """Several contacts that are all known are a refresh."""
    contacts = [contact(ua.user, 1), contact(ua.user, 2)]
    register(ua, contacts=contacts)
    register(ua, contacts=contacts, route="main")
    assert len(reasons(server, ua)) == 1


def test_one_leaves_and_one_comes(server, ua):
    """A device that takes its old contact back and gives another one is told
    with the new one only."""
    register(ua, contacts=[contact(ua.user, 1)])
    register(ua, contacts=[contact(ua.user, 1, ";expires=0"),
                           contact(ua.user, 2)], route="verdict")
    reason, contacts = reports(server, ua)[1]
    assert list(contacts) == [uri(ua.user, 2)]
    assert reason == "moved"
    assert [c["Address"] for c in server.contacts(ua)] == [uri(ua.user, 2)]


def test_retransmission_while_parked(server, cms):
    """Retransmissions of a parked REGISTER are absorbed; it is answered
    once."""
    ua = server.device()
    cms.rule(hold=True)
    registering = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    for _ in range(5):
        registering.resend()
    server.handle(ua)
    assert registering.responses == []
    assert server.status()["parked"] == 1
    cms.release()
    assert registering.wait().status == 200
    assert reasons(server, ua) == ["new"]
    assert len(registering.finals) == 1


def test_retransmission_after_the_answer(server, cms):
    """A retransmission that comes after the 200 gets the 200 again; nothing
    is told."""
    ua = server.device()
    registering = ua.send(ua.build_register())
    registering.wait()
    registering.resend()
    first, second = registering.wait_finals(2)
    assert first.raw == second.raw
    assert reasons(server, ua) == ["new"]


def test_repetition_in_another_transaction(server, ua):
    """The same Call-ID and CSeq in another transaction is not told."""
    register(ua, cseq=7)
    register(ua, cseq=7, route="main")
    assert reasons(server, ua) == ["new"]


def test_lower_cseq(server, ua):
    """A CSeq below the binding's, same Call-ID: save() refuses it, nothing is
    told."""
    server.allow_errors(r"registrar.*invalid cseq")
    register(ua, cseq=7)
    response = ua.register(cseq=6)
    assert response.status >= 400
    assert shown(response)["route"] == "main"
    assert reasons(server, ua) == ["new"]
    assert server.contacts(ua)[0]["CSeq"] == 7


def test_lower_cseq_after_expiry(server):
    """save() refuses a lower CSeq of an expired binding too; nothing is
    told."""
    server.allow_errors(r"registrar.*invalid cseq")
    ua = server.device()
    register(ua, cseq=7, expires=1)
    wait_expired()
    response = ua.register(cseq=6)
    assert response.status >= 400
    assert reasons(server, ua) == ["new"]


def test_lower_cseq_of_an_expired_binding(server, ua):
    """Nothing hinders an expired binding from returning with a low CSeq and a
    Call-ID of its own."""
    register(ua, cseq=7, expires=1)
    wait_expired()
    register(ua, cseq=1, call_id=f"reborn-{ua.user}", route="verdict")
    assert reasons(server, ua) == ["new", "returned"]


@pytest.mark.parametrize("same_call_id", [True, False])
def test_second_register_while_parked(server, cms, ua, same_call_id):
    """Another REGISTER of the same device while its POST is under way: no
    second POST, the same verdict, each its own answer."""
    cms.rule(hold=True)
    joined = server.stats()["joined"]
    call_ids = (None, None) if same_call_id else ("first", "second")
    first = ua.send(ua.build_register(call_id=call_ids[0] and
                                      f"{call_ids[0]}-{ua.user}"))
    cms.wait_until(lambda: cms.held == 1)
    second = ua.send(ua.build_register(call_id=call_ids[1] and
                                       f"{call_ids[1]}-{ua.user}"))
    server.wait_parked(2)
    assert not first.responses and not second.responses
    cms.release()
    answers = [first.wait(), second.wait()]
    assert [a.status for a in answers] == [200, 200]
    assert shown(answers[0])["id"] == shown(answers[1])["id"]
    assert [shown(a)["route"] for a in answers] == ["verdict", "verdict"]
    assert reasons(server, ua) == ["new"]
    assert [len(t.finals) for t in (first, second)] == [1, 1]
    assert server.stats()["joined"] == joined + 1
    assert server.contacts(ua)[0]["CSeq"] == 2


def test_second_register_while_parked_is_refused_too(server, cms, ua):
    """A refusal is for all REGISTERs that wait for it."""
    cms.rule(hold=True, status=403, text="no")
    first = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    second = ua.send(ua.build_register())
    server.wait_parked(2)
    cms.release()
    assert [t.wait().status for t in (first, second)] == [403, 403]
    assert reasons(server, ua) == ["new"]
    assert server.contacts(ua) == []


# -- between the rows ----------------------------------------------------------

def test_leaving_while_parked(server, cms, ua):
    """A device that leaves while its POST is under way is not registered
    afterwards."""
    cms.rule(hold=True)
    coming = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    leaving = ua.send(ua.build_register(expires=0))
    server.handle(ua)
    cms.release()
    assert [t.wait().status for t in (coming, leaving)] == [200, 200]
    assert reasons(server, ua) == ["new"]
    assert server.contacts(ua) == []
    assert [len(t.finals) for t in (coming, leaving)] == [1, 1]


def test_star_while_parked(server, cms, ua):
    """So is one that takes all its contacts back."""
    cms.rule(hold=True)
    coming = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    leaving = ua.send(ua.build_register(contacts="*", expires=0))
    server.handle(ua)
    cms.release()
    assert [t.wait().status for t in (coming, leaving)] == [200, 200]
    assert reasons(server, ua) == ["new"]
    assert server.contacts(ua) == []


def test_query_while_parked(server, cms, ua):
    """A query while a POST is under way is answered, once, and not told."""
    cms.rule(hold=True)
    coming = ua.send(ua.build_register())
    cms.wait_until(lambda: cms.held == 1)
    query = ua.send(ua.build_register(contacts=[], expires=None))
    server.handle(ua)
    cms.release()
    assert [t.wait().status for t in (coming, query)] == [200, 200]
    assert reasons(server, ua) == ["new"]
    assert len(query.finals) == 1


def test_other_devices_of_the_aor_while_parked(server, cms, ua):
    """Another device of the same AOR does not wait for this one: its refresh
    is answered at once, its first registration has a POST of its own."""
    register(ua, contacts=[contact(ua.user, 1)])
    cms.clear()
    cms.rule(hold=True)
    parked = ua.send(ua.build_register(contacts=[contact(ua.user, 2)]))
    cms.wait_until(lambda: cms.held == 1)
    refresh = ua.register(contacts=[contact(ua.user, 1)])
    assert refresh.status == 200 and shown(refresh)["route"] == "main"
    assert parked.responses == []
    third = ua.send(ua.build_register(contacts=[contact(ua.user, 3)]))
    cms.wait_until(lambda: cms.held == 2)
    cms.release()
    assert [t.wait().status for t in (parked, third)] == [200, 200]
    assert len(reasons(server, ua)) == 2
    assert len(server.contacts(ua)) == 3


@pytest.mark.parametrize("answer, status", [
    ({"status": 403}, 403), ({"status": 500}, 503)])
def test_again_after_a_refusal(server, cms, ua, answer, status):
    """A device that was not let in is still new when it tries again."""
    cms.rule(times=1, **answer)
    register(ua, status, route="verdict")
    assert server.contacts(ua) == []
    register(ua, route="verdict")
    assert reasons(server, ua) == ["new", "new"]


def test_devices_of_one_aor(server, ua):
    """Several devices share an AOR: each is told once."""
    for n in (1, 2, 3):
        register(ua, contacts=[contact(ua.user, n)], call_id=f"{ua.user}-{n}",
                 route="verdict")
    for n in (1, 2, 3):
        register(ua, contacts=[contact(ua.user, n)], call_id=f"{ua.user}-{n}",
                 route="main")
    assert reasons(server, ua) == ["new", "moved", "moved"]


def test_one_contact_of_two_aors(server, ua):
    """The same contact under another AOR is another registration."""
    register(ua)
    other = server.device(transport=ua.transport.name)
    register(other, contacts=[ua.contact], route="verdict")
    assert reasons(server, other) == ["new"]


def test_contact_differs_in_a_parameter(server, ua):
    """usrloc compares contacts byte by byte: with another URI parameter it is
    another contact."""
    base = f"sip:{ua.user}@192.0.2.1:5060"
    register(ua, contacts=[f"<{base}>"])
    register(ua, contacts=[f"<{base};transport=udp>"], route="verdict")
    register(ua, contacts=[f"<{base}>"], route="main")
    assert reasons(server, ua) == ["new", "moved"]
    assert len(server.contacts(ua)) == 2


@pytest.mark.parametrize("form", ["{}", "\"Cam, 1\" <{}>", "Cam <{}>;q=0.5",
                                  "<{}>;+sip.ice;methods=\"INVITE\""])
def test_header_form_does_not_matter(server, ua, form):
    """Only the contact's URI makes it the same: not the way it is written."""
    base = f"sip:{ua.user}@192.0.2.1:5060"
    register(ua, contacts=[f"<{base}>"])
    register(ua, contacts=[form.format(base)], route="main")
    assert reasons(server, ua) == ["new"]


@pytest.mark.parametrize("to, same", [
    ("sip:{user}@TeleCom.Com", True), ("sip:{user}@telecom.com:7000", True),
    ("sip:{user}@telecom.com;transport=udp", True),
    ("sip:{escaped}@telecom.com", True), ("sip:{upper}@telecom.com", False)])
def test_ways_to_write_an_aor(kamailio, cms, to, same):
    """The domain's case, a port, parameters and escapes in To do not make
    another AOR; the user's case does (registrar's case_sensitive=1)."""
    server = kamailio(cms, config=config(("registrar", "case_sensitive", 1)))
    ua = server.device()
    register(ua)
    spelled = to.format(user=ua.user, upper=ua.user.upper(),
                        escaped="%" + ua.user[:1].encode().hex() + ua.user[1:])
    before = len(server.posts())
    register(ua, to=f"<{spelled}>", route="main" if same else "verdict")
    assert len(server.posts()) - before == (0 if same else 1)


def test_case_insensitive_aor(kamailio, cms):
    """registrar's case_sensitive=0: the user's case does not make another
    AOR."""
    server = kamailio(cms, config=config(("registrar", "case_sensitive", 0)))
    ua = server.device()
    register(ua)
    register(ua, to=f"<sip:{ua.user.upper()}@{DOMAIN}>", route="main")
    assert len(server.posts()) == 1


def test_without_domain(kamailio, cms):
    """usrloc's use_domain=0: the user alone is the AOR."""
    server = kamailio(cms, config=config(("usrloc", "use_domain", 0)))
    ua = server.device()
    register(ua)
    register(ua, to=f"<sip:{ua.user}@elsewhere.example>", route="main")
    post, = server.posts()
    assert post.json["aor"] == ua.aor


def test_source_of_the_report(server, ua):
    """The POST says where the REGISTER came from, and how."""
    register(ua)
    post, = server.posts(ua)
    assert post.json["source"] == {
        "ip": HOST, "port": ua.transport.local[1],
        "transport": ua.transport.name}


def test_ipv6(kamailio, cms):
    """A device on IPv6 is reported with its address."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, core=f"listen=udp:[::1]:{s.port}"))
    with Ua(("::1", server.port), "six", DOMAIN, local=("::1", 0)) as ua:
        register(ua, route="verdict")
        server.settle()
        register(ua, route="main")
        post, = server.posts(ua)
        assert post.errors == []
        assert ipaddress.ip_address(post.json["source"]["ip"]) \
            == ipaddress.ip_address("::1")
        assert post.json["contacts"][0]["uri"] \
            == f"sip:six@[::1]:{ua.transport.local[1]}"


# -- NAT, Path, instances --------------------------------------------------------

def test_received(server, ua):
    """Behind a NAT the POST has the address that usrloc keeps."""
    register(ua, contacts=[contact(ua.user, 1)], headers=[("X-NAT", "1")])
    post, = server.posts(ua)
    suffix = ";transport=TCP" if ua.transport.name == "tcp" else ""
    received = post.json["contacts"][0]["received"]
    assert received.lower() == f"sip:{ua.transport.host_port}{suffix}".lower()
    assert server.contacts(ua)[0]["Received"] == received


def test_not_received(server, ua):
    """Without a NAT there is no such address, nor one of an earlier
    REGISTER."""
    register(server.device(), headers=[("X-NAT", "1")])
    register(ua, contacts=[contact(ua.user, 1)])
    post, = server.posts(ua)
    assert post.json["contacts"][0]["received"] is None


def test_nat_address_changes(server):
    """The same contact from another NAT address: usrloc's binding is the
    same, so it is a refresh."""
    ua = server.device()
    nat = [("X-NAT", "1")]
    register(ua, contacts=[contact(ua.user, 1)], headers=nat)
    other = server.device(ua.user)
    register(other, contacts=[contact(ua.user, 1)], headers=nat, route="main")
    assert reasons(server, ua) == ["new"]


PATH_PARAMS = (("registrar", "use_path", 1), ("registrar", "path_mode", 0))
PATH = "<sip:edge1.example.com;lr>"


@pytest.mark.parametrize("mode, same", [(0, True), (2, False), (3, True)])
def test_path(kamailio, cms, mode, same):
    """The POST carries the Path; another Path makes another binding only
    where usrloc compares it (matching_mode 2)."""
    server = kamailio(cms, config=config(
        *PATH_PARAMS, ("usrloc", "matching_mode", mode)))
    ua = server.device()
    register(ua, path=PATH, supported="path")
    register(ua, path=PATH, supported="path", route="main")
    register(ua, path="<sip:edge2.example.com;lr>", supported="path",
             route="main" if same else "verdict")
    posts = server.posts(ua)
    assert [p.errors for p in posts] == [[]] * len(posts)
    assert posts[0].json["contacts"][0]["path"] == PATH
    assert [p.json["reason"] for p in posts] == (
        ["new"] if same else ["new", "moved"])


def test_several_paths(kamailio, cms):
    """All values of Path, in order."""
    server = kamailio(cms, config=config(*PATH_PARAMS))
    ua = server.device()
    register(ua, path=f"{PATH}, <sip:edge2.example.com;lr>",
             headers=[("Path", "<sip:edge3.example.com;lr>")],
             supported="path")
    post, = server.posts(ua)
    assert [value.strip() for value in
            post.json["contacts"][0]["path"].split(",")] == [
        PATH, "<sip:edge2.example.com;lr>", "<sip:edge3.example.com;lr>"]
    assert [value.strip() for value in server.contacts(ua)[0]["Path"]
            .split(",")] == [PATH, "<sip:edge2.example.com;lr>",
                             "<sip:edge3.example.com;lr>"]


def test_path_unused(server, ua):
    """Where registrar does not use Path, the POST has none."""
    register(ua, path=PATH, supported="path")
    post, = server.posts(ua)
    assert post.json["contacts"][0]["path"] is None


INSTANCE = '+sip.instance="<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>"'
OTHER_INSTANCE = \
    '+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("identity, told", [
    ("contact", ["new", "moved"]), ("instance", ["new"]), ("aor", ["new"])])
def test_instance_at_another_address(kamailio, cms, identity, told, transport):
    """A device with +sip.instance at another address: told with identity
    contact, a refresh with instance or aor."""
    server = kamailio(cms, config=config(("cms_notify", "identity", identity)))
    ua = server.device(transport=transport)
    register(ua, contacts=[contact(ua.user, 1, ";" + INSTANCE)])
    register(ua, contacts=[contact(ua.user, 1, ";" + INSTANCE)], route="main")
    register(ua, contacts=[contact(ua.user, 2, ";" + INSTANCE)],
             route="verdict" if len(told) == 2 else "main")
    posts = server.posts(ua)
    assert [p.json["reason"] for p in posts] == told
    assert all("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
               in p.json["contacts"][0]["instance"] for p in posts)
    assert [p.errors for p in posts] == [[]] * len(told)


@pytest.mark.parametrize("identity, told", [
    ("contact", ["new", "moved"]), ("instance", ["new", "moved"]),
    ("aor", ["new"])])
def test_another_instance(kamailio, cms, identity, told):
    """Another instance of the AOR is another device, unless the AOR is the
    identity."""
    server = kamailio(cms, config=config(("cms_notify", "identity", identity)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1, ";" + INSTANCE)])
    register(ua, contacts=[contact(ua.user, 2, ";" + OTHER_INSTANCE)])
    assert reasons(server, ua) == told


@pytest.mark.parametrize("identity", ["contact", "instance", "aor"])
def test_instance_returns(kamailio, cms, identity):
    """Whatever the identity: who has expired and comes back is told."""
    server = kamailio(cms, config=config(("cms_notify", "identity", identity)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1, ";" + INSTANCE)], expires=1)
    wait_expired()
    register(ua, contacts=[contact(ua.user, 1, ";" + INSTANCE)],
             route="verdict")
    assert reasons(server, ua) == ["new", "returned"]


@pytest.mark.parametrize("identity", ["instance", "aor"])
def test_instance_returns_elsewhere(kamailio, cms, identity):
    """The same at another address, where the address does not count."""
    server = kamailio(cms, config=config(("cms_notify", "identity", identity)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1, ";" + INSTANCE)], expires=1)
    wait_expired()
    register(ua, contacts=[contact(ua.user, 2, ";" + INSTANCE)],
             route="verdict")
    assert reasons(server, ua) == ["new", "returned"]


def test_identity_instance_without_one(kamailio, cms):
    """identity instance: a device without +sip.instance is known by its
    contact."""
    server = kamailio(cms, config=config(
        ("cms_notify", "identity", "instance")))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1)])
    register(ua, contacts=[contact(ua.user, 1)], route="main")
    register(ua, contacts=[contact(ua.user, 2)], route="verdict")
    assert reasons(server, ua) == ["new", "moved"]


def test_identity_aor_without_instance(kamailio, cms):
    """identity aor: a device at another address is a refresh, without
    +sip.instance too."""
    server = kamailio(cms, config=config(("cms_notify", "identity", "aor")))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1)])
    register(ua, contacts=[contact(ua.user, 2)], route="main")
    assert reasons(server, ua) == ["new"]
    other = server.device()
    register(other, route="verdict")


@pytest.mark.parametrize("identity", ["instance", "aor"])
def test_second_address_while_parked(kamailio, cms, identity):
    """Where the address does not count, a REGISTER from a second address
    joins the one under way."""
    server = kamailio(cms, config=config(("cms_notify", "identity", identity)))
    ua = server.device()
    cms.rule(hold=True)
    first = ua.send(ua.build_register(
        contacts=[contact(ua.user, 1, ";" + INSTANCE)]))
    cms.wait_until(lambda: cms.held == 1)
    second = ua.send(ua.build_register(
        contacts=[contact(ua.user, 2, ";" + INSTANCE)]))
    server.wait_parked(2)
    cms.release()
    assert [t.wait().status for t in (first, second)] == [200, 200]
    assert reasons(server, ua) == ["new"]


@pytest.mark.parametrize("identity, told", [
    ("contact", ["new", "moved"]), ("instance", ["new"])])
def test_reg_id(kamailio, cms, identity, told):
    """reg-id is reported; with it usrloc keeps one binding for a device
    that moves, yet with identity contact the CMS learns of the move."""
    server = kamailio(cms, config=config(("cms_notify", "identity", identity)))
    ua = server.device()
    flow = f";{INSTANCE};reg-id=3"
    register(ua, contacts=[contact(ua.user, 1, flow)])
    register(ua, contacts=[contact(ua.user, 1, flow)], route="main")
    register(ua, contacts=[contact(ua.user, 2, flow)])
    posts = server.posts(ua)
    assert [p.json["reason"] for p in posts] == told
    assert posts[0].json["contacts"][0]["reg_id"] == 3
    assert [p.errors for p in posts] == [[]] * len(told)
    assert [c["Address"] for c in server.contacts(ua)] == [uri(ua.user, 2)]


# -- usrloc's modes --------------------------------------------------------------

@pytest.mark.parametrize("same_call_id", [True, False])
@pytest.mark.parametrize("same_contact", [True, False])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_matching_mode(kamailio, cms, mode, same_contact, same_call_id):
    """What usrloc takes for the same binding is a refresh, in each
    matching_mode: by contact, contact and Call-ID, contact and Path, Call-ID.
    usrloc then has as many bindings as the CMS was told of."""
    refresh = {0: same_contact, 1: same_contact and same_call_id,
               2: same_contact, 3: same_call_id}[mode]
    server = kamailio(cms, config=config(("usrloc", "matching_mode", mode)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1)])
    register(ua, contacts=[contact(ua.user, 1 if same_contact else 2)],
             call_id=None if same_call_id else "another",
             route="main" if refresh else "verdict")
    assert reasons(server, ua) == (["new"] if refresh else ["new", "moved"])
    assert len(server.contacts(ua)) == (1 if refresh else 2)


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_returned_in_each_matching_mode(kamailio, cms, mode):
    """An expired binding that comes back is told in each matching_mode."""
    server = kamailio(cms, config=config(("usrloc", "matching_mode", mode)))
    ua = server.device()
    register(ua, expires=1)
    wait_expired()
    register(ua, route="verdict")
    register(ua, route="main")
    assert reasons(server, ua) == ["new", "returned"]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_db_mode(kamailio, cms, mode, transport):
    """New, refresh, other contact, leaving, coming back and returning, in
    each of usrloc's db_modes."""
    server = kamailio(cms, config=config(("usrloc", "db_mode", mode)))
    ua = server.device(transport=transport)
    register(ua, contacts=[contact(ua.user, 1)], route="verdict")
    register(ua, contacts=[contact(ua.user, 1)], route="main")
    register(ua, contacts=[contact(ua.user, 2)], route="verdict")
    register(ua, contacts=[contact(ua.user, 1)], expires=0, route="main")
    register(ua, contacts=[contact(ua.user, 2)], expires=0, route="main")
    response = register(ua, contacts=[], expires=None, route="main")
    assert response.contacts == []
    register(ua, contacts=[contact(ua.user, 1)], expires=1, route="verdict")
    wait_expired()
    register(ua, contacts=[contact(ua.user, 1)], route="verdict")
    register(ua, contacts=[contact(ua.user, 1)], route="main")
    told = reasons(server, ua)
    assert told == ["new", "moved", "new", "returned"]


@pytest.mark.parametrize("how", ["stop", "kill"])
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_restart(kamailio, cms, mode, how):
    """A binding in the database survives a restart, and its device's next
    REGISTER is a refresh; without a database it is new."""
    if how == "kill" and mode == 2:
        pytest.skip("write-back loses what a kill did not let it write")
    server = kamailio(cms, config=config(("usrloc", "db_mode", mode)))
    ua = server.device()
    register(ua, route="verdict")
    getattr(server, how)()
    server.start()
    register(ua, route="main" if mode else "verdict")
    assert reasons(server, ua) == (["new"] if mode else ["new", "new"])


def test_expired_over_a_restart(kamailio, cms):
    """A binding that expired while the server was down is told."""
    server = kamailio(cms, config=config(("usrloc", "db_mode", 1)))
    ua = server.device()
    register(ua, expires=1)
    server.stop()
    wait_expired()
    server.start()
    register(ua, route="verdict")
    assert len(reasons(server, ua)) == 2


# -- how long ----------------------------------------------------------------------

@pytest.mark.parametrize("header, parameter, granted", [
    (600, None, 600), (None, 500, 500), (600, 500, 500), (None, None, 3600),
    (1, None, 60), (100000, None, 7200), (None, 1, 60), (None, 100000, 7200)])
def test_expires(kamailio, cms, header, parameter, granted):
    """The POST says what the device is granted: header, parameter, default,
    minimum, maximum."""
    server = kamailio(cms, config=config(
        ("registrar", "min_expires", 60), ("registrar", "max_expires", 7200)))
    ua = server.device()
    suffix = "" if parameter is None else f";expires={parameter}"
    response = register(ua, contacts=[ua.contact + suffix], expires=header)
    assert response.contacts == [f"{ua.contact};expires={granted}"]
    post, = server.posts(ua)
    assert post.json["contacts"][0]["expires"] == granted


@pytest.mark.parametrize("where", ["header", "parameter"])
@pytest.mark.parametrize("expires", [
    2147483647, 2147483648, 4294967295, 4294967296, 99999999999999, -1, "x",
    "1x", ""])
def test_expires_beyond_reason(server, expires, where):
    """An expiry that no number holds is neither a crash nor a lie: the POST
    says what save() grants, and there is none if save() refuses."""
    server.allow_errors(r"<core>|registrar")
    ua = server.device()
    if where == "header":
        response = ua.register(expires=expires)
    else:
        response = ua.register(contacts=[f"{ua.contact};expires={expires}"],
                               expires=None)
    posts = server.posts(ua)
    if response.status == 200 and response.contacts:
        post, = posts
        assert post.errors == []
        assert response.contacts == [
            f"{ua.contact};expires={post.json['contacts'][0]['expires']}"]
    else:
        assert posts == []


def test_too_brief(kamailio, cms):
    """registrar's min_expires_mode=1: save() answers 423, nothing is told."""
    server = kamailio(cms, config=config(
        ("registrar", "min_expires", 60), ("registrar", "min_expires_mode", 1)))
    ua = server.device()
    response = register(ua, 423, expires=30, route="main")
    assert response.get("Min-Expires") == "60"
    assert reasons(server, ua) == []


# -- what save() refuses -----------------------------------------------------------

def test_too_many_contacts(kamailio, cms):
    """max_contacts exceeded: save() refuses it, nothing is told; a refresh
    still goes through."""
    server = kamailio(cms, config=config(("registrar", "max_contacts", 1)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1)], route="verdict")
    register(ua, 503, contacts=[contact(ua.user, 2)], route="main")
    register(ua, contacts=[contact(ua.user, 1)], route="main")
    other = server.device()
    register(other, 503, contacts=[contact(ua.user, 1), contact(ua.user, 2)],
             route="main")
    assert len(server.posts()) == 1


def test_contact_takes_the_place_of_another(kamailio, cms):
    """max_contacts: where one leaves in the same REGISTER, or has expired,
    there is room for another, and the CMS is told."""
    server = kamailio(cms, config=config(("registrar", "max_contacts", 1)))
    ua = server.device()
    register(ua, contacts=[contact(ua.user, 1)])
    register(ua, contacts=[contact(ua.user, 1, ";expires=0"),
                           contact(ua.user, 2)], route="verdict")
    assert len(server.posts(ua)) == 2
    other = server.device()
    register(other, contacts=[contact(other.user, 1)], expires=1)
    wait_expired()
    register(other, contacts=[contact(other.user, 2)], route="verdict")
    assert len(server.posts(other)) == 2


MALFORMED = {
    "star with expiry": {"contacts": "*", "expires": 3600},
    "star without expires": {"contacts": "*", "expires": None},
    "star and contact": {"contacts": ["*", "<sip:a@192.0.2.1>"],
                         "expires": 0},
    "unclosed contact": {"contacts": ["<tel:5551234"]},
    "contact of nothing": {"contacts": ["<>"]},
    "empty contact": {"contacts": [""]},
    "comma at the end": {"contacts": ["<sip:a@192.0.2.1>,"]},
    "no uri": {"contacts": ["<not a uri>"]},
    "to without uri": {"to": "nobody"},
    "unclosed to": {"to": "<sip:someone@telecom.com"},
    "empty to": {"to": "<>"},
    "to without user": {"to": "<sip:telecom.com>"},
    "to with a long user": {"to": f"<sip:{'u' * 200}@telecom.com>"},
    "to with a long domain": {"to": f"<sip:u@{'d' * 200}.com>"},
    "to with a broken escape": {"to": "<sip:%6@telecom.com>"},
    "to with another broken escape": {"to": "<sip:%zz@telecom.com>"},
    "tel to": {"to": "<tel:+4912345>"},
    "broken path": {"path": "<sip:unclosed", "supported": "path"},
    "no call-id": {"omit": ("Call-ID",)},
    "no cseq": {"omit": ("CSeq",)},
    "no to": {"omit": ("To",)},
    "long contact": {"contacts": [f"<sip:{'c' * 600}@192.0.2.1>"]},
}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("request_", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(kamailio, cms, request_, transport):
    """The CMS is told of nothing that save() does not keep for its form; the
    server lives on."""
    server = kamailio(cms, config=config())
    server.allow_errors(r"<core>|registrar|tm |sl |<script>|path ",
                        r"un_escape\(\)|hex2int\(\)")
    ua = server.device(transport=transport)
    request_ = dict(request_)
    try:
        response = ua.send(ua.build_register(**request_)).wait(1)
        posts = server.posts()
        cms.clear()
        saved = response.status == 200 and response.contacts != []
        assert len(posts) == saved, response.raw.decode()
        assert [p.errors for p in posts if p.errors] == []
    except NoAnswer:
        assert server.posts() == []
    register(server.device(), route="verdict")
