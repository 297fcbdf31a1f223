"""What make install leaves on a server."""

import configparser
import contextlib
import os
import re
import shlex
import shutil
import sqlite3
import string
import subprocess

import pytest

from deferring import deferring, drained, rows, table
from harness import TOP, environment, until

DROP_IN = "usr/lib/systemd/system/kamailio.service.d/cms_notify.conf"
UNIT = "/usr/lib/systemd/system/kamailio.service"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([TOP / "scripts" / "install"], check=True,
                   stdout=subprocess.DEVNULL, env={
                       **os.environ, "DESTDIR": str(folder),
                       "MODULE_DIR": "/modules", "CONFIG_DIR": "/etc/kamailio"})
    return folder


def start_line(path):
    """Arguments of the last ExecStart, and the environment."""
    environ, line = {}, None
    with open(path, encoding="utf-8") as file:
        for name, _, value in (row.strip().partition("=") for row in file):
            if name == "Environment":
                key, _, text = value.strip("'").partition("=")
                environ[key] = text
            elif name == "ExecStart":
                line = value
    return shlex.split(line), environ


def test_the_drop_in_is_a_unit_file(installed):
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    with open(installed / DROP_IN, encoding="utf-8") as file:
        parser.read_file(file)
    assert parser.sections() == ["Unit", "Service"]


def test_the_service_is_always_started_again(installed):
    """However often it has failed, and however Kamailio ended: with a process that
    ends by itself it says success. tests/rooms/packages-life sees it come back."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(installed / DROP_IN, encoding="utf-8")
    assert parser["Unit"]["StartLimitIntervalSec"] == "0"
    assert parser["Service"]["Restart"] == "always"
    # the main process has an order in which it ends the others
    assert parser["Service"]["KillMode"] == "mixed"
    # a mistake in the configuration fails, too, and does not fill the log
    assert 1 <= int(parser["Service"]["RestartSec"]) <= 5


def test_the_service_starts_as_the_package_says_with_another_allocator(
        installed):
    if not os.path.exists(UNIT):
        pytest.skip("no kamailio.service here")
    packaged, _ = start_line(UNIT)
    ours, _ = start_line(installed / DROP_IN)
    assert ours == packaged + ["-x", "tlsf", "$KAMAILIO_OPTIONS"]


def exposure(folder):
    """0 is best, 10 worst: what systemd thinks of the service, if that is its /."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--root={folder}",
         "--no-pager", "kamailio.service"], capture_output=True, text=True, timeout=60)
    found = re.search(r"Overall exposure level for kamailio.service: ([\d.]+)",
                      done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def test_the_service_is_locked_up(installed, tmp_path):
    """As README says, in figures. tests/rooms/packages-life runs it like that."""
    if not os.path.exists(UNIT) or not shutil.which("systemd-analyze"):
        pytest.skip("no kamailio.service or no systemd here")
    folder = tmp_path / "usr/lib/systemd/system"
    folder.mkdir(parents=True)
    shutil.copy(UNIT, folder)
    before = exposure(tmp_path)
    (folder / "kamailio.service.d").mkdir()
    shutil.copy(installed / DROP_IN, folder / "kamailio.service.d")
    after = exposure(tmp_path)
    assert after <= 2 < 9 <= before
    text = (TOP / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"systemd-analyze security kamailio`: ([\d.]+)\s+of 10", text)
    assert abs(float(shown[1]) - after) <= 0.2


def test_kamailio_takes_the_command_and_the_configuration(installed):
    """The command of the service, with the installed files, checks fine."""
    command, values = start_line(installed / DROP_IN)
    values = {"PKG_MEMORY": "8", **values,
              "CFGFILE": str(installed / "etc/kamailio/kamailio.cfg")}
    # systemd gives no argument for a variable that is not set
    command = [string.Template(word).substitute(values) for word in command
               if word != "$KAMAILIO_OPTIONS"]
    done = subprocess.run(
        [environment()["KAMAILIO"], *command[1:], "-c", "-L",
         f"{installed}/modules:{environment()['KAMAILIO_MODULES']}"],
        cwd=installed / "etc/kamailio", capture_output=True, text=True,
        timeout=30)
    assert done.returncode == 0, done.stderr
    assert "config file ok" in done.stderr


VERSION_1 = """
CREATE TABLE cms_outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    event_id VARCHAR(80) NOT NULL,
    node VARCHAR(64) DEFAULT '' NOT NULL,
    device VARCHAR(255) DEFAULT '' NOT NULL,
    contacts VARCHAR(255) DEFAULT '' NOT NULL,
    event VARCHAR(16) DEFAULT '' NOT NULL,
    reason VARCHAR(16) DEFAULT '' NOT NULL,
    created BIGINT DEFAULT 0 NOT NULL,
    state INTEGER DEFAULT 0 NOT NULL,
    claimed_by BIGINT DEFAULT 0 NOT NULL,
    attempts INTEGER DEFAULT 0 NOT NULL,
    cause VARCHAR(16) DEFAULT '' NOT NULL,
    status INTEGER DEFAULT 0 NOT NULL,
    body BLOB,
    CONSTRAINT cms_outbox_event_idx UNIQUE (event_id)
);
CREATE INDEX cms_outbox_device_idx ON cms_outbox (device, state, id);
CREATE INDEX cms_outbox_claim_idx ON cms_outbox (claimed_by, state, id);
INSERT INTO version (table_name, table_version) VALUES ('cms_outbox', '1');
INSERT INTO cms_outbox (event_id, node, device, contacts, event, reason,
        created, state, cause, body)
    VALUES ('0123456789abcdef0123456789abcdef', 'elsewhere', 'gate@telecom.com',
        '1111111111111111', 'register', 'new',
        CAST(strftime('%s', 'now') AS INTEGER) * 1000000, 0, 'timeout',
        CAST('{"old": true}' AS BLOB)),
    ('fedcba9876543210fedcba9876543210', 'elsewhere', 'door@telecom.com',
        '2222222222222222', 'register', 'new',
        CAST(strftime('%s', 'now') AS INTEGER) * 1000000, 1, 'none',
        CAST('{"dead": true}' AS BLOB));
"""


@pytest.fixture
def kamailio_sql(installed, tmp_path):
    """Kamailio's SQL files and the installed ones, as on a server."""
    folder = tmp_path / "sql"
    shutil.copytree(environment()["KAMAILIO_SQL"], folder,
                    ignore=shutil.ignore_patterns("cms_notify-*"))
    shutil.copytree(installed / "usr/share/kamailio", folder,
                    dirs_exist_ok=True)
    return folder


def test_an_outbox_of_version_1_is_upgraded(
        kamailio_sql, tmp_path, kamailio, cms):
    """By what is installed: what waits is delivered, once; a dead letter is
    one."""
    script = shutil.copy(TOP / "scripts" / "database", tmp_path)
    database = tmp_path / "kamailio.sqlite"
    outbox = tmp_path / "cms_outbox.sqlite"
    create = kamailio_sql / "db_sqlite" / "standard-create.sql"
    with contextlib.closing(sqlite3.connect(outbox)) as db:
        db.executescript(create.read_text(encoding="utf-8"))
        db.executescript(VERSION_1)
    for _ in range(2):
        subprocess.run([script, "sqlite", database], check=True,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, "KAMAILIO_SQL": str(kamailio_sql)})

    def config(server, url):
        shutil.copyfile(outbox, table(server))
        return deferring()(server, url)

    cms.rule(status=200)  # it would refuse a body that has no number
    server = kamailio(cms, config=config)
    drained(server)
    assert [request.json for request in server.posts()] == [{"old": True}]
    # what has been told is deleted by the next transaction
    until(lambda: [row["aor"] for row in rows(server)]
          == ["door@telecom.com"], 5)
    assert server.rpc("cms_notify.outbox")["dead"] == 1


def test_a_module_that_kamailio_refuses_is_not_installed(tmp_path):
    """The one that was there stays; what is wrong is said."""
    version = environment()["KAMAILIO_VERSION"]
    shutil.copytree(TOP / "scripts", tmp_path / "scripts")
    for name in ("modules", "kamailio.cfg"):
        os.symlink(TOP / name, tmp_path / name)
    built = tmp_path / "build" / version / "cms_notify.so"
    built.parent.mkdir(parents=True)
    with open(environment()["CMS_NOTIFY_MODULE_DIR"] + "/cms_notify.so",
              "rb") as file:
        built.write_bytes(file.read().replace(version.encode(), b"5.0.0"))
    tree = tmp_path / "tree" / "src"
    tree.mkdir(parents=True)
    (tree / "Makefile.defs").write_text("\n".join(
        f"{name} = {number}" for name, number in zip(
            ("VERSION", "PATCHLEVEL", "SUBLEVEL"), version.split("."))))

    def install():
        return subprocess.run(
            [tmp_path / "scripts" / "install", tree.parent],
            capture_output=True, text=True, env={
                **os.environ, "DESTDIR": str(tmp_path / "root"),
                "MODULE_DIR": "/modules", "CONFIG_DIR": "/etc/kamailio"})

    folder = tmp_path / "root" / "modules"
    done = install()
    assert done.returncode == 1 and "installed" not in done.stdout
    assert "module version mismatch" in done.stderr
    assert "make clean" in done.stderr
    assert os.listdir(folder) == []
    (folder / "cms_notify.so").write_text("the old one")
    assert install().returncode == 1
    assert (folder / "cms_notify.so").read_text() == "the old one"
    assert os.listdir(folder) == ["cms_notify.so"]
