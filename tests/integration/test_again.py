"""A device that leaves and comes back within a moment."""

from harness import registrar


def test_back_at_once(cms, kamailio):
    """It is new each time, however soon: the CMS hears of every one."""
    server = kamailio(cms, config=lambda s, u: registrar(
        s, u, core="children=8", params=[("cms_notify", "timeout", 20000)]))
    ua = server.device()
    for n in range(1, 301):
        assert ua.register().status == 200
        assert ua.unregister().status == 200
        cms.wait(n)
    server.settle()
    assert cms.count == 300
