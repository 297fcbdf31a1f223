"""A server that listens on ::1, and addresses of other networks to ask it from."""

import contextlib
import subprocess
import sys

from harness import TOP, Kamailio, Ua, shipped_with

sys.path.insert(0, str(TOP / "tests" / "faults"))

from network import private_network  # noqa: E402


@contextlib.contextmanager
def addresses(*hosts):
    """This thread, and what it starts, has these beside ::1 and 127.0.0.1, and
    nothing else. Needs root."""
    with private_network():
        subprocess.run(["ip", "-batch", "-"], check=True, text=True, input="".join(
            f"addr add {host}/128 dev lo nodad\n" for host in hosts))
        yield


@contextlib.contextmanager
def server(**settings):
    """With the shipped configuration and no CMS."""
    def config(kamailio, cms_url):
        line = f"listen=udp:[::1]:{kamailio.port}\n"
        return shipped_with(line, settings)(kamailio, cms_url)

    with Kamailio("http://127.0.0.1:9/", config=config) as kamailio:
        yield kamailio
        assert kamailio.unexpected_errors() == []


def device(kamailio, user, host):
    """Closed with the server."""
    ua = Ua(("::1", kamailio.port), user, local=(host, 0))
    ua.server = kamailio
    kamailio._uas.append(ua)
    return ua
