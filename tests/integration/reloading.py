"""Files that change while Kamailio runs, and registrations meanwhile."""

import os
import threading

from harness import registrar, until


def replace(path, text):
    """As "mv" does it."""
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path + ".new", 0o640)
    os.replace(path + ".new", path)


NOTICED = "NOTICE: cms_notify.*files have changed"


def replace_and_wait(server, path, text):
    since = len(server.lines)
    replace(path, text)
    server.wait_log(NOTICED, since=since, timeout=60)


class Load:
    """Registrations all the time, from several devices at once, until it is
    stopped; then `statuses` has what became of each."""

    def __init__(self, server, width=16):
        self._server = server
        self._width = width
        self._stopped = threading.Event()
        self.statuses = []
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stopped.is_set():
            waiting = [d.start_register()
                       for d in self._server.devices(self._width)]
            self.statuses += [w.wait().status for w in waiting]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._stopped.set()
        self._thread.join()

    def more(self, count):
        """Until so many more have been answered."""
        wanted = len(self.statuses) + count
        until(lambda: len(self.statuses) >= wanted, timeout=60)


def unauthenticated(*params):
    """Registrations by the hundred."""
    return lambda s, url: registrar(s, url, params=[
        ("cms_notify", "http_processes", 2), ("cms_notify", "timeout", 25000),
        ("cms_notify", "attempt_timeout", 25000),
        *(("cms_notify", name, value) for name, value in params)])
