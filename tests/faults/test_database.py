"""The outbox cannot be written, while the CMS is away and it is needed."""

import contextlib
import os
import sqlite3
import subprocess

import pytest

from alerts import away
from sizes import modes
from trial import Trial


@contextlib.contextmanager
def locked(one, _trial=None):
    """Somebody else writes, and does not come to an end."""
    with contextlib.closing(sqlite3.connect(
            one.outbox_file, timeout=30)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.rollback()


@contextlib.contextmanager
def full(one, _trial):
    """No space is left in the file system."""
    path = os.path.join(one.outbox_folder, "filler")
    with open(path, "wb", buffering=0) as file, \
            contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))
    try:
        yield
    finally:
        os.unlink(path)


@contextlib.contextmanager
def read_only(one, trial):
    """The file system is read-only, as after an error of the disk. Kamailio is
    killed and started meanwhile: what is open stays writable."""
    folder = one.outbox_folder
    mount("--bind", folder, folder)
    try:
        mount("-o", "remount,bind,ro", folder)
        trial.kill()
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def mount(*args):
    done = subprocess.run(["mount", *args], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mount: {done.stderr.strip()}")


@pytest.fixture
def small(server):
    """As `server`, with the outbox in a file system of 8 MB."""
    mounted = []

    def start(*args, **kw):
        one = server(*args, run=False, **kw)
        with open(one.outbox_file, "rb") as file:
            empty = file.read()
        mount("-t", "tmpfs", "-o", "size=8m", "outbox", one.outbox_folder)
        mounted.append(one)
        with open(one.outbox_file, "wb") as file:
            file.write(empty)
        return one.start()

    yield start
    for one in mounted:
        one.stop()
        subprocess.run(["umount", "--lazy", one.outbox_folder], check=True)


FAULTS = {locked: "locked", full: "on a full disk", read_only: "read-only, Kamailio killed"}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
@modes("defer")
def test_database(mode, size, fault, cms, small, row):
    """The CMS goes away; the outbox fails, and works again; the CMS comes
    back. What was stored is delivered, what was not is the device's to repeat.
    """
    one = small(cms, mode, size.refused)
    with Trial(one, [cms], size.devices) as trial:
        trial.warm_up()
        cms.stop()
        one.wait_outbox(lambda waiting: waiting > 0)
        with fault(one, trial):
            one.wait_stat("not_deferred", lambda value: value > 0)
            trial.load(size.seconds)
        stored = one.stats()["deferred"]
        one.wait_stat("deferred", lambda value: value > stored)
        cms.start()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end(f"outbox {FAULTS[fault]} while the CMS is away"),
            away("reject") | {"OutboxDatabase"})
