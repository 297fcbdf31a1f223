"""The CMS of the benchmark.

    Nginx      answers each POST with 200 and a small JSON body, and counts
    Batches    answers each event of a batch with 200, and counts
    Slow       answers the same, later
    Hanging    takes every connection and request, and answers none
"""

import asyncio
import http.client
import multiprocessing
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
        server = await loop.create_server(
            lambda: SlowConnection(loop, self._delay), sock=listener)
        await server.serve_forever()


class SlowConnection(asyncio.Protocol):
    """Takes one request after the other, as libcurl sends them over HTTP/1.1."""

    def __init__(self, loop, delay):
        self._loop, self._delay = loop, delay
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
            self._loop.call_later(self._delay, self._transport.write,
                                  Slow.ANSWER)


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
