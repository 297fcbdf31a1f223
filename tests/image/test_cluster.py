"""The services of compose.cluster.yaml. PostgreSQL is not a container but this
machine's: there is no registry to take its image from."""

import contextlib
import json
import urllib.request

import pytest

import containers
from containers import Container, once, podman
from harness import DOMAIN, HOST, PASSWORD, REALM, until
from postgres import Postgres
from sip_ua import Transport, Ua

SERVICES = containers.services("compose.cluster.yaml")
SERVERS = [name for name in SERVICES if name.startswith("sip")]
FRONT, DEVICE = (HOST, 5060), ("127.0.0.9", 0)
REQUESTS = f"http://{HOST}:8081/control/requests"
SECRET = 'k"e\\y 4711'
assert all(SERVICES[name]["restart"] == "unless-stopped" for name in SERVERS)
SECONDS = 120  # A busy machine takes servers out for a moment.


class Cluster:
    """Started in the order that the file says; .servers and .front of it."""

    def __init__(self, stack, secret, **environment):
        self._environment = environment
        self._options = {
            "among": SERVICES, "secrets": {"db_password": secret},
            "allowed": [""]}  # a server that is taken out has errors to tell of
        text = self.admin()
        assert "location" in text and "cms_outbox: created" in text
        stack.enter_context(self._container("reference-cms"))
        self.servers = {name: stack.enter_context(self._container(name))
                        for name in SERVERS}
        self.front = stack.enter_context(self._container("front"))
        for one in (*self.servers.values(), self.front):
            until(lambda one=one: self._is_up(one), SECONDS)
        until(lambda: self.used() == set(SERVERS), SECONDS)

    def _container(self, service, *command, **kw):
        known = SERVICES[service].get("environment", {})
        return Container(service, *command, **self._options, **kw, **{
            name: value for name, value in self._environment.items()
            if name in known or service == "admin"})

    @staticmethod
    def _is_up(container):
        """A server ends if it waits for the database for two seconds as it starts. It is
        started again, as "restart" says."""
        if container.inspect(".State.Status") == "exited":
            podman("start", container.name)
        return container.is_healthy()

    def admin(self, *command, **kw):
        with self._container("admin", *command, **kw) as container:
            status, text = container.wait()
            assert status == 0, text
            return text

    def used(self):
        """Servers that the balancer brings requests to."""
        listens = {f"sip:{SERVICES[name]['environment']['LISTEN']}": name
                   for name in SERVERS}
        return {listens[target["DEST"]["URI"]]
                for group in self.front.rpc("dispatcher.list")["RECORDS"]
                for target in group["SET"]["TARGETS"]
                if target["DEST"]["FLAGS"].startswith("A")}


@pytest.fixture
def cluster(tmp_path):
    secret = tmp_path / "password"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o644)
    tmp_path.chmod(0o755)
    with Postgres(password=SECRET) as postgres, contextlib.ExitStack() as stack:
        yield Cluster(stack, secret, DB_URL=postgres.url, PGPORT=postgres.port,
                      DBPORT=postgres.port)


def register(ua):
    """Nothing is repeated: two servers that have the same request would both tell the
    CMS. Without any server the device is told to come again."""
    answers = []

    def is_answered():
        answers.append(ua.register(retransmit=False))
        return answers[-1].status != 503

    until(is_answered, SECONDS)
    assert answers[-1].status == 200, answers[-1].start_line


def events():
    """What the CMS was told."""
    with urllib.request.urlopen(REQUESTS) as answer:
        return [request["body"] for request in json.load(answer)]


def test_a_server_is_lost(cluster):
    """A device registers, its server is killed: it stays on line, refreshes at
    another one, and the CMS is told once."""
    assert "added" in cluster.admin(
        "kamailio-subscriber", "add", f"gzj@{REALM}", stdin=PASSWORD)
    way = Transport(FRONT, "udp", DEVICE)
    with contextlib.closing(Ua(user="gzj", domain=DOMAIN, password=PASSWORD,
                               transport=way)) as ua, contextlib.closing(way):
        register(ua)
        told, = events()
        register(ua)
        first = told["node"]
        podman("kill", cluster.servers[first].name)
        until(lambda: first not in cluster.used(), SECONDS)
        other = cluster.servers[next(iter(set(SERVERS) - {first}))]
        shown = other.run("kamctl", "ul", "show", f"gzj@{DOMAIN}")
        assert f"sip:gzj@{way.host_port}" in shown
        register(ua)
    assert events() == [told]
    for one in (cluster.front, other):
        assert "4711" not in podman("inspect", one.name) + one.log()


def test_a_balancer_needs_servers():
    status, text = once("front", among=SERVICES, SERVERS="")
    assert status == 1 and "SERVERS is empty" in text
