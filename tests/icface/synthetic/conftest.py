from dataclasses import replace

import numpy as np
import pytest

from icface.synthetic.body import Body, build_body
from icface.synthetic.camera import Motion
from icface.synthetic.head import UNIT_NAMES
from icface.synthetic.people import draw_person


@pytest.fixture(scope="session")
def body() -> Body:
    """A person without glasses or beard."""
    return build_body(replace(draw_person(1, 4), glasses=False, beard="none", hair_style="long", noise=1.0))


def still(units=None, pitch=0.0, yaw=0.0, roll=0.0) -> Motion:
    """One frame; a name without a side stands for both."""
    weights = np.zeros((1, len(UNIT_NAMES)), np.float32)
    for name, value in (units or {}).items():
        found = [index for index, unit in enumerate(UNIT_NAMES) if unit in (name, f"{name}Left", f"{name}Right")]
        assert found, name
        weights[:, found] = value
    return Motion(weights, np.array([[pitch, yaw, roll]], np.float32), np.zeros((1, 3), np.float32))


@pytest.fixture(scope="session")
def make_still():
    return still
