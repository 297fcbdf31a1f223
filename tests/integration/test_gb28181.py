"""WITH_GB28181: cameras, recorders and platforms of GB/T 28181, and the server that
keeps them; gb_dialects.py has how they write."""

import contextlib
import os
import re
import time
from datetime import datetime, timedelta, timezone

import pytest

import gb_dialects
import sip_message
from gb_dialects import DIALECTS, Dialect
from deferring import url
from harness import HOST, PASSWORD, TOP, Port, Transport, fails_to_start, until
from sip_ua import new_branch, new_call_id

REALM, SERVER = "3402000000", "34020000002000000001"
PLATFORM = "127.0.0.9"
PORT = Port().number  # its, and that of the media server
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")
SETTINGS = {"WITH_GB28181": 1, "SIP_DOMAINS": REALM, "SIP_REALM": REALM,
            "CMS_EVENTS": "register"}


def password_file(folder, text=PASSWORD):
    path = os.path.join(folder, "gb-password")
    with open(path, "w", encoding="utf-8", opener=lambda name, flags: os.open(
            name, flags, 0o600)) as file:
        file.write(text + "\n")
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(tmp_path_factory.mktemp("gb"))


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms, folder):
    """With one password for all, and a platform."""
    return module_kamailio(module_cms, settings={
        **SETTINGS, "GB_PASSWORD_FILE": password_file(folder),
        "GB_PLATFORM_ADDRESSES": f"127.0.0.8,{PLATFORM}",
        "GB_PLATFORM_URI": f"sip:{PLATFORM}:{PORT}", "MIN_EXPIRES": 60})


class Device:
    """A device that speaks a dialect."""

    def __init__(self, server, dialect, password=PASSWORD):
        self.server, self.dialect, self.password = server, dialect, password
        self.call_id, self.cseq, self.challenge = new_call_id(), 0, None
        self.transport = None
        self.connect()

    def connect(self, local=(HOST, 0)):
        self.transport = Transport(
            self.server.address, self.dialect.transport.lower(), local)
        self.server._uas.append(self.transport)

    @property
    def own(self):
        return self.dialect.own or self.transport.host_port

    @property
    def aor(self):
        return f"sip:{self.dialect.id}@{REALM}"

    def fill(self, text, **more):
        values = {
            "id": self.dialect.id, "server": SERVER, "realm": REALM,
            "at": f"{HOST}:{self.server.port}", "own": self.own,
            "transport": self.dialect.transport, "branch": new_branch(),
            "tag": new_call_id()[:8], "cseq": self.cseq, "call_id": self.call_id,
            **more}
        return text.format(**values)

    def send(self, text, body=b"", **more):
        head = self.fill(text, **more).replace("\n", "\r\n")
        return self.transport.send(head.encode() + body).wait()

    def credentials(self):
        uri = self.fill(self.dialect.uri)
        response = sip_message.digest_response(
            self.dialect.id, self.challenge["realm"], self.password, "REGISTER", uri,
            self.challenge["nonce"], self.dialect.qop, "00000001", "0a4f113b")
        return "Authorization: " + self.fill(
            self.dialect.auth, uri=uri, nonce=self.challenge["nonce"],
            opaque=self.challenge.get("opaque", ""),
            response=response.upper() if self.dialect.upper else response) + "\n"

    def register(self, expires=None, auth=""):
        """One REGISTER."""
        self.cseq += 1
        if expires is None:
            expires = self.dialect.expires
        response = self.send(self.dialect.register, auth=auth, expires=expires)
        self.challenge = response.challenge() or self.challenge
        return response

    def enter(self, expires=None, old=False):
        """With the challenge in between; old: first with what it got before."""
        response = self.register(expires, self.credentials() if old else "")
        assert response.status == 401
        assert response.challenge()["algorithm"] == "MD5"
        assert response.get("X-GB-Ver") == (self.dialect.gb_version and "3.0")
        return self.register(expires, self.credentials())

    def keepalive(self, text=None):
        self.cseq += 1
        xml = (text or self.dialect.xml).replace("\n", "\r\n")
        body = self.fill(xml, encoding=self.dialect.encoding).encode(
            self.dialect.encoding)
        return self.send(self.dialect.keepalive, body, length=len(body))

    def restart(self):
        """As after a power cut: nothing is known of before, and nothing was said."""
        local = self.transport.local
        self.transport.close()
        self.cseq, self.challenge = 0, None
        if self.dialect.call_id == "new":
            self.call_id = new_call_id()
        self.connect((HOST, 0) if self.dialect.port == "new" else local)


@pytest.fixture
def device(server):
    return Device(server, Dialect("", ""))


def posts(server, device):
    server.settle()
    return [event for request in server.cms.requests for event in request.events
            if event.get("aor") == device.aor]


def accepted(response, dialect, before):
    """What a 200 has for the device."""
    assert response.status == 200
    assert f";expires={dialect.expires}" in response.contacts[0]
    assert response.get("Expires") == str(dialect.expires)
    assert response.get("X-GB-Ver") == (dialect.gb_version and "3.0")
    assert DATE.fullmatch(response.get("Date"))
    zone = timezone(timedelta(hours=8))
    at = datetime.fromisoformat(response.get("Date")).replace(tzinfo=zone)
    assert before - 1 < at.timestamp() < time.time() + 1


# -- dialects ----------------------------------------------------------------------

@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda d: d.name)
def test_a_dialect(server, dialect):
    """Registers, says that it lives, refreshes, loses its power, and leaves."""
    device, start = Device(server, dialect), time.time()
    accepted(device.enter(), dialect, start)
    [event] = posts(server, device)
    assert (event["reason"], event["realm"]) == ("new", REALM)
    assert event["gb_version"] == dialect.gb_version
    assert event["contacts"][0]["expires"] == dialect.expires
    assert device.keepalive().status == 200

    if dialect.refresh == "new":
        device.call_id, device.cseq = new_call_id(), 0
    accepted(device.enter(old=dialect.refresh == "old"), dialect, start)
    assert len(posts(server, device)) == 1

    device.restart()
    if dialect.transport == "TCP":
        until(lambda: not server.contacts(device), 20)
    accepted(device.enter(), dialect, start)
    assert len(posts(server, device)) == (1 if dialect.port == "same" else 2)
    assert device.keepalive().status == 200

    response = device.enter(0)
    assert (response.status, response.get("Expires")) == (200, "0")
    assert device.keepalive().status == 403


def test_the_dialects_are_in_the_documentation():
    text = (TOP / "modules/cms_notify/doc/gb28181.md").read_text(encoding="utf-8")
    assert gb_dialects.table() in text
    assert len(DIALECTS) >= 20
    for maker in ("Hikvision", "Dahua", "Huawei", "Uniview", "Tiandy"):
        assert {d.version for d in DIALECTS if maker in d.name}
    assert {d.version for d in DIALECTS} == {"2016", "2022"}


# -- who a device is ---------------------------------------------------------------

@pytest.mark.parametrize("to", ["{realm}", "{own}", "{at}", "example.com",
                                "192.0.2.7:5061"])
def test_an_id_is_one_address_whatever_is_behind_it(server, to):
    """The same device with five hosts in To is registered once."""
    dialect = Dialect("", "", gb_dialects.HIKVISION.replace(
        "{id}@{realm}", "{id}@" + to))
    device = Device(server, dialect)
    assert device.enter().status == 200
    assert len(server.contacts(device)) == 1
    assert [event["aor"] for event in posts(server, device)] == [device.aor]


def test_a_wrong_password(server, device):
    device.password = "wrong"
    assert device.enter().status == 401
    assert posts(server, device) == []
    assert device.keepalive().status == 403


def test_another_id_than_that_of_the_credentials(server, device):
    """The password is everybody's, the name is not."""
    other = Device(server, Dialect("", ""))
    device.register()
    device.challenge = device.challenge
    auth = device.credentials().replace(device.dialect.id, other.dialect.id, 1)
    assert device.register(auth=auth).status in (401, 403)
    assert posts(server, device) == []


def test_the_cms_says_which_devices_there_are(server, device, module_cms):
    """With one password for all."""
    module_cms.refuse(device.dialect.id)
    assert device.enter().status == 403
    assert server.contacts(device) == []


def test_other_users_have_their_own_password(server):
    ua = server.device()
    ua.domain = REALM
    server.add_subscribers([ua.user], "own", REALM)
    ua.password = "own"
    assert ua.register().status == 200
    ua.password = PASSWORD
    assert ua.register().status == 401


def test_without_a_file_each_device_is_a_subscriber(kamailio, cms):
    server = kamailio(cms, settings=SETTINGS)
    device = Device(server, DIALECTS[0])
    assert device.enter().status == 401
    server.add_subscribers([device.dialect.id], PASSWORD, REALM)
    assert device.enter().status == 200
    assert device.keepalive().status == 200


# -- the password ------------------------------------------------------------------

def test_the_password_changes_without_a_restart(kamailio, cms, tmp_path):
    """A file that cannot be used leaves the old one in force, and the log says so."""
    path = password_file(tmp_path, "first")
    server = kamailio(cms, settings={
        **SETTINGS, "GB_PASSWORD_FILE": path, "CHILDREN": 1})
    device = Device(server, DIALECTS[0], "first")
    assert device.enter().status == 200
    os.rename(password_file(tmp_path / "..", "second"), path)
    device.password = "second"
    until(lambda: device.enter().status == 200)
    server.allow_errors("password_file")
    password_file(tmp_path, "")
    server.device().options()
    assert device.enter().status == 200
    until(lambda: device.enter() and server.log("the last password stays in force"))
    assert device.enter().status == 200


def test_the_password_is_shown_nowhere(kamailio, cms, tmp_path):
    """By no command and no level of the log, of devices that know it and that do
    not."""
    server = kamailio(cms, settings={
        **SETTINGS, "LOG_LEVEL": 3,
        "GB_PASSWORD_FILE": password_file(tmp_path, "s3cret")})
    right, wrong = Device(server, DIALECTS[0], "s3cret"), Device(server, DIALECTS[1])
    assert right.enter().status == 200 and wrong.enter().status == 401
    assert right.keepalive().status == 200
    shown = "".join(server.kamcmd(*command.split()) for command in (
        "core.ppdefines_full", "cms_notify.status", "pv.shvGet", "htable.dump failures"))
    for text in (shown, *server.lines):
        assert "s3cret" not in text


@pytest.mark.parametrize("text, why", [
    (None, "No such file"), ("", "is empty"), ("x" * 128, "too long")])
def test_a_password_file_that_cannot_be_used(tmp_path, text, why):
    path = str(tmp_path / "none") if text is None else password_file(tmp_path, text)
    lines = fails_to_start(settings={**SETTINGS, "GB_PASSWORD_FILE": path})
    [said] = [line for line in lines if "ERROR: cms_notify" in line]
    assert "password_file" in said and why in said


def test_a_password_in_the_place_of_its_file():
    lines = fails_to_start(settings={**SETTINGS, "GB_PASSWORD_FILE": "s3cret"})
    assert any("password_file" in line and "begins with /" in line for line in lines)
    assert not any("s3cret" in line for line in lines)


# -- the time ----------------------------------------------------------------------

CLOCK = """
route[SITE_REQUEST] {
	if (!is_method("OPTIONS") || !is_present_hf("X-Now")) return;
	$var(now) = $(hdr(X-Now){s.int});
	route(GB_DATE);
	append_to_reply("X-Date: $var(date)\\r\\n");
	sl_send_reply("200", "OK");
	exit;
}
"""


def test_each_day_is_the_right_one(kamailio, cms):
    """Leap days, ends of months and years, the first second and the last."""
    server = kamailio(cms, settings=SETTINGS)
    server.stop()
    server.write("kamailio-site.cfg", CLOCK)
    server.start()
    ua = server.device()
    moments = [0, 951782399, 951782400, 951868800, 1709164799, 1709164800, 1709251199,
               1709251200, 1735689599, 1735689600, 1798761599, 2145916799]
    moments += range(1700000000, 1860000000, 86399 * 37)
    for now in moments:
        response, _ = ua.options(headers=[("X-Now", now)])
        right = datetime.fromtimestamp(now, timezone.utc)
        assert response.get("X-Date") == right.strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize("zone, offset", [
    ("+08:00", 480), ("-03:30", -210), ("+00:00", 0), ("", None), ("8", None)])
def test_the_zone_is_a_setting(kamailio, cms, monkeypatch, zone, offset):
    """Whatever that of the machine is; without one there is no Date."""
    monkeypatch.setenv("TZ", "America/New_York")
    server = kamailio(cms, settings={**SETTINGS, "GB_TIME_ZONE": zone})
    device = Device(server, DIALECTS[0])
    server.add_subscribers([device.dialect.id], PASSWORD, REALM)
    date = device.enter().get("Date")
    if offset is None:
        assert date is None
    else:
        at = datetime.fromisoformat(date).replace(
            tzinfo=timezone(timedelta(minutes=offset)))
        assert abs(at.timestamp() - time.time()) < 30


# -- signs of life -----------------------------------------------------------------

@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_keepalive_from_elsewhere(server, transport):
    """Is an error, so that the device registers again: from another port, or
    when its registration is gone."""
    device = Device(server, Dialect("", "", transport=transport))
    assert device.keepalive().status == 403
    assert device.enter().status == 200
    assert device.keepalive().status == 200
    there = device.transport
    device.connect()
    assert device.keepalive().status == 403
    device.transport = there
    assert device.keepalive().status == 200


def test_a_keepalive_of_another_device(server, device):
    """Nobody is alive by another's word."""
    other = Device(server, Dialect("", ""))
    assert device.enter().status == 200 and other.enter().status == 200
    other.transport, theirs = device.transport, other.transport
    assert other.keepalive().status == 403
    other.transport = theirs
    assert other.keepalive().status == 200


def with_outbox(kamailio, cms, settings):
    server = kamailio(cms, settings=SETTINGS)
    server.configure(settings={
        **SETTINGS, "CMS_OUTBOX_DB_URL": url(server), **settings})
    return server.restart()


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_off_line(kamailio, cms, transport):
    """A device that sends no keepalive any more is off line, and so is one whose
    TCP connection is lost: the CMS is told."""
    timeout = 6 if transport == "UDP" else 3600
    server = with_outbox(kamailio, cms, {"WITH_OUTBOX": 1,
                                         "ALIVE_TIMEOUT": timeout})
    device = Device(server, Dialect("", "", transport=transport))
    server.add_subscribers([device.dialect.id], PASSWORD, REALM)
    assert device.enter().status == 200
    assert device.keepalive().status == 200
    if transport == "TCP":
        device.transport.close()
    cms.wait_until(lambda: any(
        r.json["event"] == "offline" for r in cms.requests), 30)
    assert cms.requests[-1].json["aor"] == device.aor
    if transport == "TCP":
        device.connect()
    assert device.keepalive().status == 403
    assert device.enter().status == 200
    # a new connection is another port
    assert cms.requests[-1].json["reason"] == (
        "new" if transport == "TCP" else "returned")
    assert device.keepalive().status == 200


def test_with_an_outbox_silence_counts(kamailio, cms):
    """Also where ALIVE_TIMEOUT is not set."""
    server = with_outbox(kamailio, cms, {"WITH_DEFER": 1})
    assert server.pids("cms_notify alive")


def test_what_a_keepalive_from_elsewhere_gets_is_a_setting(kamailio, cms):
    """An error of choice; or the question for the password."""
    for status in (480, 407):
        server = kamailio(cms, settings={**SETTINGS, "GB_KEEPALIVE_STATUS": status})
        device = Device(server, DIALECTS[0])
        server.add_subscribers([device.dialect.id], PASSWORD, REALM)
        response = device.keepalive()
        assert response.status == status
        if status == 407:
            assert response.challenge()["realm"] == REALM


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_other_messages_are_no_signs_of_life(server, transport):
    """Of a device that is not registered: it is asked who it is."""
    device = Device(server, Dialect("", "", transport=transport))
    text = gb_dialects.XML.replace("Keepalive", "Alarm")
    assert device.keepalive(text).status == 407


def test_a_lost_connection_ends_its_bindings(server):
    """And no other's."""
    lost = Device(server, Dialect("", "", transport="TCP"))
    stays = Device(server, Dialect("", "", transport="TCP"))
    assert lost.enter().status == 200 and stays.enter().status == 200
    lost.transport.close()
    until(lambda: not server.contacts(lost), 20)
    assert len(server.contacts(stays)) == 1
    assert stays.keepalive().status == 200


# -- the platform ------------------------------------------------------------------

@contextlib.contextmanager
def platform(server, host=PLATFORM):
    with contextlib.closing(Transport(server.address, local=(host, PORT))) as way:
        yield way


def request(way, method, uri, body=b"", **more):
    lines = {"Via": f"SIP/2.0/UDP {way.host_port};rport;branch={new_branch()}",
             "From": f"<sip:{SERVER}@{REALM}>;tag={new_call_id()[:8]}",
             "To": f"<{uri}>", "Call-ID": new_call_id(), "CSeq": f"1 {method}",
             "Max-Forwards": 70, "Contact": f"<sip:{SERVER}@{way.host_port}>",
             **more, "Content-Length": len(body)}
    return sip_message.build(f"{method} {uri} SIP/2.0", list(lines.items()), body)


def test_the_platform_asks_a_device(server, device):
    """Without a password: its catalogue, in GB 18030, which passes as bytes; and the
    device answers with a MESSAGE of its own."""
    assert device.enter().status == 200
    body = gb_dialects.ONE_LINE.format(
        encoding="GB18030", cseq=1, id="仓库东门\U00020000").replace(
        "Keepalive", "Catalog").encode("GB18030")
    assert b"\x95\x32\x82\x36" in body
    with platform(server) as way:
        for uri in (device.aor, f"sip:{device.dialect.id}@{device.own}",
                    f"sip:{device.dialect.id}@{HOST}:{server.port}"):
            sent = way.send(request(way, "MESSAGE", uri, body))
            asked = device.transport.wait_request("MESSAGE")
            assert asked.body == body
            device.transport.reply(asked, 200)
            assert sent.wait().status == 200
        device.transport.send(device.fill(
            device.dialect.keepalive, length=len(body)).replace(
                "\n", "\r\n").encode() + body)
        answer = way.wait_request("MESSAGE")
        assert answer.body == body and answer.uri == f"sip:{SERVER}@{REALM}"
        way.reply(answer, 200)


def test_nobody_else_is_the_platform(server, device):
    """From another address the same request is asked for its password."""
    assert device.enter().status == 200
    with platform(server, "127.0.0.10") as way:
        for method in ("MESSAGE", "INVITE"):
            assert way.send(request(way, method, device.aor)).wait().status == 407
    assert device.transport.requests == []


def test_a_platform_at_the_address_of_the_server(module_kamailio, module_cms, folder):
    """A device whose contacts lead to the server itself: what the platform sends it
    comes back as if it were the platform's. It goes no further round, and is not
    doubled: one request took all shared memory."""
    server = module_kamailio(module_cms, settings={
        **SETTINGS, "GB_PASSWORD_FILE": password_file(folder),
        "GB_PLATFORM_ADDRESSES": HOST})
    device = Device(server, Dialect("", "", gb_dialects.HIKVISION.replace(
        "<sip:{id}@{own}>", "<sip:{id}@{at};x=1>, <sip:{id}@{at};x=2>")))
    assert device.enter().status == 200
    assert len(server.contacts(device)) == 2
    before = server.rpc("tm.stats")["total"]
    with platform(server, HOST) as way:
        assert way.send(request(way, "MESSAGE", device.aor)).wait().status == 482
    assert server.rpc("tm.stats")["total"] == before + 1


def test_a_platform_under_a_name_of_the_server(module_kamailio, module_cms, folder):
    """One on the same machine, which calls itself by the address that is an alias of
    the server, is not taken for the server itself."""
    server = module_kamailio(module_cms, settings={
        **SETTINGS, "GB_PASSWORD_FILE": password_file(folder),
        "GB_PLATFORM_ADDRESSES": HOST})
    server.stop()
    server.write("kamailio-site.cfg", f"alias={HOST}\n")
    server.start()
    device = Device(server, Dialect("", ""))
    assert device.enter().status == 200
    with platform(server, HOST) as way:
        sent = way.send(request(way, "MESSAGE", device.aor))
        device.transport.reply(device.transport.wait_request("MESSAGE"), 200)
        assert sent.wait().status == 200


def test_a_device_that_is_not_there(server, device):
    with platform(server) as way:
        assert way.send(request(way, "MESSAGE", device.aor)).wait().status == 480


@pytest.mark.parametrize("channel", [False, True], ids=["device", "channel"])
@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_a_call_from_a_media_server(server, transport, channel):
    """INVITE, ACK and BYE, of a device or of a channel of a recorder, which the Route
    header names."""
    device = Device(server, Dialect("", "", kind="118", transport=transport))
    assert device.enter().status == 200
    wanted = "34020000001310000007" if channel else device.dialect.id
    route = {"Route": f"<sip:{device.dialect.id}@{HOST}:{server.port};lr>"} \
        if channel else {}
    with platform(server, "127.0.0.8") as way:
        call, tag = new_call_id(), new_call_id()[:8]
        same = {"From": f"<sip:{SERVER}@{REALM}>;tag={tag}", "Call-ID": call}
        sent = way.send(request(way, "INVITE", f"sip:{wanted}@{REALM}", b"v=0\r\n",
                                Subject=f"{wanted}:0,{SERVER}:0", **same, **route))
        asked = device.transport.wait_request("INVITE")
        assert asked.uri.startswith(f"sip:{wanted}@")
        device.transport.reply(asked, 200, headers=[
            ("Contact", f"<sip:{wanted}@{device.own}>")])
        final = sent.wait()
        assert final.status == 200
        target = sip_message.split_values(final.get("Contact"))[0].strip("<>")
        routes = ", ".join(reversed(final.values("Record-Route")))
        for method in ("ACK", "BYE"):
            data = request(way, method, target, To=final.get("To"), Route=routes,
                           CSeq=f"{2 if method == 'BYE' else 1} {method}", **{
                               k: v for k, v in same.items()})
            sent = way.send(data)
            asked = device.transport.wait_request(method)
        device.transport.reply(asked, 200)
        assert sent.wait().status == 200


def test_a_device_does_not_reach_other_devices(server, device):
    """Without a password it reaches the platform alone."""
    other = Device(server, Dialect("", ""))
    assert device.enter().status == 200 and other.enter().status == 200
    text = device.dialect.keepalive.replace("{server}", other.dialect.id)
    assert device.send(text, length=0).status == 407
    assert other.transport.requests == []


def test_without_a_platform(kamailio, cms):
    server = kamailio(cms, settings=SETTINGS)
    device = Device(server, DIALECTS[0])
    server.add_subscribers([device.dialect.id], PASSWORD, REALM)
    assert device.enter().status == 200
    assert device.keepalive(gb_dialects.XML.replace(
        "Keepalive", "Alarm")).status == 404


# -- redirection -------------------------------------------------------------------

@pytest.mark.parametrize("uri", [
    "sip:34020000002000000002@192.0.2.9:5060", "sip:192.0.2.9",
    "sip:34020000002000000002@[2001:db8::1]:5060;transport=tcp"])
def test_the_cms_redirects(server, device, module_cms, uri):
    """GB/T 28181-2022, 9.1.2.3: 302 with the server to go to, and no binding; the next
    time it is asked again."""
    module_cms.rule(body={"redirect": uri}, times=1)
    response = device.enter()
    assert (response.status, response.get("Contact")) == (302, f"<{uri}>")
    assert server.contacts(device) == []
    server.settle()  # who comes before that shares the answer
    assert device.enter().status == 200
    assert len(posts(server, device)) == 2


@pytest.mark.parametrize("redirect", [
    "192.0.2.9", "http://192.0.2.9/", "sip:", "sip:a@b>\r\nX-Injected: 1", "sip:a b",
    ["sip:192.0.2.9"], 5, True])
def test_what_is_no_sip_uri_redirects_nobody(server, device, module_cms, redirect):
    """The device is registered, and the log says why."""
    module_cms.rule(body={"redirect": redirect})
    since = len(server.lines)
    response = device.enter()
    assert response.status == 200 and response.get("X-Injected") is None
    server.wait_log("redirects .* to what is no SIP URI", since=since)
    assert len(server.contacts(device)) == 1


@pytest.mark.parametrize("answer", [{"redirect": None}, {"text": "x"}, "no JSON", ""])
def test_an_answer_without_redirect(server, device, module_cms, answer):
    module_cms.rule(body=answer)
    assert device.enter().status == 200


# -- the body ----------------------------------------------------------------------

def test_the_body_is_the_published_one(server, device, kamailio, cms):
    """Members as without GB/T 28181, in their order, and the version."""
    assert device.enter().status == 200
    [event] = posts(server, device)
    other = kamailio(cms)
    assert other.device().register().status == 200
    members = list(other.posts()[0].json)
    assert [name for name in event if name != "gb_version"] == members
