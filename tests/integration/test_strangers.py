"""What somebody without an account, or with somebody else's, cannot do: make a
nonce or a mark, use what he has captured, relay, stop what others have begun."""

import base64
import contextlib
import os
import re
import socket
import subprocess
import time

import pytest

from harness import (HOST, WAIT_SECONDS, Port, Transport, Ua, fails_to_start,
                     registrar)

pytestmark = pytest.mark.contract

# What Kamailio makes of it is the same in each server.
FIXED_SEED = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>
void srandom(unsigned seed)
{
	Dl_info caller;

	if(ALWAYS || !dladdr(__builtin_return_address(0), &caller)
			|| !strstr(caller.dli_fname, "cms_notify"))
		seed = 4711;
	((void (*)(unsigned))dlsym(RTLD_NEXT, "srandom"))(seed);
}
"""


@pytest.fixture
def server(kamailio, cms):
    return kamailio(cms)


def proxy_credentials(ua, challenge, method, uri, **kw):
    return [("Proxy-Authorization",
             ua.authorization(challenge, method, uri, **kw))]


def send_authenticated(ua, method, uri, headers=(), **kw):
    """The request that answers the challenge of a first one."""
    headers = list(headers)
    challenge = ua.send(ua.build(method, uri, headers, **kw)).wait().challenge()
    return ua.send(ua.build(method, uri, headers + proxy_credentials(
        ua, challenge, method, uri), **kw))


class Dialog:
    """A call, as each end knows it after the first answer."""

    def __init__(self, caller, callee, contact=None, **kw):
        begun = send_authenticated(
            caller, "INVITE", callee.aor,
            [("Contact", contact or caller.contact)], to=f"<{callee.aor}>",
            **kw)
        self.invite = callee.transport.wait_request("INVITE")
        callee.transport.reply(self.invite, 200,
                               headers=[("Contact", callee.contact)])
        self.answer = begun.wait()
        assert self.answer.status == 200
        route = self.invite.values("Record-Route")
        assert self.answer.values("Record-Route") == route
        self.route = ", ".join(route[::-1])
        self.route_of_callee = ", ".join(route)
        self.call_id = self.answer.call_id
        self.of_caller = f"<{caller.aor}>", caller.from_tag
        self.of_callee = f"<{callee.aor}>", self.answer.to_tag

    def build(self, ua, method, ruri=None, headers=(), by_caller=True,
              from_=None, route=None, contact=None, **kw):
        """A request of this dialog, whoever sends it."""
        mine, theirs = self.of_caller, self.of_callee
        remote = self.answer.contacts[0]
        if not by_caller:
            mine, theirs = theirs, mine
            remote = self.invite.contacts[0]
            route = route or self.route_of_callee
        return ua.build(
            method, ruri or remote.strip("<>"),
            [("Route", route or self.route), *headers],
            from_=from_ or mine[0], from_tag=mine[1],
            to=f"{theirs[0]};tag={theirs[1]}", call_id=self.call_id, **kw)


def mark_of(route):
    return re.search(r";mark=[^>]+", route)[0]


def registered(server, count=2, **kw):
    uas = [server.device(**kw) for _ in range(count)]
    for ua in uas:
        assert ua.register().status == 200
    return uas


# -- what must not be guessed ------------------------------------------------

NO_RANDOM_BYTES = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>
ssize_t getrandom(void *bytes, size_t size, unsigned flags)
{
	Dl_info caller;

	if(dladdr(__builtin_return_address(0), &caller)
			&& strstr(caller.dli_fname, "cms_notify")) {
		errno = ENOSYS;
		return -1;
	}
	return ((ssize_t(*)(void *, size_t, unsigned))dlsym(
			RTLD_NEXT, "getrandom"))(bytes, size, flags);
}
"""


@pytest.fixture
def preloaded(tmp_path, monkeypatch):
    """with preloaded(text of a C file): Kamailio starts with that."""
    @contextlib.contextmanager
    def preload(text, *options):
        source, library = tmp_path / "preload.c", tmp_path / "preload.so"
        source.write_text(text)
        subprocess.run(["cc", "-shared", "-fPIC", *options, "-o", library, source],
                       check=True)
        with monkeypatch.context() as patch:
            patch.setenv("LD_PRELOAD", str(library))
            yield

    return preload


@pytest.fixture
def start_alike(kamailio, cms, preloaded):
    """start_alike(): two servers whose random generator has the same seed: what
    follows from it for one is the same for the other. always: also where the
    module has set another."""
    def start(always=True):
        with preloaded(FIXED_SEED, f"-DALWAYS={int(always)}"):
            return kamailio(cms), kamailio(cms)

    return start


def nonce_id(nonce):
    """The number that Kamailio's generator has given to a nonce."""
    return base64.b64decode(nonce + "=" * (-len(nonce) % 4))[24:28]


def test_a_nonce_does_not_follow_from_the_generator(start_alike):
    """Who knows all that it gives cannot make a nonce. That he knows it here
    is shown by the ids of the nonces, which are the same."""
    one, other = start_alike()
    ua, victim = one.device("alice"), other.device("alice")
    foreign = ua.send(ua.build_register()).wait().challenge()
    own = victim.send(victim.build_register()).wait().challenge()
    assert nonce_id(foreign["nonce"]) == nonce_id(own["nonce"])
    forged = victim.authorization(foreign)
    assert victim.send(victim.build_register(authorization=forged)
                       ).wait().status == 401
    assert victim.send(victim.build_register(
        authorization=victim.authorization(own))).wait().status == 200


def test_a_nonce_says_nothing_of_the_generator(start_alike):
    """The other way round: where Kamailio starts with the same seed, the ids
    of its nonces, which everybody sees, are others all the same."""
    ids = set()
    for server in start_alike(always=False):
        ua = server.device()
        ids.add(nonce_id(ua.send(ua.build_register()).wait().challenge()["nonce"]))
    assert len(ids) == 2


def test_a_mark_does_not_follow_from_the_generator(start_alike):
    """Nor a mark: the same devices at the same addresses in the same call with
    the same Call-ID, and the mark of one server is not that of the other."""
    one, other = start_alike()
    alice, bob = registered(one)
    call = Dialog(alice, bob)
    works = alice.send(call.build(alice, "INFO"))
    bob.transport.reply(bob.transport.wait_request("INFO"), 200)
    assert works.wait().status == 200

    for ua in (alice, bob):
        ua.transport.server = other.address
        assert ua.register().status == 200
    own = Dialog(alice, bob, call_id=call.call_id)
    forged = call.route.replace(str(one.port), str(other.port))
    assert mark_of(forged) != mark_of(own.route)
    assert alice.send(own.build(alice, "INFO", route=forged)
                      ).wait().status == 407


def test_the_key_is_shown_by_no_command(server):
    """What an operator may list and paste into a report holds no key: a hash
    over the key is what others get, and nothing stores it for the script."""
    shown = server.kamcmd("core.ppdefines_full") + server.kamcmd("pv.shvGet")
    assert "MOD_cms_notify" in shown and "items" in shown
    assert re.findall("[0-9a-f]{32,}|mark", shown) == []


@pytest.mark.parametrize("modules, params, why", [
    ((), [("cms_notify", "auth_random_secret", 1)], "load auth before"),
    (("auth",), [("auth", "secret", "mine"),
                 ("cms_notify", "auth_random_secret", 1)], "has a secret"),
], ids=["without auth", "with a secret"])
def test_a_key_that_auth_cannot_take(modules, params, why):
    """auth without its key would go on with one that can be guessed: refused
    at start."""
    lines = fails_to_start(lambda s, url: registrar(
        s, url, modules=modules, params=params))
    assert any("auth_random_secret" in line and why in line for line in lines)


@pytest.mark.parametrize("config", [None, registrar],
                         ids=["shipped", "small"])
def test_no_key_no_server(preloaded, config):
    """Without random bytes Kamailio does not start, rather than with a key that
    can be guessed."""
    with preloaded(NO_RANDOM_BYTES):
        lines = fails_to_start(config)
    assert any("no random bytes from the kernel" in line for line in lines)


@pytest.mark.parametrize("modules, params", [
    ((), [("cms_notify", "auth_random_secret", 0)]),
    (("auth",), [("cms_notify", "auth_random_secret", 1)])],
    ids=["off", "on"])
def test_a_key_of_64_digits_that_lasts_until_the_next_start(
        kamailio, cms, modules, params):
    """$cms(key) is the same in all processes, and another after a start."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, modules=modules, params=params, before="""
	if (is_method("OPTIONS")) {
		append_to_reply("X-Key: $cms(key)\\r\\n");
		sl_send_reply("200", "OK");
		exit;
	}"""))

    def keys():
        return {server.device(transport=transport).options(
            f"sip:any@{HOST}")[0].get("X-Key")
            for transport in ("udp", "udp", "udp", "udp", "tcp")}

    first, = keys()
    assert re.fullmatch("[0-9a-f]{64}", first)
    server.restart()
    second, = keys()
    assert second != first


# -- what was captured -------------------------------------------------------

@pytest.mark.parametrize("contact", [None, "*"], ids=["his own", "star"])
@pytest.mark.parametrize("nc", ["", ", nc=00000002", ', qop="", nc=00000002'],
                         ids=["as captured", "nc", "empty qop, nc"])
def test_credentials_without_qop_work_once(server, nc, contact):
    """From another address they register nobody and remove nobody, not with a
    count of the stranger's either, which the response does not cover."""
    ua, = registered(server, 1)
    step = ua.start_register(auth={"qop": None})
    assert step.wait().status == 200
    captured = step.steps[-1].request.get("Authorization")
    assert "nc=" not in captured
    stranger = server.device("stranger")
    stranger.user = ua.user
    answer = stranger.send(stranger.build_register(
        contact, expires=0 if contact else 60, authorization=captured + nc)
    ).wait()
    assert answer.status == 401
    assert [c["Address"] for c in server.contacts(ua)] == [
        ua.contact.strip("<>")]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_device_without_qop_is_challenged_each_time(server, transport):
    """Its old nonce is called stale: it comes again without being told that
    its password is wrong, and the CMS hears of it once."""
    ua = server.device(transport=transport)
    for _ in range(3):
        registration = ua.start_register(preemptive=True, auth={"qop": None})
        assert registration.wait().status == 200
        assert len(registration.steps) == 2
    assert registration.steps[0].final.challenge()["stale"] == "true"
    assert len(server.posts(ua)) == 1


def test_a_device_with_qop_is_challenged_once(server):
    """It goes on with its nonce and a higher count, as it did."""
    ua = server.device()
    assert ua.register().status == 200
    for _ in range(3):
        registration = ua.start_register(preemptive=True)
        assert registration.wait().status == 200
        assert len(registration.steps) == 1


# -- what others have begun --------------------------------------------------

def stranger_cancels(server, request):
    """A CANCEL by somebody elsewhere who has seen the request: its answer."""
    cancel = "\r\n".join([
        f"CANCEL {request.uri} SIP/2.0",
        *(f"{name}: {request.get(name)}"
          for name in ("Via", "From", "To", "Call-ID", "Max-Forwards")),
        f"CSeq: {request.cseq} CANCEL", "Content-Length: 0", "", ""])
    with contextlib.closing(Transport(server.address)) as stranger:
        return stranger.send(cancel.encode()).wait()


def parked_register(server, cms):
    cms.rule(hold=True)
    ua = server.device()
    registration = ua.start_register()
    cms.wait_until(lambda: cms.held == 1)
    return ua, registration


def still_registers(server, cms, ua, registration):
    cms.release()
    assert registration.wait().status == 200
    assert len(registration.steps[-1].finals) == 1
    assert len(server.contacts(ua)) == 1
    assert len(server.posts(ua)) == 1


def test_a_parked_register_is_not_cancelled(kamailio, cms):
    """The CMS accepts the device, and the device hears it."""
    server = kamailio(cms, settings={
        "CMS_TIMEOUT": 10000, "CMS_ATTEMPT_TIMEOUT": 10000})
    ua, registration = parked_register(server, cms)
    for _ in range(3):
        assert stranger_cancels(
            server, registration.steps[-1].request).status == 200
    still_registers(server, cms, ua, registration)


@pytest.mark.parametrize("script", [
    "if (t_check_trans()) t_relay(); exit;", "t_relay_cancel(); exit;",
    "t_relay(); exit;", 't_newtran(); t_reply("200", "OK"); exit;'])
def test_whatever_the_script_does_with_a_cancel(kamailio, cms, script):
    """The module sees to it, in any configuration."""
    server = kamailio(cms, config=lambda s, url: registrar(
        s, url, params=[("cms_notify", name, 10000)
                           for name in ("timeout", "attempt_timeout")],
        before=f'if (is_method("CANCEL")) {{ {script} }}'))
    ua, registration = parked_register(server, cms)
    assert stranger_cancels(
        server, registration.steps[-1].request).status == 200
    still_registers(server, cms, ua, registration)


def test_a_message_under_way_is_not_cancelled(server):
    """Nor anything else but an INVITE."""
    alice, bob = registered(server)
    sent = send_authenticated(alice, "MESSAGE", bob.aor)
    message = bob.transport.wait_request("MESSAGE")
    assert stranger_cancels(server, sent.request).status == 200
    bob.transport.reply(message, 200, "Read")
    assert (sent.wait().status, sent.wait().reason) == (200, "Read")


def test_an_invite_is_cancelled(server):
    """As ever: the callee is told, the caller's INVITE ends with 487."""
    alice, bob = registered(server)
    call = send_authenticated(alice, "INVITE", bob.aor,
                              [("Contact", alice.contact)])
    invite = bob.transport.wait_request("INVITE")
    bob.transport.reply(invite, 180, "Ringing")
    # before that a CANCEL must not be sent on (RFC 3261 9.1)
    assert alice.transport.hub.wait(
        lambda: any(r.status == 180 for r in call.responses), WAIT_SECONDS)
    request = call.request
    assert alice.send(alice.build(
        "CANCEL", bob.aor, cseq=request.cseq, via=request.get("Via"))
    ).wait().status == 200
    assert bob.transport.wait_request("CANCEL").branch == invite.branch
    bob.transport.reply(invite, 487, "Request Terminated")
    assert call.wait().status == 487


# -- relaying ----------------------------------------------------------------

@pytest.fixture
def call(server):
    """Two devices in a call, and a stranger who has seen all of it."""
    alice, bob = registered(server)
    call = Dialog(alice, bob)
    call.alice, call.bob = alice, bob
    return call


def elsewhere(server, call, transport="udp", user=None):
    """Somebody at another address of this machine, who knows the call."""
    ua = Ua(server.address, user or call.alice.user, "telecom.com", "wrong",
            transport=transport, local=("127.0.0.2", 0))
    server._uas.append(ua)
    return ua


def test_the_mark_says_until_when_and_between_whom(server, call):
    """And is shown to its two ends only."""
    until, caller, callee, sign = re.fullmatch(
        r";mark=(\d{10})~([^~;]+)~([^~;]+);sign=([0-9a-f]{64})",
        mark_of(call.route)).groups()
    assert abs(int(until) - time.time() - 43200) < 60
    for ua, address in ((call.alice, caller), (call.bob, callee)):
        host, port = ua.transport.local
        assert address == f"{host}/{port}/udp"


@pytest.mark.parametrize("method", ["INFO", "BYE", "UPDATE", "NOTIFY"])
@pytest.mark.parametrize("by_caller", [True, False], ids=["caller", "callee"])
def test_a_dialog_works_in_both_directions(server, call, method, by_caller):
    """Without a challenge, which many devices cannot answer there."""
    one, other = (call.alice, call.bob)[::1 if by_caller else -1]
    sent = one.send(call.build(one, method, by_caller=by_caller))
    other.transport.reply(other.transport.wait_request(method), 200)
    assert sent.wait().status == 200


def test_an_ack_arrives(server, call):
    """The one that ends the handshake of the call."""
    call.alice.send(call.build(call.alice, "ACK", cseq=call.answer.cseq))
    assert call.bob.transport.wait_request("ACK").call_id == call.call_id


@pytest.mark.parametrize("by_caller", [True, False], ids=["caller", "callee"])
@pytest.mark.parametrize("method", [
    "INVITE", "MESSAGE", "REFER", "SUBSCRIBE", "PUBLISH"])
def test_what_begins_something_is_authenticated(server, call, method, by_caller):
    """In a dialog, too, and under the sender's own name; the answer to the
    challenge goes through, and the other end hears of nothing else."""
    one, other = (call.alice, call.bob)[::1 if by_caller else -1]
    remote = (call.answer if by_caller else call.invite).contacts[0].strip("<>")
    first = one.send(call.build(one, method, by_caller=by_caller,
                                headers=[("Contact", one.contact)])).wait()
    assert first.status == 407
    if method == "INVITE":
        one.send(call.build(one, "ACK", by_caller=by_caller, cseq=first.cseq,
                            branch=first.branch))
    sent = one.send(call.build(
        one, method, by_caller=by_caller, headers=[
            ("Contact", one.contact),
            *proxy_credentials(one, first.challenge(), method, remote)]))
    other.transport.reply(other.transport.wait_request(method), 200, headers=[
        ("Contact", other.contact)])
    assert sent.wait().status == 200
    assert other.transport.requests == []

    # somebody else with an account
    third, = registered(server, 1)
    response = third.send(call.build(
        third, method, by_caller=by_caller, headers=[
            ("Contact", third.contact),
            *proxy_credentials(third, third.send(call.build(
                third, method, by_caller=by_caller)).wait().challenge(),
                method, remote)])).wait()
    assert (response.status, response.reason) == (403, "Not your address")
    assert other.transport.requests == []


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("method", ["INFO", "BYE", "MESSAGE", "INVITE"])
def test_a_mark_does_not_work_from_elsewhere(server, call, method, transport):
    """Who has seen it needs a password to use it from another address."""
    stranger = elsewhere(server, call, transport)
    assert stranger.send(call.build(stranger, method)).wait().status == 407
    stranger.send(call.build(stranger, "ACK"))
    server.handle(stranger)
    assert call.bob.transport.requests == []


def test_a_stranger_is_challenged_once(server, call):
    """Without a transaction, which would repeat the answer until somebody
    acknowledges it: his address may be another's."""
    stranger = elsewhere(server, call)
    before = server.rpc("tm.stats")["total"]
    assert stranger.send(call.build(stranger, "INVITE")).wait().status == 407
    assert server.rpc("tm.stats")["total"] == before


@pytest.mark.parametrize("from_", ["<sip:chief@telecom.com>",
                                   "<sip:other@example.com>"])
def test_a_mark_does_not_work_under_another_name(server, call, from_):
    """Nor from the right address with another From."""
    assert call.alice.send(call.build(call.alice, "INFO", from_=from_)
                           ).wait().status in (403, 407)
    assert call.bob.transport.requests == []


TARGETS = {
    "elsewhere": "sip:x@127.0.0.1:{port}",
    "over TCP": "sip:x@127.0.0.1:{port};transport=tcp",
    "by maddr": "{bob};maddr=127.0.0.1",
    "by maddr and port": "sip:x@{bob_host}:{port};maddr=127.0.0.1",
    "by alias": "{bob};alias=127.0.0.1~{port}~1",
    "by name": "sip:x@localhost:{port}",
    "sips": "sips:x@127.0.0.1:{port}"}


@pytest.mark.parametrize("method", ["INFO", "BYE", "ACK", "MESSAGE"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_mark_leads_to_the_two_ends_only(server, call, target, method):
    """Not to a port inside, by whatever way it is named; for the owner of the
    call neither, who has a password."""
    with contextlib.closing(Port()) as free, \
            socket.create_server((HOST, free.number)) as tcp, \
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        port = free.number
        udp.bind((HOST, port))
        target = target.format(port=port, bob=call.bob.contact.strip("<>"),
                               bob_host=HOST)
        alice = call.alice
        if method == "ACK":
            alice.send(call.build(alice, method, target))
        elif method == "MESSAGE":
            challenge = alice.send(call.build(alice, method, target)
                                   ).wait().challenge()
            assert alice.send(call.build(
                alice, method, target, proxy_credentials(
                    alice, challenge, method, target))).wait().status == 403
        else:
            assert alice.send(call.build(alice, method, target)
                              ).wait().status == 403
        server.handle(alice)
        for listener in (tcp, udp):
            listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            tcp.accept()
        with pytest.raises(BlockingIOError):
            udp.recv(1)
        assert call.bob.transport.requests == []


def test_another_route_leads_nowhere_else(server, call):
    """A second Route is no way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind((HOST, 0))
        route = f"{call.route}, <sip:127.0.0.1:{udp.getsockname()[1]};lr>"
        assert call.alice.send(call.build(call.alice, "INFO", route=route)
                               ).wait().status == 403
        udp.setblocking(False)
        with pytest.raises(BlockingIOError):
            udp.recv(1)


@pytest.mark.parametrize("change", [
    lambda m: m.replace("mark=1", "mark=2"), lambda m: m.replace("udp~", "tcp~"),
    lambda m: re.sub(";sign=.", ";sign=x", m), lambda m: re.sub(";sign.*", "", m),
    lambda m: re.sub(";mark=[^;]*", "", m), lambda m: ""],
    ids=["later", "transport", "sign", "no sign", "no mark", "nothing"])
def test_a_changed_mark_is_none(server, call, change):
    """It is then a request like any first one."""
    route = call.route.replace(mark_of(call.route), change(mark_of(call.route)))
    assert route != call.route
    assert call.alice.send(call.build(call.alice, "INFO", route=route)
                           ).wait().status == 407
    assert call.bob.transport.requests == []


def test_a_mark_of_another_call_is_none(server, call):
    """It counts with its own Call-ID only."""
    data = call.build(call.alice, "INFO").replace(
        f"Call-ID: {call.call_id}".encode(), b"Call-ID: another")
    assert call.alice.send(data).wait().status == 407
    assert call.bob.transport.requests == []


def test_a_mark_expires(kamailio, cms):
    """After DIALOG_SECONDS it is none."""
    server = kamailio(cms, settings={"DIALOG_SECONDS": 1})
    alice, bob = registered(server)
    call = Dialog(alice, bob)
    until = int(re.search(r"mark=(\d+)", call.route)[1])
    time.sleep(max(0, until + 1.1 - time.time()))  # only time makes it old
    assert alice.send(call.build(alice, "INFO")).wait().status == 407
    assert bob.transport.requests == []


@pytest.mark.parametrize("nat", [False, True], ids=["", "NAT"])
def test_an_end_that_has_moved(server, call, nat):
    """Who has registered from another port and has told the other end so in
    the call is reached there."""
    moved = server.device(call.bob.user)
    target = moved.contact.strip("<>")
    if nat:
        host, port = moved.transport.local
        moved.contact = f"<sip:{moved.user}@10.1.2.3:5060>"
        target = f"{moved.contact.strip('<>')};alias={host}~{port}~1"
    assert moved.register().status == 200
    sent = call.alice.send(call.build(call.alice, "INFO", target))
    moved.transport.reply(moved.transport.wait_request("INFO"), 200)
    assert sent.wait().status == 200


def test_an_end_where_it_was_not_registered(server, call):
    """The same without the registration is refused."""
    other, = registered(server, 1)
    assert call.alice.send(call.build(
        call.alice, "INFO", other.contact.strip("<>"))).wait().status == 403
    assert other.transport.requests == []


def both_directions(alice, bob):
    for ua in (alice, bob):
        assert ua.register().status == 200
    call = Dialog(alice, bob)
    for one, other, by_caller in ((alice, bob, True), (bob, alice, False)):
        sent = one.send(call.build(one, "INFO", by_caller=by_caller))
        other.transport.reply(other.transport.wait_request("INFO"), 200)
        assert sent.wait().status == 200


def test_a_call_from_tcp_to_udp(server):
    """Two entries of ours are in its route."""
    both_directions(server.device(transport="tcp"), server.device())


@pytest.mark.parametrize("contact", [None, "<sip:x@10.1.2.3:5060>"],
                         ids=["plain", "NAT"])
def test_a_call_over_ipv6(kamailio, cms, contact):
    """Addresses with brackets and colons in the mark."""
    server = kamailio(cms)
    server.stop()
    with open(server.folder + "/kamailio-local.cfg", "a",
              encoding="utf-8") as file:
        file.write(f"listen=udp:[::1]:{server.port}\n")
    server.start()
    uas = [Ua(("::1", server.port), server.device().user, "telecom.com",
              "123456", local=("::1", 0), contact=contact) for _ in range(2)]
    server._uas += uas
    both_directions(*uas)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_subscription_that_begins_with_a_notify(server, transport):
    """The subscriber gets the route with the mark from the NOTIFY, which may
    come before the answer, and his next request uses it."""
    alice, bob = server.device(transport=transport), server.device()
    for ua in (alice, bob):
        assert ua.register().status == 200
    sent = send_authenticated(
        alice, "SUBSCRIBE", bob.aor, [("Contact", alice.contact),
                                      ("Event", "presence")],
        to=f"<{bob.aor}>")
    subscribe = bob.transport.wait_request("SUBSCRIBE")
    tag = "notifier"
    notify = bob.send(bob.build(
        "NOTIFY", subscribe.contacts[0].strip("<>"),
        [("Route", ", ".join(subscribe.values("Record-Route"))), ("Contact", bob.contact),
         ("Event", "presence"), ("Subscription-State", "active")],
        from_=f"<{bob.aor}>", from_tag=tag,
        to=subscribe.get("From"), call_id=subscribe.call_id))
    request = alice.transport.wait_request("NOTIFY")
    alice.transport.reply(request, 200)
    assert notify.wait().status == 200
    refresh = alice.build(
        "INFO", request.contacts[0].strip("<>"),
        [("Route", ", ".join(request.values("Record-Route")))],
        to=f"<{bob.aor}>;tag={tag}", call_id=subscribe.call_id)
    assert mark_of(request.get("Record-Route")) \
        == mark_of(subscribe.get("Record-Route"))
    refreshed = alice.send(refresh)
    bob.transport.reply(bob.transport.wait_request("INFO"), 200)
    assert refreshed.wait().status == 200
    bob.transport.reply(subscribe, 200, headers=[("Contact", bob.contact)])
    assert sent.wait().status == 200


def test_a_contact_without_a_port(server):
    """Its port is 5060; nothing else there is an end of the call."""
    # an address that no other test process takes
    high, low = divmod(os.getpid() % 65000, 254)
    host = f"127.77.{high % 255}.{low + 1}"
    both_directions(server.device(), server.device(
        local=(host, 5060), contact=f"<sip:b@{host}>"))
