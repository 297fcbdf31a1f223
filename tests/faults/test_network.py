"""What is between Kamailio and the CMS fails."""

import pytest

from alerts import away, turned_away
from harness import until
from network import NameServer, clients_of, private_network, resolving
from server import QUICK
from sizes import modes
from trial import Trial


@pytest.fixture
def firewall():
    with private_network() as firewall:
        yield firewall


@modes("defer", "reject")
@pytest.mark.parametrize("loss", [0.3, 1.0])
def test_packets_lost(mode, size, loss, firewall, cms, server, row):
    """Packets to and from the CMS are lost, some or all."""
    with Trial(server(cms, mode, size.params), [cms], size.devices) as trial:
        trial.warm_up()
        firewall.drop(cms.port, loss)
        trial.load(size.seconds)
        firewall.clear()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end(f"{loss:.0%} of the packets between Kamailio and the "
                      "CMS lost"), away(mode) if loss == 1 else turned_away(mode))


@modes("defer", "reject")
def test_answers_lost(mode, size, firewall, cms, server, row):
    """The CMS gets every POST, and none of its answers arrives."""
    with Trial(server(cms, mode, size.params), [cms], size.devices) as trial:
        trial.warm_up()
        firewall.drop(cms.port, ways=["--sport"])
        trial.load(size.seconds)
        firewall.clear()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("the CMS's packets lost, Kamailio's not"), away(mode))


@modes("defer", "reject")
@pytest.mark.parametrize("how", ["silent", "servfail"])
def test_dns(mode, size, how, firewall, cms, server, row, tmp_path):
    """The CMS's name does not resolve: Kamailio is started meanwhile, so that
    it knows no address."""
    url = f"http://cms.example:{cms.port}{cms.path}"
    with NameServer() as names:
        names.mode = how
        one = server(url, mode, size.params, wrap=resolving(tmp_path))
        with Trial(one, [cms], size.devices) as trial:
            trial.fleet.start()
            trial.load(size.seconds)
            until(lambda: names.questions)
            assert not cms.count
            names.mode = "answer"
            trial.over()
            trial.load(size.seconds / 4)
            row(trial.end("DNS " + {"silent": "does not answer",
                                    "servfail": "fails"}[how]), away(mode))


@pytest.mark.short
@pytest.mark.long
def test_given_up_is_not_sent_later(firewall, cms, server):
    """The network takes packets to the CMS again after a POST was given up: what
    was on its way then does not arrive, as something newer may have."""
    one = server(cms, "defer", {**QUICK, "timeout": 2000})
    other, ua = one.device(), one.device()
    assert other.register().status == 200  # there is a connection
    one.rpc("cms_notify.pause")
    firewall.drop(cms.port, ways=["--dport"])
    assert ua.register().status == 200
    one.wait_outbox(lambda waiting: waiting == 1)
    firewall.clear()
    # the kernel tries again within the time that it has tried already
    with pytest.raises(TimeoutError):
        cms.wait(2, timeout=4)
    one.rpc("cms_notify.resume")
    cms.wait(2)
    one.wait_outbox(lambda waiting: waiting == 0)
    one.settle()


@pytest.mark.short
@pytest.mark.long
def test_an_answer_that_was_on_its_way_is_no_answer(firewall, cms, server):
    """A POST is written while an answer that nobody asked for is on its way,
    which then arrives before the CMS has a byte of the request."""
    one = server(cms, "reject", {"timeout": 4000, "attempt_timeout": 4000})
    other, ua = one.device(), one.device()
    cms.rule(times=1, extra_delay=1.0,
             extra=b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    assert other.register().status == 200
    client, = clients_of(cms.port)
    firewall.drop_from(client, cms.port)
    registration = ua.start_register()
    cms.wait_until(lambda: cms.extras)
    assert registration.wait().status == 200
    assert cms.count == 2, "by another connection"
    firewall.clear()
    one.settle()
