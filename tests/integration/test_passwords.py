"""The password of a database is in a file, where the service has its library
look for it; never in a command, and nowhere in a home that is gone at a stop."""

import os
import re
import subprocess

import pytest

from harness import HOST, REALM, TOP, environment, ha1
from mysql import Mysql
from postgres import Postgres

PASSWORD = "s\"e#c ret"
DROP_IN = TOP / "scripts" / "etc" / "kamailio.service.conf"
USER = f"('gzj', '{REALM}', '', '{ha1('gzj')}')"
SUBSCRIBER = "subscriber (username, domain, password, ha1) VALUES " + USER


@pytest.fixture
def service(monkeypatch, tmp_path):
    """The environment of the service; its /etc/kamailio is a folder of the
    test, which this returns."""
    text = DROP_IN.read_text(encoding="utf-8")
    for name, value in re.findall(r"^Environment=(\w+)=(.*)$", text, re.M):
        monkeypatch.setenv(name, value.replace("/etc/kamailio", str(tmp_path)))
    monkeypatch.setenv("HOME", "/nonexistent")
    return tmp_path


def database(engine, **env):
    """scripts/database, as an operator runs it."""
    subprocess.run([TOP / "scripts" / "database", engine], check=True,
                   stdout=subprocess.DEVNULL, timeout=120, env={
                       **os.environ, **env,
                       "KAMAILIO_SQL": environment()["KAMAILIO_SQL"]})


def private(path, text, mode=0o600):
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def registers(server, cms):
    assert server.device("gzj").register().status == 200
    assert len(server.posts()) == 1
    cms.clear()


def kamctl(server, **settings):
    """A function that runs kamctl with our kamctlrc, as it says for a database
    server."""
    text = (TOP / "scripts" / "etc" / "kamctlrc").read_text(encoding="utf-8")
    text = re.sub(r"^# (DB\w+=)", r"\1", text, flags=re.M)
    text = text.replace("/run/kamailio", server.folder)
    for name, value in settings.items():
        text, count = re.subn(rf"^(# )?{name}=.*", f"{name}='{value}'", text,
                              flags=re.M)
        assert count, name
    server.write(".kamctlrc", text)

    def run(*args):
        done = subprocess.run(
            ["kamctl", *args], capture_output=True, text=True, timeout=120,
            cwd=server.folder, env={**os.environ, "HOME": server.folder})
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def subscriber(server, **settings):
    """A function that runs kamailio-subscriber; kamctlrc has no password."""
    server.write(".kamctlrc", "".join(
        f"{name}='{value}'\n" for name, value in settings.items()))

    def run(command, name, password=""):
        done = subprocess.run(
            [TOP / "scripts" / "subscriber", command, name], capture_output=True,
            text=True, timeout=120, input=password,
            env={**os.environ, "HOME": server.folder})
        assert done.returncode == 0, done.stdout + done.stderr

    return run


def is_administered(server, run):
    """Added, given another password, removed."""
    device = server.device("gate")
    assert device.register().status == 401
    run("add", f"gate@{REALM}", "123456")
    assert device.register().status == 200
    run("passwd", f"gate@{REALM}", "654321")
    assert device.register().status == 401
    run("rm", f"gate@{REALM}")
    device.password = "654321"
    assert device.register().status == 401


def refused(server, *complaints):
    """It does not start, for want of the password."""
    server.stop()
    server.spawn()
    assert server.wait_exit() != 0
    assert server.log("|".join(complaints))
    server.allow_errors(".")
    server.exit_status = 0  # as it should be


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        server.sql(f"INSERT INTO {SUBSCRIBER}")
        server.sql(f"ALTER ROLE kamailio PASSWORD '{PASSWORD}'")
        with open(os.path.join(server.folder, "data", "pg_hba.conf"), "w",
                  encoding="utf-8") as file:
            file.write(f"host all all {HOST}/32 scram-sha-256\n")
        server.stop()
        server.start()
        yield server


def test_postgresql(kamailio, cms, service, postgres):
    """~/.pgpass is not looked at; PGPASSFILE of the service is."""
    path = service / "pgpass"
    private(path, f"{HOST}:{postgres.port}:*:kamailio:{PASSWORD}\n")
    database("pgsql", PGHOST=HOST, PGPORT=str(postgres.port), PGUSER="kamailio")
    server = kamailio(cms, settings={"WITH_PGSQL": "", "DB_URL": postgres.url})
    registers(server, cms)
    is_administered(server, kamctl(server, DBENGINE="PGSQL", DBHOST=HOST,
                                   DBPORT=postgres.port, DBRWPW=PASSWORD))
    is_administered(server, subscriber(server, DBENGINE="PGSQL", DBHOST=HOST,
                                       DBPORT=postgres.port))
    # what others can read is no password file
    path.chmod(0o640)
    refused(server, "no password supplied")


@pytest.fixture(scope="module")
def mysql():
    with Mysql(PASSWORD) as server:
        yield server


def test_mysql(kamailio, cms, service, mysql, monkeypatch):
    """One file for the script and for Kamailio, with the URL that kamailio.cfg
    has by default."""
    path = service / "my.cnf"
    private(path, f"[client]\nhost={HOST}\nport={mysql.port}\nuser=kamailio\n"
            f"password='{PASSWORD}'\n", 0o640)
    database("mysql", MYSQL_OPTION_FILE=str(path))
    mysql.sql(f"INSERT INTO kamailio.{SUBSCRIBER}")
    server = kamailio(cms, settings={"WITH_MYSQL": "", "DB_URL": None})
    registers(server, cms)
    is_administered(server, kamctl(server, DBENGINE="MYSQL", DBHOST=HOST,
                                   DBPORT=mysql.port, DBRWPW=PASSWORD))
    monkeypatch.setenv("MYSQL_OPTION_FILE", str(path))
    is_administered(server, subscriber(server, DBENGINE="MYSQL"))
    path.unlink()
    refused(server, "Can't connect to local")
