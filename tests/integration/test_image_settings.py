"""The container image takes every setting of kamailio.cfg from its environment."""

import re

from harness import TOP

CONFIG = "".join((TOP / name).read_text(encoding="utf-8") for name in (
    "kamailio.cfg", "scripts/etc/kamailio-gb28181.cfg"))
LOCAL = (TOP / "scripts" / "etc" / "kamailio-local.cfg").read_text(encoding="utf-8")
IMAGE = (TOP / "docker" / "kamailio-local.cfg").read_text(encoding="utf-8")

# Made by kamailio.cfg or Kamailio itself; and what stands within other text.
ITS_OWN = {"DB_MODULE", "WITH_DB_SERVER", "FLB_NAT",
           "KAMAILIO_VERSION", "CMS_OPTIONS", "SAVE_FLAGS", "WITH_ENVIRONMENT",
           "OVER_CONNECTION"}
IN_TEXT = {"RUN_DIR"}


def taken():
    """{name: is it text?}"""
    return {name: kind == "s" for kind, name in re.findall(
        r"^#!trydefenv(s?) (\w+)$", IMAGE, re.M)}


def test_every_setting_can_be_set():
    known = set(re.findall(r"^#!(?:trydef|ifdef|ifndef) (\w+)", CONFIG, re.M))
    assert len(known) > 50
    wrong = (set(taken()) - {"LISTEN", "LISTEN_2", "ALIAS"}) ^ (known - ITS_OWN - IN_TEXT)
    assert not wrong, "docker/kamailio-local.cfg and kamailio.cfg differ"


def test_text_is_text_and_a_number_is_a_number():
    """As the settings of a site are documented, and kamailio.cfg's defaults."""
    shown = re.findall(r"^#?\s*#!(?:define|trydef) (\w+) (\S)", LOCAL + CONFIG, re.M)
    assert len(shown) > 40
    for name, first in shown:
        if name not in ITS_OWN:
            assert taken()[name] == (first == '"'), name
