"""Three servers with the shipped configuration, one PostgreSQL, a balancer in front.

    Cluster   .servers, .front, .postgres, .cms; device() is one behind the balancer

`settings` of a server: a function of its number, for what differs. `options` of its
command line.
"""

import contextlib
import itertools
import shutil
import threading

import harness
from harness import DOMAIN, HOST, PASSWORD, REALM, TOP, Kamailio, shipped_with, until
from sip_ua import NoAnswer, Transport, Ua

FRONT = TOP / "scripts" / "etc" / "kamailio-front.cfg"
# Devices are not where the balancer is.
DEVICES = "127.0.0.9"
COUNT = 3
NUMBERS = range(1, COUNT + 1)


def register(ua, **kw):
    """As devices do: repeated until it is answered, and begun again when that says so.
    On a busy machine a server is given up for a moment, and an event is not stored in
    time."""
    tries = []

    def is_answered():
        tries.append(ua.start_register(retransmit=True, **kw))
        answer = tries[-1].wait()
        return answer.status != 503 or int(answer.get("Retry-After")) <= 0

    until(is_answered, 120)
    assert tries[-1].result.status == 200, tries[-1].result.start_line
    return tries[-1]


def database(number):
    """Where a server has it, if a firewall is to cut one off."""
    return f"127.0.1.{number}"


def cms_of(number):
    return f"127.0.2.{number}"


def apart(postgres, cms):
    """Settings: each server has addresses of its own of the database and the CMS."""
    return lambda number: {
        "DB_URL": postgres.url.replace(HOST, database(number)),
        "CMS_URL": cms.url.replace("0.0.0.0", cms_of(number))}


class Front(Kamailio):
    """The balancer: it has none of the module's commands."""

    def settle(self, timeout=None):
        return {}

    def begin_test(self):
        super().begin_test()
        # It may ask a server that has just been killed; and core.tcp_list complains
        # of a connection that is being made.
        self.allow_errors("tcpconn_1st_send", "tcp_send failed",
                          "Attempt to send to precreated request failed",
                          "core_tcp_list", "ip_addr2sbuf")

    def connections(self, server):
        """The states of those to this server."""
        return [c["state"] for c in self.rpc("core.tcp_list")
                if server.port in (c["src_port"], c["dst_port"])]

    @contextlib.contextmanager
    def asking_nobody(self, server):
        """No OPTIONS, and no answer to one is left on its way."""
        self.rpc("dispatcher.ping_active", 0)
        for one in (server, self):
            one.wait_idle(one.pids("udp receiver"))
        try:
            yield
        finally:
            self.rpc("dispatcher.ping_active", 1)

    def is_up(self, server):
        """Does it bring requests to this server?"""
        for group in self.rpc("dispatcher.list")["RECORDS"]:
            for entry in group["SET"]["TARGETS"]:
                dest = entry["DEST"]
                if dest["URI"] == f"sip:{HOST}:{server.port}":
                    return dest["FLAGS"][0] in "AT"  # active, or asked again
        return False


class Cluster:
    def __init__(self, postgres, cms, settings=None, options=()):
        self.postgres, self.cms = postgres, cms
        self._users = itertools.count(1)
        self._uas = []
        self.servers = [Kamailio(cms, options=options) for _ in range(COUNT)]
        self.front = Front(cms, config=self._front, options=options)
        # as doc/cluster.md has it
        alias = f"alias={HOST}:{self.front.port}\n"
        for number, server in enumerate(self.servers, 1):
            server.name = f"sip{number}"
            shutil.copy(harness.GB28181, server.folder)
            server.configure(config=shipped_with(
                alias, self._settings(number, settings)))

    def _settings(self, number, settings):
        return {"WITH_CLUSTER": "", "WITH_PGSQL": "", "WITH_DEFER": "",
                "DB_URL": self.postgres.url, "SERVER_ID": number,
                "NODE_NAME": f"sip{number}", "CLUSTER_FRONT": HOST,
                "CMS_VERDICT_PROCESSES": None, "CMS_BREAKER_COOLDOWN": 100,
                "CMS_TIMEOUT": 4000,
                "CMS_EVENTS": "register,unregister,expire",
                **(settings(number) if settings else {})}

    def _front(self, server, _cms):
        server.write("servers", "".join(
            f"1 sip:{HOST}:{one.port}\n" for one in self.servers))
        server.write("kamailio-front-local.cfg", "\n".join([
            f'#!define FRONT_SERVERS "{server.folder}/servers"',
            "#!define FRONT_CHILDREN 2",
            f'#!substdef "|RUN_DIR|{server.folder}|g"',
            f'mpath="{server.mpath}"', f"listen=udp:{HOST}:{server.port}",
            f"listen=tcp:{HOST}:{server.port}", ""]))
        return FRONT.read_text(encoding="utf-8")

    @property
    def all(self):
        return [*self.servers, self.front]

    def take_out(self, server, out=True):
        """The balancer brings nothing more to it; or it does again."""
        self.front.rpc("dispatcher.set_state", "d" if out else "a", 1,
                       f"sip:{HOST}:{server.port}")

    def lose(self, server):
        """It is killed, and the balancer has noticed."""
        server.kill()
        until(lambda: not self.front.is_up(server))

    def start_one(self, server):
        """As systemd does, which tries again: on a busy machine the database does not
        answer in time, and then Kamailio does not start."""
        for _ in range(5):
            try:
                return server.start()
            except RuntimeError:
                server.checked = len(server.lines)
        return server.start()

    def bring_back(self, server):
        self.start_one(server)
        until(lambda: self.front.is_up(server))

    def start(self):
        for one in self.all:
            self.start_one(one)
        until(lambda: all(map(self.front.is_up, self.servers)))
        return self

    def close(self):
        for one in reversed(self.all):
            one.close()

    # -- devices ------------------------------------------------------------------

    def add_subscribers(self, users):
        self.postgres.sql(
            "INSERT INTO subscriber (username, domain, password, ha1) VALUES "
            + ", ".join(f"('{user}', '{REALM}', '', '{harness.ha1(user)}')"
                        for user in users)
            + " ON CONFLICT (username, domain) DO NOTHING")

    def device(self, user=None, to=None, transport="udp", **kw):
        """Behind the balancer, or of one server: `to`."""
        if user is None:
            user = f"cam{next(self._users)}"
        self.add_subscribers([user])
        way = Transport((to or self.front).address, transport, (DEVICES, 0))
        ua = Ua(user=user, domain=DOMAIN, password=PASSWORD, transport=way, **kw)
        self._uas.append(way)
        return ua

    def close_devices(self):
        while self._uas:
            self._uas.pop().close()

    # -- who knows what -----------------------------------------------------------

    def server_of(self, ua):
        """Who had its last REGISTER."""
        row, = self.postgres.sql("SELECT server_id FROM location WHERE username"
                                 f" = '{ua.user}'")
        return self.servers[int(row[0]) - 1]

    def bindings(self, ua):
        """Its contacts, in the table that all share."""
        return [row[0] for row in self.postgres.sql(
            f"SELECT contact FROM location WHERE username = '{ua.user}'")]

    def others(self, server):
        return [one for one in self.servers if one is not server]

    def told(self, ua):
        """The events of it that the CMS has accepted so far."""
        return [e for r in self.cms.requests if r.outcome == 200
                for e in r.events if e["aor"] == ua.aor]

    def events(self, ua):
        """The same, once nothing is under way: [(event, reason, node)]"""
        for one in self.servers:
            if one.running:
                one.settle()
        return [(e["event"], e["reason"], e["node"]) for e in self.told(ua)]


class Fleet:
    """Devices that register with one address after the other until it is left.

    registered  {ua: addresses for which it was told 200}; steps: all its requests
    """

    def __init__(self, uas):
        self.registered = {ua: [] for ua in uas}
        self.steps = []
        self._ends = threading.Event()
        self._changed = threading.Condition()
        self._failed = []
        self._threads = [threading.Thread(target=self._live, args=(ua,))
                         for ua in uas]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc):
        self._ends.set()
        for thread in self._threads:
            thread.join()
        assert not self._failed, self._failed

    def _live(self, ua):
        for port in itertools.count(7000):
            if self._ends.is_set():
                return
            uri = f"sip:{ua.user}@{DEVICES}:{port}"
            try:
                registration = ua.start_register(
                    retransmit=True, contacts=[f"<{uri}>"])
                status = registration.wait(200).status
            except NoAnswer as error:
                self._failed.append(error)
                self._ends.set()
                status = None
            with self._changed:
                self.steps += registration.steps
                if status == 200:
                    self.registered[ua].append(uri)
                self._changed.notify_all()

    def wait(self, more):
        """Until each has registered so many times more."""
        goals = {ua: len(uris) + more for ua, uris in self.registered.items()}
        with self._changed:
            assert self._changed.wait_for(
                lambda: self._failed or all(
                    len(self.registered[ua]) >= goal
                    for ua, goal in goals.items()), 200)
