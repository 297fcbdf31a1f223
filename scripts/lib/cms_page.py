"""The reference CMS's page: what cms_page.html shows, live, and who may ask.

    page()       the file, and the headers that go with it
    is_foreign() does a request come from another site's page?
    Stream       server-sent events: requests and rules as they change
"""

import asyncio
import base64
import dataclasses
import hashlib
import ipaddress
import json
import os
import re

import cms_schema
from reference_cms import Rule, iso_time

FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                    "cms_page.html")
SHOWN = 200  # requests, the newest; also of those that come between two pauses
RULES = 50
MAX_TEXT = 20000
MAX_WORD = 300
MAX_EVENTS = 100
PAUSE = 0.1  # seconds between two messages, however much happens

HEADERS = [
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
]


# -- who may ask -------------------------------------------------------------

def host_name(authority):
    """Of HOST:PORT, without the brackets of an IPv6 address."""
    match = re.fullmatch(r"(\[[^\]]*\]|[^:]*)(:\d*)?", authority)
    return match[1].strip("[]").lower() if match else ""


def is_address(name):
    try:
        ipaddress.ip_address(name)
        return True
    except ValueError:
        return False


def is_foreign(headers, own_name):
    """Does a browser ask for the page of another site? Such a page says so in
    Origin. One whose name was made to lead here has that name in Host; nobody
    can do so with an address or with localhost."""
    host = headers.get("host", "")
    name = host_name(host)
    if not is_address(name) and name not in ("localhost", own_name.lower()):
        return True
    return headers.get("origin", f"http://{host}").partition("://")[2] != host


# -- the file ----------------------------------------------------------------

def page():
    """(headers, bytes). Nothing runs in it but its own script, and it talks to
    nobody else."""
    with open(FILE, "rb") as file:
        data = file.read()

    def source(tag):
        text = re.search(rb"<%s>(.*)</%s>" % (tag, tag), data, re.S)[1]
        digest = base64.b64encode(hashlib.sha256(text).digest()).decode()
        return f"'sha256-{digest}'"

    policy = ("default-src 'none'; connect-src 'self'; base-uri 'none'; "
              "form-action 'none'; frame-ancestors 'none'; "
              f"script-src {source(b'script')}; style-src {source(b'style')}")
    return ([("Content-Type", "text/html; charset=utf-8"),
             ("Content-Security-Policy", policy)], data)


# -- what it shows -----------------------------------------------------------

def short(value, limit=MAX_WORD):
    text = value if isinstance(value, str) else json.dumps(
        value, ensure_ascii=False)
    return text if len(text) <= limit else text[:limit] + "…"


def readable(data):
    """A body as a person reads it."""
    try:
        text = json.dumps(cms_schema.strict_json(data), indent=2,
                          ensure_ascii=False)
    except (ValueError, RecursionError):
        text = data.decode("utf-8", "backslashreplace")
    return short(text, MAX_TEXT)


def results(answer):
    """Of an answer to a batch: {id: status}."""
    try:
        values = json.loads(answer.partition(b"\r\n\r\n")[2])
        return {v["id"]: v["status"] for v in values}
    except (ValueError, RecursionError, TypeError, KeyError):
        return {}


def shown_event(event, status):
    words = {name: short(event[name]) for name in
             ("event", "reason", "aor", "username", "user_agent")
             if event.get(name) is not None}
    source = event.get("source")
    if isinstance(source, dict):
        words["source"] = short(" ".join(
            str(source.get(name)) for name in ("ip", "port", "transport")))
    return {**words, "outcome": status}


def shown_request(request, check):
    """outcome: status, or a word for what happened instead of an answer; null
    while it waits."""
    statuses = results(request.answer or b"") \
        if isinstance(request.json, list) and request.outcome == 200 else {}
    end = request.answered or request.abandoned
    return {
        "key": request.arrived, "time": iso_time(request.time),
        "line": short(f"{request.method} {request.path}"),
        "events": [shown_event(e, statuses.get(e.get("id"), request.outcome))
                   for e in request.events[:MAX_EVENTS]],
        "head": short(request.head, MAX_TEXT), "body": readable(request.body),
        "answer": readable(request.answer.partition(b"\r\n\r\n")[2])
        if request.answer else "",
        "outcome": request.outcome, "duplicate": request.duplicate,
        "ms": end and round(1000 * (end - request.arrived)),
        "errors": short("; ".join(request.errors), 1000) if check else "",
    }


def shown_rule(rule):
    """What differs from a rule that changes nothing."""
    plain = Rule()
    return {"id": rule.id, **{
        field.name: short(value if not isinstance(value, bytes)
                          else value.decode("latin-1"))
        if isinstance(value, (str, bytes)) else value
        for field in dataclasses.fields(rule) if field.name != "id"
        for value in [getattr(rule, field.name)]
        if value != getattr(plain, field.name)}}


class Stream:
    """What one browser is sent. A slow one is sent less, and delays nobody."""

    def __init__(self, cms, devices):
        self._cms = cms
        self._devices = devices
        self._changed = asyncio.Event()
        self._requests = {}
        self._seen = cms.clears
        self._told = None

    async def run(self, reader, writer):
        """Until the browser closes."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                     b"Connection: close\r\n"
                     + header_lines(HEADERS) + b"\r\nretry: 1000\n\n")
        self._start()
        self._cms.watch(self._change)
        sender = asyncio.create_task(self._send(writer))
        try:
            while await reader.read(4096):
                pass
        finally:
            self._cms.unwatch(self._change)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)

    def _start(self):
        for request in self._cms.requests[-SHOWN:]:
            self._change(request)
        self._changed.set()

    def _change(self, request):
        if self._cms.clears != self._seen:
            self._seen = self._cms.clears
            self._requests.clear()
        if request is not None:
            self._requests[id(request)] = request
            if len(self._requests) > SHOWN:
                del self._requests[next(iter(self._requests))]
        self._changed.set()

    async def _send(self, writer):
        while True:
            await self._changed.wait()
            self._changed.clear()
            text = json.dumps(self._message())
            writer.write(f"data: {text}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(PAUSE)

    def _message(self):
        cms = self._cms
        clear = self._told != cms.clears
        self._told = cms.clears
        requests = [shown_request(r, cms.validate)
                    for r in self._requests.values()]
        self._requests.clear()
        return {
            "clear": clear, "requests": requests,
            "rules": [shown_rule(r) for r in cms.rules()[:RULES]],
            "away": not cms.running, "url": cms.url, "total": cms.count,
            "devices": self._devices,
        }


def header_lines(headers):
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
