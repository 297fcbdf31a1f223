"""The CMS can tell our POST from anybody's: it is signed, and the secrets are files."""

import base64
import hashlib
import hmac
import http.client
import os
import re
import shutil
import subprocess
import time

import pytest

import webhook
from deferring import deferring, drained
from harness import (TOP, ReferenceCms, RpcError, fails_to_start, registrar, shown,
                     until)
from pki import Authority
from reloading import NOTICED, Load, replace, replace_and_wait, unauthenticated

KEY = bytes(range(32))
NEW_KEY = b"another key, of 32 bytes, random"
TOKEN = "Bearer 7d1e4c3f8a5b"
DOCUMENT = (TOP / "modules" / "cms_notify" / "doc" / "cms.md").read_text(
    encoding="utf-8")


def text_of(key):
    return "whsec_" + base64.b64encode(key).decode()


@pytest.fixture
def secret(tmp_path):
    """secret(name, text): a file that only its owner and group can read."""
    def write(name, text):
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o640)
        return str(path)

    return write


@pytest.fixture
def key_file(secret):
    return secret("key", text_of(KEY) + "\n")


def signed_by(request, *keys):
    """Are the signatures those of these keys, in this order? Not by what the
    reference CMS does it with."""
    parts = [request.get("webhook-id"), request.get("webhook-timestamp")]
    signed = ".".join(parts).encode() + b"." + request.body
    return request.get("webhook-signature").split(" ") == [
        "v1," + base64.b64encode(hmac.new(
            key, signed, hashlib.sha256).digest()).decode() for key in keys]


# -- signatures ----------------------------------------------------------------

def test_a_post_is_signed(kamailio, cms, key_file):
    server = kamailio(cms, settings={"CMS_SIGN_KEY_FILE": key_file})
    cms.sign_keys = [KEY]
    before = int(time.time() - 0.1)  # time(2) may be a clock tick behind
    assert server.device().register().status == 200
    [request] = server.posts()
    assert signed_by(request, KEY)
    assert request.get("webhook-id") == request.json["id"]
    assert before <= int(request.get("webhook-timestamp")) <= time.time()
    assert request.errors == []


def test_nothing_is_signed_without_a_key(kamailio, cms):
    server = kamailio(cms)
    assert server.device().register().status == 200
    [request] = server.posts()
    assert not [n for n, _v in request.headers if n.lower().startswith("webhook")]


def test_two_keys_at_a_time(kamailio, cms, key_file, secret):
    """The CMS may know the old one or the new one."""
    server = kamailio(cms, settings={
        "CMS_SIGN_KEY_FILE": key_file,
        "CMS_SIGN_KEY_FILE_2": secret("new", text_of(NEW_KEY))})
    for keys in ([KEY], [NEW_KEY], [KEY, NEW_KEY]):
        cms.sign_keys = keys
        assert server.device().register().status == 200
    assert all(signed_by(r, KEY, NEW_KEY) for r in server.posts())


def test_the_wrong_key_is_refused(kamailio, cms, key_file):
    server = kamailio(cms, settings={"CMS_SIGN_KEY_FILE": key_file})
    cms.sign_keys = [NEW_KEY]
    assert server.device().register().status == 403
    assert server.posts()[0].outcome == 401


def test_each_attempt_is_signed(kamailio, cms, key_file):
    """Also at the next endpoint."""
    with ReferenceCms() as second:
        server = kamailio(cms, config=lambda s, url: registrar(
            s, url, params=[("cms_notify", "cms_url", second.url),
                            ("cms_notify", "sign_key_file", key_file)]))
        cms.rule(status=500)
        second.sign_keys = [KEY]
        assert server.device().register().status == 200
        attempts = [cms.requests[0], second.requests[0]]
        assert all(signed_by(r, KEY) for r in attempts)
        assert len({r.get("webhook-id") for r in attempts}) == 1


def test_what_waited_is_signed_when_it_is_sent(kamailio, cms, key_file):
    """The outbox's deliveries, and bindings that are told again."""
    server = kamailio(cms, config=deferring(
        ("sign_key_file", key_file)))
    cms.rule(status=503)
    device = server.device()
    assert device.register().status == 200
    first = cms.requests[0]
    # a second later it has another time, and the first signature is not its;
    # time(2) may be a clock tick behind
    time.sleep(1.1 - time.time() % 1.0)
    cms.sign_keys = [KEY]
    cms.clear_rules()
    drained(server)
    delivered = server.posts()[-1]
    assert delivered.get("webhook-id") == first.get("webhook-id")
    assert int(delivered.get("webhook-timestamp")) \
        > int(first.get("webhook-timestamp"))
    assert signed_by(delivered, KEY) and delivered.outcome == 200
    cms.clear()
    server.rpc("cms_notify.resync")
    [snapshot] = cms.wait(1)
    assert snapshot.json["event"] == "snapshot" and signed_by(snapshot, KEY)


# -- headers from files ----------------------------------------------------------

def test_a_headers_value_comes_from_a_file(kamailio, cms, secret):
    path = secret("token", TOKEN + "\nsecond line\n")
    server = kamailio(cms, settings={
        "CMS_HTTP_HEADER_FROM": f"Authorization: {path}"})
    assert server.device().register().status == 200
    assert server.posts()[0].get("Authorization") == TOKEN


# -- read again --------------------------------------------------------------------

@pytest.mark.parametrize("way", ["rpc", "by itself"])
def test_a_key_is_exchanged_without_a_gap(kamailio, cms, key_file, way):
    server = kamailio(cms, settings={"CMS_SIGN_KEY_FILE": key_file,
                                     "CMS_HTTP_PROCESSES": 2})
    cms.sign_keys = [KEY]
    assert server.device().register().status == 200
    if way == "rpc":
        replace(key_file, text_of(NEW_KEY))
        assert server.rpc("cms_notify.reload") == {"reloads": 1}
    else:
        replace_and_wait(server, key_file, text_of(NEW_KEY))
    cms.sign_keys = [NEW_KEY]
    for _ in range(8):
        assert server.device().register().status == 200
    assert all(signed_by(r, NEW_KEY) for r in server.posts()[1:])


def test_a_token_changes_under_load(kamailio, cms, secret):
    """POSTs that are under way end, and none fails."""
    path = secret("token", "Bearer 0")
    server = kamailio(cms, config=unauthenticated(
        ("http_header_file", f"Authorization: {path}")))
    with Load(server) as load:
        for number in range(1, 6):
            load.more(100)
            replace(path, f"Bearer {number}")
            server.rpc("cms_notify.reload")
        load.more(100)
    assert set(load.statuses) == {200}
    tokens = [r.get("Authorization") for r in server.posts()]
    assert set(tokens) == {f"Bearer {n}" for n in range(6)}
    assert all(r.outcome == 200 for r in cms.requests)
    # the connections of before are closed
    assert len({r.connection for r in cms.requests}) > 6
    until(lambda: cms.open_connections <= 64)


def test_what_is_under_way_ends_as_it_began(kamailio, cms, secret):
    """A POST that the CMS holds keeps its connection; a new one has the new
    value at once."""
    path = secret("token", "Bearer old")
    server = kamailio(cms, config=unauthenticated(
        ("http_header_file", f"Authorization: {path}")))
    cms.rule(hold=True, times=1)
    held = server.device().start_register()
    cms.wait_until(lambda: cms.held == 1)
    for number in range(12):
        replace(path, f"Bearer {number}")
        server.rpc("cms_notify.reload")
        assert server.device().register().status == 200
        assert cms.requests[-1].get("Authorization") == f"Bearer {number}"
    cms.release()
    assert held.wait().status == 200
    # its connection goes with it
    until(lambda: cms.open_connections <= 2)


@pytest.fixture
def pki(tmp_path):
    return Authority(tmp_path)


def test_a_certificate_changes(kamailio, pki):
    """The one by which the CMS knows us."""
    folder = pki.folder
    pair = pki.issue("cms", "IP:127.0.0.1")
    for name in ("first", "second"):
        pki.issue(name)
    mine = [shutil.copy(f"{folder}/first.{end}", f"{folder}/mine.{end}")
            for end in ("pem", "key")]
    seen = []
    with ReferenceCms(tls_cert=pair[0], tls_key=pair[1],
                      tls_client_ca=pki.certificate, on_request=lambda r:
                      seen.append(r.peer)) as cms:
        server = kamailio(cms, config=unauthenticated(
            ("tls_ca", pki.certificate), ("tls_cert", mine[0]),
            ("tls_key", mine[1])))
        server.allow_errors("stay as they were")
        with Load(server, 4) as load:
            load.more(20)
            # one after the other: in between they do not go together
            os.replace(f"{folder}/second.key", mine[1])
            with pytest.raises(RpcError, match="do not belong together"):
                server.rpc("cms_notify.reload")
            load.more(20)
            assert set(seen) == {"first"}
            os.replace(f"{folder}/second.pem", mine[0])
            server.wait_log(NOTICED)
            count = len(seen)
            load.more(40)
        assert set(load.statuses) == {200}
        assert set(seen[count + 4:]) == {"second"}
        # nor is what is wrong used for a new connection
        replace(mine[1], "-----BEGIN PRIVATE KEY-----\n")
        server.wait_log("tls_key cannot be read")
        cms.stop()
        cms.start()
        assert server.device().register().status == 200


def test_another_authority(kamailio, pki, tmp_path):
    """The CMS has a certificate that another authority has signed."""
    other = Authority(tmp_path, "other")
    trusted = shutil.copy(pki.certificate, tmp_path / "trusted.pem")
    pair = pki.issue("cms", "IP:127.0.0.1")
    with ReferenceCms(tls_cert=pair[0], tls_key=pair[1]) as cms:
        server = kamailio(cms, config=unauthenticated(("tls_ca", str(trusted))))
        assert server.device().register().status == 200
        replace(str(trusted), open(other.certificate, encoding="ascii").read())
        server.rpc("cms_notify.reload")
        response = server.device().register()
        assert response.status == 503 and shown(response)["cause"] == "tls"
        replace(str(trusted), "".join(
            open(a.certificate, encoding="ascii").read() for a in (other, pki)))
        server.rpc("cms_notify.reload")
        assert server.device().register().status == 200


def test_a_wrong_file_changes_nothing(kamailio, cms, key_file, secret, pki):
    """It is told: by the command, and in the log, once. What is right again is
    in force."""
    certificate, key = pki.issue("me")
    token = secret("token", "Bearer 1")
    server = kamailio(cms, config=unauthenticated(
        ("sign_key_file", key_file), ("tls_cert", certificate),
        ("tls_key", key), ("http_header_file", f"Authorization: {token}")))
    server.allow_errors("stay as they were")
    cms.sign_keys = [KEY]
    for path, text, fault in (
            (key_file, "hush", "sign_key_file must be one line"),
            (token, "\n", "http_header_file is empty"),
            (certificate, "hush", "tls_cert is not a PEM file"),
            (key, "-----BEGIN PRIVATE KEY-----\nhush\n", "tls_key cannot be read")):
        good = open(path, encoding="ascii").read()
        since = len(server.lines)
        replace(path, text)
        with pytest.raises(RpcError, match=fault) as refusal:
            server.rpc("cms_notify.reload")
        server.wait_log(f"ERROR: cms_notify.*{fault}.* stay as they were",
                        since=since)
        assert server.device().register().status == 200
        assert cms.requests[-1].get("Authorization") == "Bearer 1"
        since = len(server.lines)
        replace(path, good)
        server.wait_log(NOTICED, since=since)
        assert "hush" not in str(refusal.value) + "".join(server.lines)
    assert len(server.log("stay as they were")) == 4


# -- secrets stay secret -----------------------------------------------------------

def test_a_secret_is_shown_nowhere(kamailio, cms, key_file, secret):
    """Neither by the log at its most talkative nor by a command that shows what is
    defined."""
    server = kamailio(cms, settings={
        "CMS_SIGN_KEY_FILE": key_file, "LOG_LEVEL": 4,
        "CMS_HTTP_HEADER_FROM": "Authorization: " + secret("token", TOKEN)})
    assert server.device().register().status == 200
    shown = "\n".join([*server.lines, server.kamcmd("core.ppdefines_full"),
                       *(str(server.rpc(f"cms_notify.{name}")) for name in (
                           "status", "endpoints", "parked"))])
    assert key_file in shown
    for part in (text_of(KEY)[6:40], TOKEN[7:]):
        assert part not in shown


@pytest.mark.parametrize("text, fault", [
    (None, "sign_key_file cannot be read: No such file"),
    ("", "sign_key_file is empty"),
    ("secret", "must be one line, whsec_ and the key in base64"),
    ("whsec_s*cret==", "must be one line, whsec_ and the key in base64"),
    (text_of(KEY) + "\n" + text_of(KEY), "must be one line"),
    (text_of(b"s" * 23), "has a key of 23 bytes, must be from 24 to 64"),
    (text_of(b"s" * 65), "has a key of 65 bytes, must be from 24 to 64")])
def test_a_wrong_key_is_told_at_the_start(secret, tmp_path, text, fault):
    path = str(tmp_path / "none") if text is None else secret("key", text)
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "sign_key_file", path)]))
    assert [line for line in lines if re.search(f"ERROR.*{fault}", line)]
    assert not text or not [line for line in lines if text in line]


@pytest.mark.parametrize("name, value, fault", [
    ("sign_key_file", text_of(KEY), "sign_key_file number 1 is no path"),
    ("http_header_file", "Authorization: s3cret",
     "http_header_file Authorization: no path"),
    ("http_header_file", "s3cret", "http_header_file number 1 is not of the form"),
    ("http_header_file", "Host: /etc/passwd", "Host is set by the module"),
    ("http_header_file", "X-A: /nowhere", "http_header_file cannot be read"),
    ("http_header", "Webhook-Id: x", "webhook-id is set by the module")])
def test_a_secret_in_the_place_of_its_file(name, value, fault):
    """It is refused, and not shown."""
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", name, value)]))
    assert [line for line in lines if re.search(f"ERROR.*{fault}", line)]
    assert not [line for line in lines if "s3cret" in line
                or text_of(KEY)[6:] in line]


@pytest.mark.parametrize("name, text, fault", [
    ("sign_key_file", None, "cannot be read: No such file or directory"),
    pytest.param("sign_key_file", "x" * 9000, "is too long, more than 8191 bytes",
                 id="too long"),
    ("sign_key_file", "hush", "must be one line, whsec_ and the key in base64"),
    ("http_header_file", "\x01", "the first line has a control character"),
    ("tls_ca", "hush", "is not a PEM file with a CERTIFICATE"),
    ("tls_ca", "-----BEGIN CERTIFICATE-----", "cannot be read, it is broken"),
    ("settings_file", "timeout = 30000", "or fr_timer to at least 30500"),
    ("settings_file", "connection_lifetime = 0\nsqlite_busy_timeout = 1",
     "set it by modparam.. and restart"),
    ("settings_file", "cms_url = http://hush@cms", "use http_header for cred")])
def test_what_is_wrong_is_said_first(
        kamailio, cms, pki, tmp_path, name, text, fault):
    """However long the file's name is: an RPC command shows 127 characters."""
    folder = tmp_path / ("long" * 50)
    folder.mkdir()
    path = folder / "file"
    path.write_text({
        "sign_key_file": text_of(KEY), "http_header_file": "Bearer 1",
        "tls_ca": open(pki.certificate, encoding="ascii").read(),
        "settings_file": "timeout = 2000\n"}[name])
    path.chmod(0o640)
    server = kamailio(cms, config=unauthenticated((
        name, f"X-A: {path}" if name == "http_header_file" else str(path))))
    server.allow_errors("stay as they were")
    if text is None:
        path.unlink()
    else:
        replace(str(path), text)
    with pytest.raises(RpcError, match=f"{name}.*{fault}|timeout.*{fault}"):
        server.rpc("cms_notify.reload")


def test_more_than_two_keys_are_refused(key_file):
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "sign_key_file", key_file)] * 3))
    assert [line for line in lines if "sign_key_file: at most 2" in line]


# -- the reference CMS -------------------------------------------------------------

def post(cms, body, **headers):
    client = http.client.HTTPConnection(cms.host, cms.port, timeout=30)
    client.request("POST", cms.path, body, {
        name.replace("_", "-"): value for name, value in headers.items()})
    status = client.getresponse().status
    client.close()
    return status


def signed_post(cms, age=0, key=KEY, body=b"{}", sent=b"{}", prefix=""):
    when = str(int(time.time()) - age)
    return post(cms, sent, webhook_id="x", webhook_timestamp=when,
                webhook_signature=prefix + webhook.signature(key, "x", when, body))


def test_the_reference_cms_verifies():
    with ReferenceCms(validate=False, sign_keys=[NEW_KEY, KEY]) as cms:
        assert signed_post(cms) == 200
        assert signed_post(cms, prefix="v1,AAAA v2,x ") == 200
        assert signed_post(cms, age=200) == 200
        assert signed_post(cms, age=-200) == 200
        assert signed_post(cms, age=400) == 401
        assert signed_post(cms, age=-400) == 401
        assert signed_post(cms, key=b"x" * 32) == 401
        assert signed_post(cms, sent=b"{ }") == 401
        assert post(cms, b"{}") == 401
        assert post(cms, b"{}", webhook_id="x", webhook_signature="v1,",
                    webhook_timestamp="\xb9") == 401
        # whatever else it is told to do
        cms.rule(status=200)
        assert signed_post(cms, age=400) == 401


def test_the_reference_cms_reads_a_key(key_file, secret):
    assert webhook.read_key(key_file) == KEY
    for text in ("", "whsec_*", base64.b64encode(KEY).decode()):
        with pytest.raises(ValueError):
            webhook.read_key(secret("wrong", text))


# -- what the CMS's programmers are shown -------------------------------------------

# {language: (file, command, what is put around the code); {code} is the code. It
# gets a folder with what came, and prints true or false.
PYTHON = """{code}

import sys
read = lambda name: open(sys.argv[1] + "/" + name, "rb").read()
names = ("webhook-id", "webhook-timestamp", "webhook-signature")
print(str(is_genuine({n: read(n).decode() for n in names}, read("body"),
                     read("secret").decode())).lower())
"""
JAVASCRIPT = """{code}
const read = (name) => require("node:fs").readFileSync(process.argv[2] + "/" + name);
const headers = {};
for (const name of ["webhook-id", "webhook-timestamp", "webhook-signature"])
  headers[name] = read(name).toString();
console.log(isGenuine(headers, read("body"), read("secret").toString()));
"""
PHP = """<?php
{code}
$headers = [];
foreach (['webhook-id', 'webhook-timestamp', 'webhook-signature'] as $name)
    $headers[$name] = file_get_contents("$argv[1]/$name");
echo json_encode(is_genuine($headers, file_get_contents("$argv[1]/body"),
    file_get_contents("$argv[1]/secret")));
"""
JAVA = """{code}
class Main {
    static byte[] read(String folder, String name) throws java.io.IOException {
        return java.nio.file.Files.readAllBytes(java.nio.file.Path.of(folder, name));
    }
    public static void main(String[] args) throws Exception {
        Map<String, String> headers = new java.util.HashMap<>();
        for (String name : new String[] {"webhook-id", "webhook-timestamp",
                "webhook-signature"})
            headers.put(name, new String(read(args[0], name), UTF_8));
        System.out.println(Webhook.isGenuine(headers, read(args[0], "body"),
                new String(read(args[0], "secret"), UTF_8)));
    }
}
"""
GO = """{code}

func read(name string) []byte {
	bytes, err := os.ReadFile(os.Args[1] + "/" + name)
	if err != nil {
		panic(err)
	}
	return bytes
}

func main() {
	header := http.Header{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		header.Set(name, string(read(name)))
	}
	fmt.Println(isGenuine(header, read("body"), string(read("secret"))))
}
"""
LANGUAGES = {
    "python": ("is_genuine.py", ["/usr/bin/python3"], PYTHON),
    "javascript": ("is_genuine.js", ["node"], JAVASCRIPT),
    "php": ("is_genuine.php", ["php"], PHP),
    "java": ("Main.java", ["java", "-cp"], JAVA),
    "go": ("main.go", ["go", "run"], GO),
}


def shown_code(language):
    return re.search(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.S | re.M)[1]


def program(language, folder):
    """The command that runs what is shown in this language."""
    name, command, around = LANGUAGES[language]
    code = shown_code(language)
    if language == "go":
        code = code.replace('import (', 'import (\n\t"fmt"\n\t"os"', 1)
    (folder / name).write_text(around.replace("{code}", code))
    if language == "java":
        subprocess.run(["javac", "-d", folder, folder / name], check=True)
        return [*command, folder, "Main"]
    return [*command, folder / name]


def genuine(command, folder, id_, when, signatures, body, key=KEY):
    values = {"webhook-id": id_, "webhook-timestamp": when,
              "webhook-signature": signatures, "secret": text_of(key)}
    for name, value in values.items():
        (folder / name).write_text(value)
    (folder / "body").write_bytes(body)
    done = subprocess.run(
        [*command, folder], check=True, capture_output=True, text=True,
        timeout=60, env={**os.environ, "GOCACHE": str(folder / "cache")})
    return {"true": True, "false": False}[done.stdout.strip()]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_code_shown_works(kamailio, cms, key_file, tmp_path, language):
    tool = "javac" if language == "java" else LANGUAGES[language][1][0]
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    server = kamailio(cms, settings={"CMS_SIGN_KEY_FILE": key_file})
    assert server.device().register().status == 200
    [request] = server.posts()
    folder = tmp_path / language
    folder.mkdir()
    command = program(language, folder)
    real = [request.get(f"webhook-{name}") for name in (
        "id", "timestamp", "signature")] + [request.body]
    assert genuine(command, folder, *real)
    for keys, age, expected in (([NEW_KEY, KEY], 0, True), ([NEW_KEY], 0, False),
                                ([KEY], 400, False), ([KEY], -400, False)):
        when = str(int(time.time()) - age)
        signatures = " ".join(webhook.signature(key, "a", when, b"\xff\0x")
                              for key in keys)
        assert genuine(command, folder, "a", when, signatures,
                       b"\xff\0x") == expected
    assert not genuine(command, folder, *real[:3], real[3] + b" ")
    assert not genuine(command, folder, "b", *real[1:])
    for when, signatures in (("", real[2]), (real[1], ""), ("x", real[2]),
                             (real[1], "v1,\u00e9"), (real[1], real[2][3:])):
        assert not genuine(command, folder, real[0], when, signatures, real[3])


def test_five_languages_are_shown():
    assert {shown for shown in re.findall(r"^```(\w+)$", DOCUMENT, re.M)} \
        == set(LANGUAGES)
