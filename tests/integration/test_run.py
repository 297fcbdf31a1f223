"""make run: the registration flow, live, as an operator sees it."""

import contextlib
import os
import re
import selectors
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "scripts" / "lib"))

from harness import Port, environment, with_a_broken_module  # noqa: E402
from reference_cms import ReferenceCms  # noqa: E402
from sip_ua import Ua  # noqa: E402

ARROW = re.compile(r"(?:--|<-)(\(\d\) .+?) -")
NEW = ["(1) REGISTER", "(2) 401 Unauthorized", "(3) REGISTER",
       "(4) HTTP POST", "(5) HTTP 200 OK", "(6) 200 OK"]
REFRESH = [step for step in NEW if "HTTP" not in step]
# make run is about the installed Kamailio; the tests may be about another.
INSTALLED = subprocess.run(
    [TOP / "scripts" / "kamailio-env", "installed"],
    capture_output=True, text=True).stdout

pytestmark = pytest.mark.skipif(
    os.environ.get("CMS_NOTIFY_MODULE_DIR", "") not in INSTALLED,
    reason="another Kamailio than the installed one is tested")


class Run:
    def __init__(self, data, *args, port=None, **env):
        self.data = data
        self.free = Port()
        self.port = port or self.free.number
        self.output = ""
        self.process = subprocess.Popen(
            [TOP / "scripts" / "run", *args], start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "SIP_PORT": str(self.port),
                 "DATA_DIR": str(data), **env})

    def finish(self, timeout=60):
        out, self.errors = self.process.communicate(timeout=timeout)
        self.output += out
        return self.process.returncode

    def read_until(self, text, timeout=30, count=1):
        """The first line with this text, or a later one; fails if the output ends
        before."""
        os.set_blocking(self.process.stdout.fileno(), False)
        deadline = time.monotonic() + timeout
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while True:
                lines = [line for line in self.output.splitlines()
                         if text in line]
                if len(lines) >= count:
                    return lines[count - 1]
                left = deadline - time.monotonic()
                assert selector.select(left), f"no {text!r} in time"
                data = os.read(self.process.stdout.fileno(), 65536).decode()
                assert data, f"ended: {self.process.stderr.read()}"
                self.output += data

    @property
    def flows(self):
        """The arrows of each ladder, in order."""
        ladders = re.split(r"(?m)^A (?:new|refresh) .*$", self.output)[1:]
        return [ARROW.findall(ladder) for ladder in ladders]

    def processes(self):
        """Ids of the processes that work in the data folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.data) in (entry / "cmdline").read_text():
                    found.append(int(entry.name))
        return found

    def wait_gone(self, timeout=45):
        deadline = time.monotonic() + timeout
        while self.processes():
            assert time.monotonic() < deadline, "processes left behind"
            time.sleep(0.05)


@pytest.fixture
def run(tmp_path):
    runs = []

    def start(*args, data=tmp_path / "data", **kw):
        runs.append(Run(data, *args, **kw))
        return runs[-1]

    yield start
    for one in runs:
        with contextlib.suppress(ProcessLookupError):
            one.process.send_signal(signal.SIGTERM)
        one.process.communicate(timeout=30)
        one.free.close()
        for pid in one.processes():
            os.kill(pid, signal.SIGKILL)


def test_both_flows_are_shown_and_the_second_without_the_cms(run):
    one = run("--once")
    assert one.finish() == 0, one.errors
    assert one.flows == [NEW, REFRESH]
    assert max(map(len, one.output.splitlines())) <= 100


def test_the_messages_shown_are_the_real_ones(run):
    one = run("--once")
    assert one.finish() == 0, one.errors
    logged = (one.data / "cms.log").read_text()
    assert logged.count("\n") == 1 and "INVALID" not in logged
    event_id = re.search(r'"id": "([0-9a-f]{32})"', one.output).group(1)
    assert f'Idempotency-Key: "{event_id}"' in one.output
    for part in ('Authorization: Digest username="gzj", realm="kedacom.com"',
                 'WWW-Authenticate: Digest realm="kedacom.com"',
                 'opaque=', "qop=auth,", ";expires=3600"):
        assert part in one.output
    # a long line goes on in the next one
    assert re.search(r'"aor":[\s|]+"sip:gzj@telecom.com"', one.output)


def test_a_second_start_shows_a_new_registration_again(run):
    for _ in range(2):
        one = run("--once")
        assert one.finish() == 0, one.errors
        assert one.flows == [NEW, REFRESH]


def test_a_registration_left_behind_by_a_kill_is_no_surprise(run):
    one = run()
    one.read_until("until Ctrl-C")
    one.process.kill()
    one.finish()
    one.wait_gone()
    again = run("--once")
    assert again.finish() == 0, again.errors
    assert again.flows == [NEW, REFRESH]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM,
                                    signal.SIGHUP])
def test_a_signal_stops_everything(run, number):
    one = run()
    one.read_until("until Ctrl-C")
    assert len(one.processes()) > 1
    one.process.send_signal(number)
    assert one.finish() == 0, one.errors
    assert one.errors == "" and one.processes() == []


def test_a_signal_during_the_start_stops_everything(run):
    one = run()
    while not (one.data / "kamailio.log").exists():
        time.sleep(0.005)
    one.process.send_signal(signal.SIGTERM)
    assert one.finish() == 0, one.errors
    assert one.processes() == []


def test_every_registration_is_a_line(run):
    one = run()
    one.read_until("until Ctrl-C")
    with Ua(("127.0.0.1", one.port)) as ua:
        assert ua.register().status == 200
        uri = ua.contact.strip("<>")
        line = one.read_until(uri)
        assert "  new  sip:gzj@telecom.com" in line or "moved" in line
        count = 1
        # One that comes while the first is being saved shares its verdict.
        while "  refresh  " not in line:
            assert re.search(r"accepted, HTTP 200  \d+ ms$", line)
            assert ua.register().status == 200
            count += 1
            line = one.read_until(uri, count=count)
        assert f"refresh  sip:gzj@telecom.com  {ua.contact}" in line
        assert one.output.count(uri) == count


@pytest.mark.parametrize("label, answer", [
    ("status", "accepted"), ("trouble", '"id"')])
def test_the_commands_shown_work(run, label, answer):
    one = run()
    command = one.read_until(label).split(None, 1)[1]
    one.read_until("until Ctrl-C")
    done = subprocess.run(["bash", "-c", command], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0 and answer in done.stdout


def parent(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^PPid:\s+(\d+)", status, re.M)[1])


def test_a_kamailio_that_dies_is_reported_with_its_log(run):
    one = run()
    one.read_until("until Ctrl-C")
    main, = [pid for pid in one.processes() if parent(pid) == one.process.pid
             and "kamailio" in Path(f"/proc/{pid}/comm").read_text()]
    os.kill(main, signal.SIGKILL)
    assert one.finish() == 1
    assert "Kamailio has ended" in one.errors and "kamailio.log" in one.errors
    assert one.processes() == []


def test_a_kamailio_that_does_not_start_is_reported_with_its_log(run, tmp_path):
    assert run("--once").finish() == 0
    with contextlib.closing(sqlite3.connect(
            tmp_path / "data" / "kamailio.sqlite")) as database, database:
        database.execute("UPDATE version SET table_version = 1"
                         " WHERE table_name = 'location'")
    one = run("--once")
    assert one.finish() == 1
    assert one.errors.startswith("run: Kamailio has ended; the end of")
    assert "version" in one.errors and len(one.errors.splitlines()) < 20
    assert one.processes() == []


@pytest.mark.parametrize("kind, name", [(socket.SOCK_DGRAM, "UDP"),
                                        (socket.SOCK_STREAM, "TCP")])
def test_a_busy_port_is_one_clear_line(run, kind, name):
    with contextlib.closing(Port()) as free, \
            socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", free.number))
        if kind == socket.SOCK_STREAM:
            sock.listen()
        port = free.number
        one = run(port=port)
        assert one.finish() == 1
    assert one.errors == (f"run: {name} port {port} on 127.0.0.1: Address "
                          "already in use; SIP_PORT= chooses another\n")


@pytest.mark.parametrize("env, words", [
    ({"SIP_PORT": "70000"}, "SIP_PORT=70000"),
    ({"SIP_PORT": "x"}, "SIP_PORT=x"),
    ({"CMS_URL": "ftp://x/"}, "CMS_URL"),
    ({"CMS_URL": "http://operator:secret@x/"}, "password"),
    ({"CMS_URL": "http://x/\"\n#!define X"}, "CMS_URL"),
    ({"DATA_DIR": "/proc/here"}, "DATA_DIR=/proc/here"),
    ({"DATA_DIR": "/tmp/a b"}, "DATA_DIR=/tmp/a b"),
    ({"DATA_DIR": "/tmp/" + "x" * 100}, "too long"),
], ids=str)
def test_a_setting_that_cannot_be_is_one_clear_line(run, env, words):
    one = run("--once", **{k: v for k, v in env.items() if k == "CMS_URL"},
              **({"data": env["DATA_DIR"]} if "DATA_DIR" in env else {}),
              **({"port": env["SIP_PORT"]} if "SIP_PORT" in env else {}))
    assert one.finish() == 1
    assert len(one.errors.splitlines()) == 1 and words in one.errors
    assert one.output == "" and "secret" not in one.errors


def test_a_data_folder_in_use_is_one_clear_line(run):
    one = run()
    one.read_until("until Ctrl-C")
    other = run("--once")
    assert other.finish() == 1
    assert "in use by another run" in other.errors
    assert one.process.poll() is None


def test_the_operators_cms_is_asked_instead(run):
    with ReferenceCms() as cms:
        one = run("--once", CMS_URL=cms.url)
        assert one.finish() == 0, one.errors
        assert [r.errors for r in cms.requests] == [[]]
        event = cms.requests[0].json
    assert one.flows == [[*NEW[:4], "(5) HTTP 200", NEW[5]], REFRESH]
    assert event["id"] in one.output


def test_an_operators_cms_that_refuses_is_shown(run):
    with ReferenceCms() as cms:
        cms.refuse("gzj")
        one = run("--once", CMS_URL=cms.url)
        assert one.finish() == 1
    assert one.flows == [[*NEW[:4], "(5) HTTP 403",
                          "(6) 403 Refused by the CMS"]]


def test_what_the_data_folder_holds_is_for_its_owner_alone(run):
    one = run("--once")
    assert one.finish() == 0, one.errors
    for path in [one.data, *one.data.iterdir()]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_module_installed_before_does_not_hide_the_one_built(run, tmp_path):
    """Kamailio's own folder has a cms_notify.so that cannot be loaded."""
    folder = with_a_broken_module(tmp_path / "modules")
    kamailio = tmp_path / "bin" / "kamailio"
    kamailio.parent.mkdir()
    kamailio.write_text(
        f"#!/bin/sh\nexec {environment()['KAMAILIO']} \"$@\" |\n"
        f"sed 's|\\(Default paths to modules:\\).*|\\1 {folder}|'\n")
    kamailio.chmod(0o755)
    one = run("--once", PATH=f"{kamailio.parent}:{os.environ['PATH']}")
    assert one.finish() == 0, one.errors
    assert str(folder) in (one.data / "kamailio-local.cfg").read_text()
    assert one.flows == [NEW, REFRESH]


def test_nothing_outside_the_data_folder_is_changed(run):
    folders = [Path(name) for name in (
        "/run/kamailio", "/var/lib/kamailio", "/etc/kamailio")]

    def state():
        return {str(path): path.lstat().st_mtime_ns
                for folder in folders for path in [folder, *folder.rglob("*")]
                if path.exists()}

    before = state()
    one = run("--once")
    assert one.finish() == 0, one.errors
    assert state() == before
