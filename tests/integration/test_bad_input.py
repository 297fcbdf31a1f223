"""What no proper device sends: the CMS gets valid JSON with nothing invented,
or nothing and the device a refusal; and the server goes on."""

import codecs
import json
import random
import socket

import pytest

from harness import ReferenceCms, registrar, version

pytestmark = pytest.mark.contract

MARK = "@@VALUE@@"
# Kamailio may complain about what it cannot parse; the module has no reason.
FOREIGN = r"^(?!.*cms_notify \[cn_)"


def config(*params):
    """One worker: what was sent before an OPTIONS has been handled when that
    is answered."""
    return lambda s, url: registrar(
        s, url, core="children=1\ntcp_children=1",
        before='if (!is_method("REGISTER")) { sl_send_reply("405", "No"); '
        "exit; }", params=[("cms_notify", *pair) for pair in params])


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    return module_kamailio(module_cms, config=config())


def bound(server):
    """How many contacts usrloc has."""
    return server.stats("usrloc")["location_contacts"]


class Outcome:
    """What became of one request.

    status   of its final answer, None: there was none
    request  the POST that it caused, None: none
    contact  the first contact in it
    """

    def __init__(self, server, data, transport="udp", ua=None):
        server.allow_errors(FOREIGN)
        told_before, bound_before = server.cms.count, bound(server)
        self.ua = ua or server.device(transport=transport)
        transaction = self.ua.send(data)
        self._ping()
        server.settle()
        self._ping()
        finals = transaction.finals if transaction else []
        assert len(finals) <= 1
        self.status = finals[0].status if finals else None
        posts = server.cms.requests[told_before:]
        assert len(posts) <= 1
        self.request = posts[0] if posts else None
        contacts = []
        if self.request is not None:
            assert self.request.errors == []
            assert self.status is not None
            contacts = self.request.json["contacts"]
        self.contact = contacts[0] if contacts else None
        assert bound(server) - bound_before <= len(contacts), \
            "bound, and the CMS does not know"
        with server.device() as other:
            assert other.options()[0].status == 200

    def _ping(self):
        """Return when what was sent has been handled."""
        way = self.ua.transport
        try:
            ping = self.ua.send(self.ua.build(
                "OPTIONS", omit=["User-Agent"]))
        except OSError:
            assert way.wait_closed()
            return
        assert way.hub.wait(lambda: ping.final or way.closed, 5)

    @property
    def refused(self):
        """Clearly: nobody was told, and nobody may believe otherwise."""
        return self.request is None and (
            self.status is None or 400 <= self.status <= 699)


def register(server, value, transport="udp", ua=None, **kw):
    """Outcome of a REGISTER in which MARK stands for these bytes."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    ua = ua or server.device(transport=transport)
    data = ua.build_register(**kw).replace(MARK.encode(), value)
    return Outcome(server, data, ua=ua)


# -- values -------------------------------------------------------------------------

VALUES = [
    b'a"b', b"a\\b", b'\\"', b'","evil":"1', b'"}', b"a'b", b"</script>",
    b"$tU$cms(id)", b"%s%n%x", b"%00%0d%0a", b"%", b"%2", b"%zz", b"a\tb",
    b"\x01\x08\x0b\x0c\x1f", b"\x1b[31m", b"\x7f", b"a\0b", b"\0",
    b"\xff\xfe", b"\xc3", b"\xc3(", b"\xc0\xaf", b"\xe0\x80\xaf",
    b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80",
    "摄像头 \U0001f4f7".encode(), "\u202e\u2028\ufeff".encode(),
    b"a,b", b"a;b", b"a<b", b"a>b", b"<>", b"a b", b"(a", b"a)", b"*", b"?",
    b"=", b"&", b"@", b"a@b", b":", b"sip:", b"[::1]", b"//", b"#",
    b"x" * 5000]


def shown_id(value):
    return ascii(value[:20])


def repaired(value):
    return value.decode("utf-8", "replace")


codecs.register_error("mask", lambda error: (
    "?" * (error.end - error.start), error.end))


def masked(value):
    return value.decode("utf-8", "mask")


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
def test_a_user_agent(server, value):
    """The CMS is told what usrloc's table can have."""
    outcome = register(server, value, ua=server.device(user_agent=MARK))
    if not outcome.refused:
        assert outcome.status == 200
        assert (outcome.request.json["user_agent"] or "").strip("\0") \
            == masked(value).strip("\0")


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
def test_a_call_id(server, value):
    outcome = register(server, value, call_id=MARK)
    if not outcome.refused:
        assert outcome.status == 200
        assert (outcome.request.json["call_id"] or "").strip("\0") \
            == repaired(value).strip("\0")


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
@pytest.mark.parametrize("place", ["from_", "to", "contacts"])
@pytest.mark.parametrize("quote", ['"', ""], ids=["quoted", "bare"])
def test_a_display_name(server, value, place, quote):
    """It is not in the body; but a parser might stumble over it."""
    ua = server.device()
    uri = ua.contact if place == "contacts" else f"<{ua.aor}>"
    outcome = register(server, value, ua=ua,
                       **{place: f"{quote}{MARK}{quote} {uri}"})
    if not outcome.refused:
        assert outcome.status == 200
        assert outcome.request.json["username"] == ua.user
        if place != "contacts" or quote and b'"' not in value:
            assert f"<{outcome.contact['uri']}>" == ua.contact


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
@pytest.mark.parametrize("contact", [
    "<sip:cam;x=@@VALUE@@@192.0.2.1>", "<sip:@@VALUE@@@192.0.2.1>",
    "<sip:cam@192.0.2.1;x=@@VALUE@@>", "<sip:cam@192.0.2.1?x=@@VALUE@@>"])
def test_a_contact_uri(server, value, contact):
    outcome = register(server, value, contacts=[contact])
    if not outcome.refused and outcome.contact:
        assert outcome.status == 200
        uri = contact.encode().replace(MARK.encode(), value)
        assert outcome.contact["uri"] in repaired(uri)
    elif not outcome.refused:
        # Nothing registered, nothing told: Kamailio saw no contact in it.
        assert server.contacts(outcome.ua) == []


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
def test_a_parameter_of_a_contact(server, value):
    outcome = register(
        server, value, contacts=[f'<sip:cam@192.0.2.1>;x="{MARK}"'])
    if not outcome.refused:
        assert outcome.contact["uri"] == "sip:cam@192.0.2.1"


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
def test_an_instance(server, value):
    outcome = register(server, value, contacts=[
        f'<sip:cam@192.0.2.1>;+sip.instance="<{MARK}>";reg-id=1'])
    if not outcome.refused:
        assert outcome.contact["uri"] == "sip:cam@192.0.2.1"
        if outcome.contact["instance"] is not None:
            assert outcome.contact["instance"].strip('"<>') \
                in repaired(value) + "<>"


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
def test_a_user_name(server, value):
    outcome = register(server, value, to=f"<sip:{MARK}@telecom.com>")
    if not outcome.refused:
        assert outcome.request is not None
        assert outcome.request.json["domain"] in "telecom.com b@telecom.com"


@pytest.mark.parametrize("value", VALUES, ids=shown_id)
def test_a_path(server, value):
    outcome = register(server, value, path=f"<sip:192.0.2.9;lr;x={MARK}>",
                       supported="path")
    assert outcome.refused or outcome.status in (200, 420)


# -- too much -----------------------------------------------------------------------

@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("name", [
    "X-Padding", "User-Agent", "Call-ID", "Contact", "Path", "Supported"])
def test_sixty_kilobytes_in_one_header(server, transport, name):
    long = "x" * 60_000
    arguments = {
        "X-Padding": {"headers": [("X-Padding", long)]},
        "User-Agent": {"ua": server.device(transport=transport,
                                           user_agent=long)},
        "Call-ID": {"call_id": long},
        "Contact": {"contacts": [f"<sip:cam@192.0.2.1;x={long}>"]},
        "Path": {"path": f"<sip:192.0.2.9;lr;x={long}>",
                 "supported": "path"},
        "Supported": {"supported": long}}[name]
    outcome = register(server, b"", transport=transport, **arguments)
    assert outcome.refused or outcome.status == 200
    if outcome.request and name == "User-Agent":
        assert outcome.request.json["user_agent"] == long


def test_sixty_kilobytes_that_tcp_lets_through(kamailio, cms):
    """Kamailio's own limits raised: the module has its own."""
    limits = "tcp_rd_buf_size=262144"
    if version() >= (5, 8):
        limits += "\nmsg_recv_max_size=262144"
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, core=limits))
    outcome = register(server, b"", ua=server.device(
        transport="tcp", user_agent="x" * 60_000))
    assert outcome.status == 513
    assert outcome.request is None


@pytest.mark.parametrize("count", [100, 1000, 3000])
@pytest.mark.parametrize("form", ["one header", "a header each"])
def test_many_contacts(kamailio, cms, count, form):
    server = kamailio(cms, config=config())
    contacts = [f"<sip:{n}@1>" for n in range(count)]
    if form == "one header":
        contacts = [",".join(contacts)]
    ua = server.device(user_agent="x")
    data = ua.build_register(contacts).replace(b"\r\nContact:", b"\r\nm:")
    assert len(data) < 65000
    outcome = Outcome(server, data, ua=ua)
    server.allow_errors("longer than 262144")
    assert outcome.refused or outcome.status == 200
    if outcome.request:
        assert [c["uri"] for c in outcome.request.json["contacts"]] \
            == [f"sip:{n}@1" for n in range(count)]
    else:
        assert server.contacts(ua) == []
    if count == 100:
        assert outcome.status == 200


def test_the_same_contact_many_times(server):
    outcome = register(server, b"", contacts=["<sip:cam@192.0.2.1>"] * 500)
    assert outcome.refused or outcome.status == 200
    assert len(server.contacts(outcome.ua)) <= 1


# -- no proper REGISTER -----------------------------------------------------------------

def without(*names):
    return {"omit": names}


MALFORMED = {
    "no To": without("To"),
    "no From": without("From"),
    "no Call-ID": without("Call-ID"),
    "no CSeq": without("CSeq"),
    "no Via": without("Via"),
    "no Content-Length": without("Content-Length"),
    "nothing": without("Via", "To", "From", "Call-ID", "CSeq",
                       "Content-Length", "Max-Forwards"),
    "an empty To": {"to": ""},
    "a To without a URI": {"to": "<>"},
    "a To without an end": {"to": "<sip:cam@telecom.com"},
    "a To that is a number": {"to": "tel:+861234"},
    "a To without a user": {"to": "<sip:telecom.com>"},
    "a To without a host": {"to": "<sip:cam@>"},
    "a To with a port of its own": {"to": "<sip:cam@telecom.com:99999>"},
    "an empty From": {"from_": ""},
    "an empty Call-ID": {"call_id": " "},
    "an empty Contact": {"contacts": [""]},
} | {
    f"CSeq {cseq}": {"cseq": cseq}
    for cseq in ("abc", "-1", "+1", "0x10", "1.5", "4294967295", "4294967296",
                 "2147483648", "99999999999999999999", "1 1", "0")
} | {
    f"Contact {contact}": {"contacts": [contact]}
    for contact in (
        "<", "<sip:", "sip:", "<>", '"unclosed <sip:a@192.0.2.1>', ",", ",,,",
        "<sip:a@192.0.2.1>,", ",<sip:a@192.0.2.1>", "<sip:@192.0.2.1>",
        "<mailto:a@192.0.2.1>", "<tel:+861234>", "<http://192.0.2.1/>",
        "<sip:a@192.0.2.1:0>", "<sip:a@192.0.2.1:99999>",
        "<sip:a@192.0.2.1:-1>", "<sip:a@[::1>", "<sip:a@[::1]>",
        "<sip:a@192.0.2.1", "sip:a@192.0.2.1>", "<sip:a@192.0.2.1>;",
        "<sip:a@192.0.2.1>;=", "<sip:a@192.0.2.1>;expires",
        "<sip:a@192.0.2.1>;expires=", "<sip:a@192.0.2.1>;expires=abc",
        "<sip:a@192.0.2.1>;expires=-1", "<sip:a@192.0.2.1>;expires=\"60\"",
        "<sip:a@192.0.2.1>;expires=4294967296",
        "<sip:a@192.0.2.1>;expires=99999999999999999999",
        "<sip:a@192.0.2.1>;expires=60;expires=0", "<sip:a@192.0.2.1>;q=2",
        "<sip:a@192.0.2.1>;q=abc", "<sip:a@192.0.2.1>;q=0.12345",
        "<sip:a@192.0.2.1>;reg-id=0", "<sip:a@192.0.2.1>;reg-id=-1",
        "<sip:a@192.0.2.1>;reg-id=99999999999",
        '<sip:a@192.0.2.1>;+sip.instance="',
        "<sip:a@192.0.2.1>;+sip.instance=",
        '<sip:a@192.0.2.1>;+sip.instance=""',
        '<sip:a@192.0.2.1>;+sip.instance="<>"',
        '<sip:a@192.0.2.1>;+sip.instance=urn', "*, <sip:a@192.0.2.1>",
        "<sip:a@192.0.2.1>, *", "*;expires=0", "* *", "**", "<*>")
} | {
    f"Expires {expires}": {"expires": expires}
    for expires in ("", "abc", "-1", "4294967295", "4294967296", "3600;x",
                    "99999999999999999999", "0x10", "1e3", " 60 ", "60, 0")
} | {
    "* and another Contact": {"contacts": ["*", "<sip:a@192.0.2.1>"],
                              "expires": 0},
    "* without Expires": {"contacts": "*", "expires": None},
    "* with an Expires that is not 0": {"contacts": "*", "expires": 60},
    "two Expires": {"headers": [("Expires", "0")]},
    "two To": {"headers": [("To", "<sip:other@telecom.com>")]},
    "two CSeq": {"headers": [("CSeq", "7 REGISTER")]},
    "two Call-ID": {"headers": [("Call-ID", "other")]},
}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("name", MALFORMED, ids=ascii)
def test_a_malformed_register(server, name, transport):
    outcome = register(server, b"", transport=transport, **MALFORMED[name])
    if outcome.request:
        assert all(contact["uri"] and 0 < contact["expires"] <= 7200
                   for contact in outcome.request.json["contacts"])
    else:
        assert outcome.refused or outcome.status == 200


@pytest.mark.parametrize("name", MALFORMED, ids=ascii)
def test_a_malformed_register_of_a_device_that_waits_already(
        server, module_cms, name):
    """It finds an event under way that it might join."""
    server.allow_errors(FOREIGN)
    module_cms.rule(hold=True)
    ua = server.device()
    waiting = ua.start_register()
    module_cms.wait_until(lambda: module_cms.held == 1)
    ua.send(ua.build_register(**MALFORMED[name]))
    with server.device() as other:
        assert other.options()[0].status == 200
    module_cms.clear_rules()
    module_cms.release()
    assert waiting.wait().status == 200
    assert not [r for r in server.posts() if r.errors]


def test_a_body_is_not_taken_for_a_header(server):
    ua = server.device()
    outcome = Outcome(server, ua.build_register(
        body=b"Contact: <sip:evil@192.0.2.66>\r\nX: y\r\n\r\n"), ua=ua)
    assert len(outcome.request.json["contacts"]) == 1
    assert "evil" not in outcome.request.body.decode()


# -- at random ------------------------------------------------------------------------

TOKENS = [
    b'"', b"\\", b"<", b">", b"\0", b"\xff", b"\xc3", b",", b";", b":", b"@",
    b"*", b"%00", b"%", b"=", b" ", b"\t", b"\r\n", b"\r\n ", b"\n", b"\r",
    b"expires=", b";expires=0", b"Expires: 0\r\n", b"sip:", b"<sip:x@192.0.2.3>",
    b'+sip.instance="<urn:x>"', b"reg-id=1", b"4294967296", b"-1", b"0",
    b"A" * 3000, b"Contact: ", b"\r\nContact: *", b"\r\n\r\n",
    b'{"', b"$tU", "é".encode()]


def mutated(data, dice):
    """A copy with one to five mistakes."""
    data = bytearray(data)
    for _ in range(dice.randint(1, 5)):
        at = dice.randrange(len(data) + 1)
        size = dice.choice((1, 1, 2, 8, 40))
        kind = dice.randrange(7)
        if kind == 0 and at < len(data):
            data[at] = dice.randrange(256)
        elif kind == 1:
            del data[at:at + size]
        elif kind == 2:
            data[at:at] = dice.choice(TOKENS)
        elif kind == 3:
            data[at:at + size] = dice.choice(TOKENS)
        elif kind == 4:
            data[at:at] = data[dice.randrange(len(data) + 1):][:size]
        elif kind == 5:
            lines = bytes(data).split(b"\r\n")
            one, two = (dice.randrange(len(lines)) for _ in range(2))
            lines[one], lines[two] = lines[two], lines[one]
            data = bytearray(b"\r\n".join(lines))
        elif dice.random() < 0.2:
            del data[at:]
        if not data:
            return b"\r\n"
    return bytes(data[:65000])


def samples(uas, dice):
    """Proper requests of all kinds, without an end."""
    while True:
        ua = dice.choice(uas)
        plain = ua.contact
        arguments = dice.choice((
            {}, {"contacts": plain + ';+sip.instance="<urn:uuid:1>";reg-id=1',
                 "supported": "path, outbound", "path": "<sip:192.0.2.9;lr>"},
            {"contacts": [plain + ";expires=60;q=0.5",
                          '"A, B" <sip:b@192.0.2.2>;expires=120']},
            {"contacts": [f"{plain}, sip:c@192.0.2.3;expires=10"],
             "headers": [("X-Folded", "a\r\n b")]},
            {"expires": 0}, {"contacts": "*", "expires": 0},
            {"contacts": []}))
        if dice.random() < 0.5:
            arguments = {**arguments, "call_id": f"c{ua.cseq}"}
        if ua.challenge is not None:
            arguments = {**arguments, "authorization": ua.authorization()}
        data = ua.build_register(**arguments)
        if dice.random() < 0.3:
            data = data.replace(b"\r\nContact:", b"\r\nm:").replace(
                b"\r\nTo:", b"\r\nt:")
        yield data


def throw(server, uas, seed):
    """2,000 datagrams with mistakes, the same ones each time but for ports,
    tags and nonces; the server goes on. Returns what the CMS got."""
    server.allow_errors(FOREIGN)
    dice = random.Random(seed)
    proper = samples(uas, dice)
    control = server.device()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(2000):
            sock.sendto(mutated(next(proper), dice), server.address)
            if number % 20 == 0:
                assert control.options()[0].status == 200
    control.options()
    server.settle()
    assert control.register().status in (200, 403)
    posts = server.posts()
    status = server.status()  # some share another's POST
    assert status["events"] + status["joined"] > 100, "the mistakes are all too big"
    # Nobody is bound of whom the CMS was not told.
    told = sum(len(request.json["contacts"]) for request in posts
               if request.json is not None)
    assert bound(server) <= told
    return posts


OWN_BODY = ('{"first": 1, "ua": "$ua", "from": ["$fn", "$fu", "$ft"], '
            '"to": {"tn": "$tn", "tu": "$tu", "tU": "$tU"}, "ct": "$ct", '
            '"x": "<$hdr(X-Folded)>", "id": "$ci", "cs": "$cms(cseq)", '
            '"contacts": "$cms(contacts)", "sent": "$mb", "last": 2}')


def shape(value):
    """The structure without the values."""
    if isinstance(value, dict):
        return {name: "any" if name == "contacts" else shape(item)
                for name, item in value.items()}
    if isinstance(value, list):
        return [shape(item) for item in value]
    return "value"


@pytest.mark.parametrize("seed", [1, 2])
def test_mistakes_at_random(kamailio, cms, seed):
    server = kamailio(cms, config=config(("timeout", 2000)))
    for request in throw(server, server.devices(40), seed):
        assert request.errors == [], request.body


@pytest.mark.parametrize("seed", [3, 4])
def test_mistakes_at_random_in_a_body_of_ones_own(kamailio, seed):
    with ReferenceCms(validate=False) as cms:
        server = kamailio(cms, config=config(("body", OWN_BODY)))
        for request in throw(server, server.devices(40), seed):
            assert request.json is not None, request.body
            assert shape(request.json) == shape(json.loads(OWN_BODY)), \
                request.body


@pytest.mark.parametrize("seed", [5, 6])
def test_mistakes_at_random_of_authenticated_devices(kamailio, cms, seed):
    server = kamailio(cms, settings={
        "CHILDREN": 1, "CMS_TIMEOUT": 2000, "USRLOC_DB_MODE": 0})
    uas = server.devices(40)
    for ua in uas:
        assert ua.register().status == 200
        assert ua.unregister().status == 200
    cms.clear()
    for request in throw(server, uas, seed):
        assert request.errors == [], request.body
