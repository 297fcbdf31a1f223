"""make cluster"""

import os
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.long


def test_a_device_stays_on_line():
    """Its server is killed, and it is not new at another one."""
    done = subprocess.run(
        [Path(__file__).with_name("show")], env={**os.environ, "RUN_EXIT": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    answers = re.findall(r"200 from (sip\d); the CMS is told (.*)", done.stdout)
    assert [told for _, told in answers] == [
        "register, new", "nothing", "nothing", "nothing"]
    first, again, other, back = (server for server, _ in answers)
    assert first == again == back != other
