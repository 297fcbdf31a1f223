"""Each fault in three sizes.

    @modes("defer", "reject")
    def test_...(mode, size, ...)

"short" is quick, with few devices and in the first mode only; "long" has the
shipped settings, many devices and every mode; "alerts" is the short one, for as long as
an alert needs (alerts.py), in every mode of a fault that has a short form or asks for it.
"""

import dataclasses

import pytest

from alerts import LASTS
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
ALERTS = Size(40, LASTS, QUICK, REFUSED, False)


def modes(*names, short=1, alerts=None):
    """The first `short` modes also in the short form."""
    params = [pytest.param(name, SHORT, marks=pytest.mark.short,
                           id=f"{name}-short") for name in names[:short]]
    params += [pytest.param(name, LONG, marks=pytest.mark.long,
                            id=f"{name}-long") for name in names]
    params += [pytest.param(name, ALERTS, marks=pytest.mark.alerts,
                            id=f"{name}-alerts") for name in names if (short if alerts is None else alerts)]
    return pytest.mark.parametrize("mode, size", params)
