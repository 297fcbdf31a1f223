"""The CMS of the benchmark.

    Nginx      answers each POST with 200 and a small JSON body, and counts
    Batches    answers each event of a batch with 200, and counts
    Slow       answers the same, later
    Shaped     answers the same, as soon as a CMS of some kind would
    Hanging    takes every connection and request, and answers none
"""

import asyncio
import collections
import dataclasses
import http.client
import multiprocessing
import random
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from server import on_cpus

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
START_SECONDS = 10

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 16384; }}
http {{
	access_log off;
	client_body_temp_path {folder}/body;
	proxy_temp_path {folder}/proxy;
	fastcgi_temp_path {folder}/fastcgi;
	uwsgi_temp_path {folder}/uwsgi;
	scgi_temp_path {folder}/scgi;
	# Connections that end are those that the client ends.
	keepalive_requests 100000000;
	keepalive_timeout 600s;
	server {{
		listen {host}:{port} backlog=4096;
		listen {host}:{tls_port} ssl http2 backlog=4096;
		ssl_certificate {folder}/ca/ca.pem;
		ssl_certificate_key {folder}/key.pem;
		ssl_session_cache shared:bench:8m;
		location /register {{
			default_type application/json;
			return 200 '{{"text":"ok"}}';
		}}
		location = /counts {{ stub_status; }}
	}}
}}
"""


class Counting:
    """A process of its own in `folder`, which says how many connections and
    requests it has seen. A context manager."""

    def __init__(self, port, cpus):
        self._cpus = cpus
        self.port = port
        self.folder = Path(tempfile.mkdtemp(prefix="bench-cms-"))
        self._process = None
        self._asked = 0

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_exc):
        self.close()

    def url(self, scheme="http"):
        return f"{scheme}://{HOST}:{self.port}/register"

    def _start(self):
        command = self.command()
        with on_cpus(self._cpus):
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "--", *command],
                stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.counts()
                return
            except OSError:
                if self._process.poll() is not None \
                        or time.monotonic() > deadline:
                    raise RuntimeError(
                        f"{command[0]} does not start") from None
                time.sleep(0.02)

    def counts(self):
        """(connections, requests) so far, without these questions."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        connection.request("GET", "/counts",
                           headers={"Connection": "close"})
        text = connection.getresponse().read().decode("ascii")
        connection.close()
        self._asked += 1
        accepted, _handled, requests = map(
            int, re.search(r"(\d+) (\d+) (\d+)", text).groups())
        return accepted - self._asked, requests - self._asked

    @property
    def pid(self):
        return self._process.pid

    def close(self):
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Nginx(Counting):
    """`folder`/ca has its certificate."""

    def __init__(self, port, tls_port, cpus=None):
        super().__init__(port, cpus)
        self.tls_port = tls_port

    def url(self, scheme="http"):
        port = self.tls_port if scheme == "https" else self.port
        return f"{scheme}://{HOST}:{port}/register"

    def command(self):
        make_certificate(self.folder)
        config = self.folder / "nginx.conf"
        config.write_text(CONFIGURATION.format(
            folder=self.folder, host=HOST, port=self.port,
            tls_port=self.tls_port), encoding="utf-8")
        return ["nginx", "-p", self.folder, "-c", config, "-e", "stderr"]


class Batches(Counting):
    """nginx cannot name the events that it answers: batches.c can."""

    def command(self):
        program = self.folder / "batches"
        subprocess.run(["gcc", "-O2", "-Wall", "-Werror", "-o", program,
                        HERE / "batches.c"], check=True)
        return [program, str(self.port)]


def make_certificate(folder):
    """folder/ca is what both libcurl's CAINFO and CAPATH can use."""
    ca = folder / "ca"
    ca.mkdir()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
         "-subj", "/CN=cms", "-addext", f"subjectAltName=IP:{HOST}",
         "-keyout", folder / "key.pem", "-out", ca / "ca.pem"],
        check=True, capture_output=True)
    subprocess.run(["openssl", "rehash", ca], check=True, capture_output=True)


class Slow:
    """Answers after `delay` seconds, as many at once as there are. A process
    of its own; a context manager."""

    ANSWER = (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
              b'Content-Length: 13\r\n\r\n{"text":"ok"}')

    def __init__(self, port, delay, cpus=None):
        self.port, self._delay, self._cpus = port, delay, cpus
        self._process = None

    def url(self):
        return f"http://{HOST}:{self.port}/register"

    def __enter__(self):
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, self.port))
        listener.listen(4096)
        with on_cpus(self._cpus), listener:
            self._process = multiprocessing.get_context("fork").Process(
                target=lambda: asyncio.run(self._serve(listener)),
                daemon=True)
            self._process.start()
        return self

    def __exit__(self, *_exc):
        self._process.kill()
        self._process.join()

    async def _serve(self, listener):
        loop = asyncio.get_running_loop()
        serve = self._server(loop)
        server = await loop.create_server(
            lambda: SlowConnection(serve), sock=listener)
        await server.serve_forever()

    def _server(self, loop):
        """What is called with each request's transport, and answers there."""
        return lambda transport: loop.call_later(
            self._delay, transport.write, self.ANSWER)


class SlowConnection(asyncio.Protocol):
    """Takes one request after the other, as libcurl sends them over HTTP/1.1."""

    def __init__(self, serve):
        self._serve = serve
        self._data = b""
        self._transport = None

    def connection_made(self, transport):
        self._transport = transport

    def data_received(self, data):
        self._data += data
        head, found, body = self._data.partition(b"\r\n\r\n")
        if not found:
            return
        length = re.search(rb"\r\nContent-Length: *(\d+)", head, re.I)
        if len(body) >= int(length.group(1)):
            self._data = b""
            self._serve(self._transport)


@dataclasses.dataclass(frozen=True)
class Shape:
    """A POST takes between half of `seconds` and half as much again; `slots` are
    served at once (0: all), the others wait. With n of them it takes
    `slower` x n x (n - 1) times as long in addition. It stalls for `stall`
    seconds at the end of each `stall_every`."""
    title: str
    seconds: float
    slots: int = 0
    slower: float = 0
    stall_every: float = 0
    stall: float = 0


class Shaped(Slow):
    """A CMS of this shape."""

    def __init__(self, port, shape, cpus=None):
        super().__init__(port, None, cpus)
        self._shape = shape
        self._sums = multiprocessing.Array("d", 2, lock=False)

    def counts(self):
        """(answers, seconds that they took together) so far."""
        return tuple(self._sums)

    def _server(self, loop):
        return Queue(loop, self._shape, self._sums).arrived


class Queue:
    """The requests of a CMS."""

    def __init__(self, loop, shape, sums):
        self._loop, self._shape, self._sums = loop, shape, sums
        self._waiting = collections.deque()
        self._served = 0

    def arrived(self, transport):
        self._waiting.append((self._loop.time(), transport))
        self._serve()

    def _stalled_until(self):
        """0: it does not stall."""
        every, now = self._shape.stall_every, self._loop.time()
        if every and now % every > every - self._shape.stall:
            return now - now % every + every
        return 0

    def _serve(self):
        shape = self._shape
        while self._waiting and (not shape.slots or self._served < shape.slots):
            request = self._waiting.popleft()
            self._served += 1
            number = self._served + len(self._waiting)
            self._loop.call_later(
                shape.seconds * (0.5 + random.random())
                * (1 + shape.slower * number * (number - 1)),
                self._end, *request)

    def _end(self, since, transport):
        until = self._stalled_until()
        if until:
            self._loop.call_at(until, self._end, since, transport)
            return
        self._served -= 1
        self._sums[0] += 1
        self._sums[1] += self._loop.time() - since
        transport.write(Slow.ANSWER)
        self._serve()


class Hanging:
    """Nobody accepts: the kernel takes connections and bytes by itself. A
    context manager."""

    def __init__(self, port):
        self.port = port
        self._socket = None

    def url(self, scheme="http"):
        return f"{scheme}://{HOST}:{self.port}/register"

    def __enter__(self):
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, self.port))
        self._socket.listen(4096)
        return self

    def __exit__(self, *_exc):
        self._socket.close()
