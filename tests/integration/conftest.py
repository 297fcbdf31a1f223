"""Fixtures: `kamailio` starts servers of one test, `module_kamailio` those of
a file; `cms` and `module_cms` are the CMS they report to.

After each test every server that ran must be alive, with nothing left parked
and no error in its log but those that the test has allowed. At the end is shown
what was measured more than once.
"""

import os

import pytest

import harness

harness.files_in_memory()

_servers = []


def _check(server):
    """A server at the end of a test."""
    if server.running:
        server.settle()
    else:
        server.wait_exit()
    crashed = server.log(r"signal (4|6|7|8|11)\b|core was generated")
    bad = server.unexpected_errors() + crashed
    if bad:
        pytest.fail("in Kamailio's log:\n" + "\n".join(bad[:20]), False)
    if not server.running and server.wait_exit() not in (0, -9):
        pytest.fail(f"Kamailio ended with {server.exit_status}", False)


def _starter():
    mine = []

    def start(cms, **kw):
        server = harness.Kamailio(cms, **kw)
        mine.append(server)
        _servers.append(server)
        return server.start()

    yield start
    try:
        for server in mine:
            _check(server)
            server.stop()
            _check(server)
    finally:
        for server in mine:
            _servers.remove(server)
            server.close()


# Take longest: begun first, so that they do not run alone at the end.
LONG = ("test_outbox_engines", "test_deadline", "test_new_or_refresh",
        "test_bad_input", "test_alive", "test_many", "test_subscriber")


def _file(item):
    return item.module.__name__


def _shares(item):
    """Has it something in common with other tests of its file?"""
    return any(fixture.scope == "module"
               for fixtures in item._fixtureinfo.name2fixturedefs.values()
               for fixture in fixtures)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """What shares a server stays together; the rest goes where there is room,
    after it."""
    alone = set()
    for item in items:
        if _shares(item):
            item.add_marker(pytest.mark.xdist_group(_file(item)))
        else:
            alone.add(item)
    items.sort(key=lambda item: (item in alone, LONG.index(_file(item))
                                 if _file(item) in LONG else len(LONG)))


@pytest.fixture(scope="session", autouse=True)
def built():
    module = harness.environment()["CMS_NOTIFY_MODULE_DIR"] + "/cms_notify.so"
    assert os.access(module, os.R_OK), f"{module} is missing; make builds it"


@pytest.fixture(scope="module")
def module_kamailio():
    """module_kamailio(cms, ...): a running harness.Kamailio, for a file."""
    yield from _starter()


@pytest.fixture(scope="module")
def module_cms():
    """A ReferenceCms for a file; each test finds it without rules, requests
    and counts."""
    with harness.ReferenceCms() as server:
        yield server


@pytest.fixture
def cms():
    """A ReferenceCms for one test."""
    with harness.ReferenceCms() as server:
        yield server


@pytest.fixture(autouse=True)
def _watched(request):
    shared = request.getfixturevalue("module_cms") \
        if "module_cms" in request.fixturenames else None
    if shared is not None:
        shared.clear()
    for server in _servers:
        if not server.running:  # an earlier test has reported that
            server.start()
        server.begin_test()
    yield
    if shared is not None:
        shared.clear_rules()
        shared.release()
    for server in _servers:
        _check(server)
        server.close_devices()


@pytest.fixture
def kamailio(_watched):
    """kamailio(cms, settings={...}) or kamailio(cms, config=function): a
    running harness.Kamailio, for one test."""
    yield from _starter()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    report.user_properties = [
        ("repeated", what) for what in harness.take_repeats()]
    if report.failed:
        for server in _servers:
            report.sections.append((
                f"log of Kamailio on port {server.port}",
                "\n".join(server.lines[server.checked:][-80:])))


def pytest_terminal_summary(terminalreporter):
    lines = [f"{report.nodeid}: {what}"
             for reports in terminalreporter.stats.values()
             for report in reports
             for name, what in getattr(report, "user_properties", ())
             if name == "repeated"]
    terminalreporter.section(f"measured again: {len(lines)}")
    for line in lines:
        terminalreporter.line(line)
