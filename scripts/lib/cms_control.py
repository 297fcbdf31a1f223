"""The reference CMS's control interface: JSON over HTTP, a port of its own.

    GET    /control/requests[?from=N]              what came in, from number N
    GET    /control/requests/wait?count=N&timeout=S  as soon as N are in
    DELETE /control/requests                       forget them and the counts
    GET    /control/stats                          counts
    GET    /control/rules                          the rules, newest first
    POST   /control/rules                          add one (fields of Rule)
    DELETE /control/rules[/ID]                     remove all, or one
    POST   /control/release[?count=N]              let held requests go
    POST   /control/down, /control/up              stop, start listening

In a rule, bytes are given as `body_base64`, `raw_base64`, `extra_base64`.
"""

import asyncio
import base64
import binascii
import dataclasses
import json
import urllib.parse

from reference_cms import Rule

MAX_BODY = 64 << 20
MAX_WAIT = 3600.0


class Refused(Exception):
    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


class Control:
    """Serves the control interface in the reference CMS's own loop."""

    def __init__(self, cms, host="127.0.0.1", port=0):
        self._cms = cms
        self._host = host
        self.port = port
        self._server = None

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
            status, value = await self._request(reader)
            body = json.dumps(value).encode() + b"\n"
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                .encode() + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _request(self, reader):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, target, _version = lines[0].split(" ")
            headers = {name.strip().lower(): value.strip() for name, _, value
                       in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", 0))
            if not 0 <= length <= MAX_BODY:
                raise Refused("413 Content Too Large", "body too large")
            body = await reader.readexactly(length)
            return "200 OK", await self._do(method, target, body)
        except Refused as error:
            return error.status, {"error": str(error)}
        except (ValueError, TypeError, asyncio.LimitOverrunError) as error:
            return "400 Bad Request", {"error": str(error)}

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
                return {"id": cms.add_rule(rule_from_json(body))}
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
