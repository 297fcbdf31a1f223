"""What an operator sets, sees and does."""

import contextlib
import os
import re
import shutil
import sqlite3
import time

import pytest

import harness
from deferring import (
    DEFER, NOTIFY, defer, deferring, drained, new_table, rows, table, url)
from harness import registrar, until

pytestmark = pytest.mark.contract


def test_without_outbox():
    """Without outbox_db_url nothing can be deferred, and the start says so."""
    lines = harness.fails_to_start(config=lambda s, u: registrar(
        s, u, notify=NOTIFY, verdict=DEFER))
    assert any("the option defer needs an outbox" in line for line in lines)


@pytest.mark.parametrize("options", ["deffer", "defer,now", "defer now"])
def test_options_that_do_not_exist(options):
    """An option that does not exist is refused at the start."""
    lines = harness.fails_to_start(config=deferring(
        more=[], **{"before": f'if (0) cms_notify("location", "CMS_VERDICT",'
                              f' "{options}");'}))
    assert any("there is no option" in line for line in lines)


@pytest.mark.parametrize("params, said", [
    ([("outbox_table", "no such;table")], "outbox_table is"),
    ([("outbox_max", 0)], "outbox_max is 0, must be from 1"),
    ([("outbox_max_age", 0)], "outbox_max_age is 0, must be from 1"),
    ([("node", "n" * 65)], "must have at most 64"),
])
def test_bad_settings(params, said):
    """Kamailio does not start with settings that make no sense."""
    lines = harness.fails_to_start(config=deferring(*params))
    assert any(said in line for line in lines)


def test_outbox_shown(cms, kamailio):
    """cms_notify.outbox says what waits, since when, and what is dead."""
    server = kamailio(cms, config=deferring())
    state = server.rpc("cms_notify.outbox")
    assert (state["state"], state["waiting"], state["dead"],
            state["dead_letters"]) == ("running", 0, 0, [])
    cms.stop()
    began = time.monotonic()
    bad = [server.device() for _ in range(3)]
    ids = [defer(server, ua) for ua in bad]
    defer(server, server.device())
    state = server.rpc("cms_notify.outbox")
    assert (state["waiting"], state["dead"]) == (4, 0)
    assert 0 <= state["oldest_s"] <= time.monotonic() - began
    assert 0 <= state["next_try_ms"] <= 10000
    for ua in bad:
        cms.refuse(ua.aor)
    cms.start()
    drained(server)
    # those are listed a moment later
    until(lambda: len(server.rpc("cms_notify.outbox")["dead_letters"]) == 3)
    state = server.rpc("cms_notify.outbox", 2)
    assert (state["waiting"], state["dead"]) == (0, 3)
    assert len(state["dead_letters"]) == 2
    letter = next(d for d in server.rpc("cms_notify.outbox")["dead_letters"]
                  if d["id"] == ids[0])
    assert (letter["event"], letter["reason"], letter["status"],
            letter["why"]) == ("register", "new", 403, "refused")
    assert letter["aor"] == bad[0].aor.removeprefix("sip:")
    assert ids[0] in server.kamcmd("cms_notify.outbox")


def test_dead_letters_oldest_first(cms, kamailio):
    """As many as one asks for are the oldest ones."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ids = [defer(server, server.device()) for _ in range(8)]
    cms.rule(status=403)
    cms.start()
    drained(server)

    def listed(*most):
        return [letter["id"] for letter in
                server.rpc("cms_notify.outbox", *most)["dead_letters"]]

    until(lambda: len(listed()) == len(ids))
    assert listed() == ids
    assert listed(3) == ids[:3]


def test_an_aor_is_text(cms, kamailio):
    """Whatever a device calls itself: it does not write to the terminal of
    who lists dead letters."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    ua = server.device("cam\x1bc\x9b2j\xe4")
    defer(server, ua)
    cms.rule(status=403)
    cms.start()
    drained(server)
    until(lambda: server.rpc("cms_notify.outbox")["dead_letters"])
    letter, = server.rpc("cms_notify.outbox")["dead_letters"]
    named = "cam\\x1bc\\xc2\\x9b2j\xe4@telecom.com"
    assert letter["aor"] == named
    assert named in server.kamcmd("cms_notify.outbox")
    server.rpc("cms_notify.resync", ua.aor.removeprefix("sip:"))
    assert named in server.kamcmd("cms_notify.status")


def test_pause(cms, kamailio):
    """While it is paused nothing leaves the outbox; registrations go on."""
    server = kamailio(cms, config=deferring())
    cms.stop()
    event = defer(server, server.device())
    assert server.rpc("cms_notify.pause") == {"state": "paused"}
    # whoever looks after the outbox has looked after it since; what was under
    # way is finished
    defer(server, server.device())
    server.settle()
    cms.start()
    until(lambda: not server.device().register().get("X-Deferred"))
    time.sleep(1)  # longer than any back-off by now
    assert event not in [r.json["id"] for r in cms.requests]
    assert server.rpc("cms_notify.outbox")["state"] == "paused"
    waiting = server.status()["outbox"]
    assert waiting == len(rows(server)) >= 1
    server.rpc("cms_notify.resume")
    drained(server)
    assert event in [r.json["id"] for r in cms.requests]


@pytest.mark.parametrize("command", [
    "outbox", "replay", "pause", "resume", "resync"])
def test_commands_without_outbox(cms, kamailio, command):
    """Without an outbox its commands say so."""
    server = kamailio(cms, config=lambda s, u: registrar(s, u))
    with pytest.raises(harness.RpcError, match="no outbox"):
        server.rpc("cms_notify." + command)


@pytest.mark.parametrize("argument", [0, -1, 101, "many"])
def test_outbox_refuses_nonsense(cms, kamailio, argument):
    """A number of dead letters that makes no sense is refused."""
    server = kamailio(cms, config=deferring())
    server.allow_errors("jsonrpcs|binrpc|ctl ")
    with pytest.raises(harness.RpcError):
        server.rpc("cms_notify.outbox", argument)
    assert server.rpc("cms_notify.outbox")["waiting"] == 0


@pytest.mark.parametrize("statement", [
    "DELETE FROM version WHERE table_name = 'cms_outbox'",
    "UPDATE version SET table_version = 1 WHERE table_name = 'cms_outbox'",
    "UPDATE version SET table_version = 3 WHERE table_name = 'cms_outbox'",
    "DROP TABLE cms_outbox"])
def test_a_table_of_another_version(cms, kamailio, statement):
    """A table that the server does not know: the log says what to do, who is
    accepted is served, and nothing is deferred. Once it is mended it is used."""
    def db(server):
        where = url(server)
        with contextlib.closing(sqlite3.connect(table(server))) as base:
            base.execute(statement)
            base.commit()
        return where
    server = kamailio(cms, config=deferring(db=db))
    server.allow_errors("db_", "srdb1", "cannot be used", "no such table",
                        "the outbox cannot use")
    server.wait_log("outbox cannot use its database")
    until(lambda: server.rpc("cms_notify.outbox")["database"] == "away")
    assert server.device().register().status == 200
    cms.stop()
    answer = server.device().register()
    assert (answer.status, answer.get("X-Defer-Cause")) == (503, "outbox")
    shutil.copyfile(new_table()[1], table(server) + ".new")
    os.rename(table(server) + ".new", table(server))
    until(lambda: server.rpc("cms_notify.outbox")["database"] == "ready")
    defer(server, server.device())
    cms.start()
    drained(server)


def test_the_creation_scripts_agree():
    """Each database gets the same columns, indexes and version."""
    seen = set()
    for engine in ("sqlite", "postgres", "mysql"):
        text = (harness.TOP / "modules" / "cms_notify" / "db" / engine
                / "cms_notify-create.sql").read_text().replace("`", "")
        columns = re.findall(r"^    (\w+) [A-Z]", text, re.M)
        indexes = re.findall(r"(\w+_idx ON cms_outbox) \(([^)]*)\)",
                             text)
        version = re.search(r"values \('cms_outbox','(\d+)'\)", text)
        seen.add((tuple(c for c in columns if c != "CONSTRAINT"),
                  tuple(indexes), version[1]))
    assert len(seen) == 1
    (columns, indexes, _version), = seen
    assert len(columns) == 14 and len(indexes) == 1
