"""What so many devices take: arithmetic with the measured costs, and names of devices
dealt out to shards and servers. See modules/cms_notify/doc/scaling.md.

    Site    devices, and how they come
    need()  what a site takes
    deal()  how evenly devices are spread
"""

import collections
import dataclasses
import hashlib
import math

SLOTS = 256
MOST_SERVERS = 10  # of one cluster
# Processes of a server with a connection to the database: the defaults of the shipped
# configuration, and what there is beside them.
CHILDREN, TCP_CHILDREN, VERDICTS, OTHERS = 8, 4, 2, 9


@dataclasses.dataclass(frozen=True)
class Site:
    """refresh: seconds between a device's registrations; storm: in which all register
    anew; keepalive: between two signs of life, 0: it gives none; cores, busy: of each machine, and the share that may be used; wal: MB a second
    that a database may write; statement, commit: ms that one takes."""
    devices: int
    refresh: int = 1800
    storm: int = 600
    keepalive: int = 60
    cores: int = 8
    busy: float = 0.7
    wal: float = 100
    statement: float = 1
    commit: float = 2

    @property
    def times(self):
        """{time: {kind: a second}}: on an ordinary day, and when all are new. Keepalives
        go on."""
        often = self.devices / self.keepalive if self.keepalive else 0
        return {"day": {"refresh": self.devices / self.refresh, "keepalive": often},
                "storm": {"new": self.devices / self.storm, "keepalive": often}}

    @property
    def usable(self):
        return self.cores * self.busy


@dataclasses.dataclass(frozen=True)
class Need:
    """What all shards together take, at the worst time; children, verdicts: SIP and
    verdict processes of a server; connections of a database."""
    cores: dict
    wal: float
    shards: int
    servers: int
    children: int
    verdicts: int
    connections: int


def need(site, costs):
    def used(cost):
        return max(sum(rate * cost(kind) for kind, rate in rates.items()) / 1e6
                   for rates in site.times.values())

    cores = {machine: used(lambda kind: costs[kind][f"{machine}_us"] + (
        costs["vacuum_us"] if machine == "postgres" and kind != "keepalive" else 0))
        for machine in ("servers", "front", "postgres")}
    wal = used(lambda kind: written(costs, kind))
    # The next server takes all that a dead one had.
    servers = 2 * cores["servers"] / site.usable
    shards = math.ceil(max(cores["postgres"] / site.usable, wal / site.wal,
                           servers / MOST_SERVERS))
    servers = max(3, math.ceil(servers / shards))
    children, verdicts = processes(site, costs, shards * servers)
    return Need(
        cores=cores, wal=wal, shards=shards, servers=shards * servers,
        children=children, verdicts=verdicts,
        connections=servers * (OTHERS + children + TCP_CHILDREN + verdicts))


def processes(site, costs, servers):
    """Of each server. One that waits for the database does nothing else. Of what a new
    registration asks for, a verdict process asks half."""
    def busy(rates, statements):
        return sum(2 * rate / servers / site.busy / 1000 * statements(kind)
                   for kind, rate in rates.items())

    def waits(kind):
        number = len(costs["statements"][kind])
        if kind == "new":
            return number / 2 * site.statement
        return number * site.statement + (site.commit if kind == "refresh" else 0)

    return (max(CHILDREN, math.ceil(max(busy(rates, waits)
                                        for rates in site.times.values()))),
            max(VERDICTS, math.ceil(busy(
                {"new": site.times["storm"]["new"]},
                lambda kind: waits(kind) + site.commit))))


def written(costs, kind):
    """WAL bytes, if each page is written as a whole, compressed: as with a table whose
    pages are all changed between two checkpoints. What a select writes is what others
    have left behind: that is counted where it is left."""
    return sum(one["wal_compressed"] for one in costs["statements"][kind]
               if not one["text"].startswith("select"))


def dispatcher_hash(user):
    """As the balancer's dispatcher module chooses a server by a user's name."""
    text, total = user.encode(), 0
    for start in range(0, len(text) - len(text) % 4 + 1, 4):
        word = int.from_bytes(text[start:start + 4], "big")
        total += word ^ word >> 3
    total &= 0xffffffff
    return (total + (total >> 11) + (total >> 13) + (total >> 23)) & 0xffffffff


def slot(user):
    """The first two digits of the name's MD5."""
    return int(hashlib.md5(user.encode()).hexdigest()[:2], 16)


def deal(users, shards, servers, by_slot=True):
    """Over the mean: {"shard", "server", "neighbour"}, the fullest of each; the last is
    a server that has a dead one's devices, too. by_slot=False: the shard is chosen by
    the same number as the server in it."""
    devices = collections.Counter()
    for user in users:
        number = dispatcher_hash(user)
        shard = (slot(user) if by_slot else number) % shards
        devices[shard, number % servers] += 1
    mean = len(users) / shards / servers
    of_shard = [sum(devices[shard, server] for server in range(servers))
                for shard in range(shards)]
    return {
        "shard": max(of_shard) / mean / servers,
        "server": max(devices.values()) / mean,
        "neighbour": max(devices[shard, server] + devices[shard, (server + 1) % servers]
                         for shard in range(shards) for server in range(servers)) / mean}


def names(count):
    """Cameras of GB/T 28181: 500 of each of the districts."""
    return [f"{3402000000 + number // 500}132{number % 500:07d}"
            for number in range(count)]
