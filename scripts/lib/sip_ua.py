"""A SIP user agent for one process that plays many devices, over UDP, TCP and TLS.

    Hub           one thread, one epoll: reads all sockets, runs the timers
    Transport     one socket; records every message; sends bytes as they are
    Transaction   one request and the responses that match it
    Ua            one device: its names, its counters, its requests
    Registration  REGISTER, the challenge, REGISTER with credentials, the end

Sending never waits for an answer; whoever wants one waits on the Transaction
or the Registration. Nothing is retransmitted unless it is asked for.
"""

import contextlib
import heapq
import itertools
import os
import resource
import secrets
import select
import socket
import ssl
import threading
import time

import sip_message
from sip_message import Message, build, digest_response

T1, T2, TIMER_F = 0.5, 4.0, 32.0
# Until something that must come is missing, also on a machine with other work.
WAIT_SECONDS = 30.0
USER_AGENT = "TELECOM ncsip/1.0"


class NoAnswer(TimeoutError):
    """What was waited for did not come in time."""


class Hub:
    """Reads all sockets in one thread; everything else waits on `changed`."""

    _shared = None
    _shared_lock = threading.Lock()

    def __init__(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._readers = {}
        self._timers = []
        self._order = itertools.count()
        threading.Thread(target=self._run, name="sip hub", daemon=True).start()

    @classmethod
    def shared(cls):
        with cls._shared_lock:
            if cls._shared is None:
                cls._shared = cls()
            return cls._shared

    def add(self, sock, reader):
        self._readers[sock.fileno()] = reader
        self._epoll.register(sock.fileno(), select.EPOLLIN)

    def remove(self, sock):
        if self._readers.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def call_at(self, when, function):
        """Run `function` in the hub's thread at a monotonic time."""
        with self.lock:
            heapq.heappush(self._timers, (when, next(self._order), function))
            first = self._timers[0][0] == when
        if first:
            os.eventfd_write(self._wake, 1)

    def wait(self, predicate, timeout):
        """Wait until `predicate()` is true; it is tested under the lock."""
        with self.changed:
            return self.changed.wait_for(predicate, timeout)

    def _run(self):
        while True:
            with self.lock:
                due = self._timers[0][0] if self._timers else None
            pause = -1 if due is None else max(0.0, due - time.monotonic())
            for fd, _event in self._epoll.poll(pause):
                if fd == self._wake:
                    os.eventfd_read(fd)
                    continue
                reader = self._readers.get(fd)
                if reader is not None:
                    self._call(reader)
            self._run_timers()

    def _run_timers(self):
        while True:
            with self.lock:
                if not self._timers or self._timers[0][0] > time.monotonic():
                    return
                function = heapq.heappop(self._timers)[2]
            self._call(function)

    @staticmethod
    def _call(function):
        """What answers or sends again may find its socket closed meanwhile: that
        ends nobody else's."""
        with contextlib.suppress(OSError):
            function()


class Transport:
    """One socket to one server.

    tls       an ssl.SSLContext, for the transport "tls"
    log       every message sent and received, in order (Message)
    requests  requests received and not yet taken by wait_request(); one that
              is retransmitted is there once, and is answered again by what
              reply() said
    """

    def __init__(self, server, transport="udp", local=("127.0.0.1", 0),
                 hub=None, tls=None):
        self.hub = hub or Hub.shared()
        self.name = transport.lower()
        self.server = server
        self.log = []
        self.requests = []
        self.closed = False
        self._transactions = {}
        self._replies = {}
        self._send_lock = threading.Lock()
        self._buffer = bytearray()
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        if self.name == "udp":
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            self._socket.bind(local)
            reader = self._read_udp
        elif self.name in ("tcp", "tls"):
            self._socket = socket.socket(family, socket.SOCK_STREAM)
            self._socket.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(
                socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(local)
            self._socket.settimeout(WAIT_SECONDS)
            self._socket.connect(server)
            if self.name == "tls":
                self._socket = tls.wrap_socket(self._socket,
                                               server_hostname=server[0])
            # a part of a record may be there that OpenSSL cannot use yet
            self._socket.settimeout(0 if self.name == "tls" else None)
            reader = self._read_tcp
        else:
            raise ValueError(f"unknown transport {transport!r}")
        self.local = self._socket.getsockname()[:2]
        self.hub.add(self._socket, reader)

    @property
    def host_port(self):
        host, port = self.local
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def send(self, data, to=None):
        """Send these bytes; the Transaction they belong to (same branch,
        CSeq and method: the same one)."""
        message = Message(data, "sent", to or self.server)
        key = message.key
        with self.hub.lock:
            self.log.append(message)
            transaction = self._transactions.get(key)
            if transaction is None and not message.is_response:
                transaction = Transaction(self, message)
                self._transactions[key] = transaction
        self._write(data, to or self.server)
        return transaction

    def _write(self, data, to):
        with self._send_lock:
            if self.name == "udp":
                self._socket.sendto(data, to)
            elif self.name == "tcp":
                self._socket.sendall(data)
            elif self._socket.send(data) != len(data):
                raise BlockingIOError("more than a TLS connection takes")

    def wait_request(self, method=None, timeout=WAIT_SECONDS):
        """Take the oldest received request (of that method)."""
        def found():
            for request in self.requests:
                if method is None or request.method == method:
                    return request
            return None

        with self.hub.changed:
            request = self.hub.changed.wait_for(found, timeout)
            if request is None:
                raise NoAnswer(f"no {method or 'request'} in {timeout} s")
            self.requests.remove(request)
            return request

    def reply(self, request, status, reason="OK", headers=(), body=b""):
        """Answer a received request."""
        lines = []
        for name, value in request.headers:
            wanted = sip_message.canonical(name)
            if wanted in ("via", "from", "call-id", "cseq", "record-route"):
                lines.append((name, value))
            elif wanted == "to":
                tag = "" if request.to_tag else f";tag={secrets.token_hex(4)}"
                lines.append((name, value + tag))
        lines += list(headers) + [("Content-Length", len(body))]
        data = build(f"SIP/2.0 {status} {reason}", lines, body)
        with self.hub.lock:
            self._replies[request.key] = data
        self._reply(data, request.peer)

    def _reply(self, data, peer):
        with self.hub.lock:
            self.log.append(Message(data, "sent", peer))
        self._write(data, peer)

    def received(self, predicate=lambda message: True):
        with self.hub.lock:
            return [m for m in self.log
                    if m.direction == "received" and predicate(m)]

    def wait_closed(self, timeout=WAIT_SECONDS):
        """True once the server has closed the connection."""
        return self.hub.wait(lambda: self.closed, timeout)

    def close(self):
        with self.hub.lock:
            if self._socket.fileno() >= 0:
                self.hub.remove(self._socket)
                self._socket.close()
            self.closed = True
            self.hub.changed.notify_all()

    def _read_udp(self):
        while True:
            try:
                data, peer = self._socket.recvfrom(65536, socket.MSG_DONTWAIT)
            except (BlockingIOError, OSError):
                return
            self._received(data, peer)

    def _read_tcp(self):
        try:
            data = self._read()
        except (BlockingIOError, ssl.SSLWantReadError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._buffer += data
        while True:
            raw = sip_message.take_from_stream(self._buffer)
            if raw is None:
                return
            self._received(raw, self.server)

    def _read(self):
        if self.name == "tcp":
            return self._socket.recv(262144, socket.MSG_DONTWAIT)
        with self._send_lock:  # OpenSSL takes one thread at a time
            data = self._socket.recv(262144)
            while self._socket.pending():
                data += self._socket.recv(262144)
        return data

    def _received(self, data, peer):
        message = Message(data, "received", peer)
        transaction = reply = None
        with self.hub.lock:
            self.log.append(message)
            if message.is_response:
                transaction = self._transactions.get(message.key)
                if transaction is not None:
                    transaction.responses.append(message)
            elif message.start_line:
                reply = self._replies.get(message.key)
                if not self._is_retransmitted(message):
                    self.requests.append(message)
            self.hub.changed.notify_all()
        if transaction is not None:
            transaction.answered(message)
        elif reply is not None:
            with contextlib.suppress(OSError):  # it has been closed
                self._reply(reply, peer)

    def _is_retransmitted(self, request):
        """Has this request been here? (RFC 3261 17.2.3)"""
        if not (request.branch or "").startswith("z9hG4bK"):
            return False
        known = request.key in self._replies
        self._replies.setdefault(request.key)
        return known


class Transaction:
    """One request as sent, and every response that came for it."""

    def __init__(self, transport, request):
        self.transport = transport
        self.request = request
        self.responses = []
        self.on_final = None
        self.abandoned = False

    @property
    def finals(self):
        """All final responses; a correct server sends one per request sent."""
        return [r for r in self.responses if r.status >= 200]

    @property
    def final(self):
        return next(iter(self.finals), None)

    @property
    def latency(self):
        """Seconds from the first sending to the first final response."""
        final = self.final
        return None if final is None else final.time - self.request.time

    def wait(self, timeout=WAIT_SECONDS, provisional=False):
        """The first final response (or the first of any kind)."""
        def answer():
            if provisional:
                return next(iter(self.responses), None)
            return self.final

        with self.transport.hub.changed:
            response = self.transport.hub.changed.wait_for(answer, timeout)
        if response is None:
            raise NoAnswer(f"no answer in {timeout} s to "
                           f"{self.request.start_line!r}")
        return response

    def wait_finals(self, count, timeout=WAIT_SECONDS):
        """Until `count` final responses are in (retransmissions count)."""
        if not self.transport.hub.wait(lambda: len(self.finals) >= count,
                                       timeout):
            raise NoAnswer(f"{len(self.finals)} of {count} final responses "
                           f"in {timeout} s")
        return self.finals

    def resend(self):
        """The same bytes again."""
        self.transport.send(self.request.raw, self.request.peer)

    def retransmit(self):
        """Resend as RFC 3261 17.1.2.2 does over UDP, until answered."""
        self._schedule(T1, time.monotonic() + TIMER_F)

    def _schedule(self, interval, until):
        def again():
            if self.final is not None or self.transport.closed \
                    or self.abandoned or time.monotonic() > until:
                return
            self.resend()
            self._schedule(min(2 * interval, T2), until)

        self.transport.hub.call_at(time.monotonic() + interval, again)

    def abandon(self):
        """No more retransmissions; what is answered leads to nothing."""
        with self.transport.hub.lock:
            self.abandoned, self.on_final = True, None

    def answered(self, message):
        function = None
        with self.transport.hub.lock:
            if message.status >= 200 and self.on_final is not None:
                function, self.on_final = self.on_final, None
        if function is not None:
            function(message)


class Ua:
    """One device.

    server      (host, port) of the registrar; or give a Transport to share
    auth_user   user name in the credentials; default: the AOR's user
    uri         Digest uri; default: the request URI
    """

    def __init__(self, server=None, user="gzj", domain="telecom.com",
                 password="123456", transport="udp", local=("127.0.0.1", 0),
                 auth_user=None, uri=None, contact=None,
                 user_agent=USER_AGENT):
        self._owns_transport = not isinstance(transport, Transport)
        if self._owns_transport:
            transport = Transport(server, transport, local)
        self.transport = transport
        self.user = user
        self.domain = domain
        self.password = password
        self.auth_user = auth_user or user
        self.uri = uri
        self.user_agent = user_agent
        self.call_id = new_call_id()
        self.from_tag = secrets.token_hex(4)
        self.cseq = 0
        self.challenge = None
        self._nonce_counts = {}
        self.contact = contact or self._default_contact()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.close()

    def close(self):
        if self._owns_transport:
            self.transport.close()

    @property
    def aor(self):
        return f"sip:{self.user}@{self.domain}"

    @property
    def log(self):
        return self.transport.log

    def _default_contact(self):
        name = self.transport.name
        suffix = "" if name == "udp" else f";transport={name}"
        return f"<sip:{self.user}@{self.transport.host_port}{suffix}>"

    def build(self, method, ruri=None, headers=(), body=b"", *, to=None,
              from_=None, call_id=None, cseq=None, branch=None, from_tag=None,
              via=None, omit=()):
        """Bytes of a request. `headers` are appended as they are; `omit`
        names standard headers to leave out."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        branch = branch or new_branch()
        via = via or (f"SIP/2.0/{self.transport.name.upper()} "
                      f"{self.transport.host_port};rport;branch={branch}")
        from_ = from_ or f"<{self.aor}>"
        lines = [
            ("Via", via),
            ("From", f"{from_};tag={from_tag or self.from_tag}"),
            ("To", to or f"<{self.aor}>"),
            ("Call-ID", call_id or self.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Max-Forwards", "70"),
            ("User-Agent", self.user_agent),
        ]
        lines += list(headers) + [("Content-Length", len(body))]
        left_out = {sip_message.canonical(name) for name in omit}
        lines = [(name, value) for name, value in lines
                 if sip_message.canonical(name) not in left_out]
        return build(f"{method} {ruri or 'sip:' + self.domain} SIP/2.0",
                     lines, body)

    def build_register(self, contacts=None, expires=3600, headers=(),
                       path=None, supported=None, authorization=None, **kw):
        """Bytes of a REGISTER.

        contacts  header values with their parameters; None: the device's
                  own; []: none (a query); "*": all
        expires   Expires header; None: no such header
        """
        if contacts is None:
            contacts = [self.contact]
        elif isinstance(contacts, str):
            contacts = [contacts]
        lines = [("Contact", contact) for contact in contacts]
        if path:
            lines.append(("Path", path))
        if supported:
            lines.append(("Supported", supported))
        if expires is not None:
            lines.append(("Expires", expires))
        if authorization:
            lines.append(("Authorization", authorization))
        return self.build("REGISTER", headers=lines + list(headers), **kw)

    def authorization(self, challenge=None, method="REGISTER", uri=None,
                      body=b"", qop="auth", opaque=True, nc=None, cnonce=None,
                      password=None, username=None, response=None):
        """Value of an Authorization header for a challenge.

        qop     "auth", "auth-int", or None for the form without qop; what
                the challenge does not offer falls back to that form
        opaque  give the challenge's opaque back
        """
        challenge = challenge or self.challenge
        username = username or self.auth_user
        uri = uri or self.uri or f"sip:{self.domain}"
        offered = [q.strip() for q in challenge.get("qop", "").split(",")]
        if qop not in offered:
            qop = None
        nonce = challenge["nonce"]
        if qop is not None:
            if nc is None:
                count = self._nonce_counts.get(nonce, 0) + 1
                self._nonce_counts[nonce] = count
                nc = f"{count:08x}"
            cnonce = cnonce or secrets.token_hex(8)
        response = response or digest_response(
            username, challenge.get("realm", ""), password or self.password,
            method, uri, nonce, qop, nc, cnonce, body)
        parts = [f'username="{username}"',
                 f'realm="{challenge.get("realm", "")}"', f'nonce="{nonce}"']
        if opaque and "opaque" in challenge:
            parts.append(f'opaque="{challenge["opaque"]}"')
        parts.append(f'uri="{uri}"')
        if "algorithm" in challenge:
            parts.append(f'algorithm={challenge["algorithm"]}')
        if qop is not None:
            parts += [f"qop={qop}", f"nc={nc}", f'cnonce="{cnonce}"']
        parts.append(f'response="{response}"')
        return "Digest " + ", ".join(parts)

    def send(self, data, retransmit=False):
        """Send these bytes as they are; returns their Transaction."""
        transaction = self.transport.send(data)
        if retransmit and self.transport.name == "udp":
            transaction.retransmit()
        return transaction

    def start_register(self, timeout=None, **kw):
        """Send a REGISTER; the challenge is answered as it comes in.
        Returns a Registration at once. Arguments: see Registration."""
        registration = Registration(self, **kw)
        registration.start()
        return registration

    def register(self, timeout=WAIT_SECONDS, **kw):
        """The whole dance; returns the last final response."""
        return self.start_register(**kw).wait(timeout)

    def unregister(self, timeout=WAIT_SECONDS, **kw):
        return self.register(timeout=timeout, expires=0, **kw)

    def options(self, ruri=None, timeout=WAIT_SECONDS, **kw):
        """Ping: send an OPTIONS, return (response, seconds)."""
        transaction = self.send(self.build("OPTIONS", ruri, **kw))
        response = transaction.wait(timeout)
        return response, transaction.latency


class Registration:
    """A registration under way.

    preemptive  credentials from the last challenge in the first REGISTER
    retransmit  resend over UDP until answered
    auth        dict for Ua.authorization(): qop, opaque, nc, cnonce, uri, ...
    on_done     called with this Registration, in the hub's thread
    Everything else goes to Ua.build_register(), for every REGISTER sent;
    `authenticated` is a dict that replaces arguments from the second one on.

    steps       Transactions, in order; result: last final response or None
    """

    def __init__(self, ua, preemptive=False, retransmit=False, auth=None,
                 on_done=None, authenticated=None, **kw):
        self.ua = ua
        self._steps = []
        self.result = None
        self.started = time.monotonic()
        self._preemptive = preemptive and ua.challenge is not None
        self._retransmit = retransmit
        self._auth = auth or {}
        self._on_done = on_done
        self._authenticated = authenticated or {}
        self._kw = kw
        self._answered_nonces = set()

    def start(self):
        self._send(self.ua.challenge if self._preemptive else None)

    @property
    def seconds(self):
        """From the first REGISTER to the last final response."""
        return None if self.result is None \
            else self.result.time - self.steps[0].request.time

    @property
    def steps(self):
        with self.ua.transport.hub.lock:  # what is sent is among them
            return list(self._steps)

    def wait(self, timeout=WAIT_SECONDS):
        hub = self.ua.transport.hub
        if not hub.wait(lambda: self.result is not None, timeout):
            raise NoAnswer(f"{self.ua.aor}: no final response in {timeout} s")
        return self.result

    def abandon(self):
        """The device does something else."""
        self.steps[-1].abandon()

    def _send(self, challenge):
        kw = dict(self._kw)
        if challenge is not None:
            kw.update(self._authenticated)
            kw["authorization"] = self.ua.authorization(
                challenge, body=kw.get("body", b""), **self._auth)
            self._answered_nonces.add(challenge["nonce"])
        # The lock: no answer may be dispatched before on_final is set.
        with self.ua.transport.hub.lock:
            data = self.ua.build_register(**kw)
            transaction = self.ua.send(data, retransmit=self._retransmit)
            transaction.on_final = self._final
            self._steps.append(transaction)

    def _final(self, response):
        challenge = response.challenge()
        if response.status in (401, 407) and challenge is not None:
            self.ua.challenge = challenge
            fresh = challenge["nonce"] not in self._answered_nonces
            stale = challenge.get("stale", "").lower() == "true"
            # A preemptive try proves nothing about the password.
            first = len(self.steps) == 1
            if fresh and (first or stale):
                self._send(challenge)
                return
        hub = self.ua.transport.hub
        with hub.changed:
            self.result = response
            hub.changed.notify_all()
        if self._on_done is not None:
            self._on_done(self)


def register_all(uas, window=100, timeout=60.0, retransmit=True, **kw):
    """Register many devices, at most `window` at a time.

    Returns one Registration per device, in order; those that got no final
    response in time (or were not even sent) have `result` None.
    """
    slots = threading.Semaphore(window)
    deadline = time.monotonic() + timeout
    registrations = []
    for ua in uas:
        if not slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
            break
        registrations.append(ua.start_register(
            retransmit=retransmit, on_done=lambda _r: slots.release(), **kw))
    for registration in registrations:
        hub = registration.ua.transport.hub
        hub.wait(lambda r=registration: r.result is not None,
                 max(0.0, deadline - time.monotonic()))
    registrations += [Registration(ua) for ua in uas[len(registrations):]]
    return registrations


def new_branch():
    return "z9hG4bK" + secrets.token_hex(8)


def new_call_id():
    return secrets.token_hex(12)
