"""The reference CMS's control interface: JSON over HTTP, a port of its own.

    GET    /                                       a page that shows it all, live
    GET    /control/requests[?from=N]              what came in, from number N
    GET    /control/requests/wait?count=N&timeout=S  as soon as N are in
    DELETE /control/requests                       forget them and the counts
    GET    /control/stats                          counts
    GET    /control/rules                          the rules, newest first
    POST   /control/rules[?last=1]                 add one (fields of Rule);
                                                   last: any other wins
    DELETE /control/rules[/ID]                     remove all, or one
    POST   /control/release[?count=N]              let held requests go
    POST   /control/down, /control/up              stop, start listening
    GET    /control/events                         server-sent events, for the page
    POST   /control/devices/NAME/register, .../unregister  of those of make run

Pages of other sites are refused. In a rule, bytes are given as `body_base64`, `raw_base64`, `extra_base64`.
"""

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import json
import urllib.parse

import cms_page
from reference_cms import Rule

MAX_BODY = 64 << 20
MAX_WAIT = 3600.0


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Control:
    """Serves the control interface in the reference CMS's own loop, and its page.

    devices  SampleDevices that the page can tell to register; None: none
    """

    def __init__(self, cms, host="127.0.0.1", port=0, devices=None):
        self._cms = cms
        self._devices = devices
        self._host = host
        self.port = port
        self._server = None

    @property
    def url(self):
        """Of the page."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}/"

    def start(self):
        """The CMS must have been started; OSError if the port is taken."""
        self._cms.run(self._start())

    def stop(self):
        self._cms.run(self._stop())

    async def _start(self):
        self._server = await asyncio.start_server(
            self._client, self._host, self.port, limit=64 << 10)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self):
        self._server.close()

    async def _client(self, reader, writer):
        try:
            answer = await self._request(reader)
            if isinstance(answer, cms_page.Stream):
                await answer.run(reader, writer)
                return
            status, headers, body = answer
            headers = [*headers, *cms_page.HEADERS, ("Connection", "close"),
                       ("Content-Length", len(body))]
            writer.write(f"HTTP/1.1 {status}\r\n".encode()
                         + cms_page.header_lines(headers) + b"\r\n" + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError,
                asyncio.CancelledError):  # cancelled: the CMS ends
            pass
        finally:
            writer.close()

    async def _request(self, reader):
        """The answer: (status, headers, body), or a Stream."""
        try:
            method, target, body = await self._read(reader)
            if (method, target) == ("GET", "/"):
                return "200 OK", *cms_page.page()
            if (method, target) == ("GET", "/control/events"):
                return cms_page.Stream(
                    self._cms, self._devices.names if self._devices else [])
            status, value = "200 OK", await self._do(method, target, body)
        except Refused as error:
            status, value = error.status, {"error": str(error)}
        except TimeoutError as error:
            status, value = "504 Gateway Timeout", {"error": str(error)}
        except (ValueError, TypeError, asyncio.LimitOverrunError) as error:
            status, value = "400 Bad Request", {"error": str(error)}
        return (status, [("Content-Type", "application/json")],
                json.dumps(value).encode() + b"\n")

    async def _read(self, reader):
        """(method, target, body)"""
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        method, target, _version = lines[0].split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value
                   in (line.partition(":") for line in lines[1:])}
        if cms_page.is_foreign(headers, self._host):
            raise Refused("403 Forbidden", "for the page of this address only")
        length = int(headers.get("content-length", 0))
        if not 0 <= length <= MAX_BODY:
            raise Refused("413 Content Too Large", "body too large")
        return method, target, await reader.readexactly(length)

    async def _do(self, method, target, body):
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        cms = self._cms
        match (method, *url.path.strip("/").split("/")):
            case ("GET", "control", "requests"):
                first = int(query.get("from", 1))
                return [r.as_dict() for r in cms.requests if r.number >= first]
            case ("GET", "control", "requests", "wait"):
                count = int(query.get("count", 1))
                timeout = min(float(query.get("timeout", 5)), MAX_WAIT)
                done = await cms.wait_async(count, timeout)
                return {"arrived": done, "requests": cms.count}
            case ("DELETE", "control", "requests"):
                cms.reset_counts()
                return {}
            case ("GET", "control", "stats"):
                return cms.stats()
            case ("GET", "control", "rules"):
                return [rule_as_dict(rule) for rule in cms.rules()]
            case ("POST", "control", "rules"):
                return {"id": cms.add_rule(rule_from_json(body),
                                           last="last" in query)}
            case ("DELETE", "control", "rules"):
                cms.drop_rules()
                return {}
            case ("DELETE", "control", "rules", number):
                if not cms.drop_rules(int(number)):
                    raise Refused("404 Not Found", f"no rule {number}")
                return {}
            case ("POST", "control", "release"):
                count = int(query["count"]) if "count" in query else None
                return {"released": cms.release_now(count)}
            case ("POST", "control", "down"):
                await cms.unlisten()
                return {}
            case ("POST", "control", "up"):
                await cms.listen()
                return {}
            case ("POST", "control", "devices", name, action):
                with contextlib.suppress(KeyError):
                    if self._devices:
                        return await self._devices.act(name, action)
        raise Refused("404 Not Found", f"{method} {url.path}: see "
                      "reference-cms --help")


def rule_from_json(body):
    fields = json.loads(body or b"{}")
    if not isinstance(fields, dict):
        raise ValueError("a rule is an object")
    for name in ("body", "raw", "extra"):
        encoded = fields.pop(f"{name}_base64", None)
        if encoded is not None:
            try:
                fields[name] = base64.b64decode(encoded, validate=True)
            except binascii.Error as error:
                raise ValueError(f"{name}_base64: {error}") from error
    known = {f.name for f in dataclasses.fields(Rule)} - {"id"}
    unknown = sorted(set(fields) - known)
    if unknown:
        raise ValueError(f"unknown: {', '.join(unknown)}; "
                         f"known: {', '.join(sorted(known))}")
    return Rule(**fields)


def rule_as_dict(rule):
    fields = {}
    for field in dataclasses.fields(rule):
        value = getattr(rule, field.name)
        if isinstance(value, bytes):
            fields[f"{field.name}_base64"] = base64.b64encode(value).decode()
        else:
            fields[field.name] = value
    return fields
