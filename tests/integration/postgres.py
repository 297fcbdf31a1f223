"""A PostgreSQL server of its own for a test."""

import contextlib
import glob
import os
import shutil
import subprocess
import tempfile

from harness import HOST, TOP, Port, environment


class Postgres:
    """A cluster in a folder of its own, with the tables of Kamailio and of the
    module. It listens on these addresses. PostgreSQL does not run as root: then it runs
    as its own user. With a password it has no tables: who knows it makes them.
    options: more of the command line."""

    def __init__(self, addresses=(HOST,), password=None, options=""):
        self._addresses, self._password = ",".join(addresses), password
        self._options = options
        self._bin = os.path.dirname(
            sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))[-1])
        self._port = Port()
        self.port = self._port.number
        self.folder = tempfile.mkdtemp(prefix="postgres-")
        self.url = f"postgres://kamailio@{HOST}:{self.port}/kamailio"
        self._as = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self._as = ["setpriv", "--reuid=postgres", "--regid=postgres",
                        "--clear-groups"]

    def __enter__(self):
        self._run("initdb", "-D", self._data, "-U", "kamailio", *self._access(),
                  "-E", "UTF8", "--locale=C")
        self.start()
        if self._password is None:
            self._make_tables()
        return self

    def _access(self):
        if self._password is None:
            return "-A", "trust"
        path = os.path.join(self.folder, "password")
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"{self._password}\n")
        os.chmod(path, 0o644)
        return "-A", "scram-sha-256", f"--pwfile={path}"

    def _make_tables(self):
        subprocess.run(
            [TOP / "scripts" / "database", "pgsql"], check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "KAMAILIO_SQL": environment()["KAMAILIO_SQL"],
                 "PGHOST": HOST, "PGPORT": str(self.port),
                 "PGUSER": "kamailio"})

    def __exit__(self, *_exc):
        self.stop()
        self._port.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _data(self):
        return os.path.join(self.folder, "data")

    def _run(self, program, *args):
        done = subprocess.run(
            [*self._as, os.path.join(self._bin, program), *args],
            cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=300)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}")

    def start(self):
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "200", "-l",
                  os.path.join(self.folder, "log"), "-o",
                  f"-p {self.port} -h {self._addresses} -k {self.folder} {self._options}",
                  "start")

    @property
    def pid(self):
        with open(os.path.join(self._data, "postmaster.pid"), encoding="ascii") as file:
            return int(file.readline())

    def stop(self):
        self._run("pg_ctl", "-D", self._data, "-w", "-t", "200",
                  "-m", "immediate", "stop")

    @property
    def _psql(self):
        return [os.path.join(self._bin, "psql"), "-XAtq", "-h", HOST, "-p",
                str(self.port), "-U", "kamailio"]

    @contextlib.contextmanager
    def session(self):
        """session(sql): in one connection, so that a transaction lasts. Returns
        rows, as sql() does."""
        with subprocess.Popen([*self._psql, "kamailio"], text=True,
                              stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as psql:
            def run(text):
                psql.stdin.write(f"{text};\n\\echo done\n")
                psql.stdin.flush()
                rows = []
                for line in psql.stdout:
                    if line == "done\n":
                        return rows
                    rows.append(line.rstrip("\n").split("|"))
                raise RuntimeError("psql has ended")

            yield run
            psql.stdin.close()

    def sql(self, text):
        """Rows of text, or []."""
        out = subprocess.run(
            [*self._psql, "-c", text, "kamailio"],
            check=True, capture_output=True, text=True, timeout=300).stdout
        return [line.split("|") for line in out.splitlines()]
