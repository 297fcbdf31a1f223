"""Clients that others have written, with the shipped configuration. Each is tried
where it is installed."""

import contextlib
import itertools
import os
import shutil
import subprocess

import pytest

import harness
from harness import DOMAIN, HOST, PASSWORD, REALM, TOP

pytestmark = pytest.mark.contract
SECONDS = 60  # for what takes a tenth of one
transports = pytest.mark.parametrize("transport", ("udp", "tcp"))
_users = itertools.count(1)


@pytest.fixture(scope="module")
def server(module_kamailio, module_cms):
    # sipsak asks the resolver for the domain
    return module_kamailio(module_cms, settings={
        "SIP_DOMAINS": DOMAIN + ",localhost", "MIN_EXPIRES": 60})


@pytest.fixture
def user():
    return f"cam{next(_users)}"


def program(name):
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


def posts(server, aor):
    return [post for post in server.posts() if post.json["aor"] == aor]


# -- those that register once and end ----------------------------------------

def run(*command, cwd):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=SECONDS)
    assert done.returncode == 0, done.stdout


@contextlib.contextmanager
def sipsak(server, user, transport, folder):
    name = program("sipsak")

    def register(expires):
        run(name, "-U", "-E", transport, "-x", str(expires), "-a", PASSWORD,
            "-u", user, "-s", f"sip:{user}@localhost:{server.port}",
            "-C", f"sip:{user}@{HOST}:5070", cwd=folder)

    yield f"sip:{user}@localhost", register


@contextlib.contextmanager
def sipp(server, user, transport, folder):
    name = program("sipp")
    scenario = (TOP / "tests/bench/register.xml").read_text(encoding="utf-8")
    (folder / "user.csv").write_text(
        "SEQUENTIAL\n"
        f"{user};[authentication username={user} password={PASSWORD}]\n")

    def register(expires):
        (folder / "register.xml").write_text(
            scenario.replace("Expires: 3600", f"Expires: {expires}"))
        run(name, f"{HOST}:{server.port}", "-sf", "register.xml",
            "-inf", "user.csv", "-m", "1", "-t", transport[0] + "1",
            "-i", HOST, "-p", str(port.number), "-nostdin",
            "-timeout", str(SECONDS // 2), cwd=folder)

    with contextlib.closing(harness.Port()) as port:
        yield f"sip:{user}@{DOMAIN}", register


@transports
@pytest.mark.parametrize("client", (sipsak, sipp))
def test_a_tool_registers_refreshes_and_leaves(
        server, client, transport, user, tmp_path):
    with client(server, user, transport, tmp_path) as (aor, register):
        register(600)
        first, = server.contacts(aor)
        register(600)
        second, = server.contacts(aor)
        assert first["Address"] == second["Address"]
        assert first["Call-ID"] != second["Call-ID"]
        register(0)
        assert server.contacts(aor) == []
    assert len(posts(server, aor)) == 1


# -- those that stay until they are told -------------------------------------

def says(file, text):
    """Wait until it has written that."""
    harness.until(lambda: file.exists() and text in file.read_text(
        encoding="utf-8", errors="replace"), SECONDS)


@contextlib.contextmanager
def started(folder, *command):
    with open(folder / "output", "w", encoding="utf-8") as output, \
            subprocess.Popen(command, cwd=folder, text=True,
                             env={**os.environ, "HOME": str(folder)},
                             stdin=subprocess.PIPE, stdout=output,
                             stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


BARESIP = """
sip_listen {host}:0
module_path /usr/lib/baresip/modules
module g711.so
module_app account.so
module_app menu.so
"""


@contextlib.contextmanager
def baresip(server, user, transport, folder):
    name = program("baresip")
    (folder / "config").write_text(BARESIP.format(host=HOST))
    (folder / "contacts").write_text("")
    (folder / "accounts").write_text(
        f"<sip:{user}@{DOMAIN};transport={transport}>"
        f";auth_user={user};auth_pass={PASSWORD};regint=600"
        f';outbound="sip:{HOST}:{server.port};transport={transport}"\n')
    with started(folder, name, "-4", "-f", str(folder)) as process:
        says(folder / "output", "200 OK")
        yield
        process.terminate()
        process.wait(SECONDS)


LINPHONE = """
[sip]
sip_port=-1
sip_tcp_port=-1
sip_tls_port=-1
use_ipv6=0
default_proxy=0
[proxy_0]
reg_proxy=<sip:{host}:{port};transport={transport}>
reg_route=<sip:{host}:{port};transport={transport};lr>
reg_identity=sip:{user}@{domain}
reg_expires=600
reg_sendregister=1
[auth_info_0]
username={user}
passwd={password}
realm={realm}
"""


@contextlib.contextmanager
def linphone(server, user, transport, folder):
    name = program("linphonec")
    (folder / "rc").write_text(LINPHONE.format(
        host=HOST, port=server.port, transport=transport, user=user,
        domain=DOMAIN, realm=REALM, password=PASSWORD))
    (folder / ".local" / "share" / "linphone").mkdir(parents=True)
    with started(folder, name, "-c", str(folder / "rc"),
                 "-d", "6", "-l", str(folder / "log")) as process:
        says(folder / "log", "LinphoneRegistrationOk")
        yield
        process.communicate("unregister\nquit\n", SECONDS)


@transports
@pytest.mark.parametrize("client", (baresip, linphone))
def test_a_phone_registers_and_leaves(
        server, client, transport, user, tmp_path):
    aor = f"sip:{user}@{DOMAIN}"
    with client(server, user, transport, tmp_path):
        assert len(server.contacts(aor)) == 1
    assert server.contacts(aor) == []
    assert len(posts(server, aor)) == 1
