"""What the answers to a REGISTER have besides what they must have."""

import email.utils
import time

import pytest

import harness

pytestmark = pytest.mark.contract

DAY = 86400


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    return module_kamailio(module_cms, settings={
        "MIN_EXPIRES": 60, "DEFAULT_EXPIRES": 1800})


def granted(response):
    """By the header, and by the Contact."""
    [contact] = response.contacts
    return response.get("Expires"), contact.partition("expires=")[2].split(";")[0]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("asked, parameter, got", [
    (3600, "", "3600"), (DAY, "", str(DAY)), (DAY + 1, "", str(DAY)),
    (10, "", "60"), (None, "", "1800"), (None, ";expires=90", "90"),
    (3600, ";expires=90", "90"), (90, ";expires=x", "1800")], ids=str)
def test_expires(server, transport, asked, parameter, got):
    """A new registration and a refresh: the header says what the contact got."""
    ua = server.device(transport=transport)
    for _ in range(2):
        response = ua.register(expires=asked, contacts=ua.contact + parameter)
        assert response.status == 200
        assert response.contacts[0].endswith(f";expires={got}")
        if parameter != ";expires=x":
            assert granted(response) == (got, got)
    [contact] = server.contacts(ua)
    assert int(got) - 30 < contact["Expires"] <= int(got)


def test_expires_of_who_leaves_and_who_asks(server):
    """0 for the one; none for the others, who have named no contact."""
    ua = server.device()
    assert ua.register().status == 200
    assert ua.register(contacts=[], expires=None).get("Expires") is None
    response = ua.register(expires=0)
    assert response.status == 200 and response.get("Expires") == "0"
    assert ua.register().status == 200
    response = ua.register(contacts="*", expires=0)
    assert response.status == 200 and response.get("Expires") is None


def test_expires_of_several_contacts(server):
    """None: who has moved says that the old contact leaves, and 0 would mean that he
    is not registered."""
    ua = server.device()
    old, new = "<sip:x@127.0.0.1:7001>", "<sip:x@127.0.0.1:7002>"
    assert ua.register(contacts=[old]).get("Expires") == "3600"
    gone = old + ";expires=0"
    for contacts in ([f"{new}, {gone}"], [f"{gone}, {new}"], [gone, new], [new, gone]):
        response = ua.register(contacts=contacts, expires=3600)
        assert response.status == 200 and response.get("Expires") is None
        assert response.contacts == [new + ";expires=3600"]


def test_expires_of_what_a_site_sets(kamailio, cms):
    """By a parameter of registrar, in whatever file it is."""
    server = kamailio(cms)
    server.stop()
    server.write("kamailio-site.cfg",
                 'modparam("registrar", "max_expires", 77)\n')
    server.start()
    assert granted(server.device().register()) == ("77", "77")


def test_date(server):
    """RFC 3261, 10.3: the server's time, in all that succeeds."""
    ua = server.device()
    for expires in (3600, 3600, 0):
        before = int(time.time())
        date = ua.register(expires=expires).get("Date")
        assert date.endswith(" GMT")
        at = email.utils.parsedate_to_datetime(date).timestamp()
        assert before <= at <= time.time()


def test_no_algorithm_unless_it_is_set(kamailio, cms):
    """What the challenge means is the same; with the setting it is said."""
    for settings, algorithm in (({}, None), ({"WITH_ALGORITHM": 1}, "MD5")):
        server = kamailio(cms, settings=settings)
        ua = server.device()
        first = ua.send(ua.build_register()).wait()
        assert first.status == 401
        if harness.version() >= (6, 0):  # says it always
            algorithm = "MD5"
        assert first.challenge().get("algorithm") == algorithm
        for auth in ({}, {"qop": "auth-int"}, {"qop": None}):
            assert ua.register(auth=auth).status == 200
