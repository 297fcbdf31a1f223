"""The documentation says what is so: its commands run, its examples work, its
numbers are the module's."""

import html
import json
import os
import re
import subprocess
from pathlib import Path

import jsonschema
import pytest

import cms_schema
from deferring import deferring, drained
from deferring import url as outbox_url
from harness import (DOMAIN, HOST, PASSWORD, TOP, ReferenceCms, environment,
                     fails_to_start, registrar)

MODULE = TOP / "modules" / "cms_notify"
README = (TOP / "README.md").read_text(encoding="utf-8")
ADMIN = (MODULE / "doc" / "cms_notify_admin.xml").read_text(encoding="utf-8")
CHINESE = MODULE / "doc" / "zh"
OFF_LINE = MODULE / "doc" / "off-line.md"  # its commands: test_off_line.py
PAGES = [TOP / "README.md", TOP / "tests" / "README.md", OFF_LINE,
         MODULE / "DESIGN.md", *sorted(CHINESE.glob("*.md"))]
# What operators read.
TEXTS = README + "".join(page.read_text(encoding="utf-8")
                         for page in (OFF_LINE, *sorted(CHINESE.glob("*.md"))))
SHOWN_COMMAND = re.compile(r"^# (kam(?:ctl|cmd|ailio-subscriber) .*)$")
QUESTIONS = ("Password", "Again")  # on a terminal


def section(name):
    """What the docbook says below an id."""
    start = ADMIN.index(f'<section id="cms_notify.{name}">')
    return ADMIN[start:ADMIN.index("</section>", start)]


def listings(text):
    """The code in a piece of docbook."""
    for code in re.findall(r"<programlisting[^>]*>(.*?)</programlisting>",
                           text, re.S):
        cdata = re.fullmatch(r"<!\[CDATA\[(.*)\]\]>", code, re.S)
        yield (cdata[1] if cdata else html.unescape(code)).strip("\n")


def example(title):
    start = ADMIN.index(f"<title>{title}</title>")
    return next(listings(ADMIN[start:]))


def words(xml):
    """A paragraph as it is read."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", xml)).split())


def blocks(markdown, kind=r"\w*"):
    """The code in a page; kind: what stands behind its first ```."""
    return [code for tag, code in re.findall(r"^```(\w*)\n(.*?)^```$", markdown,
                                             re.S | re.M)
            if re.fullmatch(kind, tag)]


def commands_with_output(text):
    """[(command, lines shown below it)]"""
    found = []
    for line in text.splitlines():
        command = SHOWN_COMMAND.match(line)
        if command:
            found.append((command[1], []))
        elif found:
            found[-1][1].append(line.strip())
    return found


def names(lines):
    """What is named in output: its fields, or whole lines without any."""
    found = []
    for line in lines:
        field = re.match(r'"?([\w:]+) = |"?(\w[\w -]*)"?:', line)
        if field:
            found.append(field[1] or field[2])
        elif re.search(r"\w", line):
            found.append(line)
    return found


# -- README.md ---------------------------------------------------------------

@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(TOP)))
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [t for t in targets
               if "://" not in t and not (page.parent / t).exists()]
    assert not missing


def test_targets_of_make_exist():
    makefile = (TOP / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w.-]+):", makefile, re.M))
    code = "\n".join(blocks(TEXTS) + re.findall(r"`([^`\n]+)`", TEXTS))
    named = set(re.findall(r"\bmake ([a-z][\w.-]*)", code))
    assert {"run", "test", "install"} <= named
    assert named <= targets


def test_scripts_exist():
    named = set(re.findall(r"\bscripts/[a-z-]+", TEXTS))
    assert "scripts/database" in named
    assert not [n for n in named if not os.access(TOP / n, os.X_OK)]


def test_settings_exist():
    known = "\n".join(path.read_text(encoding="utf-8") for path in (
        TOP / "kamailio.cfg", TOP / "Makefile", TOP / "scripts" / "run",
        *(TOP / "scripts" / "etc").iterdir()))
    named = set(re.findall(r"\b[A-Z]+_[A-Z_0-9]*[A-Z0-9]\b", TEXTS))
    assert "SIP_REALM" in named
    assert not [n for n in named
                if n not in ("CMS_VERDICT", "WITH_AUTH")  # of the stock's
                and not re.search(rf"\b{n}\b|\b{n.removesuffix('_FILE')}\b", known)]


def without_remarks(code):
    return re.sub(r"\s+# .*", "", code)


def test_the_chinese_readme_has_the_commands_of_readme():
    """Those are run here and in tests/rooms; quickstart.md and operations.md are run
    in tests/rooms/zh."""
    run = {without_remarks(code) for code in blocks(README)}
    shown = blocks((CHINESE / "README.md").read_text(encoding="utf-8"), "")
    assert len(shown) > 4
    assert not [code for code in shown if without_remarks(code) not in run]


def block(start):
    """README's block that begins like this."""
    return next(b for b in blocks(README) if b.startswith(start))


def the_lines(url):
    return block('loadmodule "cms_notify.so"').replace(
        "http://127.0.0.1:8080/register", url).splitlines()


def without_cms_notify(server, **kw):
    """(settings, script) of a registrar that has nothing of the module."""
    text = registrar(server, None, **kw)
    text = re.sub(r'^.*"cms_notify(\.so)?".*\n', "", text, flags=re.M)
    text = re.sub(r"^route\[\w+\] \{.*?^\}\n", "", text, flags=re.S | re.M)
    start = text.index("request_route {")
    return text[:start], text[start:]


def with_the_lines(server, url):
    """README's lines where it says that they go."""
    lines = the_lines(url)
    head, script = without_cms_notify(
        server, notify=lines[2] + '\nsave("location");\nexit;')
    return "\n".join([head, *lines[:2], script, *lines[3:], ""])


def test_the_lines_work(kamailio, cms):
    assert len(the_lines("")) == 6
    server = kamailio(cms, config=with_the_lines)
    device = server.device()
    assert device.register().status == 200
    assert device.register().status == 200
    assert len(server.posts()) == 1
    refused = server.device()
    cms.refuse(refused.user)
    assert refused.register().status == 403
    cms.stop()
    response = server.device().register()
    assert response.status == 503
    assert int(response.get("Retry-After")) > 0


def test_the_lines_answer_when_nothing_can_be_queued(kamailio, cms):
    def config(server, url):
        params = "".join(f'modparam("cms_notify", "{name}", 1)\n'
                         for name in ("queue_size", "http_processes",
                                      "max_connections"))
        return with_the_lines(server, url).replace(
            "request_route {", params + "request_route {")

    server = kamailio(cms, config=config)
    cms.rule(hold=True)
    waiting = [server.device().start_register() for _ in range(2)]
    cms.wait_until(lambda: cms.held == 1)
    while server.status()["parked"] < 2:
        pass
    response = server.device().register()
    assert response.status == 503
    assert int(response.get("Retry-After")) > 0
    assert server.status()["busy"] == 1
    cms.clear_rules()
    cms.release()
    assert [w.wait().status for w in waiting] == [200, 200]


def operator(server):
    """A function that runs kamctl, kamcmd or kamailio-subscriber for a server, and
    returns the lines that it prints."""
    rc = (TOP / "scripts" / "etc" / "kamctlrc").read_text(encoding="utf-8")
    rc = rc.replace("/var/lib/kamailio", server.folder)
    server.write(".kamctlrc", rc.replace("/run/kamailio", server.folder))

    def run(command):
        if command.startswith("kamcmd "):
            command = (f"{server.env['KAMCMD']} -s "
                       f"unix:{server.folder}/kamailio_ctl {command[7:]}")
        command = command.replace("kamailio-subscriber",
                                  str(TOP / "scripts" / "subscriber"))
        done = subprocess.run(command.split(), cwd=server.folder, timeout=30,
                              capture_output=True, text=True, input=PASSWORD,
                              env={**os.environ, "HOME": server.folder})
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return run


STOCK_SETTINGS = """#!KAMAILIO
#!define WITH_AUTH
#!define DBURL "sqlite:///{server.database}"
mpath="{server.mpath}"
listen=udp:{HOST}:{server.port}
listen=tcp:{HOST}:{server.port}
loadmodule "db_sqlite.so"
"""
STOCK_SOCKETS = """
modparam("ctl", "binrpc", "unix:{server.folder}/kamailio_ctl")
modparam("jsonrpcs", "fifo_name", "{server.folder}/kamailio_rpc.fifo")
modparam("jsonrpcs", "dgram_socket", "{server.folder}/kamailio_rpc.sock")
"""


def stock(server, url):
    """Kamailio's stock configuration, with authentication and README's lines."""
    tree = Path(server.env["CMS_NOTIFY_MODULE_DIR"], "tree")
    text = (tree / "etc" / "kamailio.cfg").read_text(encoding="utf-8")
    head, script = text.split("request_route {")
    lines = the_lines(url)
    route = script.index("route[REGISTRAR]")
    place = script.index('if (!save("location"))', route)
    script = script[:place] + lines[2] + "\n" + script[place:]
    extra = "".join((STOCK_SETTINGS, "{head}", STOCK_SOCKETS)).format(
        server=server, HOST=HOST, head=head)
    return "\n".join([extra, *lines[:2], "request_route {" + script, *lines[3:],
                      block('modparam("auth_db"')])


def test_the_lines_work_in_the_stock_configuration(kamailio, cms):
    """With subscribers that our kamctl has made."""
    server = kamailio(cms, config=stock)
    run = operator(server)
    for name in ("gzj", "gate", "door"):
        run(f"kamctl add {name}@{HOST} {PASSWORD}")
    device, refused, late, stranger = [
        server.device(name) for name in ("gzj", "gate", "door", "gzj")]
    for ua in (device, refused, late, stranger):
        ua.domain = f"{HOST}:{server.port}"
    stranger.password = "wrong"
    assert [device.register().status for _ in range(2)] == [200, 200]
    assert stranger.register().status == 401
    assert len(server.posts()) == 1
    cms.refuse("gate")
    assert refused.register().status == 403
    cms.stop()
    response = late.register()
    assert response.status == 503
    assert int(response.get("Retry-After")) > 0


@pytest.fixture
def kamctl(kamailio, cms):
    """A running server, and what operator() returns."""
    server = kamailio(cms)
    return server, operator(server)


def test_commands_print_what_is_shown(kamctl):
    server, run = kamctl
    shown = [c for b in blocks(README) for c in commands_with_output(b)]
    assert len(shown) >= 8
    for command, lines in shown:
        if command.startswith("kamctl ul show"):
            device = server.device("gzj", uri="sip:kedacom.com")
            assert device.register().status == 200
        printed = names([line.strip() for line in run(command)])
        missing = [n for n in names(lines) if n not in (*printed, *QUESTIONS)]
        assert not missing, command


def test_every_rpc_command_named_exists(kamailio, cms):
    server = kamailio(cms)
    known = server.rpc("system.listMethods")
    pages = [*PAGES, MODULE / "README", *(TOP / "scripts" / "etc").iterdir()]
    named = {m for page in pages for m in re.findall(
        r"kam(?:cmd|ctl rpc) (\w+\.\w+)", page.read_text(encoding="utf-8"))}
    assert "cms_notify.parked" in named
    assert named <= set(known)


# -- the module's docbook ------------------------------------------------------

def parameters():
    """{name: (default, range)}, as the C code has them."""
    conf = "".join((MODULE / name).read_text(encoding="utf-8")
                   for name in ("base_conf.c", "base_limits.h", "base_limits.c"))
    table = (MODULE / "cms_notify_mod.c").read_text(encoding="utf-8")
    for name, value in re.findall(r"#define (\w+) (\d+)$", conf, re.M):
        conf = re.sub(rf"\b{name}\b", value, conf)
    start = conf.index("struct cn_conf cn_conf = {")
    defaults = dict(re.findall(r'\.(\w+) = "?([^",{}]+)"?[,}]',
                               conf[start:conf.index("};", start)]))
    ranges = {name: (low, high) for name, low, high in re.findall(
        r'[{(]"(\w+)",\s*&?[\w.]+,\s*(\d+),\s*(\d+)[})]', conf)}
    found = {}
    for name, kind, field in re.findall(
            r'\{"(\w+)",\s*(\w*PARAM\w*)[^,]*,\s*(?:\(void \*\))?&?'
            r'(?:cn_conf\.(?:limits\.)?)?(\w+)\}', table):
        otherwise = "0" if kind == "PARAM_INT" else "none"
        found[name] = (defaults.get(field, otherwise), ranges.get(name))
    return found


@pytest.mark.parametrize("name", sorted(parameters()))
def test_a_parameter_is_documented_as_it_is(name):
    default, limits = parameters()[name]
    text = section(f"p.{name}")
    assert re.search(r"Default value is <quote>([^<]*)</quote>",
                     text)[1] == default
    if limits and limits != ("0", "1"):
        assert "{} to {}".format(*limits) in words(text)
    assert f'modparam("cms_notify", "{name}", ' in "".join(listings(text))


def test_parameters_were_found():
    found = parameters()
    assert len(found) > 18
    assert found["timeout"] == ("4000", ("100", "30000"))
    assert found["drain_timeout"] == ("3000", ("0", "30000"))
    assert found["identity"] == ("contact", None)
    assert found["detect_reboot"] == ("0", ("0", "1"))


@pytest.mark.parametrize("name", ["status", "endpoints", "parked"])
def test_rpc_output_is_as_shown(kamailio, cms, name):
    server = kamailio(cms)
    cms.rule(hold=True)
    waiting = server.device().start_register()
    cms.wait_until(lambda: cms.held == 1)
    listing = "\n".join(listings(section(f"r.{name}")))
    [(command, lines)] = commands_with_output(listing)
    printed = server.kamcmd(*command.split()[1:]).splitlines()
    assert set(names(lines)) == set(names([p.strip() for p in printed]))
    cms.release()
    assert waiting.wait().status == 200


def test_the_script_example_works(kamailio, cms):
    """Digest by auth_db, the way of a REGISTER, and each verdict."""
    code = example("<function>cms_notify</function> usage")
    code = re.sub(r"^\s*\.\.\.\n|^\s*\.\.\.$", "", code, flags=re.M)
    params, routes = code.split("request_route", 1)

    def config(server, url):
        head, _ = without_cms_notify(server, modules=("auth", "auth_db"))
        return (head + 'loadmodule "cms_notify.so"\n'
                f'modparam("auth_db", "db_url", "sqlite:///{server.database}")\n'
                'modparam("auth_db", "calculate_ha1", 0)\n'
                + params.replace("http://127.0.0.1:8080/register", url)
                + "request_route" + routes.replace(
                    'if (is_method("REGISTER"))',
                    'if (is_method("OPTIONS")) '
                    '{ sl_send_reply("200", "OK"); exit; }\n'
                    'if (is_method("REGISTER"))'))

    server = kamailio(cms, config=config)
    # there the domain is the realm
    server.add_subscribers(["gzj", "gate", "door"], realm=DOMAIN)
    device = server.device("gzj")
    assert [device.register().status for _ in range(2)] == [200, 200]
    assert server.device("gzj", auth_user="gate").register().status == 403
    assert len(server.posts()) == 1
    cms.refuse("gate")
    assert server.device("gate").register().status == 403
    cms.stop()
    response = server.device("door").register()
    assert response.status == 503
    assert int(response.get("Retry-After")) > 0


def test_the_script_example_with_an_outbox_works(kamailio, cms):
    """A device is served while the CMS is away, which learns of it later."""
    code = example("<function>cms_notify</function> usage, with an outbox")
    param, notify, route = [
        part for part in re.split(r"^\.\.\.\n?", code, flags=re.M) if part]
    usage = example("<function>cms_notify</function> usage")
    later = "route[RETRY_LATER]" + usage.split("route[RETRY_LATER]")[1]

    def config(server, url):
        text = registrar(
            server, url, notify='if (!is_method("REGISTER")) exit;\n'
            + notify + 'save("location"); exit;',
            routes=later.replace("...", ""), params=[
                ("cms_notify", "timeout", 5000),
                ("cms_notify", "breaker_cooldown", 100)])
        verdict = text.index("route[CMS_VERDICT] {")
        end = text.index("\n}", verdict) + 3
        text = text[:verdict] + route + text[end:]
        set_up = re.sub("sqlite:[^\"]*", outbox_url(server), param)
        return text.replace("request_route {", set_up + "request_route {")

    server = kamailio(cms, config=config)
    device = server.device()
    cms.stop()
    assert [device.register().status for _ in range(2)] == [200, 200]
    cms.start()
    drained(server)
    assert len(server.posts()) == 1
    refused = server.device()
    cms.refuse(refused.user)
    assert refused.register().status == 403


def test_the_kemi_example_works(kamailio, cms):
    code = example("KEMI usage, Lua")
    preload = re.search(r"modparam\(.*\)", code)[0]

    def config(server, url):
        path = server.write("example.lua", code + """
function ksr_request_route()
    if KSR.is_method("REGISTER") then
        registrar()
    else
        KSR.sl.sl_send_reply(200, "OK")
    end
end
""")
        text = registrar(server, url, modules=("app_lua",),
                         params=[("app_lua", "load", path)])
        return (text[:text.index("request_route {")] + preload
                + '\ncfgengine "lua"\n')

    server = kamailio(cms, config=config)
    device = server.device()
    assert [device.register().status for _ in range(2)] == [200, 200]
    assert len(server.posts()) == 1
    refused = server.device()
    cms.refuse(refused.user)
    assert refused.register().status == 403
    cms.stop()
    response = server.device().register()
    assert response.status == 503
    assert int(response.get("Retry-After")) > 0


# -- the CMS interface ---------------------------------------------------------

def test_the_post_shown_is_of_the_published_interface():
    post = next(p for p in listings(ADMIN) if p.startswith("POST "))
    head, body = post.split("\n\n", 1)
    headers = [line.split(": ", 1) for line in head.splitlines()[1:]]
    assert cms_schema.Checker().errors(headers, body.encode()) == []


def test_the_chinese_readme_shows_the_same_post():
    post = next(p for p in listings(ADMIN) if p.startswith("POST "))
    page = (CHINESE / "README.md").read_text(encoding="utf-8")
    [shown] = blocks(page, "json")
    assert json.loads(shown) == json.loads(post.split("\n\n", 1)[1])


def test_the_post_shown_has_the_headers_that_are_sent(kamailio, cms):
    post = next(p for p in listings(ADMIN) if p.startswith("POST "))
    head = post.split("\n\n", 1)[0].splitlines()[1:]
    server = kamailio(cms)
    assert server.device().register().status == 200
    [request] = server.posts()
    sent = {name for name, _ in request.headers} - {"Content-Length"}
    assert {line.split(":")[0] for line in head} == sent
    agent = next(line for line in head if line.startswith("User-Agent"))
    assert agent == f"User-Agent: {request.get('User-Agent')}"


def test_examples_of_the_published_interface_are_valid():
    document = json.loads((MODULE / "doc" / "cms-api.json").read_text())
    checked = 0

    def walk(value):
        nonlocal checked
        if isinstance(value, list):
            for item in value:
                walk(item)
        if not isinstance(value, dict):
            return
        schema = value.get("schema", value)
        for shown in [*value.get("examples", []),
                      *([value["example"]] if "example" in value else [])]:
            jsonschema.Draft202012Validator(
                {"components": document["components"], **schema}
            ).validate(shown)
            checked += 1
        for item in value.values():
            walk(item)

    walk(document)
    assert checked >= 2


def test_the_template_shown_gives_the_body_shown(kamailio):
    code = example("A template, and what it becomes")
    template, body = code.split("\n\n")
    template = re.fullmatch(r'modparam\("cms_notify", "body", \'(.*)\'\)',
                            template, re.S)[1]
    with ReferenceCms(validate=False) as cms:
        server = kamailio(cms, config=lambda s, url: registrar(
            s, url, params=[("cms_notify", "body", template)]))
        device = server.device("gzj")
        assert device.register().status == 200
        [request] = server.posts()
        host, port = device.transport.local
        expected = body.replace("172.16.163.3", host).replace("7000", str(port))
        assert json.loads(request.body) == json.loads(expected)


@pytest.mark.parametrize("number, template",
                         enumerate(['{"a": }', '{"a": "$foo(x)"}']))
def test_mistakes_in_a_template_are_reported_as_shown(number, template):
    shown = re.split(r"^(?=body: )", example("Mistakes in a template"),
                     flags=re.M)[1:]
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "body", template)]))
    assert any(" ".join(shown[number].split()) in line for line in lines)


def test_a_dead_cms_is_logged_as_shown(kamailio, cms):
    start = ADMIN.index("<title>The CMS Does Not Answer</title>")
    shown = next(listings(ADMIN[start:]))
    down, up = [re.sub(r"\d+", r"\\d+", re.escape(" ".join(part.split())))
                for part in re.split(r"^NOTICE: cms_notify: ", shown,
                                     flags=re.M)[1:]]
    # libcurl's words, which change with its version
    down, text = re.subn(r"\\\(.*\\\)", r"\\(\\S.*\\)", down)
    assert text == 1
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "breaker_failures", 1),
                        ("cms_notify", "breaker_cooldown", 10)]))
    cms.stop()
    assert server.device().register().status == 503
    server.wait_log("NOTICE: cms_notify.*" + down)
    cms.start()
    while server.device().register().status == 503:
        pass
    server.wait_log("NOTICE: cms_notify.*" + up)


def test_the_processes_are_called_as_documented(kamailio, cms):
    server = kamailio(cms, config=deferring(("verdict_processes", 1),
                                            ("alive_timeout", 60)))
    named = re.findall(r"<quote>(cms_notify \w+)</quote>",
                       section("processes"))
    assert len(named) == 4
    assert all(server.pids(name) for name in named)


def test_the_interface_in_words_covers_every_cause():
    policy = (MODULE / "base_policy.h").read_text(encoding="utf-8")
    causes = re.findall(r"^\tX\((\w+), [01],", policy, re.M)
    assert "too_big" in causes
    assert re.findall(r"<term>(\w+)</term>", section("causes")) == causes


def test_the_environment_is_the_one_documented():
    page = (TOP / "tests" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) >= set(environment())


def test_addresses_in_the_examples_are_nobodys():
    """Documentation names (RFC 2606, 5737) and the loopback only."""
    urls = re.findall(r"https?://([\w.-]+)", README + "".join(listings(ADMIN)))
    assert urls
    assert not [u for u in urls
                if u not in (HOST, "www.kamailio.org")
                and not u.endswith("example.com")]


def test_each_promise_has_the_tests_that_are_named():
    page = (MODULE / "doc" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    assert len(named) > 20
    tests = "".join(path.read_text(encoding="utf-8")
                    for path in (TOP / "tests").rglob("test_*.py"))
    assert not {name for name in named if f"def {name}(" not in tests}
