"""A configuration with a mistake does not start, and one line says what to
change."""

import re

import pytest

from harness import (HOST, NOTIFY, environment, fails_to_start, registrar,
                     with_a_broken_module)
from pki import Authority

pytestmark = pytest.mark.contract

URL = f"http://{HOST}:9/register"
OURS = re.compile(r"(?:ERROR|CRITICAL): cms_notify \[\S+\]: \w+\(\): (.*)")


def complaint(config=None, **kw):
    """The one line with which the module refuses to start."""
    lines = fails_to_start(
        config=config or (lambda s, url: registrar(s, url, **kw)), cms=URL)
    ours = [m[1] for m in map(OURS.search, lines) if m]
    assert len(ours) == 1, "\n".join(lines)
    assert not [line for line in lines if "signal" in line and "SIG" in line]
    return ours[0]


def param(name, value):
    return ("cms_notify", name, value)


def parameters(*pairs):
    """complaint() about these parameters."""
    return complaint(params=[param(*pair) for pair in pairs])


# -- numbers -----------------------------------------------------------------------

NUMBERS = ["timeout", "connect_timeout", "attempt_timeout", "http_processes",
           "max_in_flight", "max_connections", "min_connections",
           "batch_max", "queue_size",
           "max_answer_size", "verdict_processes", "connection_lifetime",
           "drain_timeout", "detect_reboot", "cseq_restart"]


@pytest.mark.parametrize("value", [-1, -2147483648, 2147483647])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_out_of_range(name, value):
    said = parameters((name, value))
    assert re.search(rf"\b{name}\b.*{value}\b", said)
    low, high = re.search(r"from (\d+) to (\d+)", said).groups()
    assert not int(low) <= value <= int(high)


@pytest.mark.parametrize("name", NUMBERS[:-5])
def test_zero_is_no_number_for(name):
    assert re.search(rf"\b{name} is 0\b", parameters((name, 0)))


@pytest.mark.parametrize("name", NUMBERS)
def test_the_limits_that_are_named_are_the_limits(kamailio, name):
    said = parameters((name, -1))
    low, high = map(int, re.search(r"from (\d+) to (\d+)", said).groups())
    assert f" {low - 1}," in parameters((name, low - 1))
    assert f" {high + 1}," in parameters((name, high + 1))
    # The highest may be more than this machine has memory or processes for.
    kamailio(URL, config=lambda s, url: registrar(
        s, url, params=[param(name, low)]))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_word_where_a_number_belongs(name):
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[param(name, "many")]), cms=URL)
    assert [line for line in lines if "ERROR" in line and name in line]


# -- names -------------------------------------------------------------------------

@pytest.mark.parametrize("value", ["", "device", "contact ", "0"])
def test_an_unknown_identity(value):
    said = parameters(("identity", value))
    assert f'identity is "{value}"' in said
    for known in ("contact", "instance", "aor"):
        assert known in said


@pytest.mark.parametrize("value", ["", "3", "1.0", "2.0", "http2"])
def test_an_unknown_http_version(value):
    said = parameters(("http_version", value))
    assert f'http_version is "{value}"' in said
    for known in ("1.1", "2", "2-prior-knowledge"):
        assert known in said


def test_an_unknown_parameter():
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[param("cms_uri", URL)]), cms=URL)
    assert [line for line in lines if "ERROR" in line and "cms_uri" in line]


# -- cms_url -----------------------------------------------------------------------

def without_url(*urls):
    return complaint(lambda s, _url: registrar(
        s, None, params=[param("cms_url", url) for url in urls]))


def test_no_cms_url():
    said = without_url()
    assert "cms_url" in said and "modparam" in said


@pytest.mark.parametrize("url, why", [
    ("ftp://cms.example/register", "http"),
    ("file:///etc/passwd", "http"),
    ("sip:cms.example", "http"),
    ("cms.example/register", "http"),
    ("/register", "http"),
    ("", ""),
    (" ", ""),
    ("http://", "host"),
    ("http:///register", "host"),
    ("http://cms.example:99999/", ""),
    ("http://cms.example:port/", ""),
    ("http://cms example/", ""),
    ("http://[::1/", ""),
    ("http://cms.example/a b", ""),
    ("http://cms.example/\t", ""),
    ("http://b\u00fccher.example/", "xn--"),
    ("http://b%C3%BCcher.example/", "xn--"),
])
def test_a_url_that_cannot_be_posted_to(url, why):
    said = without_url(url)
    assert "cms_url" in said and why in said


@pytest.mark.parametrize("url", [
    "http://user:s3cret@cms.example/", "https://s3cret@cms.example/",
    "http://:s3cret@cms.example/"])
def test_a_url_with_a_password(url):
    said = without_url(url)
    assert "cms_url" in said
    assert re.search("user|password|credential", said, re.I)


def test_a_password_in_a_url_does_not_reach_the_log():
    lines = fails_to_start(config=lambda s, _url: registrar(
        s, None, params=[param("cms_url", "http://u:s3cret@cms.example/")]))
    assert not [line for line in lines if "s3cret" in line]


def test_the_url_with_the_mistake_is_told_from_the_others():
    assert "2" in without_url(URL, "ftp://cms.example/", URL)


def test_too_many_urls():
    said = without_url(*[URL] * 9)
    assert "cms_url" in said and "8" in said


# -- http_header -------------------------------------------------------------------

@pytest.mark.parametrize("header", [
    "no colon", "", ":", ": value", "Name value:", "Na me: value",
    "X-A:", "X-A:   ", "X-Ä: value"])
def test_a_header_that_is_none(header):
    assert "http_header" in parameters(("http_header", header))


@pytest.mark.parametrize("header", [
    "X-A: 1\r\nX-B: 2", "X-A: 1\n", "X-A: 1\rX-B: 2", "X-A: \x01"],
    ids=ascii)
def test_a_header_with_a_line_break(header):
    said = parameters(("http_header", header))
    assert "http_header" in said and "X-A" in said
    assert re.search("line break|control", said)


@pytest.mark.parametrize("name", [
    "Content-Type", "content-length", "Idempotency-Key", "Host",
    "Transfer-Encoding", "User-Agent", "traceparent"])
def test_a_header_that_is_the_modules_own(name):
    said = parameters(("http_header", f"{name}: value"))
    assert "http_header" in said and name.lower() in said.lower()


def test_a_secret_in_a_header_does_not_reach_the_log():
    lines = fails_to_start(config=lambda s, url: registrar(s, url, params=[
        param("http_header", "Authorization: Bearer s3cret\nX: y")]), cms=URL)
    assert not [line for line in lines if "s3cret" in line]


# -- TLS files ---------------------------------------------------------------------

@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """{name: path}: good ones, and some that are not."""
    folder = tmp_path_factory.mktemp("pki")
    ca = Authority(folder)
    certificate, key = ca.issue("client")
    (folder / "text").write_text("no certificate\n")
    (folder / "empty").write_text("")
    return {"ca": ca.certificate, "certificate": certificate, "key": key,
            "text": str(folder / "text"),
            "empty": str(folder / "empty"), "folder": str(folder),
            "missing": str(folder / "missing")}


@pytest.mark.parametrize("file", ["missing", "folder", "text", "empty"])
@pytest.mark.parametrize("name", ["tls_ca", "tls_cert", "tls_key"])
def test_a_tls_file_that_cannot_be_used(files, name, file):
    good = {"tls_ca": "ca", "tls_cert": "certificate", "tls_key": "key"}
    said = parameters(*((n, files[file if n == name else good[n]])
                        for n in good))
    assert name in said and files[file] in said


@pytest.mark.parametrize("given, missing", [
    ("tls_cert", "tls_key"), ("tls_key", "tls_cert")])
def test_a_certificate_and_its_key_go_together(files, given, missing):
    said = parameters((given, files["certificate" if given == "tls_cert"
                                    else "key"]))
    assert missing in said


# -- body --------------------------------------------------------------------------

@pytest.mark.parametrize("body, position", [
    ('{"a": 1,}', (1, 9)),
    ('{"a": 1', (1, 7)),
    ('{"a" 1}', (1, 6)),
    ('{\n "a": 1,\n "b": x\n}', (3, 7)),
    ('{"a": "$tU"} rest', (1, 17)),
    ("no JSON", (1, 2)),
    ("", None),
])
def test_a_body_that_is_no_json(body, position):
    said = parameters(("body", body))
    assert "body" in said
    if position is not None:
        line, column = map(int, re.search(
            r"line (\d+),? column (\d+)", said).groups())
        assert line == position[0]
        assert abs(column - position[1]) <= 2


@pytest.mark.parametrize("body", ['"$tU"', "5", "null", "true"])
def test_a_body_that_is_no_object_or_array(body):
    assert "body" in parameters(("body", body))


@pytest.mark.parametrize("body, path, text", [
    ('{"a": "$nosuch"}', "a", "$nosuch"),
    ('{"a": {"b": ["x", "$nosuch"]}}', "/a/b/1", "$nosuch"),
    ('{"a": "$(tU{s.nosuch})"}', "a", "nosuch"),
    ('{"a": "$hdr("}', "a", "$hdr("),
    ('{"a": "price: $"}', "a", "$"),
])
def test_a_body_with_an_unknown_pseudo_variable(body, path, text):
    said = parameters(("body", body))
    assert "body" in said and path in said and text in said


def test_a_body_with_an_unknown_name_of_cms():
    lines = fails_to_start(config=lambda s, url: registrar(s, url, params=[
        param("body", '{"a": "$cms(nosuch)"}')]), cms=URL)
    # The pseudo-variable's own line, and the body's.
    name, body = [m[1] for m in map(OURS.search, lines) if m]
    assert "$cms(nosuch)" in name and "$cms(nosuch)" in body


def test_a_body_with_the_same_key_twice():
    said = parameters(("body", '{"a": {"twin": 1, "twin": 2}}'))
    assert "body" in said and "twin" in said


# -- the script and other modules -----------------------------------------------------

def test_a_verdict_route_that_does_not_exist():
    said = complaint(notify=NOTIFY.replace("CMS_VERDICT", "NO_SUCH"))
    assert "NO_SUCH" in said and "route" in said


@pytest.mark.parametrize("call", [
    'cms_notify("location")', 'cms_notify()',
    'cms_notify("location", "CMS_VERDICT", "x")', "cms_is_new()"])
def test_a_call_with_the_wrong_number_of_arguments(call):
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, notify=f"if ({call}) exit;"), cms=URL)
    assert [line for line in lines if "cms_" in line
            and re.search("ERROR|CRITICAL", line)]


@pytest.mark.parametrize("timeout, fr_timer", [
    (4000, 3000), (4000, 4000), (29000, 29000), (1000, 1000)])
def test_a_timeout_that_outlives_the_transaction(timeout, fr_timer):
    said = complaint(params=[param("timeout", timeout),
                             ("tm", "fr_timer", fr_timer)])
    for word in ("timeout", "fr_timer", str(timeout), str(fr_timer)):
        assert word in said


def test_a_timeout_that_a_sip_client_would_not_wait_for():
    said = complaint(params=[param("timeout", 32000),
                             ("tm", "fr_timer", 60000)])
    assert "timeout" in said and "32000" in said


@pytest.mark.parametrize("missing, dependants", [
    ("usrloc", ("registrar", "nathelper")),
    ("registrar", ("path",)),
    ("tm", ("tmx",)),
])
def test_a_module_that_is_not_loaded(missing, dependants):
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, without=(missing, *dependants),
        notify='cms_is_new("location");', verdict="exit;").replace("t_precheck_trans()", "0")
        .replace("t_check_trans();", ""), cms=URL)
    ours = [m[1] for m in map(OURS.search, lines) if m]
    assert len(ours) == 1, "\n".join(lines)
    assert missing in ours[0] and "load" in ours[0]


def test_a_module_that_is_loaded_too_late():
    def config(server, url):
        text = registrar(server, url)
        line = 'loadmodule "cms_notify.so"\n'
        return text.replace(line, "").replace(
            'loadmodule "usrloc.so"', line + 'loadmodule "usrloc.so"')

    said = complaint(config)
    assert "usrloc" in said and "before" in said


def test_the_mistake_is_found_in_the_shipped_configuration_too():
    lines = fails_to_start(settings={"CMS_TIMEOUT": 5000, "FR_TIMER": 5000})
    ours = [m[1] for m in map(OURS.search, lines) if m]
    assert len(ours) == 1 and "fr_timer" in ours[0]


@pytest.mark.parametrize("setting", ["SIP_DOMAINS", "SIP_REALM"])
def test_a_domain_of_digits_without_quotes(setting):
    """Kamailio would start, and answer 404 to all; what to write is said."""
    lines = fails_to_start(settings={setting: 3402000000})
    ours = [m[1] for m in map(OURS.search, lines) if m]
    assert len(ours) == 1 and '#!define SIP_DOMAINS "3402000000"' in ours[0]


@pytest.mark.contract
def test_domains_are_the_same_in_capitals(kamailio, cms):
    """RFC 3261, 19.1.4; in the configuration and on the wire, and one AOR each."""
    server = kamailio(cms, settings={"SIP_DOMAINS": "Example.ORG,Other.example"})
    device, other = server.device(), server.device()
    for device.domain in "example.org", "EXAMPLE.org", "Example.ORG":
        assert device.register().status == 200
    other.domain = "OTHER.example"
    assert other.register().status == 200
    other.domain = "else.example"
    assert other.register().status == 404
    assert [post.json["domain"] for post in server.posts()] == [
        "example.org", "other.example"]


def test_a_domain_of_digits(kamailio, cms):
    """In quotes it is one like any other."""
    server = kamailio(cms, settings={"SIP_DOMAINS": "3402000000"})
    device = server.device()
    device.domain = "3402000000"
    assert device.register().status == 200
    assert server.posts(device)[0].json["aor"] == device.aor


def test_a_shipped_configuration_without_cms_url():
    lines = fails_to_start(settings={"CMS_URL": None})
    ours = [m[1] for m in map(OURS.search, lines) if m]
    assert len(ours) == 1 and "cms_url" in ours[0]


# -- which module --------------------------------------------------------------------

def test_a_module_installed_before_does_not_hide_the_one_built(
        kamailio, cms, tmp_path, monkeypatch):
    """Kamailio's own folder has a cms_notify.so that cannot be loaded."""
    folder = with_a_broken_module(tmp_path / "modules")
    monkeypatch.setitem(environment(), "KAMAILIO_MODULES", str(folder))
    server = kamailio(cms, config=registrar)
    assert str(folder) in server.mpath
    assert server.device().register().status == 200
    assert len(server.posts()) == 1
