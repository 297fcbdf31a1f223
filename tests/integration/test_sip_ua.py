"""The SIP user agent of the tests, against a registrar of a few lines."""

import hashlib
import re
import socket
import sys
import threading
from pathlib import Path

import pytest

LIB = Path(__file__).resolve().parents[2] / "scripts" / "lib"
sys.path.insert(0, str(LIB))

import sip_message  # noqa: E402
import sip_ua  # noqa: E402

REALM = "kedacom.com"
NONCE = "00000000000000000000000000018467"


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


class Registrar:
    """Challenges, checks credentials with code of its own, answers 200."""

    def __init__(self, transport="udp", qop="auth,auth-int", fold=False,
                 drop=0, password="123456"):
        self.qop, self.fold, self.drop = qop, fold, drop
        self.password = password
        self.seen = []
        self.stale = False
        kind = socket.SOCK_DGRAM if transport == "udp" else socket.SOCK_STREAM
        self.socket = socket.socket(socket.AF_INET, kind)
        self.socket.bind(("127.0.0.1", 0))
        self.address = self.socket.getsockname()
        if transport == "tcp":
            self.socket.listen()
        target = self.serve_udp if transport == "udp" else self.serve_tcp
        self.thread = threading.Thread(target=target, daemon=True)
        self.thread.start()

    def close(self):
        if self.socket.type == socket.SOCK_STREAM:
            self.socket.shutdown(socket.SHUT_RDWR)
        else:
            self.socket.sendto(b"", self.address)
        self.thread.join(5)
        self.socket.close()

    def serve_udp(self):
        while True:
            data, peer = self.socket.recvfrom(65536)
            if not data:
                return
            if self.drop:
                self.drop -= 1
                continue
            self.socket.sendto(self.answer(data), peer)

    def serve_tcp(self):
        while True:
            try:
                peer, _address = self.socket.accept()
            except OSError:
                return
            buffer = bytearray()
            with peer:
                while data := peer.recv(65536):
                    buffer += data
                    while raw := sip_message.take_from_stream(buffer):
                        answer = self.answer(raw)
                        peer.sendall(answer[:40])  # two segments
                        peer.sendall(answer[40:])

    def answer(self, raw):
        text = raw.decode()
        self.seen.append(text)
        echoed = "".join(
            line + "\r\n" for line in text.split("\r\n")
            if re.match("(?i)(via|from|to|call-id|cseq):", line))
        method = text.split()[0]
        authorization = re.search(r"(?im)^Authorization: Digest (.*)$", text)
        if method != "REGISTER" or (
                authorization and self.correct(authorization.group(1), text)):
            return (f"SIP/2.0 200 OK\r\n{echoed}"
                    "Content-Length: 0\r\n\r\n").encode()
        sep = "\r\n " if self.fold else " "
        qop = f',{sep}qop="{self.qop}"' if self.qop else ""
        stale = ', stale=true' if self.stale and authorization else ""
        nonce = NONCE[:-1] + "9" if stale else NONCE
        self.stale = False
        return (f"SIP/2.0 401 Unauthorized\r\n{echoed}WWW-Authenticate:"
                f' Digest realm="{REALM}",{sep}nonce="{nonce}",{sep}'
                f'opaque="6334"{qop}{stale}\r\n'
                "Content-Length: 0\r\n\r\n").encode()

    def correct(self, value, text):
        if self.stale:
            return False
        p = {k: v.strip('"') for k, v in
             re.findall(r'(\w+)=("[^"]*"|[^\s,]+)', value)}
        ha1 = md5(f"{p['username']}:{REALM}:{self.password}")
        a2 = f"REGISTER:{p['uri']}"
        if p.get("qop") == "auth-int":
            a2 += ":" + md5(text.partition("\r\n\r\n")[2])
        middle = ":".join([p["nonce"], p["nc"], p["cnonce"], p["qop"]]) \
            if "qop" in p else p["nonce"]
        return p["response"] == md5(f"{ha1}:{middle}:{md5(a2)}")


@pytest.fixture
def registrar():
    made = []

    def make(*args, **kw):
        made.append(Registrar(*args, **kw))
        return made[-1]

    yield make
    for server in made:
        server.close()


def authorization_of(server):
    return sip_message.auth_params(
        re.search(r"(?im)^Authorization: (.*)$", server.seen[-1]).group(1))


def test_digest_gives_the_response_of_the_seed():
    assert sip_message.digest_response(
        "gzj", REALM, "123456", "REGISTER", "sip:kedacom.com", NONCE,
        "auth", "00000001", "0a4f113b") == "735d9440f5d7367539165ca932a07713"


def test_authorization_for_the_seeds_challenge_is_the_seeds(registrar):
    with sip_ua.Ua(registrar().address, uri="sip:kedacom.com") as ua:
        value = ua.authorization(
            {"realm": REALM, "nonce": NONCE, "opaque": "6334",
             "qop": "auth,auth-int"}, cnonce="0a4f113b")
    assert sip_message.auth_params(value) == {
        "username": "gzj", "realm": REALM, "nonce": NONCE, "opaque": "6334",
        "uri": "sip:kedacom.com", "qop": "auth", "nc": "00000001",
        "cnonce": "0a4f113b",
        "response": "735d9440f5d7367539165ca932a07713"}


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("qop", ["auth", "auth-int", None])
def test_register_answers_the_challenge(registrar, transport, qop):
    server = registrar(transport)
    with sip_ua.Ua(server.address, transport=transport) as ua:
        response = ua.register(auth={"qop": qop}, body=b"v=0\r\n")
    assert response.status == 200
    assert len(server.seen) == 2
    assert authorization_of(server).get("qop") == qop


def test_a_challenge_without_qop_is_answered_without(registrar):
    server = registrar(qop=None)
    with sip_ua.Ua(server.address) as ua:
        assert ua.register().status == 200
    assert "nc" not in authorization_of(server)


def test_a_folded_challenge_is_understood(registrar):
    with sip_ua.Ua(registrar(fold=True).address) as ua:
        assert ua.register().status == 200


def test_opaque_is_left_out_when_told(registrar):
    server = registrar()
    with sip_ua.Ua(server.address) as ua:
        ua.register()
        assert authorization_of(server)["opaque"] == "6334"
        ua.register(auth={"opaque": False})
        assert "opaque" not in authorization_of(server)


def test_the_nonce_count_grows_with_each_use(registrar):
    server = registrar()
    with sip_ua.Ua(server.address) as ua:
        ua.register()
        ua.register(preemptive=True)
    assert len(server.seen) == 3
    assert authorization_of(server)["nc"] == "00000002"


def test_a_wrong_password_is_tried_once(registrar):
    server = registrar(password="654321")
    with sip_ua.Ua(server.address) as ua:
        assert ua.register().status == 401
    assert len(server.seen) == 2


def test_a_stale_nonce_is_replaced(registrar):
    server = registrar()
    with sip_ua.Ua(server.address) as ua:
        assert ua.register().status == 200
        server.stale = True
        assert ua.register(preemptive=True).status == 200
    assert authorization_of(server)["nonce"].endswith("9")


def test_raw_bytes_are_sent_as_they_are(registrar):
    server = registrar()
    raw = (b"OPTIONS sip:telecom.com SIP/2.0 \r\n"
           b"Via: SIP/2.0/UDP 127.0.0.1:7000;rport;branch=z9hG4bK17245 \r\n"
           b"CSeq: 1 OPTIONS \r\nX-Odd :  y\r\n\r\n")
    with sip_ua.Ua(server.address) as ua:
        ua.send(raw).wait()
    assert server.seen == [raw.decode()]


def test_the_same_bytes_again_belong_to_the_same_transaction(registrar):
    server = registrar()
    with sip_ua.Ua(server.address) as ua:
        transaction = ua.send(ua.build("OPTIONS"))
        transaction.wait()
        transaction.resend()
        assert len(transaction.wait_finals(2)) == 2
        assert ua.send(transaction.request.raw) is transaction
    assert len(set(server.seen)) == 1


def test_a_lost_datagram_is_retransmitted_when_asked_for(registrar):
    server = registrar(drop=1)
    with sip_ua.Ua(server.address) as ua:
        ua.send(ua.build("OPTIONS"), retransmit=True).wait()
    # the answer may be late, too
    assert [m.direction for m in ua.log[:2]] == ["sent", "sent"]
    assert ua.log[0].raw == ua.log[1].raw


def test_no_answer_is_an_error_that_names_the_request(registrar):
    with sip_ua.Ua(registrar(drop=1).address) as ua:
        with pytest.raises(sip_ua.NoAnswer, match="OPTIONS sip:telecom.com"):
            ua.options(timeout=0.05)


def test_a_socket_that_is_closed_as_it_answers_stops_no_other(registrar):
    server = registrar()
    with sip_ua.Ua(server.address) as ua, sip_ua.Ua(server.address) as other:
        with ua.transport.hub.lock:
            sent = ua.send(ua.build("OPTIONS"))
            sent.on_final = lambda _answer: (ua.close(), sent.resend())
        sent.wait()
        assert other.options()[0].status == 200


def test_responses_go_to_their_own_requests_over_one_socket(registrar):
    server = registrar()
    shared = sip_ua.Transport(server.address)
    uas = [sip_ua.Ua(user=f"cam{n}", transport=shared) for n in range(20)]
    registrations = [ua.start_register() for ua in uas]
    for registration in registrations:
        assert registration.wait().status == 200
        for step in registration.steps:
            assert len(step.responses) == 1
            assert step.final.call_id == registration.ua.call_id
    shared.close()


def test_a_thousand_devices_register(registrar):
    server = registrar()
    uas = [sip_ua.Ua(server.address, user=f"cam{n}") for n in range(1000)]
    results = sip_ua.register_all(uas)
    for ua in uas:
        ua.close()
    assert [r.result.status for r in results] == [200] * 1000


def test_requests_to_the_device_are_received_and_answered():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(sip_ua.WAIT_SECONDS)
    with server, sip_ua.Ua(server.getsockname()) as ua:
        server.sendto(
            b"MESSAGE sip:gzj@127.0.0.1 SIP/2.0\r\nv: SIP/2.0/UDP x;branch=b\r\n"
            b"f: <sip:a@b>;tag=1\r\nt: <sip:gzj@b>\r\ni: 1\r\n"
            b"CSeq: 1 MESSAGE\r\nl: 2\r\n\r\nhi", ua.transport.local)
        request = ua.transport.wait_request("MESSAGE")
        assert request.body == b"hi" and request.call_id == "1"
        ua.transport.reply(request, 200)
        answer = sip_message.Message(server.recv(65536))
    assert answer.status == 200 and answer.branch == "b" and answer.to_tag


def test_a_request_that_comes_again_is_answered_again():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    server.settimeout(sip_ua.WAIT_SECONDS)
    with server, sip_ua.Ua(server.getsockname()) as ua:
        def send(branch):
            server.sendto(
                b"MESSAGE sip:gzj@127.0.0.1 SIP/2.0\r\nv: SIP/2.0/UDP x;branch="
                b"z9hG4bK" + branch + b"\r\nf: <sip:a@b>;tag=1\r\n"
                b"t: <sip:gzj@b>\r\ni: 1\r\nCSeq: 1 MESSAGE\r\nl: 0\r\n\r\n",
                ua.transport.local)

        send(b"1")
        request = ua.transport.wait_request("MESSAGE")
        ua.transport.reply(request, 202)
        first = server.recv(65536)
        send(b"1")
        assert server.recv(65536) == first
        assert ua.transport.requests == []
        send(b"2")
        assert ua.transport.wait_request("MESSAGE").branch == "z9hG4bK2"


def test_several_messages_in_one_tcp_segment_are_told_apart(registrar):
    server = registrar("tcp")
    with sip_ua.Ua(server.address, transport="tcp") as ua:
        requests = [ua.build("OPTIONS", body=b"x" * n) for n in range(5)]
        transactions = [ua.send(data) for data in requests]
        assert all(t.wait().status == 200 for t in transactions)


def test_a_closed_connection_is_noticed(registrar):
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, sip_ua.Ua(listener.getsockname(), transport="tcp") as ua:
        peer, _address = listener.accept()
        assert not ua.transport.closed
        peer.close()
        assert ua.transport.wait_closed()


def test_contacts_are_split_outside_quotes_and_brackets():
    message = sip_message.Message(
        b'SIP/2.0 200 OK\r\nm: "a, \\" b" <sip:a@b;x=1,2>;q=1,\r\n'
        b" <sip:c@d>\r\n\r\n")
    assert message.contacts == ['"a, \\" b" <sip:a@b;x=1,2>;q=1', "<sip:c@d>"]


@pytest.mark.parametrize("kw, expected, unexpected", [
    ({"expires": None, "contacts": ["<sip:a@b>;expires=7"]},
     ["Contact: <sip:a@b>;expires=7"], ["Expires:"]),
    ({"contacts": "*", "expires": 0}, ["Contact: *", "Expires: 0"], []),
    ({"contacts": []}, [], ["Contact:"]),
    ({"contacts": ["<sip:a@b>", "<sip:c@d>"]},
     ["Contact: <sip:a@b>", "Contact: <sip:c@d>"], []),
    ({"path": "<sip:p;lr>", "supported": "path, outbound"},
     ["Path: <sip:p;lr>", "Supported: path, outbound"], []),
    ({"call_id": "5705@x", "cseq": 2, "branch": "z9hG4bK28145",
      "from_tag": "12103", "omit": ["User-Agent"]},
     ["Call-ID: 5705@x", "CSeq: 2 REGISTER", "branch=z9hG4bK28145",
      ";tag=12103"], ["User-Agent:"]),
    ({"headers": [("X-Odd", 'a"\\')]}, ['X-Odd: a"\\'], []),
])
def test_register_is_built_as_told(registrar, kw, expected, unexpected):
    with sip_ua.Ua(registrar().address) as ua:
        text = ua.build_register(**kw).decode()
    for part in expected:
        assert part in text
    for part in unexpected:
        assert part not in text
