"""How devices of GB/T 28181 write, as far as public descriptions tell: bytes of our own
for each way of writing that some maker's devices have.

    Dialect   what a device sends; DIALECTS are all of them
    table()   as the documentation shows them

In the texts stand {id} (of the device), {server} (its id), {realm}, {at} (address and
port of the server), {own} (the device's), {branch}, {tag}, {call_id}, {cseq}, {expires},
{auth}: the line with the credentials, or nothing. Lines end in CR LF.
"""

import dataclasses
import itertools


PLAIN = ('Digest username="{id}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
         'response="{response}", algorithm=MD5')
WITH_QOP = ('Digest username="{id}", realm="{realm}", nonce="{nonce}", uri="{uri}", '
            'response="{response}", algorithm=MD5, opaque="{opaque}", qop=auth, '
            'nc=00000001, cnonce="0a4f113b"')

HIKVISION = """\
REGISTER sip:{server}@{realm} SIP/2.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
From: <sip:{id}@{realm}>;tag={tag}
To: <sip:{id}@{realm}>
Call-ID: {call_id}
CSeq: {cseq} REGISTER
Contact: <sip:{id}@{own}>
{auth}Max-Forwards: 70
User-Agent: IP Camera
Expires: {expires}
Content-Length: 0

"""
DAHUA = """\
REGISTER sip:{server}@{at} SIP/2.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
Route: <sip:{id}@{at};lr>
From: <sip:{id}@{own}>;tag={tag}
To: <sip:{id}@{own}>
Call-ID: {call_id}@192.168.1.108
CSeq: {cseq} REGISTER
Contact: <sip:{id}@{own}>
{auth}Max-Forwards: 70
User-Agent: SIP UAS V3.0.0
Expires: {expires}
Content-Length: 0

"""
SORTED = """\
REGISTER sip:{server}@{at} SIP/2.0
Call-ID: {call_id}
Contact: <sip:{id}@{own}>
{auth}Content-Length: 0
CSeq: {cseq} REGISTER
Expires: {expires}
From: <sip:{id}@{own}>;tag={tag}
Max-Forwards: 70
Route: <sip:{id}@{at};lr>
To: <sip:{id}@{own}>
User-Agent: SIP UAS V3.0.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
X-GB-Ver: 3.0

"""
HUAWEI = """\
REGISTER sip:{server}@{realm}:5060 SIP/2.0
Via: SIP/2.0/{transport} {own};branch={branch};rport
Call-ID: {call_id}@{own}
From: "{id}" <sip:{id}@{realm}:5060>;tag={tag}
To: "{id}" <sip:{id}@{realm}:5060>
CSeq: {cseq} REGISTER
Contact: "{id}" <sip:{id}@{own};transport={transport}>;expires={expires}
{auth}Allow: INVITE,ACK,BYE,CANCEL,MESSAGE,INFO,SUBSCRIBE,NOTIFY,OPTIONS
Max-Forwards: 70
User-Agent: Huawei NVR
Content-Length: 0

"""
UNIVIEW = """\
REGISTER sip:{server}@{at} SIP/2.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
From: <sip:{id}@{at}>;tag={tag}
To: <sip:{id}@{at}>
Call-ID: {call_id}
CSeq: {cseq} REGISTER
{auth}Contact: <sip:{id}@{own}>
Max-Forwards: 70
Expires: {expires}
User-Agent: NVR
X-GB-Ver: 2.0
Content-Length:  0

"""
TIANDY = """\
REGISTER sip:{realm} SIP/2.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
From: sip:{id}@{realm};tag={tag}
To: sip:{id}@{realm}
Call-ID: {call_id}
CSeq: {cseq} REGISTER
Contact: sip:{id}@{own}
{auth}Expires: {expires}
Max-Forwards: 70
User-Agent: Tiandy
Content-Length: 0

"""
COMPACT = """\
REGISTER sip:{server}@{realm} SIP/2.0
v: SIP/2.0/{transport} {own};rport;branch={branch}
f: <sip:{id}@{realm}>;tag={tag}
t: <sip:{id}@{realm}>
i: {call_id}
CSeq: {cseq} REGISTER
m: <sip:{id}@{own}>
{auth}Max-Forwards: 70
Expires: {expires}
l: 0

"""
BLANKS = """\
REGISTER sip:{server}@{realm} SIP/2.0 \n\
Via: SIP/2.0/{transport} {own};rport;branch={branch} \n\
From: {id} <sip:{id}@{realm}:5060>;tag={tag} \n\
To: {id} <sip:{id}@{realm}:5060> \n\
Call-ID: {call_id} \n\
CSeq: {cseq} REGISTER \n\
Contact: <sip:{id}@{own}> \n\
{auth}Max-Forwards: 70 \n\
User-Agent: IPC \n\
Expires: {expires} \n\
X-GB-Ver: 3.0 \n\
Content-Length: 0 \n\

"""

KEEPALIVE = """\
MESSAGE sip:{server}@{realm} SIP/2.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
From: <sip:{id}@{realm}>;tag={tag}
To: <sip:{server}@{realm}>
Call-ID: {call_id}
CSeq: {cseq} MESSAGE
Content-Type: Application/MANSCDP+xml
Max-Forwards: 70
User-Agent: IP Camera
Content-Length:   {length}

"""
KEEPALIVE_OWN = """\
MESSAGE sip:{server}@{at} SIP/2.0
Via: SIP/2.0/{transport} {own};rport;branch={branch}
Route: <sip:{id}@{at};lr>
From: <sip:{id}@{own}>;tag={tag}
To: <sip:{server}@{at}>
Call-ID: {call_id}@192.168.1.108
CSeq: {cseq} MESSAGE
Max-Forwards: 70
Content-Type: application/MANSCDP+xml
User-Agent: SIP UAS V3.0.0
Content-Length: {length}

"""

XML = """<?xml version="1.0" encoding="{encoding}"?>
<Notify>
<CmdType>Keepalive</CmdType>
<SN>{cseq}</SN>
<DeviceID>{id}</DeviceID>
<Status>OK</Status>
</Notify>
"""
INDENTED = """<?xml version="1.0" encoding="{encoding}" standalone="yes" ?>
<Notify>
    <CmdType> Keepalive </CmdType>
    <SN>{cseq}</SN>
    <DeviceID>{id}</DeviceID>
    <Status>OK</Status>
    <Info>
        <DeviceID>仓库东门</DeviceID>
    </Info>
</Notify>
"""
ONE_LINE = ('<?xml version="1.0" encoding="{encoding}"?><Notify><CmdType>Keepalive'
            "</CmdType><SN>{cseq}</SN><DeviceID>{id}</DeviceID><Status>OK</Status>"
            "</Notify>")


@dataclasses.dataclass(frozen=True)
class Dialect:
    """
    kind       digits 11 to 13 of its id: 132 camera, 118 recorder, 111 older recorder
    auth       the credentials; uri: what they are for; upper: in capital letters
    own        what it takes for its own address; "": the real one
    refresh    "same": Call-ID as before, CSeq one more, "old": with the nonce of before,
               "new": another Call-ID
    port       after a power cut: "same" or "new"
    call_id    after a power cut: "new", or "same" with a CSeq that begins again
    """

    name: str
    special: str
    register: str = HIKVISION
    keepalive: str = KEEPALIVE
    xml: str = XML
    encoding: str = "GB2312"
    kind: str = "132"
    version: str = "2016"
    transport: str = "UDP"
    auth: str = PLAIN
    uri: str = "sip:{server}@{realm}"
    upper: bool = False
    own: str = ""
    expires: int = 3600
    refresh: str = "same"
    port: str = "same"
    call_id: str = "new"
    number: int = dataclasses.field(default_factory=itertools.count(1).__next__)

    @property
    def id(self):
        return f"3402000000{self.kind}{self.number:07d}"

    @property
    def qop(self):
        return "auth" if "qop=" in self.auth else None

    @property
    def gb_version(self):
        """What it sends as X-GB-Ver."""
        return "3.0" if "X-GB-Ver: 3.0" in self.register else \
            "2.0" if "X-GB-Ver: 2.0" in self.register else None


V2022 = HIKVISION.replace("User-Agent", "X-GB-Ver: 3.0\nUser-Agent")
V2016 = HIKVISION.replace("User-Agent", "X-GB-Ver: 2.0\nUser-Agent")

DIALECTS = [
    Dialect("Hikvision camera", "domain code in To; no qop"),
    Dialect("Hikvision camera, 2022", "X-GB-Ver: 3.0", V2022, version="2022"),
    Dialect("Hikvision camera over TCP", "a connection of its own", transport="TCP",
            port="new"),
    Dialect("Hikvision camera, a suffix behind the domain", "`3402000000.example.com`",
            HIKVISION.replace("@{realm}", "@{realm}.example.com"),
            KEEPALIVE.replace("@{realm}", "@{realm}.example.com"),
            uri="sip:{server}@{realm}.example.com"),
    Dialect("Hikvision recorder", "a day; blanks before Content-Length's number",
            HIKVISION.replace("IP Camera", "Embedded Net DVR/NVR/DVS"), kind="118",
            expires=86400, refresh="new"),
    Dialect("Hikvision recorder, 2022, over TCP", "X-GB-Ver over TCP",
            V2022.replace("IP Camera", "Embedded Net DVR/NVR/DVS"), kind="111",
            version="2022", transport="TCP", expires=86400, port="new"),
    Dialect("Dahua camera", "its own address in From and To, a Route to itself", DAHUA,
            KEEPALIVE_OWN, INDENTED, own="192.168.1.108:5060",
            uri="sip:{server}@{at}"),
    Dialect("Dahua camera, another port each time", "comes back with a new port", DAHUA,
            KEEPALIVE_OWN, INDENTED, uri="sip:{server}@{at}", port="new"),
    Dialect("Dahua camera, 2022", "headers in alphabetical order", SORTED,
            KEEPALIVE_OWN, version="2022", own="192.168.1.108:5060",
            encoding="GB18030", uri="sip:{server}@{at}"),
    Dialect("Dahua recorder", "answers no challenge without algorithm", DAHUA,
            KEEPALIVE_OWN, kind="118", auth=WITH_QOP, uri="sip:{server}@{at}"),
    Dialect("Dahua recorder, 2022, over TCP", "qop, and a connection", SORTED,
            KEEPALIVE_OWN, kind="118", version="2022", transport="TCP", auth=WITH_QOP,
            uri="sip:{server}@{at}", port="new"),
    Dialect("Huawei recorder", "the expiry only as a parameter of Contact; a name", HUAWEI,
            kind="118", expires=7200, uri="sip:{realm}"),
    Dialect("Huawei recorder over TCP", "transport=TCP in Contact", HUAWEI, kind="118",
            transport="TCP", auth=WITH_QOP, port="new"),
    Dialect("Huawei recorder, refresh with the old nonce",
            "credentials in its first REGISTER", HUAWEI, kind="118", refresh="old"),
    Dialect("Huawei recorder, the same Call-ID for ever",
            "its CSeq begins again after a power cut", HUAWEI, kind="118",
            call_id="same"),
    Dialect("Uniview recorder", "address of the server in From and To", UNIVIEW,
            KEEPALIVE.replace("@{realm}", "@{at}"), kind="118", expires=86400,
            uri="sip:{server}@{at}"),
    Dialect("Uniview camera", "a response in capital letters; the same Call-ID for ever",
            UNIVIEW, KEEPALIVE.replace("@{realm}", "@{at}"), upper=True, uri="sip:{at}",
            call_id="same"),
    Dialect("Uniview camera behind a NAT", "another address than it knows", UNIVIEW,
            KEEPALIVE.replace("@{realm}", "@{at}"), own="10.0.0.7:5060",
            uri="sip:{server}@{at}", refresh="new"),
    Dialect("Tiandy camera", "no <> around URIs; Digest for the domain alone", TIANDY,
            xml=ONE_LINE, encoding="UTF-8", uri="sip:{realm}"),
    Dialect("Tiandy camera, 2022", "opaque returned, qop", TIANDY.replace(
        "User-Agent", "X-GB-Ver: 3.0\nUser-Agent"), xml=ONE_LINE, version="2022",
            auth=WITH_QOP, uri="sip:{realm}", refresh="old"),
    Dialect("Tiandy recorder over TCP", "no <>, over TCP", TIANDY, kind="118",
            transport="TCP", uri="sip:{server}@{realm}", port="new"),
    Dialect("A camera with compact headers", "v, f, t, i, m, l", COMPACT,
            xml=INDENTED, encoding="GB18030"),
    Dialect("A camera with blanks at the ends of lines", "a display name, a port in To",
            BLANKS, version="2022"),
    Dialect("A camera without rport", "no rport in Via", V2016.replace(";rport", ""),
            KEEPALIVE.replace(";rport", ""), xml=ONE_LINE),
    Dialect("A camera that quotes everything", 'algorithm="MD5", qop="auth"', V2016,
            auth=WITH_QOP.replace("=MD5", '="MD5"').replace("qop=auth", 'qop="auth"')),
]


def table():
    """Markdown."""
    lines = ["| device | standard | transport | what is special |", "|---|---|---|---|"]
    lines += [f"| {d.name} | {d.version} | {d.transport} | {d.special} |"
              for d in DIALECTS]
    return "\n".join(lines) + "\n"
