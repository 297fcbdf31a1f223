"""A reference CMS: an HTTP/1.1 server that shows what the module sends it,
and that misbehaves in every way it is told to, at run time.

    Rule          what to do with the requests (or connections) it applies to
    Request       one request as it came, and what became of it
    ReferenceCms  the server; methods are safe from any thread
    _Connection   one TCP or TLS connection

The bytes are handled here and not by an HTTP library: broken answers cannot
be had from a correct one. It runs an event loop in a thread of its own.
"""

import asyncio
import dataclasses
import functools
import http
import json
import socket
import ssl
import struct
import threading
import time
from datetime import datetime, timezone
from typing import Any, Optional

import cms_schema
import webhook

MAX_HEAD = 64 << 10
MAX_BODY = 16 << 20
# Until something that must come is missing, also on a machine with other work.
WAIT_SECONDS = 30.0
TCP_ESTABLISHED = 1  # of linux/tcp.h
CLOSE_AT = ("accept", "reuse", "request", "answer", "after")


@dataclasses.dataclass
class Rule:
    """What to do. The newest rule that applies and is not used up wins.

    match    {field of the body: value}, e.g. {"username": "gzj"}; {}: all
    times    for the next N requests; None: until the rule is removed
    When:
    delay    seconds before the answer
    hold     keep the request until release()
    hang     never answer
    What:
    status, reason, headers, body    the answer; `headers` is a list of
             (name, value), `body` str, bytes, or anything that json can dump
    text     short for body={"text": ...}
    body_size  a body of that many bytes instead
    results  of an event in a batch, instead of its one result: a list of objects,
             each with the event's id unless it has an "id"; []: none
    whole    for the whole batch if it applies to one of its events; a rule with
             `match` is otherwise for the result of each event that it applies to
    several  only to a batch with more than one event, as a whole
    raw      these bytes instead of any HTTP answer
    extra    these bytes besides, which nobody asked for, on a connection that
             stays; `extra_delay` seconds after the answer, 0: in one piece
             with it. extra_end: after them no more is said there
    How:
    drip     seconds between the single bytes of the answer
    close    "accept": the connection, as soon as it is there
             "reuse": a kept connection, when the next request arrives on it;
                      nothing is answered, the request is not recorded
             "request": when the request has been read, without an answer
             "answer": in the middle of the answer (after `cut_after` bytes)
             "after": after the answer, without announcing it
    reset    close with a TCP reset
    """

    match: dict = dataclasses.field(default_factory=dict)
    times: Optional[int] = None
    delay: float = 0.0
    hold: bool = False
    hang: bool = False
    status: int = 200
    reason: Optional[str] = None
    headers: list = dataclasses.field(default_factory=list)
    body: Any = None
    text: Optional[str] = None
    body_size: Optional[int] = None
    results: Optional[list] = None
    whole: bool = False
    several: bool = False
    raw: Optional[bytes] = None
    extra: Optional[bytes] = None
    extra_delay: float = 0.0
    extra_end: bool = False
    drip: Optional[float] = None
    close: Optional[str] = None
    cut_after: Optional[int] = None
    reset: bool = False
    id: int = 0

    def __post_init__(self):
        if self.close is not None and self.close not in CLOSE_AT:
            raise ValueError(f"close: one of {', '.join(CLOSE_AT)}")
        if self.close in ("accept", "reuse") and self.match:
            raise ValueError(f"close={self.close} happens before a request "
                             "is read: it cannot match one")
        if not isinstance(self.match, dict):
            raise ValueError("match: an object")
        for name, kind in (("times", int), ("delay", float), ("drip", float),
                           ("extra_delay", float),
                           ("body_size", int), ("cut_after", int),
                           ("status", int)):
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, kind(value))
                if value < 0:
                    raise ValueError(f"{name}: not below 0")
        if self.times == 0:
            raise ValueError("times: at least 1")
        if not 100 <= self.status <= 999:
            raise ValueError("status: 100 to 999")
        if isinstance(self.raw, str):
            self.raw = self.raw.encode()
        if isinstance(self.extra, str):
            self.extra = self.extra.encode()
        self.headers = [(str(name), str(value))
                        for name, value in self.headers]

    def applies(self, request, event=None):
        """To a request; to an event of a batch."""
        if self.several and (event is not None or len(request.events) < 2):
            return False
        if event is not None:
            return bool(self.match) and not self.whole and self._fits(event)
        if not self.match:
            return True
        if isinstance(request.json, list) and not self.whole:
            return False
        return any(self._fits(event) for event in request.events)

    def _fits(self, event):
        return all(field in event and event[field] == value
                   for field, value in self.match.items())

    @property
    def is_plain(self):
        """Does it say nothing of what the answer is?"""
        return self.status == 200 and all(
            what is None for what in (self.body, self.text, self.body_size,
                                      self.raw))

    def results_of(self, event):
        """What the answer to a batch says of an event, as a list."""
        own = {"id": event.get("id")}
        if self.results is not None:
            return [{**own, **result} for result in self.results]
        own["status"] = self.status
        for name, value in self.headers:
            if name.lower() == "retry-after":
                own["retry_after"] = int(value)
        body = {"text": self.text} if self.text is not None else self.body
        return [{**body, **own} if isinstance(body, dict) else own]

    @functools.cached_property
    def bytes(self):
        """The whole answer."""
        if self.raw is not None:
            return self.raw
        body = self.body
        if self.body_size is not None:
            body = b"x" * self.body_size
        elif self.text is not None:
            body = {"text": self.text}
        if body is None:
            body = b""
        elif isinstance(body, str):
            body = body.encode()
        elif not isinstance(body, bytes):
            body = json.dumps(body, ensure_ascii=False).encode()
        headers = list(self.headers)
        names = {name.lower() for name, _value in headers}
        if body and "content-type" not in names:
            headers.append(("Content-Type", "application/json"))
        if not names & {"content-length", "transfer-encoding"} \
                and self.status >= 200 and self.status not in (204, 304):
            headers.append(("Content-Length", str(len(body))))
        reason = self.reason
        if reason is None:
            known = {s.value: s.phrase for s in http.HTTPStatus}
            reason = known.get(self.status, "")
        lines = [f"HTTP/1.1 {self.status} {reason}"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Request:
    """One request. Times are time.monotonic(); None: did not happen.

    answered   just before the last byte of the answer was sent
    abandoned  the client closed before that
    outcome    one word or status: what became of it
    duplicate  its Idempotency-Key was seen before
    late       the client had closed before it was read here
    peer       the name in the client's certificate
    """

    def __init__(self, number, connection, method, path, headers, body,
                 checker, peer=None):
        self.peer = peer
        self.number = number
        self.connection = connection
        self.method = method
        self.path = path
        self.headers = headers
        self.body = body
        self.arrived = time.monotonic()
        self.time = time.time()
        self.answered = None
        self.abandoned = None
        self.outcome = None
        self.answer = None
        self.duplicate = False
        self.late = False
        self._checker = checker

    def __repr__(self):
        return f"<request {self.number} {self.describe()}>"

    def get(self, name, default=None):
        for header, value in self.headers:
            if header.lower() == name.lower():
                return value
        return default

    @functools.cached_property
    def json(self):
        """The body, parsed; None if it is no (strict) JSON."""
        try:
            return cms_schema.strict_json(self.body)
        except (ValueError, RecursionError):
            return None

    @functools.cached_property
    def errors(self):
        """Where it breaks the published interface; [] if nowhere."""
        errors = [] if self.method == "POST" else [f"method {self.method}"]
        return errors + self._checker.errors(self.headers, self.body)

    @property
    def head(self):
        lines = [f"{self.method} {self.path} HTTP/1.1"]
        return "\n".join(lines + [f"{n}: {v}" for n, v in self.headers])

    @functools.cached_property
    def events(self):
        """The documents in it: one, or those of a batch."""
        documents = self.json if isinstance(self.json, list) else [self.json]
        return [d for d in documents if isinstance(d, dict)]

    def describe(self):
        words = [self.method, self.path]
        for event in self.events or [{}]:
            contacts = event.get("contacts")
            uris = [c.get("uri") for c in contacts if isinstance(c, dict)] \
                if isinstance(contacts, list) else []
            words += [event.get("event"), event.get("reason"),
                      event.get("aor"), *uris]
        return " ".join(printable(str(w)) for w in words if w is not None)

    def as_dict(self, check=True):
        try:
            text = self.body.decode()
        except UnicodeDecodeError:
            text = None
        return {
            "number": self.number, "connection": self.connection,
            "method": self.method, "path": self.path,
            "headers": [list(h) for h in self.headers],
            "body": self.json, "raw": text, "raw_hex": self.body.hex(),
            "time": iso_time(self.time), "arrived": self.arrived,
            "answered": self.answered, "abandoned": self.abandoned,
            "outcome": self.outcome, "duplicate": self.duplicate,
            "errors": self.errors if check else None,
        }


def printable(text):
    """For a log line: nothing a sender put in can look like another line."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def iso_time(when):
    moment = datetime.fromtimestamp(when, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class ReferenceCms:
    """The server.

    port       0: a free one, kept over stop() and start()
    tls_cert, tls_key   files: serve https; tls_client_ca: ask for a client
               certificate of that CA
    sign_keys  answer 401 to what is signed by none of these (bytes), whatever
               the rules say; [] or None: signatures are not looked at
    validate   answer 400 to what breaks the published interface. Without it
               Request.errors and invalid() still check, when asked.
    log        called with one line per request
    on_request, on_outcome  called with the Request, in the server's thread
    """

    def __init__(self, host="127.0.0.1", port=0, tls_cert=None, tls_key=None,
                 tls_client_ca=None, validate=True, log=None,
                 on_request=None, on_outcome=None, path="/register",
                 sign_keys=None):
        self.host = host
        self.port = port
        self.path = path
        self.validate = validate
        self.sign_keys = sign_keys or []
        self._log = log
        self._on_request = on_request
        self._on_outcome = on_outcome
        self._checker = cms_schema.Checker()
        self._ssl = None
        if tls_cert:
            self._ssl = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._ssl.load_cert_chain(tls_cert, tls_key)
            if tls_client_ca:
                self._ssl.load_verify_locations(tls_client_ca)
                self._ssl.verify_mode = ssl.CERT_REQUIRED
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._loop = None
        self._thread = None
        self._server = None
        self._rules = []
        self._rule_ids = 0
        self._connections = set()
        self._held = []
        self._async_waiters = []
        self._watchers = []
        self._default = Rule(text="ok")
        self.in_flight = 0
        self.clears = 0
        self.reset_counts()

    # -- life ---------------------------------------------------------------

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_exc):
        self.close()

    @property
    def url(self):
        scheme = "https" if self._ssl else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.path}"

    @property
    def running(self):
        return self._server is not None

    def start(self):
        """Listen; OSError if the port cannot be had."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="cms", daemon=True)
            self._thread.start()
        self.run(self.listen())

    def stop(self):
        """Like a killed process: nothing listens, all connections reset."""
        if self._loop is not None:
            self.run(self.unlisten())

    def close(self):
        """stop(), and end the thread."""
        if self._loop is None:
            return
        self.stop()
        self.run(self._end_tasks())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._loop = None

    @staticmethod
    async def _end_tasks():
        """Those of the control interface: what somebody waits for there."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def run(self, coroutine):
        """Run a coroutine in the server's loop, return its result."""
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        return future.result()

    async def listen(self):
        if self._server is None:
            self._server = await self._loop.create_server(
                lambda: _Connection(self), self.host, self.port,
                ssl=self._ssl, backlog=4096)
            self.port = self._server.sockets[0].getsockname()[1]
            self._tell()

    async def unlisten(self):
        if self._server is not None:
            self._server.close()
            self._server = None
            self._tell()
        for connection in list(self._connections):
            connection.end(reset=True)
        while self._connections:  # until each has seen its connection_lost
            await asyncio.sleep(0)

    def _call(self, function, *args):
        """Run where the connections live, so that rules need no locks."""
        if self._loop is None or threading.current_thread() is self._thread:
            return function(*args)

        async def call():
            return function(*args)

        return self.run(call())

    # -- what to do --------------------------------------------------------------

    def rule(self, **fields):
        """Add a rule (see Rule); it goes before all others. Returns its id."""
        return self._call(self.add_rule, Rule(**fields))

    def add_rule(self, rule, last=False):
        """last: behind all others, so that any of them wins."""
        self._rule_ids += 1
        rule.id = self._rule_ids
        self._rules.insert(len(self._rules) if last else 0, rule)
        self._tell()
        return rule.id

    def rules(self):
        return list(self._rules)

    def remove_rule(self, rule_id):
        """False if there is no such rule (any more)."""
        return self._call(self.drop_rules, rule_id)

    def clear_rules(self):
        self._call(self.drop_rules)

    def drop_rules(self, rule_id=None):
        kept = [r for r in self._rules if rule_id not in (None, r.id)]
        found = len(kept) != len(self._rules)
        self._rules[:] = kept
        self._tell()
        return found

    def refuse(self, device, text="refused", status=403):
        """Refuse a device, by user name or AOR. Returns the rule's id."""
        field = "aor" if device.startswith(("sip:", "sips:")) else "username"
        return self.rule(match={field: device}, status=status, text=text)

    def release(self, count=None):
        """Let the oldest `count` held requests (None: all) have their answer;
        those held later stay held. Returns how many went."""
        return self._call(self.release_now, count)

    def release_now(self, count=None):
        going = self._held[:count]
        del self._held[:count]
        for connection, rule in going:
            connection.answer(rule)
        return len(going)

    # -- what happened -----------------------------------------------------------

    @property
    def requests(self):
        """The requests since the last clear(), in order of arrival."""
        with self.lock:
            return list(self._requests)

    @property
    def count(self):
        return len(self._requests)

    @property
    def held(self):
        return len(self._held)

    @property
    def open_connections(self):
        return len(self._connections)

    def wait(self, count=1, timeout=WAIT_SECONDS):
        """Until `count` requests have arrived since clear(); returns them
        all. TimeoutError if not."""
        self.wait_until(lambda: len(self._requests) >= count, timeout,
                        lambda: f"{self.count} of {count} requests")
        return self.requests

    def wait_until(self, predicate, timeout=WAIT_SECONDS, what=None):
        """Wait for a condition on this server; tested whenever something
        happens here. TimeoutError if it does not come true."""
        with self.changed:
            if not self.changed.wait_for(predicate, timeout):
                raise TimeoutError(
                    f"{what() if what else 'not true'} in {timeout} s")

    def invalid(self):
        """(request, errors) of every request that breaks the interface."""
        return [(r, r.errors) for r in self.requests if r.errors]

    def stats(self):
        with self.lock:
            return {
                "requests": len(self._requests),
                "answered": self.answered,
                "abandoned": self.abandoned,
                "duplicates": self.duplicates,
                "raced": self.raced,
                "in_flight": self.in_flight,
                "max_in_flight": self.max_in_flight,
                "held": len(self._held),
                "connections": self.connections,
                "open_connections": len(self._connections),
                "max_open_connections": self.max_open_connections,
                "tls_resumed": self.tls_resumed,
            }

    def clear(self):
        """Forget requests and counts; rules and connections stay."""
        self._call(self.reset_counts)

    def reset_counts(self):
        with self.lock:
            self._requests = []
            self._keys = set()
            self.answered = self.abandoned = self.duplicates = self.raced = 0
            self.extras = 0
            self.connections = self.tls_resumed = 0
            self.max_open_connections = len(self._connections)
            self.max_in_flight = self.in_flight
            self.clears += 1
        self._tell()

    # -- for who looks on, in the loop ------------------------------------------

    def watch(self, function):
        """Call it, in the loop, with each Request that comes and once more when
        it has ended, and with None when something else has changed."""
        self._watchers.append(function)

    def unwatch(self, function):
        self._watchers.remove(function)

    def _tell(self, request=None):
        for function in self._watchers:
            function(request)

    async def wait_async(self, count, timeout):
        """wait() for the server's own loop; True if they have arrived."""
        if len(self._requests) >= count:
            return True
        future = self._loop.create_future()
        waiter = (count, future)
        self._async_waiters.append(waiter)
        try:
            await asyncio.wait_for(future, timeout)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            self._async_waiters.remove(waiter)

    # -- called by connections, in the loop -----------------------------------

    def opened(self, connection, resumed):
        with self.changed:
            self._connections.add(connection)
            self.connections += 1
            self.tls_resumed += resumed
            self.max_open_connections = max(
                self.max_open_connections, len(self._connections))
            self.changed.notify_all()
            return self.connections

    def lost(self, connection):
        self._held = [h for h in self._held if h[0] is not connection]
        with self.changed:
            self._connections.discard(connection)
            self.changed.notify_all()

    def sent_extra(self):
        with self.changed:
            self.extras += 1
            self.changed.notify_all()

    def race(self, connection):
        with self.changed:
            self.raced += 1
            self.changed.notify_all()

    def take_rule(self, when, request=None, event=None):
        """The rule for a moment of a connection's life ("accept", "reuse"),
        for a request, or for an event of a batch; counts its use."""
        for index, rule in enumerate(self._rules):
            early = rule.close if rule.close in ("accept", "reuse") else None
            if early != when or (request
                                 and not rule.applies(request, event)):
                continue
            if rule.times is not None:
                rule.times -= 1
                if rule.times == 0:
                    del self._rules[index]
                self._tell()
            return rule
        return None

    def arrived(self, connection, method, path, headers, body):
        with self.changed:
            request = Request(len(self._requests) + 1, connection.number,
                              method, path, headers, body, self._checker,
                              connection.peer)
            request.late = connection.has_been_closed
            key = request.get("Idempotency-Key")
            if key is not None:
                request.duplicate = key in self._keys
                self.duplicates += request.duplicate
                self._keys.add(key)
            self._requests.append(request)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
            self.changed.notify_all()
        for count, future in self._async_waiters:
            if len(self._requests) >= count and not future.done():
                future.set_result(None)
        if self._on_request:
            self._on_request(request)
        self._tell(request)
        return request

    def decide(self, request):
        fault = self.sign_keys and webhook.fault(request, self.sign_keys)
        if fault:
            return Rule(status=401, text=fault)
        rule = self.take_rule(None, request)
        if rule is None and self.validate and request.errors:
            return Rule(status=400, text="; ".join(request.errors)[:1000])
        if isinstance(request.json, list) and (rule is None or rule.is_plain):
            return dataclasses.replace(rule or self._default, times=None,
                                       text=None, body=self._results(request))
        return rule or self._default

    def _results(self, request):
        results = []
        for event in request.events:
            rule = self.take_rule(None, request, event) or self._default
            results += rule.results_of(event)
        return results

    def hold(self, connection, rule):
        with self.changed:
            self._held.append((connection, rule))
            self.changed.notify_all()

    def ended(self, request, outcome, answered):
        """What became of a request; once for each."""
        with self.changed:
            now = time.monotonic()
            request.outcome = outcome
            if answered:
                request.answered = now
                self.answered += 1
            elif outcome == "abandoned":
                request.abandoned = now
                self.abandoned += 1
            self.in_flight -= 1
            self.changed.notify_all()
        if self._log:
            self._log(self._line(request, now))
        if self._on_outcome:
            self._on_outcome(request)
        self._tell(request)

    def _line(self, request, now):
        line = (f"{iso_time(request.time)} #{request.number} "
                f"connection {request.connection} {request.describe()}"
                f" -> {request.outcome} {1000 * (now - request.arrived):.1f} ms")
        if request.duplicate:
            line += " DUPLICATE"
        if self.validate and request.errors:
            line += " INVALID " + printable("; ".join(request.errors))[:400]
        return line


class _Connection(asyncio.Protocol):
    """Reads requests one after the other, answers each as its rule says."""

    def __init__(self, cms):
        self._cms = cms
        self._transport = None
        self._buffer = bytearray()
        self._request = None
        self._served = 0
        self._timer = None
        self._continued = False
        self.number = 0
        self.peer = None

    def connection_made(self, transport):
        self._transport = transport
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            names = (tls.getpeercert() or {}).get("subject", ())
            self.peer = dict(pair for name in names for pair in name).get(
                "commonName")
        self.number = self._cms.opened(
            self, bool(tls is not None and tls.session_reused))
        if not self._cms.running:  # accepted before it was stopped
            self.end(reset=True)
            return
        rule = self._cms.take_rule("accept")
        if rule is not None:
            self.end(rule.reset)

    def connection_lost(self, exc):
        if self._timer is not None:
            self._timer.cancel()
        self._finish("abandoned", answered=False)
        self._cms.lost(self)

    def data_received(self, data):
        if self._served and not self._request and not self._buffer:
            rule = self._cms.take_rule("reuse")
            if rule is not None:
                self._cms.race(self)
                self.end(rule.reset)
                return
        self._buffer += data
        self._read()

    @property
    def has_been_closed(self):
        """By the client: what it has sent can be read all the same."""
        sock = self._transport.get_extra_info("socket")
        return sock is None or sock.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_ESTABLISHED

    def end(self, reset=False):
        """Close; with a reset, what is not sent yet is lost."""
        if reset:
            # None: over TLS the other side has closed it already.
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
            self._transport.abort()
        else:
            self._transport.close()

    def _read(self):
        while self._request is None and not self._transport.is_closing():
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > MAX_HEAD:
                    self._refuse(431)
                return
            head = self._head(bytes(self._buffer[:end]))
            if head is None:
                self._refuse(400)
                return
            method, path, headers, length = head
            if length is None:
                self._refuse(411)
                return
            if length > MAX_BODY:
                self._refuse(413)
                return
            start = end + 4
            if len(self._buffer) < start + length:
                self._continue(headers)
                return
            body = bytes(self._buffer[start:start + length])
            del self._buffer[:start + length]
            self._continued = False
            self._handle(method, path, headers, body)

    @staticmethod
    def _head(head):
        """(method, path, headers, body length or None), None if broken."""
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return None
        headers, length = [], 0
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or not name or name != name.strip():
                return None
            value = value.strip()
            headers.append((name, value))
            name = name.lower()
            if name == "content-length":
                if not value.isascii() or not value.isdigit():
                    return None
                length = int(value)
            elif name == "transfer-encoding":
                length = None
        return words[0], words[1], headers, length

    def _continue(self, headers):
        if not self._continued and any(
                n.lower() == "expect" and v.lower() == "100-continue"
                for n, v in headers):
            self._continued = True
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, status):
        """What is no request to be recorded; the connection ends."""
        self._transport.write(
            Rule(status=status, headers=[("Connection", "close")]).bytes)
        self.end()

    def _handle(self, method, path, headers, body):
        self._request = self._cms.arrived(self, method, path, headers, body)
        rule = self._cms.decide(self._request)
        if rule.hang:
            return
        if rule.hold:
            self._cms.hold(self, rule)
        elif rule.delay:
            self._timer = asyncio.get_running_loop().call_later(
                rule.delay, self.answer, rule)
        else:
            self.answer(rule)

    def answer(self, rule):
        self._timer = None
        if rule.close == "request":
            self._finish("reset" if rule.reset else "closed", answered=False)
            self.end(rule.reset)
            return
        data = rule.bytes
        if rule.close == "answer":
            cut = len(data) // 2 if rule.cut_after is None else rule.cut_after
            data = data[:cut]
        self._request.answer = data
        if rule.drip is not None:
            self._drip(rule, data, 0)
        else:
            self._send_last(rule, data)

    def _drip(self, rule, data, position):
        byte = data[position:position + 1]
        if position + 1 < len(data):
            self._transport.write(byte)
            self._timer = asyncio.get_running_loop().call_later(
                rule.drip, self._drip, rule, data, position + 1)
        else:
            self._timer = None
            self._send_last(rule, byte)

    def _send_last(self, rule, data):
        request = self._request
        self._served += 1
        if rule.close == "answer":
            self._finish("cut", answered=False)
            self._transport.write(data)
            self.end(rule.reset)
            return
        self._finish("raw" if rule.raw is not None else rule.status,
                     answered=True)
        if rule.extra is not None and rule.extra_delay == 0:
            data += rule.extra
        self._transport.write(data)
        if rule.extra is not None:
            asyncio.get_running_loop().call_later(
                rule.extra_delay, self._send_extra, rule)
        last = (request.get("Connection") or "").lower() == "close" or any(
            n.lower() == "connection" and v.lower() == "close"
            for n, v in rule.headers)
        if rule.close == "after" or rule.raw is not None or last:
            self.end(rule.reset)
        elif self._buffer:
            self._read()

    def _send_extra(self, rule):
        if not self._transport.is_closing():
            if rule.extra_delay > 0:
                self._transport.write(rule.extra)
            if rule.extra_end and self._transport.can_write_eof():
                self._transport.write_eof()
            elif rule.extra_end:  # TLS ends both ways
                self._transport.close()
        self._cms.sent_extra()

    def _finish(self, outcome, answered):
        request, self._request = self._request, None
        if request is not None:
            self._cms.ended(request, outcome, answered)
