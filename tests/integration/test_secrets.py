"""Passwords and keys are in files, and nothing shows them."""

import contextlib
import re

import pytest

from harness import HOST, TOP, ReferenceCms
from pki import Authority

CONFIG = (TOP / "kamailio.cfg").read_text(encoding="utf-8")
# Each holds the word.
SECRETS = {
    "CMS_HTTP_HEADER": "X-Key: s3cret",
    "CMS_URL_2": "http://127.0.0.1:9/?s3cret",
    "CMS_URL_3": "http://127.0.0.1:9/?s3cret",
    "CMS_BODY": '{"key": "s3cret"}',
    "CMS_OUTBOX_DB_URL": "postgres://kamailio:s3cret@127.0.0.1:9/kamailio",
}


@pytest.fixture
def cms():
    """It takes any body."""
    with ReferenceCms(validate=False) as server:
        yield server


def test_no_command_and_no_level_of_the_log_shows_a_secret(kamailio, cms):
    """The CMS's key, the queries of URLs, the database's URL: used, and neither
    listed nor logged."""
    server = kamailio(cms.url + "?s3cret", settings={**SECRETS, "LOG_LEVEL": 3})
    server.cms = cms
    assert server.device().register().status == 200
    post, = server.posts()
    assert post.path.endswith("?s3cret") and post.json == {"key": "s3cret"}
    assert ("X-Key", "s3cret") in post.headers
    shown = "".join(server.kamcmd(*command.split()) for command in (
        "core.ppdefines_full", "cms_notify.endpoints", "cms_notify.status",
        "cms_notify.parked", "cms_notify.metrics"))
    assert "SIP_REALM" in shown and "/register" in shown
    assert server.log("DEBUG: .* REGISTER ")
    for text in (shown, *server.lines):
        assert "s3cret" not in text
    values = {row["name"]: row.get("value") for row in
              server.rpc("core.ppdefines_full")}
    assert {"DB_URL", "CMS_URL", *SECRETS} <= set(values)
    assert values["DB_URL"] in (None, "none")


def test_each_setting_that_may_hold_a_secret_is_forgotten():
    """All URLs, headers and bodies: what is text and goes to a database or to
    the CMS."""
    used = set(re.findall(r'^modparam\("[^"]+", "\w*(?:url|header|body)", (\w+)\)',
                          CONFIG, re.M))
    assert len(used) == 7
    assert used == set(re.findall(r"^#!redefine (\w+)$", CONFIG, re.M))


@pytest.mark.contract
def test_the_keys_of_tls_are_not_written_down(
        kamailio, tmp_path, monkeypatch):
    """SSLKEYLOGFILE, which libcurl goes by, is ignored, and the log says so once."""
    file = tmp_path / "keys"
    ca = Authority(tmp_path)
    certificate, key = ca.issue("cms", "IP:" + HOST)
    monkeypatch.setenv("SSLKEYLOGFILE", str(file))
    with contextlib.closing(ReferenceCms(tls_cert=certificate, tls_key=key)) as cms:
        cms.start()
        server = kamailio(cms, settings={"CMS_TLS_CA": ca.certificate})
        assert server.device().register().status == 200
        assert len(server.posts()) == 1
        assert len(server.log("SSLKEYLOGFILE is ignored")) == 1
    assert not file.exists()
