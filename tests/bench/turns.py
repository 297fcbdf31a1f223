"""Several servers at the same time, each in its turn: what disturbs the machine
for longer than a turn disturbs all of them."""

import time

# Before the first turn: what each costs that has nothing to do.
IDLE_SECONDS = 3


def in_turns(servers, turns, cms, load):
    """What a registration has cost each of them, in the order of `servers`.

    cms    Nginx, which counts
    load   load(server, turn) makes a load, and returns what came of it; turn
           None comes first and warms the server up: of it only the connections
           count
    """
    tallies = [Tally(server) for server in servers]
    for tally in tallies:
        tally.load(cms, lambda server: load(server, None))
    for tally in tallies:
        tally.server.settle()
    idle = [tally.cpu() for tally in tallies]
    time.sleep(IDLE_SECONDS)
    for tally, before in zip(tallies, idle):
        tally.begin(before)
    for turn in range(turns):
        first = turn % len(tallies)
        for tally in tallies[first:] + tallies[:first]:
            tally.load(cms, lambda server: load(server, turn))
    # To free the last transaction is part of the cost.
    for tally in tallies:
        tally.server.settle()
    return [tally.end() for tally in tallies]


class Tally:
    """What came of the turns of one server. What it costs while others have
    their turn is no part of it."""

    def __init__(self, server):
        self.server = server
        self._registered = self._connections = self._posts = 0
        self._loads = []
        self._before = self._began = self._idle = None

    def cpu(self):
        return self.server.cpu()

    def load(self, cms, load):
        before, began = cms.counts(), time.monotonic()
        found = load(self.server)
        self._loads.append((found, time.monotonic() - began))
        after = cms.counts()
        self._registered += found.registered
        self._connections += after[0] - before[0]
        self._posts += after[1] - before[1]

    def begin(self, idle_since):
        """The turns begin."""
        self._before, self._began = self.cpu(), time.monotonic()
        self._idle = self._before - idle_since
        self._loads.clear()

    def end(self):
        idle = time.monotonic() - self._began - sum(
            seconds for _, seconds in self._loads)
        idle /= IDLE_SECONDS
        loads = [load for load, _ in self._loads]
        cpu = self.cpu() - self._before
        each = 1e6 / sum(load.registered for load in loads)
        return {"cpu_us": (cpu.seconds - self._idle.seconds * idle) * each,
                "user_us": cpu.user * each, "system_us": cpu.system * each,
                "kinds_us": {
                    kind: (value - self._idle.kinds.get(kind, 0) * idle) * each
                    for kind, value in cpu.kinds.items()},
                "idle_us_per_second": self._idle.seconds / IDLE_SECONDS * 1e6,
                "posts_each": self._posts / self._registered,
                "connections": self._connections,
                "repeated": sum(load.repeated for load in loads),
                "failed": sum(load.failed for load in loads)}
