"""Endpoints and limits change while Kamailio runs, by a file of settings."""

import contextlib
import os
import re
import signal
import socket

import pytest

from deferring import deferring, rows
from harness import ReferenceCms, RpcError, fails_to_start, registrar, shown, until
from reloading import Load, replace, replace_and_wait

WAYS = ["rpc", "by itself"]


class Settings:
    """The file. says() has it in force when it returns."""

    def __init__(self, path):
        self.path = str(path)
        self.server = None
        replace(self.path, "")

    def says(self, *lines, way="rpc"):
        text = "".join(f"{line}\n" for line in lines)
        if self.server is None:
            replace(self.path, text)
        elif way == "rpc":
            replace(self.path, text)
            self.server.rpc("cms_notify.reload")
        else:
            replace_and_wait(self.server, self.path, text)

    def urls(self, *all_cms, way="rpc", more=()):
        self.says(*(f"cms_url = {cms.url}" for cms in all_cms), *more, way=way)


@pytest.fixture
def settings(tmp_path):
    return Settings(tmp_path / "cms.settings")


@pytest.fixture
def start(kamailio, settings):
    """start(cms, (parameter, value), ...): a server with the file."""
    def start(cms, *params, **kw):
        settings.server = kamailio(cms, config=lambda s, url: registrar(
            s, url, **kw, params=[
                ("cms_notify", name, value) for name, value in [
                    ("settings_file", settings.path), ("timeout", 10000),
                    ("attempt_timeout", 10000), *params]]))
        return settings.server

    return start


@pytest.fixture
def three():
    with ReferenceCms() as first, ReferenceCms() as second, ReferenceCms() as third:
        yield first, second, third


def held(server, cms, **rule):
    """A registration whose POST this CMS keeps."""
    cms.rule(hold=True, times=1, **rule)
    waiting = server.device().start_register()
    cms.wait_until(lambda: cms.held == 1)
    return waiting


def endpoints(server, *names):
    return [tuple(e[name] for name in names)
            for e in server.rpc("cms_notify.endpoints")]


def cause(answer):
    assert answer.status == 503
    return shown(answer)["cause"]


# -- over the parameters ---------------------------------------------------------

def test_the_file_is_over_the_parameters(start, settings, three):
    """From the start on; what it does not name is as the parameters say."""
    first, second, _third = three
    settings.urls(second, more=["timeout = 9000"])
    server = start(first)
    assert server.device().register().status == 200
    assert (first.count, second.count) == (0, 1)
    limits = server.status()["limits"]
    assert (limits["timeout"], limits["attempt_timeout"]) == (9000, 10000)
    settings.says("# nothing")
    assert server.device().register().status == 200
    assert (first.count, second.count) == (1, 1)
    assert server.status()["limits"]["timeout"] == 10000


def test_the_file_alone_may_have_the_urls(start, settings, cms):
    settings.urls(cms)
    server = start(None)
    assert server.device().register().status == 200
    with pytest.raises(RpcError, match="cms_url is not set"):
        settings.says("timeout = 500")
    assert server.device().register().status == 200


def test_the_shipped_configuration(kamailio, settings, three):
    first, second, _third = three
    settings.server = server = kamailio(
        first, settings={"CMS_SETTINGS_FILE": settings.path})
    assert server.device().register().status == 200
    settings.urls(second, way="by itself")
    assert server.device().register().status == 200
    assert (first.count, second.count) == (1, 1)


# -- endpoints --------------------------------------------------------------------

@pytest.mark.parametrize("way", WAYS)
def test_endpoints_change_while_posts_are_under_way(start, settings, three, way):
    """Exchanged, added, in another order, taken out: who waits is answered by the
    one that was asked, who comes asks the new one at once."""
    first, second, third = three
    server = start(first, ("http_processes", 2))
    now = first
    for urls in ([second], [third, second], [second, third], [third], [first]):
        waiting = held(server, now)
        counts = [cms.count for cms in three]
        settings.urls(*urls, way=way)
        assert endpoints(server, "url") == [(cms.url,) for cms in urls]
        for _ in range(6):
            assert server.device().register().status == 200
        assert [cms.count for cms in three] == [
            count + 6 * (cms is urls[0]) for cms, count in zip(three, counts)]
        now.release()
        assert waiting.wait().status == 200
        now = urls[0]
    # a connection goes with the last POST that may use it
    until(lambda: second.open_connections + third.open_connections == 0)


def test_a_post_ends_with_the_endpoints_that_it_began_with(start, settings, three):
    first, second, third = three
    settings.urls(first, second)
    server = start(None)
    waiting = held(server, first, status=500)
    settings.urls(third)
    first.release()
    assert waiting.wait().status == 200
    assert (second.count, third.count) == (1, 0)
    assert server.device().register().status == 200
    assert third.count == 1


def test_another_attempt_has_the_header_of_now(start, settings, three, tmp_path):
    """Where the endpoints are still the same."""
    first, second, _third = three
    path = str(tmp_path / "token")
    replace(path, "old")
    settings.urls(first, second)
    server = start(None, ("http_header_file", f"X-Token: {path}"))
    waiting = held(server, first, status=500)
    replace(path, "new")
    server.rpc("cms_notify.reload")
    first.release()
    assert waiting.wait().status == 200
    assert first.requests[0].get("X-Token") == "old"
    assert second.requests[0].get("X-Token") == "new"


def test_what_was_taken_out_does_not_count_for_what_is_in_its_place(
        start, settings, three):
    first, second, _third = three
    server = start(first, ("breaker_failures", 1))
    waiting = held(server, first, status=500)
    settings.urls(second)
    first.release()
    assert waiting.wait().status == 503
    server.settle()
    fields = ("state", "attempts", "failures", "in_flight")
    assert endpoints(server, *fields) == [("closed", 0, 0, 0)]
    assert not server.log("is away")
    assert server.device().register().status == 200
    server.settle()
    assert endpoints(server, *fields) == [("closed", 1, 0, 0)]


def test_a_url_that_stays_keeps_its_breaker(start, settings, three):
    """And its figures, wherever it is; one that comes, or comes back, begins
    anew."""
    first, second, third = three
    settings.urls(first, second)
    server = start(None, ("breaker_failures", 1), ("breaker_cooldown", 600000))
    first.rule(status=500)
    assert server.device().register().status == 200
    server.settle()
    fields = ("state", "attempts", "failures")
    assert endpoints(server, *fields) == [("open", 1, 1), ("closed", 1, 0)]
    settings.urls(third, second, first)
    assert endpoints(server, *fields) == [
        ("closed", 0, 0), ("closed", 1, 0), ("open", 1, 1)]
    settings.urls(first, second)
    assert server.device().register().status == 200
    assert (first.count, second.count) == (1, 2)
    server.settle()
    settings.urls(second)
    settings.urls(first, second)
    assert endpoints(server, *fields) == [("closed", 0, 0), ("closed", 2, 0)]


# -- what is wrong ------------------------------------------------------------------

@pytest.mark.parametrize("lines, fault", [
    (["connect_timeout = 500", "timeout = 5"],
     "line 2: timeout must be from 100 to 30000"),
    (["timeout = 30000"], "set timeout to at most 29500"),
    (["timeout = 1 s"], "line 1: timeout must be a number"),
    (["cms_url = cms.example.com"], "line 1: cms_url: no valid URL"),
    (["cms_url = http://hush:hush@cms/"], "no user name or password"),
    (["timeout"], "line 1 is not of the form"),
    (["time = 500"], "line 1: there is no setting time"),
    (["", "queue_size = 500"], "line 2: queue_size cannot change while Kamailio runs"),
    (["timeout = 500", "timeout = 600"], "line 2: timeout is also in line 1")])
def test_a_wrong_file_changes_nothing(start, settings, cms, lines, fault):
    """It is told: by the command, and in the log, once. Nothing of it is in force."""
    server = start(cms)
    server.allow_errors("stay as they were")
    before = (server.status()["limits"], endpoints(server, "url"))
    with pytest.raises(RpcError, match=fault):
        settings.says(*lines, "resync_rate = 7")
    server.wait_log(f"ERROR: cms_notify.*{fault}.* stay as they were", timeout=60)
    assert (server.status()["limits"], endpoints(server, "url")) == before
    assert server.device().register().status == 200
    settings.says("resync_rate = 7")
    assert server.status()["limits"]["resync_rate"] == 7
    assert len(server.log("stay as they were")) == 1
    assert "hush" not in "".join(server.lines)


@pytest.mark.parametrize("text, fault", [
    ("\ntimeout = 5\n", "settings_file, line 2: timeout must be from 100"),
    ("cms_url = x\n", "settings_file, line 1: cms_url: no valid URL"),
    ("timeout = 29501\n", "set timeout to at most 29500"),
    ("http_processes = 3\n", "line 1: http_processes cannot change"),
    (None, "settings_file cannot be read: No such file")])
def test_with_a_wrong_file_it_does_not_start(tmp_path, text, fault):
    path = tmp_path / "settings"
    if text is not None:
        path.write_text(text)
    lines = fails_to_start(config=lambda s, url: registrar(
        s, url, params=[("cms_notify", "settings_file", str(path))]))
    assert [line for line in lines if re.search(f"ERROR.*{fault}", line)]


# -- limits, by what they do ------------------------------------------------------

def test_a_timeout_that_becomes_shorter(start, settings, cms):
    """For who comes from now on, before those who wait already."""
    server = start(cms)
    waiting = held(server, cms)
    settings.says("timeout = 300")
    cms.rule(hang=True, times=1)
    answer = server.device().register()
    assert cause(answer) == "timeout"
    assert int(shown(answer)["elapsed_ms"]) >= 200
    until(lambda: server.status()["parked"] == 1)
    cms.release()
    assert waiting.wait().status == 200


def test_a_timeout_that_becomes_longer(start, settings, cms):
    server = start(cms, ("timeout", 300))
    rule = cms.rule(hang=True)
    assert cause(server.device().register()) == "timeout"
    settings.says("timeout = 10000")
    cms.remove_rule(rule)
    cms.rule(delay=0.7)
    assert server.device().register().status == 200


def test_the_watchdog_notices_a_shorter_timeout(start, settings, cms):
    """No HTTP process runs: it ends the later one before the earlier one."""
    server = start(cms, ("verdict_processes", 1))
    waiting = held(server, cms)
    pids = server.pids("cms_notify http")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        settings.says("timeout = 300")
        assert cause(server.device().register()) == "timeout"
        until(lambda: server.status()["parked"] == 1)
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    cms.release()
    assert waiting.wait().status == 200


def test_attempt_timeout(start, settings, three):
    """The next endpoint follows when the first one takes longer."""
    first, second, _third = three
    settings.urls(first, second)
    server = start(None)
    for lines, rule, counts in (
            ([], {"delay": 1.2}, (1, 0)),
            (["attempt_timeout = 1000"], {"hang": True}, (2, 1)),
            (["attempt_timeout = 9000"], {"delay": 1.2}, (3, 1))):
        settings.urls(first, second, more=lines)
        first.rule(times=1, **rule)
        assert server.device().register().status == 200
        first.wait(counts[0])  # whom it has given up may look only now
        assert (first.count, second.count) == counts


@contextlib.contextmanager
def full_backlog():
    """A port where the kernel drops who comes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, \
            contextlib.ExitStack() as waiting:
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/"


def test_connect_timeout(start, settings):
    with full_backlog() as url:
        server = start(url, ("timeout", 2000), ("connect_timeout", 10000))
        assert cause(server.device().register()) == "timeout"
        settings.says("connect_timeout = 100")
        assert cause(server.device().register()) == "connect"


def test_connection_lifetime(start, settings, cms):
    """libcurl counts whole seconds."""
    server = start(cms, ("http_processes", 1))

    def connections():
        """Of registrations until a second has passed for sure."""
        cms.rule(delay=1.1, times=2)
        for _ in range(3):
            assert server.device().register().status == 200
        return len({r.connection for r in cms.requests[-3:]})

    assert connections() == 1
    settings.says("connection_lifetime = 1")
    assert connections() > 1
    settings.says("connection_lifetime = 0")
    assert connections() == 1


def test_max_answer_size(start, settings, cms):
    server = start(cms)
    cms.rule(body_size=1000)
    assert server.device().register().status == 200
    settings.says("max_answer_size = 999")
    assert cause(server.device().register()) == "too_big"
    settings.says("max_answer_size = 1000")
    assert server.device().register().status == 200


def test_an_answer_that_is_being_read_when_its_limit_shrinks(start, settings, cms):
    """It has the limit that it began with."""
    server = start(cms, ("timeout", 25000), ("attempt_timeout", 25000))
    cms.rule(body_size=500, drip=0.001, times=1)
    waiting = server.device().start_register()
    cms.wait(1)
    settings.says("max_answer_size = 256")
    assert waiting.wait().status == 200


def test_breaker_failures_and_cooldown(start, settings, cms):
    server = start(cms)
    cms.rule(status=503, times=3)
    for _ in range(3):
        assert server.device().register().status == 503
    server.settle()
    assert endpoints(server, "state") == [("closed",)]
    settings.says("breaker_failures = 1", "breaker_cooldown = 600000")
    cms.rule(status=503, times=1)
    assert server.device().register().status == 503
    server.settle()
    assert endpoints(server, "state") == [("open",)]
    assert server.device().register().status == 503
    assert cms.count == 4
    settings.says("breaker_failures = 1", "breaker_cooldown = 10")
    until(lambda: server.device().register().status == 200)
    server.settle()
    assert endpoints(server, "state") == [("closed",)]


def outbox(kamailio, settings, cms, *params):
    settings.server = kamailio(cms, config=deferring(
        ("settings_file", settings.path), *params))
    return settings.server


def test_outbox_max_age(kamailio, settings, cms):
    server = outbox(kamailio, settings, cms)
    cms.rule(status=503)
    assert server.device().register().status == 200
    until(lambda: cms.count > 2)
    assert server.rpc("cms_notify.outbox")["dead"] == 0
    settings.says("outbox_max_age = 1")
    until(lambda: [letter["why"] for letter in server.rpc("cms_notify.outbox")[
        "dead_letters"]] == ["too old"])
    until(lambda: not rows(server, "state = 0"))


def test_resync_rate(kamailio, settings, cms):
    server = outbox(kamailio, settings, cms, ("resync_rate", 1))
    for device in server.devices(200):
        assert device.register().status == 200
    cms.clear()
    server.rpc("cms_notify.resync")
    cms.wait(1)
    settings.says("resync_rate = 100000")
    # it would take more than three minutes
    cms.wait(200, timeout=60)


def test_drain_timeout(start, settings, cms):
    """Who waits when the server stops is told so, not as late as it would be."""
    server = start(cms, ("drain_timeout", 30000))
    waiting = held(server, cms)
    settings.says("drain_timeout = 0")
    server.stop()
    assert cause(waiting.wait()) == "shutdown"


# -- under load -----------------------------------------------------------------------

def test_everything_changes_under_load(start, settings, three, tmp_path):
    """Endpoints, limits and a header's file: no POST fails, and each that begins
    afterwards is as it was told."""
    path = str(tmp_path / "token")
    replace(path, "0")
    server = start(three[0], ("http_processes", 2),
                   ("http_header_file", f"X-Token: {path}"))
    settings.urls(*three)
    with Load(server) as load:
        for number in range(1, 13):
            load.more(60)
            turned = [*three[number % 3:], *three[:number % 3]]
            replace(path, str(number))
            settings.urls(*turned[:1 + number % 2], more=[
                f"timeout = {9000 + number}", f"connection_lifetime = {number}",
                f"max_answer_size = {1000 + number}"])
        load.more(60)
    assert set(load.statuses) == {200}
    requests = [r for cms in three for r in cms.requests]
    assert {r.outcome for r in requests} == {200}
    assert {r.get("X-Token") for r in requests} == {str(n) for n in range(13)}
    for number in range(1, 13):
        told = {cms for cms in three for r in cms.requests
                if r.get("X-Token") == str(number)}
        # It looks by itself, too, and may find the one file before the other.
        assert {three[number % 3]} <= told \
            <= {three[number % 3], three[(number - 1) % 3]}
    assert all(e["failures"] == 0 for e in server.rpc("cms_notify.endpoints"))
    # in force is what was told last
    assert endpoints(server, "url") == [(three[0].url,)]
    assert server.status()["limits"]["timeout"] == 9012
