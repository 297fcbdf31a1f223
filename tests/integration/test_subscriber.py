"""kamailio-subscriber: who may register, and nobody sees with which password."""

import contextlib
import os
import pty
import re
import shlex
import sqlite3
import subprocess

import pytest

from harness import DOMAIN, HOST, REALM, TOP, Ua, ha1
from mysql import Mysql
from postgres import Postgres

SCRIPT = TOP / "scripts" / "subscriber"
DB_PASSWORD = "db-secret"
PASSWORD = "pa ss'w\\rd$\"x"
# What means something to a shell, to SQL, to one of the databases, or to nobody.
NAMES = ["gate", "x'); DELETE FROM subscriber; --", "back\\slash'", 'q"q  %_',
         "$(id)`id`", "-n", "摄像头", "a@b"]

# Notes what a process shows to others, then becomes the program of its name.
WATCH = """#!/bin/sh
cat /proc/$$/cmdline /proc/$$/environ >>"{seen}"
PATH=$(printf %s "$PATH" | sed "s|^[^:]*:||") exec "${{0##*/}}" "$@"
"""
PROGRAMS = ("cut", "md5sum", "mysql", "od", "psql", "sqlite3", "tr")


class Engine:
    """A database, how kamctlrc names it, and what is in it."""

    def __init__(self, query, text, **settings):
        self._query, self._text = query, text
        self.settings = settings

    def rows(self):
        """{(user, realm): (password, HA1)}"""
        columns = ", ".join(self._text.format(name) for name in (
            "username", "domain", "password", "ha1"))
        rows = [[bytes.fromhex(value).decode() for value in row] for row in
                self._query(f"SELECT {columns} FROM subscriber")]
        return {(row[0], row[1]): (row[2], row[3]) for row in rows}


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "kamailio.sqlite"
    subprocess.run([TOP / "scripts" / "database", "sqlite", path], check=True,
                   stdout=subprocess.DEVNULL)

    def query(text):
        with contextlib.closing(sqlite3.connect(path)) as db:
            return db.execute(text).fetchall()

    return Engine(query, "hex({})", DBENGINE="SQLITE", DB_PATH=path)


@pytest.fixture(scope="module")
def pgsql():
    with Postgres() as server:
        yield Engine(server.sql, "encode(convert_to({}, 'UTF8'), 'hex')",
                     DBENGINE="PGSQL", DBHOST=HOST, DBPORT=server.port,
                     DBRWPW=DB_PASSWORD)


@pytest.fixture(scope="module")
def mysql(tmp_path_factory):
    options = tmp_path_factory.mktemp("mysql") / "my.cnf"
    with Mysql(DB_PASSWORD) as server:
        options.write_text(f"[client]\nhost={HOST}\nport={server.port}\n"
                           f"user=kamailio\npassword={DB_PASSWORD}\n")
        subprocess.run(
            [TOP / "scripts" / "database", "mysql"], check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "MYSQL_OPTION_FILE": str(options)})
        yield Engine(
            lambda text: [line.split("\t") for line in server.sql(
                f"USE kamailio; {text}")], "HEX(CONVERT({} USING utf8mb4))",
            DBENGINE="MYSQL", DBHOST=HOST, DBPORT=server.port, DBRWPW=DB_PASSWORD)


@pytest.fixture(params=["sqlite", "pgsql", "mysql"])
def engine(request):
    engine = request.getfixturevalue(request.param)
    yield engine
    assert engine.rows() == {}, "a test has left something behind"


@pytest.fixture
def watched(tmp_path):
    """A folder of programs before all others; what it notes."""
    folder, seen = tmp_path / "bin", tmp_path / "seen"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text(WATCH.format(seen=seen))
        (folder / name).chmod(0o755)
    return folder, seen


def subscriber(home, settings, *args, password="", path=None, ok=True):
    """Run it; what it says, on both ways out."""
    (home / ".kamctlrc").write_text("SIP_DOMAIN=" + REALM + "\n" + "".join(
        f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()))
    done = subprocess.run(
        [SCRIPT, *args], input=password, capture_output=True, text=True, timeout=60,
        env={**os.environ, "HOME": str(home), "PATH":
             f"{path or '/usr/bin'}:{os.environ['PATH']}"})
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_subscriber_comes_changes_and_goes(tmp_path, engine):
    """Whatever is in his name or his password: he is stored as he is, and nothing
    else happens. (MariaDB's own character set is Latin 1.)"""
    def run(*args, **kw):
        return subscriber(tmp_path, engine.settings, *args, **kw)

    expected = {}
    for name in NAMES:
        if engine.settings["DBENGINE"] == "MYSQL" and not name.isascii():
            continue
        assert f"{name}@{REALM}: added" in run(
            "add", f"{name}@{REALM}", password=PASSWORD + "\n")
        expected[name, REALM] = ("", ha1(name, PASSWORD))
        assert engine.rows() == expected
    for name, realm in list(expected):
        run("passwd", f"{name}@{realm}", password="another")
        expected[name, realm] = ("", ha1(name, "another"))
        assert engine.rows() == expected
        run("rm", f"{name}@{realm}")
        del expected[name, realm]
        assert engine.rows() == expected


def test_what_cannot_be_done_is_said(tmp_path, engine):
    def run(*args, **kw):
        return subscriber(tmp_path, engine.settings, *args, ok=False, **kw)

    subscriber(tmp_path, engine.settings, "add", "gate", password="1")
    before = engine.rows()
    assert f"gate@{REALM} is there already" in run("add", "gate", password="2")
    assert f"there is no Gate@{REALM}" in run("passwd", "Gate", password="2")
    assert f"there is no door@{REALM}" in run("rm", "door")
    assert "no password" in run("passwd", "gate")
    assert "no password" in run("passwd", "gate", password="\n2\n")
    assert "colon" in run("add", "a:b", password="2")
    assert "control" in run("add", "a\nb", password="2")
    assert "usage" in run("list", "gate")
    assert "usage" in run("add")
    assert engine.rows() == before
    subscriber(tmp_path, engine.settings, "rm", "gate")


def test_nobody_sees_the_password(tmp_path, engine, watched):
    """Neither it nor HA1 nor the database's password is in the arguments of a
    process; the first two not in an environment, either."""
    path, seen = watched

    def run(*args, **kw):
        return subscriber(tmp_path, engine.settings, *args, path=path, **kw)

    run("add", "gate", password=PASSWORD)
    run("passwd", "gate", password="an0ther")
    run("rm", "gate")
    shown = seen.read_bytes().decode()
    assert shown.count("md5sum") >= 4
    for secret in (PASSWORD, "an0ther", ha1("gate", PASSWORD), ha1("gate", "an0ther")):
        assert secret not in shown
    assert shown.count(DB_PASSWORD) == len(re.findall(
        r"(?<=\0)(?:PGPASSWORD|MYSQL_PWD)=" + DB_PASSWORD, shown))


def test_the_watch_sees_what_is_shown(tmp_path, sqlite, watched):
    """It would have seen a password: kamctl shows one."""
    path, seen = watched
    (tmp_path / ".kamctlrc").write_text(
        f"DBENGINE=SQLITE\nDB_PATH={sqlite.settings['DB_PATH']}\n"
        "STORE_PLAINTEXT_PW=0\n")
    done = subprocess.run(
        ["kamctl", "add", f"gate@{REALM}", "an0ther"], capture_output=True, text=True,
        timeout=60, env={**os.environ, "HOME": str(tmp_path),
                         "PATH": f"{path}:{os.environ['PATH']}:/usr/sbin"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert ha1("gate", "an0ther") in seen.read_bytes().decode()
    subscriber(tmp_path, sqlite.settings, "rm", "gate")


def on_a_terminal(home, settings, answers, *args):
    """What a terminal shows while somebody types; the exit status."""
    subscriber(home, settings, "rm", "nobody", ok=False)  # writes .kamctlrc
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["HOME"] = str(home)
        os.execv(SCRIPT, [str(SCRIPT), *args])
    shown = b""
    for question, answer in zip((b"Password: ", b"Again: "), answers):
        while not shown.endswith(question):
            shown += os.read(terminal, 1000)
        os.write(terminal, answer.encode() + b"\n")
    with contextlib.suppress(OSError):  # EIO: it has ended
        while more := os.read(terminal, 1000):
            shown += more
    os.close(terminal)
    return shown.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_password_that_is_typed_is_not_shown(tmp_path, sqlite):
    """It is asked for twice."""
    shown, status = on_a_terminal(
        tmp_path, sqlite.settings, ["s3cret", "s3cret"], "add", "gate")
    assert status == 0 and f"gate@{REALM}: added" in shown
    assert "s3cret" not in shown
    assert sqlite.rows() == {("gate", REALM): ("", ha1("gate", "s3cret"))}
    shown, status = on_a_terminal(
        tmp_path, sqlite.settings, ["s3cret", "secr3t"], "passwd", "gate")
    assert status == 1 and "the passwords differ" in shown
    assert sqlite.rows() == {("gate", REALM): ("", ha1("gate", "s3cret"))}
    subscriber(tmp_path, sqlite.settings, "rm", "gate")


@pytest.mark.contract
def test_who_is_added_registers(tmp_path, kamailio, cms):
    """And who has another password, or is removed, does not, at once."""
    server = kamailio(cms)

    def run(*args):
        subscriber(tmp_path, {"DBENGINE": "SQLITE", "DB_PATH": server.database},
                   *args, f"o'hara@{REALM}", password=PASSWORD)

    with Ua(server.address, "o'hara", DOMAIN, PASSWORD) as device:
        assert device.register().status == 401
        run("add")
        assert device.register().status == 200
        run("rm")
        assert device.register().status == 401
    assert len(server.posts()) == 1
