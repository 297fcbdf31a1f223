"""The shipped configuration with an outbox, where a test can get at it."""

import contextlib
import functools
import os
import shlex
import shutil
import sqlite3
import subprocess
import tempfile
import time

import harness
from alerts import Watch
from harness import quoted

# Between a start and the next one a supervisor (systemd) waits so long.
RESTART_SECONDS = 0.1

# Answers sooner than the shipped settings; for the short form.
QUICK = {"timeout": 1000, "attempt_timeout": 400, "connect_timeout": 300,
         "breaker_cooldown": 200}
# The same where the CMS refuses connections, which takes no time: a machine that is
# slow for a second has given up no POST.
REFUSED = {"breaker_cooldown": 200}


@functools.lru_cache(maxsize=None)
def _new_outbox():
    """Made once; scripts/database puts it beside the other database."""
    folder = tempfile.TemporaryDirectory(prefix="outbox-")
    subprocess.run(
        [harness.TOP / "scripts" / "database", "sqlite",
         os.path.join(folder.name, "new.sqlite")], check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ,
             "KAMAILIO_SQL": harness.environment()["KAMAILIO_SQL"]})
    return folder, os.path.join(folder.name, "cms_outbox.sqlite")


class Server(harness.Kamailio):
    """mode    "defer" or "reject", when the CMS is away
    params  more parameters of cms_notify: {name: value}
    urls    more endpoints
    wrap    command that Kamailio runs under, such as ["nsenter", ...]
    outbox  URL of the outbox; default: SQLite in a folder of its own
    modules to load besides, such as "db_postgres"
    watched a Prometheus asks it from its first start on: watch
    """

    def __init__(self, cms, mode="defer", params=None, urls=(), wrap=(),
                 outbox=None, settings=None, modules=(), options=(),
                 watched=False):
        self.watch = None
        self._metrics = harness.Port() if watched else None
        self.mode = mode
        self._params = params or {}
        self._urls = list(urls)
        self._outbox = outbox
        self._modules = modules
        self._settings = settings or {}
        super().__init__(cms, settings={}, options=["-m", "256", "-x", "tlsf", *options])
        if wrap:
            self.env = {**self.env, "KAMAILIO": self._wrapper(wrap)}

    def start(self):
        super().start()
        if self._metrics and not self.watch:
            self.watch = Watch([self._metrics.number])
            self.watch.prometheus.wait_up()
        return self

    def close(self):
        super().close()
        if self.watch:
            self.watch.close()
        if self._metrics:
            self._metrics.close()

    @property
    def outbox_folder(self):
        return os.path.join(self.folder, "outbox")

    @property
    def outbox_file(self):
        return os.path.join(self.outbox_folder, "cms_outbox.sqlite")

    def configure(self, settings=None, config=None):
        settings = {"CMS_BREAKER_FAILURES": None, # the shipped breaker and times
                    "CMS_TIMEOUT": None, "CMS_CONNECT_TIMEOUT": None,
                    "CMS_DETECT_REBOOT": 1, "CMS_OUTBOX_DB_URL": self._url(),
                    **self._settings, **(settings or {})}
        if self.mode == "defer":
            settings["WITH_DEFER"] = 1
        if self._metrics:
            settings["WITH_METRICS"] = f"{harness.HOST}:{self._metrics.number}"
        super().configure({**settings, **{
            f"CMS_URL_{n}": url for n, url in enumerate(self._urls, 2)}})
        with open(self.config, encoding="utf-8") as file:
            text = file.read()
        more = [f'loadmodule "{name}.so"' for name in self._modules]
        more += ['loadmodule "cms_notify.so"']
        more += [f'modparam("cms_notify", "{name}", {quoted(value)})'
                 for name, value in self._params.items()]
        self.write("kamailio.cfg", text.replace(
            'loadmodule "cms_notify.so"', "\n".join(more)))

    def _url(self):
        if self._outbox is not None:
            return self._outbox
        if not os.path.exists(self.outbox_folder):
            os.mkdir(self.outbox_folder)
            shutil.copyfile(_new_outbox()[1], self.outbox_file)
        return f"sqlite:///{self.outbox_file}"

    def _wrapper(self, wrap):
        path = self.write("kamailio", "#!/bin/sh\nexec " + " ".join(
            map(shlex.quote, [*wrap, self.env["KAMAILIO"]])) + ' "$@"\n')
        os.chmod(path, 0o755)
        return path

    # -- outbox ----------------------------------------------------------------

    def outbox_rows(self, where="state = 0"):
        with contextlib.closing(
                sqlite3.connect(self.outbox_file, timeout=10)) as db:
            return db.execute(
                "SELECT seq, event_id, aor, state, cause, status FROM"
                f" cms_outbox WHERE {where} ORDER BY seq").fetchall()

    def dead_letters(self):
        if self._outbox is not None or not os.path.exists(self.outbox_file):
            return self.stats().get("dead", 0)
        return len(self.outbox_rows("state = 1"))

    def wait_outbox(self, predicate, timeout=30.0):
        """Until the number of events that wait there is as it should be."""
        deadline = time.monotonic() + timeout
        while not predicate(waiting := self.status()["outbox"]):
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"{waiting} events in the outbox after {timeout} s")
            time.sleep(0.02)
        return waiting

    # -- dying -----------------------------------------------------------------

    def kill_process(self, description):
        """SIGKILL to one of its processes; it is Kamailio's own to notice."""
        pid = self.pids(description)[0]
        os.kill(pid, 9)
        return pid

    def start_again(self):
        """As a supervisor does."""
        time.sleep(RESTART_SECONDS)
        return self.start()

    def wait_stat(self, name, predicate, timeout=30.0):
        deadline = time.monotonic() + timeout
        while not predicate(value := self.stats()[name]):
            assert time.monotonic() < deadline, f"{name} is {value}"
            time.sleep(0.05)
        return value

    def delete_outbox_rows(self):
        with contextlib.closing(
                sqlite3.connect(self.outbox_file, timeout=10)) as db, db:
            db.execute("DELETE FROM cms_outbox WHERE state = 0")
