"""Who guesses passwords or names learns little, and cannot use the limits on it
against the user whose password he guesses."""

import re
import statistics
import time

import pytest

import ipv6
from harness import HOST, Ua, repeated, until

pytestmark = pytest.mark.contract

LIMIT = 10  # AUTH_MAX_FAILURES


@pytest.fixture
def server(kamailio, cms):
    return kamailio(cms)


def challenge_for(ua, method="REGISTER"):
    data = ua.build_register() if method == "REGISTER" else ua.build(method)
    return ua.send(data).wait().challenge()


def guess(ua, challenge=None, method="REGISTER", **kw):
    """One wrong password, by default for a challenge of its own: the answer."""
    challenge = challenge or challenge_for(ua, method)
    auth = ua.authorization(challenge, method, password="wrong", **kw)
    if method == "REGISTER":
        return ua.send(ua.build_register(authorization=auth)).wait()
    return ua.send(ua.build(
        method, headers=[("Proxy-Authorization", auth)])).wait()


def at(server, user, host, **kw):
    """That user's name, at that address."""
    ua = server.device(local=(host, 0), **kw)
    ua.user = ua.auth_user = user
    ua.contact = f"<sip:{user}@{ua.transport.host_port}>"
    return ua


def strangers(server, victim, count, **kw):
    """At so many addresses, who know the user's name."""
    return [at(server, victim.user, f"127.9.{n // 250}.{n % 250 + 1}", **kw)
            for n in range(count)]


def statuses(answers):
    return [answer.status for answer in answers]


# -- the user ----------------------------------------------------------------

@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_guesses_keep_nobody_out(server, transport):
    """Guesses from many addresses; so many a minute are told that they are
    wrong. Then the right password, from anywhere: it is at once."""
    victim = server.device()
    crowd = [at(server, victim.user, f"127.9.0.{n}", transport=transport)
             for n in range(1, 21)]
    answers = [guess(ua) for _ in range(3) for ua in crowd]
    assert statuses(answers) == [401] * LIMIT + [503] * (60 - LIMIT)
    assert all(1 <= int(a.get("Retry-After")) <= 60 for a in answers[LIMIT:])
    for ua in (victim, crowd[0], at(server, victim.user, "127.9.1.1")):
        assert ua.register().status == 200
        assert statuses([guess(crowd[1])]) == [503]


def test_a_name_is_one_in_any_case(server):
    """A database may find it by each of them."""
    ua = server.device("gzj")
    names = ["gzj", "GZJ", "Gzj"] * 5
    assert statuses(guess(ua, username=name) for name in names) \
        == [401] * LIMIT + [503] * (len(names) - LIMIT)


def test_the_wait_is_what_is_left(server):
    """Who is told to come back learns how long others are still not told."""
    ua = server.device()
    for _ in range(LIMIT + 1):
        last = guess(ua)
    first = int(last.get("Retry-After"))
    assert 1 <= first <= 60

    def is_less():
        time.sleep(0.5)  # it is time that passes; ten guesses a second are many
        return 1 <= int(guess(ua).get("Retry-After")) < first

    until(is_less)


def test_a_password_that_is_corrected(server):
    """The device goes on trying the wrong one until an operator has set the right
    one: with it, it is in at once, also while somebody behind the same NAT
    guesses for the same name."""
    camera, other = server.device(), server.device()
    other.user = other.auth_user = camera.user
    camera.password = "old"
    while camera.register().status != 503:
        assert guess(other).status in (401, 503)
    server.add_subscribers([camera.user], "new")
    camera.password = "new"
    assert camera.register().status == 200
    assert guess(other).status == 503
    assert camera.register().status == 200


def upper_case(ua, challenge, method="REGISTER", **kw):
    """Credentials with a response of capital letters."""
    auth = ua.authorization(challenge, method, **kw)
    return re.sub(r'response="(\w+)"',
                  lambda found: f'response="{found[1].upper()}"', auth)


@pytest.mark.parametrize("qop", ["auth", "auth-int", None])
def test_capital_letters_are_the_same_number(server, qop):
    """A response is hexadecimal, in whatever letters a device writes it; a wrong
    one stays wrong, and a right one works once."""
    ua = server.device()
    data = ua.build_register(authorization=upper_case(
        ua, challenge_for(ua), qop=qop))
    assert ua.send(data).wait().status == 200
    again = ua.send(data.replace(b"branch=z9hG4bK", b"branch=z9hG4bK1")).wait()
    assert again.status == 401
    wrong = ua.build_register(authorization=upper_case(
        ua, challenge_for(ua), qop=qop, password="wrong"))
    assert ua.send(wrong).wait().status == 401


def test_no_limit_concerns_the_right_password(kamailio, cms):
    server = kamailio(cms, settings={"AUTH_MAX_FAILURES": 0})
    ua = server.device()
    assert guess(ua).status == 503
    assert ua.register().status == 200
    assert server.device().register(auth={"qop": "auth-int"}).status == 200


# A challenge of another address, as if the datagram were forged; and devices
# that do not return "opaque", of which nobody knows.
@pytest.mark.parametrize("opaque", [True, False], ids=["forged", "no opaque"])
def test_forged_guesses_change_nothing(server, opaque):
    """They are counted apart: to a wrong password the user still gets the
    answer that says so, and so do devices that forget a part of it."""
    victim = server.device()
    challenge = challenge_for(at(server, victim.user, "127.9.0.1"))
    assert statuses(guess(victim, challenge, opaque=opaque)
                    for _ in range(LIMIT + 5)) == [401] * LIMIT + [503] * 5
    assert guess(victim).status == 401
    assert victim.register(auth={"opaque": False}).status == 200
    assert victim.register().status == 200


def test_the_opaque_of_another_challenge_is_none(server):
    """It belongs to its nonce: one that a stranger got does not make a
    challenge his that somebody else got."""
    victim = server.device()
    stranger = at(server, victim.user, "127.9.0.1")
    mixed = {**challenge_for(stranger), "nonce": challenge_for(victim)["nonce"]}
    for _ in range(LIMIT + 1):
        last = guess(stranger, mixed)
    assert last.status == 503
    assert guess(stranger).status == 401


def test_over_tcp_nobody_forges_an_address(server):
    """Guesses count with and without "opaque"."""
    ua = server.device(transport="tcp")
    answers = [guess(ua, opaque=n % 2 == 0) for n in range(LIMIT + 1)]
    assert statuses(answers) == [401] * LIMIT + [503]


def test_other_users_of_the_address(server):
    """They are told of their wrong passwords as ever."""
    victim, other = server.device(), server.device()
    for _ in range(LIMIT + 1):
        last = guess(victim)
    assert last.status == 503
    assert guess(other).status == 401
    assert other.register().status == 200


def test_guesses_in_the_log(server):
    """One line for an address within a minute, whatever names it makes up; nothing
    that is in a name makes another. What reaches the limit is there, too, when it
    comes from elsewhere."""
    ua = server.device()
    begin = len(server.lines)
    for n in range(LIMIT - 1):
        guess(ua, username="x\r\n y")
        guess(ua, username=f"name{n}")
    assert ua.register().status == 200
    assert len(server.log("within|y from", since=begin)) == 1
    guess(at(server, ua.user, "127.9.0.1"), username="x\r\n y")
    lines = server.log("within|y from", since=begin)
    assert len(lines) == 2
    assert f"wrong user or password: x?? y from {HOST}:" in lines[0]
    assert "x?? y from 127.9.0.1:" in lines[1]
    assert f"({LIMIT} within a minute)" in lines[1]


# -- how fast -----------------------------------------------------------------

A_SECOND = 10  # guesses, and more than so many are not looked at


def counts(server, table):
    """{name: count}"""
    return {entry["name"]: entry["value"] for slot in
            server.rpc("htable.dump", table) for entry in slot["slot"]}


def looked_at(server):
    """How many guesses, within a minute."""
    return sum(counts(server, "failures").values())


def test_guesses_are_slow(server):
    """Of two thousand that five addresses send as fast as they can, each
    address has ten a second."""
    victim = server.device()
    crowd = strangers(server, victim, 5, transport="tcp")
    begun = time.monotonic()
    for ua in crowd:  # a nonce counts to 255
        ua.challenge = challenge_for(ua)
    sent = [ua.send(ua.build_register(authorization=ua.authorization(
        password="wrong"))) for _ in range(200) for ua in crowd]
    assert {step.wait().status for step in sent} == {401, 503}
    seconds = time.monotonic() - begun
    # and so many that were under way at once when the tenth was looked at
    assert looked_at(server) <= LIMIT + 5 * (A_SECOND + 8) * (seconds + 1)
    assert len(counts(server, "guesses")) <= 5


def exhaust(ua):
    """All the guesses that an address has: the answer to one that was not looked
    at."""
    while True:
        before = looked_at(ua.server)
        challenges = [challenge_for(ua, "MESSAGE") for _ in range(2 * A_SECOND)]
        sent = [ua.send(ua.build("MESSAGE", headers=[
            ("Proxy-Authorization", ua.authorization(
                challenge, "MESSAGE", password="wrong"))]))
            for challenge in challenges]
        answers = [step.wait() for step in sent]
        if before <= looked_at(ua.server) < before + len(answers):
            return min(answers, key=lambda a: int(a.get("Retry-After", 61)))


def test_the_right_password_where_somebody_guesses(server):
    """It waits for a second at the most, be it for the request's repetition or as
    long as it is told."""
    victim = server.device()
    exhaust(victim)
    assert victim.register(retransmit=True).status == 200
    phone = at(server, victim.user, HOST, transport="tcp")

    def is_told():
        answer = exhaust(phone)
        assert (answer.status, answer.get("Retry-After")) == (503, "1")
        answer = phone.register()
        if answer.status == 200:  # the second was over
            phone.unregister()
            return False
        assert (answer.status, answer.get("Retry-After")) == (503, "1")
        return True

    until(is_told)
    until(lambda: phone.register().status == 200)


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_who_is_registered_there_does_not_wait(server, transport):
    """Behind one NAT with who guesses."""
    victim = server.device(transport=transport)
    assert victim.register().status == 200
    stranger = at(server, victim.user, HOST)
    for _ in range(2):
        exhaust(stranger)
        for qop in ("auth", "auth-int"):
            assert victim.register(auth={"qop": qop}).status == 200
        challenge = challenge_for(victim, "MESSAGE")
        auth = victim.authorization(challenge, "MESSAGE")
        assert victim.send(victim.build(
            "MESSAGE", "sip:nobody@telecom.com",
            [("Proxy-Authorization", auth)])).wait().status == 480


def test_who_is_registered_guesses_for_another(server):
    """He waits as others do, whatever name he gives in the rest."""
    victim, other = server.device(), server.device()
    assert other.register().status == 200
    other.auth_user = victim.user
    exhaust(other)


def test_the_more_guesses_the_slower(kamailio, cms):
    """From all addresses together."""
    server = kamailio(cms, settings={"AUTH_MAX_FAILURES": 2000,
                                     "FLOOD_DENSITY": 100000})
    ua = server.device(transport="tcp")
    sent = []
    for n in range(2000):
        if n % 200 == 0:
            ua.challenge = challenge_for(ua)
        sent.append(ua.send(ua.build_register(authorization=ua.authorization(
            password="wrong"))))
        if n % 50 == 0:
            sent[-1].wait()
    assert {step.wait().status for step in sent} == {401}
    assert exhaust(ua).get("Retry-After") in ("2", "3")


# -- names -------------------------------------------------------------------

def seen_by_a_stranger(answer):
    """All of it, but what is new in each answer."""
    challenge = answer.challenge() or {}
    return (answer.status, answer.reason,
            [name for name, _value in answer.headers],
            {name: len(value) for name, value in challenge.items()})


@pytest.mark.parametrize("method", ["REGISTER", "MESSAGE"])
@pytest.mark.parametrize("auth", [
    {}, {"qop": "auth-int"}, {"qop": None}, {"opaque": False},
    {"response": "0" * 31}, {"response": "x" * 32}, {"nc": "00000000"},
    {"uri": "sip:example.com"}], ids=str)
def test_a_name_is_told_from_none_by_no_answer(server, auth, method):
    """From the first failure to those that are not told any more."""
    known, unknown = server.device("name"), server.device("none")
    unknown.user = unknown.auth_user = "noname"
    seen = [[seen_by_a_stranger(guess(ua, method=method, **auth))
             for _ in range(LIMIT + 3)] for ua in (known, unknown)]
    assert seen[0] == seen[1]


def microseconds(server, worker, user, n):
    """Of CPU for one guess, from an address of its own."""
    def used():
        server.wait_idle([worker])
        with open(f"/proc/{worker}/schedstat", encoding="ascii") as file:
            return int(file.read().split()[0]) / 1000

    with Ua(server.address, user,
            local=(f"127.8.{n // 250}.{n % 250 + 1}", 0)) as ua:
        challenge = challenge_for(ua)
        before = used()
        guess(ua, challenge)
        return used() - before


@pytest.mark.parametrize("limit", [0, 1000000], ids=["not told", "told"])
def test_a_name_is_told_from_none_by_no_time(kamailio, cms, limit):
    """What the server computes for a wrong password and for a name that nobody
    has is about the same."""
    server = kamailio(cms, settings={"AUTH_MAX_FAILURES": limit, "CHILDREN": 1})
    worker, = server.pids("udp receiver")
    users = (server.device().user, "nobody")
    for turn in range(3):
        pairs = [[microseconds(server, worker, user, n) for user in users]
                 for n in range(200 * turn, 200 * (turn + 1))]
        # where nothing else on the machine was in the way
        times = [statistics.quantiles(column, n=4)[0] for column in zip(*pairs)]
        if max(times) < 1.2 * min(times):
            return
        repeated(f"known, unknown: {times[0]:.0f}, {times[1]:.0f} us")
    pytest.fail(f"known, unknown: {times[0]:.0f}, {times[1]:.0f} us")


# -- memory ------------------------------------------------------------------

def test_names_that_are_made_up_fill_no_memory(kamailio, cms):
    """More names than counts: there is a count for each, and no more of them."""
    server = kamailio(cms, settings={"FLOOD_DENSITY": 1000000})
    ua = server.device(transport="tcp")
    sent = []
    for n in range(4500):
        if n % 200 == 0:  # a nonce counts to 255
            challenge = challenge_for(ua)
        sent.append(ua.send(ua.build_register(authorization=ua.authorization(
            challenge, username=f"name{n}", response="0" * 32))))
        if n % 50 == 0:
            sent[-1].wait()
    assert {step.wait().status for step in sent} == {401}
    counted = {row["name"]: int(row["all"]) for row in server.rpc("htable.stats")}
    assert 2000 < counted["failures"] < 4096


# -- IPv6 --------------------------------------------------------------------

def test_a_network_is_one_address():
    """Which of its addresses a device uses is nobody's business; another
    network is another place."""
    home = [f"2001:db8:1234:1:{n}::1" for n in range(1, LIMIT + 3)]
    other = "2001:db8:1234:2::1"
    with ipv6.addresses(*home, other), ipv6.server() as server:
        asking, *answering = [ipv6.device(server, "cam1", host)
                              for host in home]
        answers = [guess(ua, challenge_for(asking)) for ua in answering]
        assert statuses(answers) == [401] * LIMIT + [503]
        assert guess(asking).status == 503
        for ua in answering:
            guess(ua, challenge_for(asking), method="MESSAGE")
        assert len(counts(server, "guesses")) == 1
        assert guess(ipv6.device(server, "cam1", other),
                     challenge_for(asking)).status == 401
