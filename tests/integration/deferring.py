"""Servers that defer, and what is in their outbox."""

import contextlib
import functools
import os
import shutil
import sqlite3
import subprocess
import tempfile

import harness
from harness import registrar, shown, until

DEFER = """
	if ($cms(verdict) == "accepted") {
		if (!save("location")) send_reply("500", "Not saved");
		exit;
	}
	if ($cms(verdict) == "rejected") {
		send_reply("403", "Rejected");
		exit;
	}
	if ($cms(verdict) == "deferred") {
		append_to_reply("X-Deferred: 1\\r\\n");
		if (!save("location")) send_reply("500", "Not saved");
		exit;
	}
	append_to_reply("X-Defer-Cause: $cms(cause)\\r\\n");
	send_reply("503", "Unavailable");
	exit;"""


@functools.lru_cache(maxsize=None)
def new_table():
    """Made once per test process."""
    folder = tempfile.TemporaryDirectory(prefix="cms-outbox-")
    subprocess.run(
        [harness.TOP / "scripts" / "database", "sqlite",
         os.path.join(folder.name, "kamailio.sqlite")], check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ,
             "KAMAILIO_SQL": harness.environment()["KAMAILIO_SQL"]})
    return folder, os.path.join(folder.name, "cms_outbox.sqlite")


def table(server):
    return os.path.join(server.folder, "cms_outbox.sqlite")


def url(server):
    """A table of this server's own."""
    if not os.path.exists(table(server)):
        shutil.copyfile(new_table()[1], table(server))
    return f"sqlite:///{table(server)}"


NOTIFY = harness.NOTIFY.replace('"CMS_VERDICT"', '"CMS_VERDICT", "defer"')


def deferring(*params, db=url, more=(), **kw):
    """A configuration that defers; breakers that do not hold a test up."""
    return lambda server, cms: registrar(
        server, cms, notify=NOTIFY, verdict=DEFER, params=[
            ("cms_notify", "outbox_db_url", db(server)),
            ("cms_notify", "breaker_cooldown", 100),
            *[("cms_notify", *p) for p in params], *more], **kw)


def rows(server, where="state < 3"):
    with contextlib.closing(sqlite3.connect(table(server), timeout=10)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(
            f"SELECT * FROM cms_outbox WHERE {where} ORDER BY seq").fetchall()


def is_empty(server):
    state = server.rpc("cms_notify.outbox")
    return (state["database"], state["waiting"]) == ("ready", 0)


def drained(server, timeout=60):
    """Wait until nothing waits in the outbox, and what was told is deleted."""
    until(lambda: is_empty(server), timeout)
    if os.path.exists(table(server)):
        until(lambda: not rows(server, "state IN (0, 2)"), timeout)
    server.settle()


def is_ready(server):
    return server.rpc("cms_notify.outbox")["database"] == "ready"


def defer(server, ua, **kw):
    """A registration that goes to the outbox, once that has its database."""
    until(lambda: is_ready(server))
    answer = ua.register(**kw)
    assert (answer.status, answer.get("X-Deferred")) == (200, "1"), \
        answer.start_line
    return shown(answer)["id"]


LEAVING = ("events", "register,unregister,expire")


def events(cms, ua=None):
    """What the CMS has accepted, in the order in which it came."""
    return [r.json["event"] for r in cms.requests if r.outcome == 200
            and (ua is None or r.json["username"] == ua.user)]


def wait_event(cms, event, timeout=60):
    cms.wait_until(lambda: event in events(cms), timeout)
    return next(r for r in cms.requests if r.json["event"] == event)
