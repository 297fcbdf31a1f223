"""doc/off-line.md: each command of the page, in the situation that its section is
about, prints what is shown there."""

import re

import pytest

from deferring import is_ready
from deferring import url as outbox_url
from harness import TOP, until
from test_docs import CHINESE, MODULE, OFF_LINE, blocks, operator

PAGE = OFF_LINE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"(?:\A#|^##) ([^\n]*)\n(.*?)(?=^## |\Z)", PAGE,
                           re.S | re.M))
# What is different each time. Everything else is as it is shown.
VARIES = {"time", "times", "id", "ms", "source", "port", "contact", "expires",
          "expires_s", "heard_s", "url", "last_ms", "age_s", "attempts"}
NOWHERE = ("198.51.100.7:5060", "127.0.0.1:9")  # on the page, here
QUESTIONS = ("Password:", "Again:")  # on a terminal


def commands(block):
    """[(command, lines shown below it)]"""
    found = []
    for line in block.splitlines():
        if line.startswith("# "):
            found.append((line[2:], []))
        elif line.strip() not in ("", *QUESTIONS):
            found[-1][1].append(line.strip())
    return found


def is_like(shown, printed):
    name = re.match(r"(\w+):", shown)
    if name and name[1] in VARIES:
        return printed.startswith(name[0])
    return printed.split() == shown.split()


def is_as_shown(shown, printed):
    """Line by line; "..." stands for any number of them."""
    if not shown:
        return not printed
    if shown[0] == "...":
        return any(is_as_shown(shown[1:], printed[n:])
                   for n in range(len(printed) + 1))
    return bool(printed) and is_like(shown[0], printed[0]) \
        and is_as_shown(shown[1:], printed[1:])


def log_line(shown):
    """As a regular expression."""
    line = re.escape(shown.removeprefix("... "))
    line = re.sub(r"\b(ms|id|contact)=\S+", r"\1=\\S+", line)
    return re.sub(r"192\\\.0\\\.2\\\.\d+:5060", r"\\S+", line)


def check(server, run, command, shown):
    if command.startswith("journalctl -u kamailio --grep "):
        line = server.wait_log(log_line(*shown))
        assert command.split()[-1] in line
        return
    if not shown:  # its output is shown further down, or there is none
        run(command)
        return
    printed = []

    def is_right():
        printed[:] = [line.strip() for line in run(command.replace(*NOWHERE))
                      if line.strip()]
        return is_as_shown(shown, printed)

    try:
        until(is_right)
    except TimeoutError:
        raise AssertionError(f"{command}\n" + "\n".join(printed)) from None


# Situations: each `yield` is for one block of the section.

def nothing_special(start, cms):
    yield start()


def wrong_password(start, cms):
    server = start()
    camera = server.device("door")
    camera.password = "wrong"
    for _ in range(2):
        assert camera.register().status == 401
    yield server
    yield server  # the block that sets the right one
    camera.password = "123456"
    assert camera.register().status == 200


def refused(start, cms):
    server = start()
    cms.refuse("gate", "not in the list of devices")
    assert server.device("gate").register().status == 403
    yield server


def no_answer(start, cms):
    server = start(CMS_TIMEOUT=1000)
    cms.rule(hold=True)
    assert server.device("yard").register().status == 503
    yield server


def not_known(start, cms):
    server = start(WITH_DEFER=1, CMS_OUTBOX_DB_URL=outbox_url)
    until(lambda: is_ready(server))
    cms.stop()
    assert server.device("shed").register().status == 200
    yield server
    cms.refuse("shed")
    cms.start()
    yield server
    cms.clear_rules()
    yield server
    cms.wait_until(lambda: any(r.outcome == 200 for r in cms.requests))
    yield server
    cms.wait_until(lambda: cms.requests[-1].json["event"] == "snapshot")


def not_reached(start, cms):
    # The CMS has 2 s, and the camera that nobody reaches 2.5 s.
    server = start(CMS_TIMEOUT=2000, FR_TIMER=2500)
    camera = server.device("roof")
    until(lambda: camera.register(
        contacts=f"<sip:roof@{NOWHERE[1]}>").status == 200)
    yield server


def left(start, cms):
    server = start()
    assert server.device("hall").register(expires=1).status == 200
    yield server


SITUATIONS = {
    "Why is camera X off line?": nothing_special,
    "This server refuses it": wrong_password,
    "The CMS refuses it": refused,
    "The CMS does not answer": no_answer,
    "The CMS does not know it": not_known,
    "It is registered, but nobody reaches it": not_reached,
    "It left": left,
    "Nothing is known": nothing_special,
}


def test_each_section_has_a_situation():
    assert list(SECTIONS) == list(SITUATIONS)


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_commands_print_what_is_shown(kamailio, cms, name):
    servers = []

    def start(**settings):
        def config(server, _):
            found = {key: value(server) if callable(value) else value
                     for key, value in settings.items()}
            server.configure(settings=found)
            return (TOP / "kamailio.cfg").read_text(encoding="utf-8")

        servers.append(kamailio(cms, config=config))
        servers[0].shipped = True  # its devices are subscribers
        return servers[0]

    situation = SITUATIONS[name](start, cms)
    shown = blocks(SECTIONS[name], "")
    assert shown
    for block in shown:
        server = next(situation)
        for command, lines in commands(block):
            check(server, operator(server), command, lines)
    assert next(situation, None) is None


@pytest.mark.parametrize("page", [OFF_LINE, CHINESE / "README.md"],
                         ids=["English", "Chinese"])
def test_the_page_has_every_reason(page):
    """For which this server refuses a REGISTER."""
    script = (TOP / "kamailio.cfg").read_text(encoding="utf-8")
    code = "".join(path.read_text(encoding="utf-8")
                   for path in MODULE.glob("*.c"))
    reasons = set(re.findall(r'cms_step\("([^"$]+)"', script))
    reasons |= set(re.findall(r'refused = "([^"]+)"', code))
    reasons |= set(re.findall(r'step_refuse\(msg, ev, "([^"]+)"', code))
    assert {"wrong password", "too many contacts", "too large"} <= reasons
    shown = re.findall(r"^\| `([^`]+)` \|", page.read_text(encoding="utf-8"),
                       re.M)
    assert not reasons - set(shown)


def test_the_page_has_every_step():
    names = re.findall(r'X\(\w+, "(\w+)"\)', (
        MODULE / "base_history.h").read_text(encoding="utf-8"))
    assert "expired" in names
    table = PAGE[:PAGE.index("\n## ")]
    assert not [n for n in names if f"`{n}`" not in table and n != "query"]


def test_links_within_the_page():
    anchors = {re.sub(r"[^\w -]", "", name).lower().replace(" ", "-")
               for name in SECTIONS}
    links = set(re.findall(r"\]\(#([^)]+)\)", PAGE))
    assert len(links) > 5 and links <= anchors
