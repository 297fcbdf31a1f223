"""The images, run as compose.yaml says: read-only, without capabilities."""

import contextlib
import json
import re
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from containers import TOP, Container, once, podman, unique
from harness import (PASSWORD, REALM, ReferenceCms, Transport, Ua,
                     insert_subscribers, until)

ADDRESS = ("127.0.0.1", 5060)
MEGABYTE = 1000 * 1000


@pytest.fixture
def cms():
    with ReferenceCms() as server:
        yield server


@pytest.fixture
def data():
    name = unique("data")
    podman("volume", "create", name)
    yield name
    podman("volume", "rm", "--force", name)


def folder(volume):
    return Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", volume))


def files(volume):
    """{name: mode} of what is in a volume."""
    return {p.name: oct(p.stat().st_mode & 0o777) for p in folder(volume).iterdir()}


def add_users(volume, names, **kw):
    insert_subscribers(folder(volume) / "kamailio.sqlite", names, **kw)


def add_user(volume, name):
    status, text = once("admin", "kamctl", "add", f"{name}@{REALM}", PASSWORD,
                        data=volume)
    assert status == 0 and "added" in text, text


def device(name="gzj", **kw):
    return contextlib.closing(Ua(ADDRESS, name, **kw))


# -- as a whole ------------------------------------------------------------------

def test_a_device_registers(cms, data):
    """Added by kamctl, challenged, told to the CMS once, shown by kamctl; and
    still known to the container that takes the place of this one."""
    with Container("kamailio", data=data, CMS_URL=cms.url) as server:
        server.ready()
        add_user(data, "gzj")
        with device() as ua, device("cam") as stranger:
            assert stranger.register().status == 401
            assert [ua.register().status for _ in range(2)] == [200, 200]
            assert len(cms.requests) == 1
            shown = server.run("kamctl", "ul", "show", "gzj@telecom.com")
            assert f"sip:gzj@{ua.transport.host_port}" in shown
            server.stop()
            with Container("kamailio", data=data, CMS_URL=cms.url) as other:
                other.ready()
                assert ua.register().status == 200
                assert len(cms.requests) == 1


def test_the_reference_cms_is_told(data):
    """Both services of compose.yaml, with what is set there."""
    with Container("reference-cms") as told, \
            Container("kamailio", data=data) as server:
        server.ready()
        add_user(data, "gzj")
        with device() as ua:
            assert ua.register().status == 200
        assert "gzj" in told.log()


def test_everybody_is_answered_at_the_stop(cms, data):
    """A stop while devices come in: whoever has reached the CMS is answered, and
    so is whoever came before the stop."""
    with Container("kamailio", data=data, CMS_URL=cms.url) as server, \
            contextlib.closing(Transport(ADDRESS)) as way:
        server.ready()
        names = [f"cam{n}" for n in range(3000)]
        add_users(data, names)
        cms.rule(delay=0.5)
        uas = [Ua(user=name, transport=way, contact=f"<sip:{name}@"
                  f"{way.host_port}>") for name in names]
        begun, ended = [], threading.Event()

        def load():
            for ua in uas:
                if ended.wait(0.01):
                    return
                begun.append((time.monotonic(), ua.start_register()))

        thread = threading.Thread(target=load)
        thread.start()
        try:
            cms.wait_until(lambda: cms.count >= 150, 30)
            under_way = cms.in_flight
            stopped = time.monotonic()
            server.stop()
        finally:
            ended.set()
            thread.join()
        assert under_way >= 10
        told = {r.json["username"] for r in cms.requests}
        results = {r.ua.user: (at, r.result and r.result.status) for at, r in begun}
        assert {results[name][1] for name in told} <= {200, 503}
        assert 200 in {results[name][1] for name in told}
        early = [r for at, r in results.values() if at < stopped - 0.5]
        assert early and set(early) <= {200, 503}


def test_what_exec_leaves_behind(cms, data):
    """A process whose parent has gone neither ends the server nor keeps it from its
    end: an interrupted kamctl, for one."""
    with Container("kamailio", data=data, CMS_URL=cms.url) as server:
        server.ready()
        server.run("sh", "-c", "(sleep 1; touch /tmp/gone) >/dev/null 2>&1 &")
        until(lambda: "gone" in server.run("ls", "/tmp"), 30)
        server.run("sh", "-c", "sleep 1000 >/dev/null 2>&1 &")
        add_users(data, ["gzj"])
        with device() as ua:
            assert ua.register().status == 200
            server.stop()
        with contextlib.closing(sqlite3.connect(
                folder(data) / "kamailio.sqlite")) as db:
            assert db.execute("SELECT username FROM location").fetchall() == [
                ("gzj",)]


def test_health(cms, data):
    """Healthy while Kamailio answers; not when it cannot be asked."""
    with Container("kamailio", data=data, CMS_URL=cms.url) as server:
        server.ready()
        server.run("rm", "/run/kamailio/kamailio_ctl")
        assert not server.is_healthy()


# -- settings --------------------------------------------------------------------

def test_settings_come_from_the_environment(cms, data):
    with Container("kamailio", data=data, CMS_URL=cms.url, NODE_NAME='no"de\\1',
                   SIP_DOMAINS="example.com", SIP_REALM="realm", MAX_EXPIRES="77",
                   LISTEN="127.0.0.1:5070", SERVER_HEADER="Server: mine",
                   WITH_OUTBOX="1", CMS_TIMEOUT="") as server:
        server.ready()
        add_users(data, ["gzj"], realm="realm")
        with contextlib.closing(Ua(("127.0.0.1", 5070), "gzj",
                                   domain="example.com")) as ua:
            answer = ua.register()
            assert answer.status == 200
            assert answer.get("Server") == "mine"
        [request] = cms.requests
        assert request.json["node"] == 'no"de\\1'
        assert request.json["contacts"][0]["expires"] == 77
        assert server.rpc("cms_notify.outbox")["state"] == "running"


def test_a_secret_comes_from_a_file(cms, data, tmp_path):
    """It reaches the CMS, and neither a command line nor the engine's own
    description of the container."""
    secret = 'k"e\\y-4711'
    path = tmp_path / "header"
    path.write_text(f"X-Key: {secret}\n")
    tmp_path.chmod(0o755)
    path.chmod(0o644)
    with Container("kamailio", data=data, CMS_URL=cms.url,
                   CMS_HTTP_HEADER_FILE="/run/secrets/header",
                   options=["--volume", f"{path}:/run/secrets/header:ro"]) as server:
        server.ready()
        add_users(data, ["gzj"])
        with device() as ua:
            assert ua.register().status == 200
        assert cms.requests[0].get("X-Key") == secret
        commands = server.run("sh", "-c", "cat /proc/[0-9]*/cmdline")
        assert "kamailio" in commands and "4711" not in commands
        assert "4711" not in podman("inspect", server.name)
        assert "4711" not in server.log()


@pytest.mark.parametrize("environment, complaint", [
    ({"CMS_TIMEOUT": "4 s"}, "CMS_TIMEOUT is a number"),
    ({"NODE_NAME": "a", "NODE_NAME_FILE": "/etc/hostname"},
     "NODE_NAME or NODE_NAME_FILE, not both"),
    ({"NODE_NAME_FILE": "/nowhere"}, "NODE_NAME_FILE: cannot read /nowhere")])
def test_what_cannot_be_taken_is_named(environment, complaint):
    status, text = once("kamailio", **environment)
    assert status == 1
    assert f"entrypoint: {complaint}" in text or complaint in text


def test_sqlite_is_made_where_it_is_used(data):
    """Not for another database; for the owner alone; and never twice."""
    for settings in ({"WITH_PGSQL": "1"}, {"WITH_MYSQL": "1"},
                     {"DB_URL": "postgres://kamailio@127.0.0.1/kamailio"}):
        status, text = once("kamailio", "-c", data=data, **settings)
        assert status == 0 and "config file ok" in text
        assert files(data) == {}
    for _ in range(2):
        assert once("kamailio", "-c", data=data, WITH_PGSQL="0")[0] == 0
        assert files(data) == {"kamailio.sqlite": "0o600",
                               "cms_outbox.sqlite": "0o600"}
        add_users(data, ["gzj"])
    with contextlib.closing(sqlite3.connect(folder(data) / "kamailio.sqlite")) as db:
        assert db.execute("SELECT username FROM subscriber").fetchall() == [("gzj",)]


# -- the image -------------------------------------------------------------------

@pytest.mark.parametrize("command, answer", [
    (["-v"], r"version: kamailio \d"),
    (["kamailio", "-c"], "config file ok"),
    (["sh", "-c", "echo here"], r"^here$"),
    (["kamcmd", "-V"], "kamcmd")])
def test_the_first_argument(command, answer):
    """An option, Kamailio, or any other command."""
    _, text = once("kamailio", *command, options=["--tmpfs", "/var/lib/kamailio"])
    assert re.search(answer, text, re.M), text


@pytest.mark.parametrize("target", ["kamailio", "admin", "reference-cms"])
def test_the_user_is_a_number_and_not_root(target):
    user = podman("image", "inspect", "--format", "{{.Config.User}}",
                  f"localhost/cms-notify-{target}")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)


def test_nothing_can_be_written_but_the_data():
    _, text = once("kamailio", "sh", "-c", """
        for d in / /etc/kamailio /usr/local/bin /run /var/lib; do
            touch "$d/x" 2>/dev/null && echo "written: $d"
        done; grep -E '^(CapEff|CapPrm|CapBnd|NoNewPrivs)' /proc/self/status""")
    assert "written" not in text
    values = dict(line.split(":\t") for line in text.split("\n") if line)
    assert int(values.pop("NoNewPrivs")) == 1
    assert {int(v, 16) for v in values.values()} == {0}


def test_the_image_is_small_and_has_no_clients():
    size = int(podman("image", "inspect", "--format", "{{.Size}}",
                      "localhost/cms-notify-kamailio"))
    print(f"image: {size / MEGABYTE:.0f} MB")
    assert size < 250 * MEGABYTE
    _, text = once("kamailio", "sh", "-c", "type psql mysql mariadb sqlite3 gcc")
    assert text.count("not found") == 5, text


def test_the_labels_agree_with_the_module():
    header = (TOP / "modules" / "cms_notify" / "base.h").read_text()
    version = re.search(r'#define CN_VERSION "(.*)"', header)[1]
    labels = json.loads(podman(
        "image", "inspect", "--format", "{{json .Config.Labels}}",
        "localhost/cms-notify-kamailio"))
    prefix = "org.opencontainers.image."
    assert labels[prefix + "version"] == version
    assert {"title", "description", "licenses"} <= {
        name.removeprefix(prefix) for name in labels}
