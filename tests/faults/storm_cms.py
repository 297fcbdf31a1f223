"""A CMS for a storm: takes so many POSTs at a time, needs so long for each,
whether it is an event or a batch, and counts. In a process of its own."""

import asyncio
import collections
import heapq
import json
import time
import typing


class Slow(typing.NamedTuple):
    """A while in which the CMS needs longer."""
    since: float
    until: float
    factor: float


class Counts:
    """What came, and how busy the CMS was."""

    def __init__(self):
        self.posts = []  # (when it arrived, when it was answered)
        self.events = collections.Counter()
        self.devices = collections.Counter()
        self.cpu = 0.0
        self.max_in_flight = self.connections = self.abandoned = 0


class Connection(asyncio.Protocol):
    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    def __init__(self, cms):
        self._cms = cms
        self._buffer = b""
        self._transport = None
        self._arrived = None

    def connection_made(self, transport):
        self._transport = transport
        self._cms.counts.connections += 1

    def connection_lost(self, exc):
        self._cms.lost(self)

    def data_received(self, data):
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        name = b"content-length: "
        start = self._buffer.lower().index(name) + len(name)
        length = int(self._buffer[start:self._buffer.index(b"\r", start)])
        if len(self._buffer) < head + 4 + length:
            return
        body = json.loads(self._buffer[head + 4:])
        self._buffer = b""
        self._cms.take(self, body)

    def answer(self, body):
        if isinstance(body, dict):
            self._transport.write(self.ANSWER)
            return
        data = json.dumps([{"id": event["id"], "status": 200}
                           for event in body]).encode()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
                              % (len(data), data))


class Cms:
    """`slots` requests are served at a time, the others wait their turn. When
    each is done follows from its arrival: a timer that comes late makes that
    answer late and no other. Each takes `factor` times as long from `slow.since`
    to `slow.until`, seconds after the first request."""

    def __init__(self, slots, seconds, slow):
        self.counts = Counts()
        self._seconds = seconds
        self._slow = slow
        self._first = None
        self._free = [0.0] * slots  # a heap: when each slot is free
        self._arrived = {}

    def take(self, connection, body):
        counts = self.counts
        now = time.monotonic()
        for event in [body] if isinstance(body, dict) else body:
            counts.events[event["id"]] += 1
            counts.devices[event["aor"]] += 1
        self._arrived[connection] = now
        counts.max_in_flight = max(counts.max_in_flight, len(self._arrived))
        done = self._end_of(max(now, self._free[0]))
        heapq.heapreplace(self._free, done)
        asyncio.get_running_loop().call_at(
            done, self._done, connection, now, body)

    def _end_of(self, start):
        """Of a request whose turn it is at that moment."""
        if self._first is None:
            self._first = start
        slow = self._slow.since <= start - self._first < self._slow.until
        return start + self._seconds * (self._slow.factor if slow else 1)

    def lost(self, connection):
        if self._arrived.pop(connection, None) is not None:
            self.counts.abandoned += 1

    def _done(self, connection, arrived, body):
        if self._arrived.get(connection) == arrived:
            del self._arrived[connection]
            self.counts.posts.append((arrived, time.monotonic()))
            connection.answer(body)


def serve(rate, seconds, slow, channel):
    """Sends the URL, then, when told to stop, Counts."""
    async def run():
        loop = asyncio.get_running_loop()
        cms = Cms(max(1, round(rate * seconds)), seconds, slow)
        server = await loop.create_server(lambda: Connection(cms),
                                          "127.0.0.1", 0, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        channel.send(f"http://127.0.0.1:{port}/register")
        stop = loop.create_future()
        loop.add_reader(channel.fileno(), lambda: stop.done()
                        or stop.set_result(None))
        await stop
        loop.remove_reader(channel.fileno())
        cms.counts.cpu = time.process_time()
        return cms.counts

    channel.send(asyncio.run(run()))
