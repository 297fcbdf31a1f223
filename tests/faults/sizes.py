"""Each fault in two sizes.

    @modes("defer", "reject")
    def test_...(mode, size, ...)

"short" is quick, with few devices and in the first mode only; "long" has the
shipped settings, many devices and every mode.
"""

import dataclasses

import pytest

from server import QUICK, REFUSED


@dataclasses.dataclass
class Size:
    devices: int
    seconds: float  # that a fault lasts
    params: dict    # of cms_notify
    refused: dict   # the same where the CMS refuses connections
    long: bool

    def pick(self, short, long):
        return long if self.long else short


SHORT = Size(40, 0.7, QUICK, REFUSED, False)
LONG = Size(150, 15.0, {}, {}, True)


def modes(*names, short=1):
    """The first `short` modes also in the short form."""
    params = [pytest.param(name, SHORT, marks=pytest.mark.short,
                           id=f"{name}-short") for name in names[:short]]
    params += [pytest.param(name, LONG, marks=pytest.mark.long,
                            id=f"{name}-long") for name in names]
    return pytest.mark.parametrize("mode, size", params)
