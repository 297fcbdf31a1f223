"""SIP messages as bytes and back, and HTTP Digest as SIP uses it.

The parser is lenient (bare LF, folded headers, compact names): it reads what
servers send, it does not judge it. The builder writes exactly what it is told.
"""

import hashlib
import re
import time

COMPACT = {
    "b": "referred-by",
    "c": "content-type",
    "e": "content-encoding",
    "f": "from",
    "i": "call-id",
    "k": "supported",
    "l": "content-length",
    "m": "contact",
    "o": "event",
    "r": "refer-to",
    "s": "subject",
    "t": "to",
    "u": "allow-events",
    "v": "via",
    "x": "session-expires",
}

END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
CONTENT_LENGTH = re.compile(rb"(?im)^(?:content-length|l)[ \t]*:[ \t]*(\d+)")
AUTH_PARAM = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


def canonical(name):
    name = name.strip().lower()
    return COMPACT.get(name, name)


class Message:
    """One message, parsed; `raw` keeps the bytes, `time` is time.monotonic()."""

    def __init__(self, raw, direction=None, peer=None):
        self.raw = bytes(raw)
        self.direction = direction
        self.peer = peer
        self.time = time.monotonic()
        match = END_OF_HEAD.search(self.raw)
        head = self.raw[: match.start()] if match else self.raw
        self.body = self.raw[match.end():] if match else b""
        lines = head.decode("utf-8", "surrogateescape").split("\n")
        self.start_line = lines[0].strip()
        self.headers = []
        for line in lines[1:]:
            line = line.rstrip("\r")
            if line[:1] in (" ", "\t") and self.headers:
                name, value = self.headers[-1]
                self.headers[-1] = (name, f"{value} {line.strip()}".strip())
            elif ":" in line:
                name, value = line.split(":", 1)
                self.headers.append((name.strip(), value.strip()))

    def __repr__(self):
        return f"<{self.direction or 'message'} {self.start_line!r}>"

    @property
    def is_response(self):
        return self.start_line.startswith("SIP/2.0 ")

    @property
    def status(self):
        """Status code of a response, 0 for a request."""
        parts = self.start_line.split(None, 2)
        return int(parts[1]) if self.is_response and parts[1].isdigit() else 0

    @property
    def reason(self):
        parts = self.start_line.split(None, 2)
        return parts[2] if self.is_response and len(parts) > 2 else ""

    @property
    def method(self):
        """Method of a request; of a response, the one in its CSeq."""
        if self.is_response:
            return (self.get("CSeq") or "").partition(" ")[2].strip()
        return self.start_line.partition(" ")[0]

    @property
    def uri(self):
        """Request URI; empty for a response."""
        parts = self.start_line.split()
        return parts[1] if not self.is_response and len(parts) > 1 else ""

    def all(self, name):
        wanted = canonical(name)
        return [v for n, v in self.headers if canonical(n) == wanted]

    def get(self, name, default=None):
        values = self.all(name)
        return values[0] if values else default

    def values(self, name):
        """The elements of a comma-separated header, over all its lines."""
        return [e for v in self.all(name) for e in split_values(v)]

    @property
    def contacts(self):
        return self.values("Contact")

    @property
    def cseq(self):
        number = (self.get("CSeq") or "").split(None, 1)[:1]
        return int(number[0]) if number and number[0].isdigit() else None

    @property
    def call_id(self):
        return self.get("Call-ID")

    @property
    def branch(self):
        via = self.values("Via")[:1]
        match = re.search(r";\s*branch\s*=\s*([^;,\s]+)", via[0]) if via else None
        return match.group(1) if match else None

    @property
    def to_tag(self):
        match = re.search(r";\s*tag\s*=\s*([^;\s>]+)", self.get("To") or "")
        return match.group(1) if match else None

    @property
    def key(self):
        """What a client matches a response to its request by."""
        return (self.branch, self.cseq, self.method)

    def challenge(self):
        """Parameters of the Digest challenge of a 401 or 407, else None."""
        for name in ("WWW-Authenticate", "Proxy-Authenticate"):
            value = self.get(name)
            if value and value.lower().startswith("digest"):
                return auth_params(value)
        return None


def split_values(value):
    """Split at commas that are neither quoted nor inside <>."""
    parts, current, quoted, escaped, angle = [], [], False, False, False
    for char in value:
        if escaped:
            escaped = False
        elif quoted and char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif not quoted and char == "<":
            angle = True
        elif not quoted and char == ">":
            angle = False
        elif char == "," and not quoted and not angle:
            parts.append("".join(current).strip())
            current = []
            continue
        current.append(char)
    parts.append("".join(current).strip())
    return [p for p in parts if p]


def auth_params(value):
    """Parameters of a Digest header value, names in lower case, unquoted."""
    _scheme, _, rest = value.strip().partition(" ")
    return {
        m.group(1).lower():
            re.sub(r"\\(.)", r"\1", m.group(2)) if m.group(2) is not None
            else m.group(3)
        for m in AUTH_PARAM.finditer(rest)
    }


def build(start_line, headers, body=b""):
    """Bytes of a message: every header as given, in this order."""
    lines = [start_line] + [f"{name}: {value}" for name, value in headers]
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("utf-8", "surrogateescape") + body


def md5(data):
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    return hashlib.md5(data).hexdigest()


def digest_response(username, realm, password, method, uri, nonce, qop=None,
                    nc=None, cnonce=None, body=b""):
    """The `response` of RFC 2617, MD5; qop None, "auth" or "auth-int"."""
    ha1 = md5(f"{username}:{realm}:{password}")
    a2 = f"{method}:{uri}"
    if qop == "auth-int":
        a2 += f":{md5(body)}"
    if qop is None:
        return md5(f"{ha1}:{nonce}:{md5(a2)}")
    return md5(f"{ha1}:{nonce}:{nc}:{cnonce}:{qop}:{md5(a2)}")


def take_from_stream(buffer):
    """Cut one whole message off the front of a TCP buffer; None: need more."""
    while buffer[:1] in (b"\r", b"\n"):  # keep-alives between messages
        del buffer[:1]
    match = END_OF_HEAD.search(buffer)
    if match is None:
        return None
    length = CONTENT_LENGTH.search(buffer, 0, match.end())
    end = match.end() + (int(length.group(1)) if length else 0)
    if len(buffer) < end:
        return None
    raw = bytes(buffer[:end])
    del buffer[:end]
    return raw
