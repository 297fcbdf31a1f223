"""Fixtures of the fault suite, and the table that it makes.

--table FILE   write what was measured as a table, for the documentation
--alerts FILE  put the alerts that fired into a table of it (-m alerts)
"""

import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

import alerts  # noqa: E402
import harness  # noqa: E402
import table  # noqa: E402
from server import Server  # noqa: E402

CRASHED = r"signal (4|6|7|8|11)\b|core was generated|\bBUG\b"

_rows = []
_alerts = []
_servers = []


def pytest_addoption(parser):
    parser.addoption("--table", metavar="FILE",
                     help="write the table of the documentation")
    parser.addoption("--alerts", metavar="FILE",
                     help="write what fired into the documentation's table")


def pytest_configure(config):
    """What the table says is measured on a disk."""
    if config.getoption("markexpr") in ("short", "alerts"):
        harness.files_in_memory()


def pytest_sessionfinish(session, exitstatus):
    path = session.config.getoption("--table")
    if path and exitstatus == 0:
        table.write(path, _rows)
    path = session.config.getoption("--alerts")
    if path and _alerts:
        alerts.update(path, _alerts)


@pytest.fixture(scope="session", autouse=True)
def built():
    module = Path(harness.environment()["CMS_NOTIFY_MODULE_DIR"])
    assert (module / "cms_notify.so").exists(), "make builds the module"


@pytest.fixture
def fires():
    """fires(fault, mode, names): a line of the table of alerts, where a Prometheus
    looks. Exactly these fire within so many seconds; "Name?" may or may not."""
    def check(fault, mode, names, within=240):
        watches = [one.watch for one in _servers if one.watch]
        if watches:
            must = {name for name in names if not name.endswith("?")}
            fired = alerts_seen(watches, must, within)
            assert must <= fired <= {name.rstrip("?") for name in names}
            _alerts.append((fault, mode, names, fired))
    return check


def alerts_seen(watches, expected, timeout):
    """What has fired when all that is expected has, or the time is up."""
    deadline = time.monotonic() + timeout
    while True:
        fired = set().union(*(watch.fired() for watch in watches))
        if fired >= expected or time.monotonic() > deadline:
            return fired
        time.sleep(0.2)


@pytest.fixture
def row(fires):
    """row(Row, names): a line of the table, shown by pytest -s, too, and one of the
    table of alerts, which have fired by now, or do within so many seconds."""
    def add(line, names=(), within=0):
        print(f"\n{line.fault} ({line.mode})\n  device:   {line.device}\n"
              f"  CMS:      {line.cms}\n  lost:     {line.lost}\n"
              f"  recovery: {line.recovery}")
        _rows.append(line)
        fires(line.fault, line.mode, set(names), within)
    return add


@pytest.fixture
def make_cms():
    """make_cms(): a running ReferenceCms."""
    made = []

    def make(**kw):
        cms = harness.ReferenceCms(validate=False, **kw)
        made.append(cms)
        cms.start()
        return cms

    yield make
    for cms in made:
        cms.close()


@pytest.fixture
def cms(make_cms):
    return make_cms()


@pytest.fixture
def server(request):
    """server(cms, ...): a running Server. At the end it must not have crashed,
    and it must end as it is told to."""
    made = []
    watched = request.node.get_closest_marker("alerts") is not None

    def start(*args, run=True, **kw):
        one = Server(*args, **{"watched": watched, **kw})
        made.append(one)
        _servers.append(one)
        return one.start() if run else one

    yield start
    try:
        for one in made:
            if one.running:
                assert one.stop() == 0, "Kamailio did not end as told"
            crashed = one.log(CRASHED)
            assert not crashed, "\n".join(crashed[:20])
    finally:
        for one in made:
            _servers.remove(one)
            one.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for one in _servers:
            report.sections.append((
                f"log of Kamailio on port {one.port}",
                "\n".join(one.lines[-60:])))
