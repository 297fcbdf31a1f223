"""Several servers at the same time, each in its turn: what disturbs the machine
for longer than a turn disturbs all of them."""


def in_turns(servers, turns, cms, load):
    """What a registration has cost each of them, in the order of `servers`.

    cms    Nginx, which counts
    load   load(server, turn) makes a load, and returns what came of it; turn
           None comes first and warms the server up: of it only the connections
           count
    """
    tallies = [Tally(server) for server in servers]
    for tally in tallies:
        before = cms.counts()
        load(tally.server, None)
        tally.begin(before, cms.counts())
    for turn in range(turns):
        for tally in tallies if turn % 2 else reversed(tallies):
            before = cms.counts()
            tally.add(load(tally.server, turn), before, cms.counts())
    return [tally.end() for tally in tallies]


class Tally:
    """What came of the turns of one server."""

    def __init__(self, server):
        self.server = server
        self._registered = self._repeated = self._failed = 0
        self._connections = self._posts = 0
        self._before = None

    def begin(self, before, after):
        self._connections = after[0] - before[0]
        self.server.settle()
        self._before = self.server.cpu()

    def add(self, load, before, after):
        self._registered += load.registered
        self._repeated += load.repeated
        self._failed += load.failed
        self._connections += after[0] - before[0]
        self._posts += after[1] - before[1]

    def end(self):
        """To free the last transaction is part of the cost."""
        self.server.settle()
        cpu = self.server.cpu() - self._before
        each = 1e6 / self._registered
        return {"cpu_us": cpu.seconds * each, "user_us": cpu.user * each,
                "system_us": cpu.system * each,
                "kinds_us": {kind: value * each
                             for kind, value in cpu.kinds.items()},
                "posts_each": self._posts / self._registered,
                "connections": self._connections,
                "registered": self._registered,
                "repeated": self._repeated, "failed": self._failed}
