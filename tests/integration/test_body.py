"""The parameter "body": a JSON document of the operator's own."""

import json
import re

import pytest

from harness import HOST, ReferenceCms, registrar

pytestmark = pytest.mark.contract


@pytest.fixture
def post(kamailio):
    """post(template, device={}, before="script", **register): what the CMS
    gets, its numbers and the order of its fields as sent."""
    with ReferenceCms(validate=False) as cms:
        def post(template, device=None, before="", **kw):
            if not isinstance(template, str):
                template = json.dumps(template, ensure_ascii=False)
            server = kamailio(cms, config=lambda s, url: registrar(
                s, url, before=before,
                params=[("cms_notify", "body", template)]))
            post.ua = server.device(**(device or {}))
            assert post.ua.register(**kw).status == 200
            request, = server.posts()
            assert request.get("Content-Type") == "application/json"
            assert request.json is not None, request.body
            return request.json

        yield post


def test_strings_of_any_module(post):
    body = post({"DeviceID": "$tU", "Ip": "$si", "Serial": "$hdr(X-Serial)",
                 "Site": "$var(site)", "Agent": "$ua"},
                before='$var(site) = "north";',
                headers=[("X-Serial", "A 7")])
    assert body == {"DeviceID": post.ua.user, "Ip": HOST, "Serial": "A 7",
                    "Site": "north", "Agent": post.ua.user_agent}


@pytest.mark.parametrize("name, value", [
    ("$sp", "port"), ("$ml", None), ("$cms(cseq)", 1),
    ("$cms(source_port)", "port"), ("$var(n)", 42), ("$var(negative)", -7)])
def test_a_numeric_pseudo_variable_becomes_a_number(post, name, value):
    body = post({"x": name}, before="$var(n) = 42; $var(negative) = 0 - 7;")
    if value == "port":
        value = post.ua.transport.local[1]
    assert type(body["x"]) is int
    assert value is None or body["x"] == value


def test_digits_in_a_text_stay_a_string(post):
    """A serial number with zeros in front is no number."""
    body = post({"serial": "$hdr(X-Serial)", "port": "$si:$sp",
                 "padded": " $sp"}, headers=[("X-Serial", "007")])
    assert body["serial"] == "007"
    assert body["port"] == f"{HOST}:{post.ua.transport.local[1]}"
    assert body["padded"] == f" {post.ua.transport.local[1]}"


def test_what_has_no_value_is_null(post):
    body = post({"a": "$hdr(X-None)", "b": "$avp(none)", "c": "$au",
                 "d": ["$hdr(X-None)"], "e": "$cms(auth_user)"})
    assert body == {"a": None, "b": None, "c": None, "d": [None], "e": None}


def test_what_has_no_value_is_left_out_of_a_longer_string(post):
    assert post({"a": "[$hdr(X-None)]", "b": "$avp(none)$avp(none)"}) \
        == {"a": "[]", "b": ""}


def test_text_and_pseudo_variables_mixed(post):
    body = post({"a": "sip:$tU@$td", "b": "$tU$td", "c": "$(tU{s.len})x",
                 "d": "<$tU>", "e": "($tU)"})
    user = post.ua.user
    assert body == {"a": f"sip:{user}@telecom.com", "b": f"{user}telecom.com",
                    "c": f"{len(user)}x", "d": f"<{user}>", "e": f"({user})"}


def test_dollar_signs(post):
    assert post({"a": "$$", "b": "$$5", "c": "$$tU", "d": "$$$$", "e": "a$$",
                 "f": "$$$tU"}) == {
        "a": "$", "b": "$5", "c": "$tU", "d": "$$", "e": "a$",
        "f": f"${post.ua.user}"}


def test_names_of_fields_are_taken_as_they_are(post):
    assert post({"$tU": "x", "$": "y", "$$": "z"}) \
        == {"$tU": "x", "$": "y", "$$": "z"}


def test_other_values_are_taken_as_they_are(post):
    document = {"n": 7, "big": 9007199254740993, "f": 1.5, "t": True,
                "no": False, "nothing": None, "empty": "", "o": {}, "l": []}
    assert post(document) == document


def test_nested_objects_and_arrays(post):
    body = post({"a": {"b": [{"c": "$tU"}, ["$sp", "$si"], "d"]}})
    assert body == {"a": {"b": [{"c": post.ua.user},
                                [post.ua.transport.local[1], HOST], "d"]}}


def test_an_array_at_the_top(post):
    assert post(["$tU", {"ip": "$si"}]) == [post.ua.user, {"ip": HOST}]


def test_unicode_in_the_template(post):
    assert post({"设备": "编号 $tU", "emoji": "\U0001f4f7", "esc": "\u00e9"}) \
        == {"设备": f"编号 {post.ua.user}", "emoji": "\U0001f4f7",
            "esc": "\u00e9"}


def test_escapes_in_the_template(post):
    """As JSON writes them, not as Kamailio does."""
    assert post('{"a": "\\u0041\\n\\"\\\\\\t", "b": "\\u0024tU"}')["a"] \
        == "A\n\"\\\t"


def test_the_order_of_the_fields_is_kept(post):
    assert list(post('{"z": 1, "a": "$tU", "m": null, "b": []}')) \
        == ["z", "a", "m", "b"]


def test_a_long_template(post):
    document = {f"field{n}": "$tU" for n in range(2000)}
    body = post(document)
    assert list(body) == list(document)
    assert set(body.values()) == {post.ua.user}


def test_a_template_of_several_lines(post):
    assert post('{\n\t"a": "$tU",\n\n\t"b": 1\n}\n') \
        == {"a": post.ua.user, "b": 1}


# -- $cms(...) ---------------------------------------------------------------------

def test_contacts_become_the_array(post):
    body = post({"Contacts": "$cms(contacts)", "n": {"deep": [
        "$cms(contacts)"]}}, contacts=["<sip:a@192.0.2.1>;expires=60",
                                       "<sip:b@192.0.2.2>"])
    assert [c["uri"] for c in body["Contacts"]] \
        == ["sip:a@192.0.2.1", "sip:b@192.0.2.2"]
    assert [c["expires"] for c in body["Contacts"]] == [60, 3600]
    assert body["n"]["deep"] == [body["Contacts"]]


def test_the_names_of_the_event_give_the_published_values(kamailio):
    names = ("event", "id", "seq", "time", "reason", "aor", "username", "domain",
             "auth_user", "realm", "contacts", "live", "flaps", "source_ip",
             "source_port", "transport", "call_id", "cseq", "user_agent", "node")
    own = json.dumps({name: f"$cms({name})" for name in names})
    with ReferenceCms() as standard, ReferenceCms(validate=False) as other:
        bodies = []
        for cms, params in ((standard, []),
                            (other, [("cms_notify", "body", own)])):
            server = kamailio(cms, config=lambda s, url, p=params: registrar(
                s, url, params=p))
            ua = server.device("cam", contact="<sip:cam@192.0.2.1>")
            ua.call_id = "same"
            assert ua.register(headers=[("X", "y")]).status == 200
            bodies.append(server.posts()[0])
    published, body = bodies[0].json, bodies[1].json
    assert re.fullmatch(r'"[0-9a-f]{32}"', bodies[1].get("Idempotency-Key"))
    assert body.pop("id") == bodies[1].get("Idempotency-Key").strip('"')
    assert body["seq"] > published["seq"] > 1e15
    for name in ("time", "seq"):
        del published[name], body[name]
    del published["id"]
    assert isinstance(body.pop("source_port"), int)
    assert body.pop("source_ip") == published["source"]["ip"]
    assert body.pop("transport") == published["source"]["transport"]
    del published["source"], published["version"]
    assert body == published


def test_contacts_within_a_longer_string_are_text(post):
    body = post({"a": "contacts: $cms(contacts)"},
                contacts="<sip:a@192.0.2.1>")
    text = body["a"].removeprefix("contacts: ")
    assert json.loads(text)[0]["uri"] == "sip:a@192.0.2.1"


# -- what a device sends ------------------------------------------------------------

HOSTILE = [
    '", "admin": true, "x": "', '"}', "\\", '\\"', "\\u0022", "{}", "[1]",
    "null", "$tU", "$cms(id)", "$$", "%s%n%p", "</script>", "'", "7", "true",
    "\x01\x02\x1f", "\x7f", "a\tb", "摄像头 \U0001f4f7"]


@pytest.fixture(scope="module")
def hostile(module_kamailio):
    """hostile(value) -> what became of {"before": 1, "exact": VALUE, "mixed":
    "[VALUE]", "name": VALUE, "after": 2}"""
    with ReferenceCms(validate=False) as cms:
        server = module_kamailio(cms, config=lambda s, url: registrar(
            s, url, params=[("cms_notify", "body", json.dumps({
                "before": 1, "exact": "$hdr(X-Value)",
                "mixed": "[$hdr(X-Value)]", "list": ["$hdr(X-Value)"],
                "after": 2}))]))

        def hostile(value):
            ua = server.device()
            before = cms.count
            assert ua.register(headers=[("X-Value", value)]).status == 200
            server.settle()
            request, = cms.requests[before:]
            return request

        yield hostile


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_nothing_that_a_device_sends_changes_the_structure(hostile, value):
    assert hostile(value).json == {
        "before": 1, "exact": value, "mixed": f"[{value}]", "list": [value],
        "after": 2}


@pytest.mark.parametrize("raw", [
    b"\xff", b"a\xc3", b"\xc3(", b"\xc0\xaf", b"\xe0\x80\xaf",
    b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\x80\x80",
    b"\xf8\x88\x80\x80\x80", b"ok\xfe\xffok", b"\xe4\xb8", b"\xe4\xb8(\xad"],
    ids=bytes.hex)
def test_broken_utf_8_becomes_the_replacement_character(hostile, raw):
    request = hostile(raw.decode("utf-8", "surrogateescape"))
    assert request.json["exact"] == raw.decode("utf-8", "replace")
    request.body.decode()


def test_a_long_value_is_whole(hostile):
    value = "x" * 15_000
    assert hostile(value).json["exact"] == value


def test_a_body_that_gets_too_big_is_refused(kamailio, cms):
    """Twenty times 14 KB: more than the 256 KB that are documented."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "body", json.dumps(
            ["$hdr(X-Value)"] * 20))]))
    server.allow_errors("cms_notify")
    response = server.device().register(
        headers=[("X-Value", "x" * 14_000)])
    assert (response.status, response.get("X-CMS-cause")) == (503, "memory")
    assert server.posts() == []
    assert server.device().register().status in (200, 403)
