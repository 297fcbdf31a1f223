"""Fixtures: `cluster` is one for all tests of a file; what a test has killed is started
again for the next. At the end nothing may have crashed, and no log may have an error
that its test has not allowed.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "integration"))

import harness  # noqa: E402

harness.files_in_memory()

from cluster import Cluster  # noqa: E402
from postgres import Postgres  # noqa: E402

_clusters = []


def _check(server):
    crashed = server.log(r"signal (4|6|7|8|11)\b|core was generated")
    bad = server.unexpected_errors() + crashed
    if bad:
        pytest.fail("in Kamailio's log:\n" + "\n".join(bad[:20]), False)


@pytest.fixture(scope="module")
def postgres():
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def reference():
    with harness.ReferenceCms() as cms:
        yield cms


@pytest.fixture(scope="module")
def settings():
    return None


@pytest.fixture(scope="module")
def whole(postgres, reference, settings):
    cluster = Cluster(postgres, reference, settings)
    _clusters.append(cluster)
    try:
        yield cluster.start()
        for server in cluster.all:
            server.stop()
            _check(server)
    finally:
        _clusters.remove(cluster)
        cluster.close()


@pytest.fixture
def cluster(whole):
    for server in whole.all:
        if not server.running:
            whole.start_one(server)
        server.begin_test()
    harness.until(lambda: all(map(whole.front.is_up, whole.servers)))
    whole.cms.clear()
    yield whole
    for server in whole.servers:
        whole.take_out(server, False)
    whole.cms.clear_rules()
    whole.cms.release()
    for server in whole.all:
        if server.running:
            server.settle()
        _check(server)
    whole.close_devices()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for cluster in _clusters:
            for server in cluster.all:
                report.sections.append((
                    f"log of Kamailio on port {server.port}",
                    "\n".join(server.lines[server.checked:][-60:])))
