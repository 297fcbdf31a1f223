"""kamailio-site.cfg: a site's own modules and routes, which no update touches."""

import os
import re
import subprocess
import urllib.error
import urllib.request

import pytest

from harness import HOST, TOP, until

README = (TOP / "README.md").read_text(encoding="utf-8")
# OPTIONS are the test's own, by which it finds out that the server is there.
SHOW = "\n".join(
    f'route[{name}] {{ if (!is_method("OPTIONS")) xlog("L_WARN", "{name}\\n"); }}'
    for name in ("SITE_REQUEST", "SITE_REGISTER", "SITE_SAVED", "SITE_RELAY",
                 "SITE_REPLY"))


def with_site(kamailio, cms, text, **kw):
    server = kamailio(cms, **kw)
    server.stop()
    server.write("kamailio-site.cfg", text)
    return server.start()


def saw(server, since, *expected):
    """The site's routes have run in this order. A line of the log comes after the
    answer."""
    def found():
        return [re.search(r"SITE_\w+", line)[0]
                for line in server.log("SITE_", since)]

    try:
        until(lambda: len(found()) >= len(expected))
    except TimeoutError:
        pass
    assert found() == [f"SITE_{name}" for name in expected]


@pytest.fixture
def shown(kamailio, cms):
    return with_site(kamailio, cms, SHOW)


def test_routes_of_a_registration(shown, cms):
    """New, refreshed, gone, refused: what the site's routes see of it."""
    device = shown.device()
    for expires in (3600, 3600, 0):
        mark = len(shown.lines)
        assert device.register(expires=expires).status == 200
        saw(shown, mark, "REQUEST", "REQUEST", "REGISTER", "SAVED")
    cms.refuse(device.user)
    mark = len(shown.lines)
    assert device.register().status == 403
    saw(shown, mark, "REQUEST", "REQUEST", "REGISTER")


def test_routes_of_a_message(shown):
    """From one device to another, and its answer."""
    alice, bob = shown.device(), shown.device()
    for ua in (alice, bob):
        mark = len(shown.lines)
        assert ua.register().status == 200
        # SAVED comes after the answer
        saw(shown, mark, "REQUEST", "REQUEST", "REGISTER", "SAVED")
    mark = len(shown.lines)
    challenge = alice.send(alice.build("MESSAGE", bob.aor)).wait().challenge()
    sent = alice.send(alice.build("MESSAGE", bob.aor, headers=[
        ("Proxy-Authorization",
         alice.authorization(challenge, "MESSAGE", bob.aor))]))
    bob.transport.reply(bob.transport.wait_request("MESSAGE"), 200)
    assert sent.wait().status == 200
    saw(shown, mark, "REQUEST", "REQUEST", "RELAY", "REPLY")


def test_a_route_can_refuse(kamailio, cms):
    """What it answers is the only answer, and the CMS is not told."""
    server = with_site(kamailio, cms, """
route[SITE_REGISTER] {
    if ($ua =~ "^Bad") { send_reply("403", "Not this model"); exit; }
}
""")
    refused = server.device(user_agent="Bad/1.0")
    response = refused.register()
    assert (response.status, response.reason) == (403, "Not this model")
    assert server.device().register().status == 200
    assert len(server.posts()) == 1
    assert server.contacts(refused) == []


def test_the_example_works(kamailio, cms):
    """README's site file: metrics over HTTP, and an address that is refused."""
    [text] = [b for b in re.findall(r"^```\n(.*?)^```$", README, re.S | re.M)
              if "xhttp_prom" in b]
    server = with_site(kamailio, cms, text)
    assert server.device().register().status == 200
    server.settle()
    url = f"http://{HOST}:{server.port}/metrics"
    with urllib.request.urlopen(url, timeout=30) as answer:
        page = answer.read().decode()
    assert re.search(r"^kamailio_cms_notify_accepted 1\b", page, re.M), page
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url + "/other", timeout=30)
    assert error.value.code == 404


def test_what_it_sets_counts(kamailio, cms):
    """A parameter of the site stands against that of kamailio.cfg."""
    server = with_site(kamailio, cms,
                       'modparam("registrar", "max_expires", 77)\n')
    device = server.device()
    assert device.register(expires=3600).status == 200
    [contact] = server.contacts(device)
    assert contact["Expires"] <= 77


def test_a_mistake_is_reported_with_its_file(kamailio, cms):
    server = kamailio(cms)
    server.stop()
    server.write("kamailio-site.cfg", 'loadmodule "no_such_module.so"\n')
    server.spawn()
    assert server.wait_exit() != 0
    assert server.log(r"kamailio-site\.cfg")
    server.allow_errors(".")
    os.unlink(os.path.join(server.folder, "kamailio-site.cfg"))
    server.start()


def test_make_install_leaves_it_alone(tmp_path):
    """It is neither made nor changed, whatever else is replaced."""
    config = tmp_path / "etc" / "kamailio"

    def install():
        subprocess.run([TOP / "scripts" / "install"], check=True,
                       stdout=subprocess.DEVNULL, env={
                           **os.environ, "DESTDIR": str(tmp_path),
                           "MODULE_DIR": "/modules",
                           "CONFIG_DIR": "/etc/kamailio"})

    install()
    assert not (config / "kamailio-site.cfg").exists()
    site = config / "kamailio-site.cfg"
    site.write_text("route[SITE_REQUEST] { }\n")
    site.chmod(0o640)
    os.utime(site, (1, 1))
    (config / "kamailio.cfg").write_text("# old\n")
    before = site.lstat()
    install()
    after = site.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime) == (
        before.st_ino, before.st_mode, before.st_mtime)
    assert "import_file" in (config / "kamailio.cfg").read_text()
    assert site.read_text() == "route[SITE_REQUEST] { }\n"
