"""An address of several devices: which of them a request to it reaches."""

import pytest

from harness import until
from test_strangers import send_authenticated

pytestmark = pytest.mark.contract


@pytest.fixture
def house(kamailio, cms):
    """house(settings): three devices of one address, in the order in which
    they have registered."""
    def house(settings=None):
        server = kamailio(cms, settings=settings)
        server.allow_errors("max nr of branches exceeded",
                            "failed to append a branch")
        phones = [server.device() for _ in range(3)]
        for phone in phones:
            assert phones[0].register(contacts=phone.contact).status == 200
            server.settle()
        return server, phones
    return house


def call(server, aor, expected):
    """A request to the address reaches these, and nobody else: its final answer
    comes when all that have got it have turned it down."""
    caller = server.device()
    sent = send_authenticated(caller, "MESSAGE", aor)
    for phone in expected:
        phone.transport.reply(phone.transport.wait_request("MESSAGE"), 480)
    assert sent.wait().status == 480


def test_the_two_that_registered_last_are_reached(house):
    """As shipped, where an address is one device: that, and what it has left
    behind under another address."""
    server, phones = house()
    call(server, phones[0].aor, phones[1:])


def test_who_refreshes_registers(house):
    server, phones = house()
    assert phones[0].register().status == 200
    call(server, phones[0].aor, [phones[0], phones[2]])


def test_those_that_are_not_reached_are_in_the_log(house):
    server, phones = house()
    call(server, phones[0].aor, phones[1:])
    until(lambda: server.log("max nr of branches exceeded"))


def test_max_branches_says_how_many_are_reached(house):
    server, phones = house({"MAX_BRANCHES": 3})
    call(server, phones[0].aor, phones)
    assert not server.log("max nr of branches exceeded")
