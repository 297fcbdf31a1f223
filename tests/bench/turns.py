"""Several servers at the same time, each in its turn: what disturbs the machine
for longer than a turn disturbs all of them."""

import time

# Before the first turn: what each costs that has nothing to do.
IDLE_SECONDS = 3


def in_turns(servers, turns, cms_of, load):
    """What a registration has cost each of them, in the order of `servers`.

    cms_of  cms_of(configuration) is the CMS, which counts
    load    load(server, turn) makes a load, and returns what came of it; turn
            None comes first and warms the server up: its connections count,
            and its system calls, since nothing is timed then
    """
    tallies = [Tally(server, cms_of(server.configuration))
               for server in servers]
    for tally in tallies:
        with tally.server.system_calls() as calls:
            tally.load(lambda server: load(server, None))
        tally.calls = calls
    for tally in tallies:
        tally.server.settle()
    idle = [tally.server.usage() for tally in tallies]
    time.sleep(IDLE_SECONDS)
    for tally, before in zip(tallies, idle):
        tally.begin(before)
    for turn in range(turns):
        first = turn % len(tallies)
        for tally in tallies[first:] + tallies[:first]:
            tally.load(lambda server: load(server, turn))
    # To free the last transaction is part of the cost.
    for tally in tallies:
        tally.server.settle()
    return [tally.end() for tally in tallies]


class Tally:
    """What came of the turns of one server. What it costs while others have
    their turn is no part of it."""

    def __init__(self, server, cms):
        self.server = server
        self._cms = cms
        self.calls = None
        self._connections = self._posts = 0
        self._loads, self._warm = [], 0
        self._before = self._began = self._idle = None

    def load(self, load):
        before, began = self._cms.counts(), time.monotonic()
        found = load(self.server)
        self._loads.append((found, time.monotonic() - began))
        after = self._cms.counts()
        self._connections += after[0] - before[0]
        self._posts += after[1] - before[1]

    def begin(self, idle_since):
        """The turns begin."""
        self._before, self._began = self.server.usage(), time.monotonic()
        self._idle = (self._before - idle_since) * (1 / IDLE_SECONDS)
        self._warm = sum(load.registered for load, _ in self._loads)
        self._loads.clear()

    def end(self):
        idle = time.monotonic() - self._began - sum(
            seconds for _, seconds in self._loads)
        loads = [load for load, _ in self._loads]
        registered = sum(load.registered for load in loads)
        used = self.server.usage() - self._before - self._idle * idle
        return {**(used * (1 / registered)).sample(),
                **self.calls.sample(self._warm),
                "posts_each": self._posts / (self._warm + registered),
                "connections": self._connections,
                "repeated": sum(load.repeated for load in loads),
                "failed": sum(load.failed for load in loads)}
