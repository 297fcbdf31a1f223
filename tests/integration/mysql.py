"""A MariaDB server of its own for a test."""

import os
import shutil
import subprocess
import tempfile

from harness import HOST, Port, until


class Mysql:
    """A server in a folder of its own, with a user "kamailio" who has a password
    and the rights to the database of that name. It does not run as root: then it
    runs as its own user."""

    def __init__(self, password):
        self._password = password
        self._port = Port()
        self.port = self._port.number
        self.folder = tempfile.mkdtemp(prefix="mysql-")
        self._socket = os.path.join(self.folder, "socket")
        # A server that starts removes temporary tables of others, too.
        self._env = {**os.environ, "TMPDIR": self.folder}
        self._user = []
        self._server = None
        if os.geteuid() == 0:
            shutil.chown(self.folder, "mysql", "mysql")
            self._user = ["--user=mysql"]

    def __enter__(self):
        data = os.path.join(self.folder, "data")
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", f"--datadir={data}",
             "--auth-root-authentication-method=normal", "--skip-test-db",
             *self._user], check=True, env=self._env,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=300)
        self._start()
        self.sql(f"CREATE USER kamailio@'%' IDENTIFIED BY '{self._password}';"
                 "GRANT ALL ON kamailio.* TO kamailio@'%'")
        return self

    def _start(self):
        data = os.path.join(self.folder, "data")
        log = open(os.path.join(self.folder, "log"), "w", encoding="utf-8")
        with log:
            self._server = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", "mariadbd",
                 "--no-defaults", f"--datadir={data}", f"--port={self.port}",
                 f"--bind-address={HOST}", f"--socket={self._socket}",
                 f"--pid-file={self.folder}/pid", *self._user],
                env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        until(self._answers, 300)

    def __exit__(self, *_exc):
        self._server.terminate()
        self._server.wait(300)
        self._port.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _client(self, *args):
        return subprocess.run(
            ["mariadb", "--no-defaults", "--default-character-set=utf8mb4", "-u", "root",
             f"--socket={self._socket}",
             *args], capture_output=True, text=True, timeout=300)

    def _answers(self):
        assert self._server.poll() is None, "MariaDB does not start"
        return self._client("-e", "SELECT 1").returncode == 0

    def sql(self, text):
        """As the database's root: what it prints, a line for each row."""
        done = self._client("-BN", "-e", text)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()
