"""What people wear."""

from dataclasses import replace

import numpy as np

from icface.synthetic.accessories import accessories
from icface.synthetic.people import draw_person
from icface.synthetic.texture import BROW


def test_glasses_lie_below_the_brows():
    """A dark bar on the brows stands still, and analyzers would take it for the brows."""
    for number in range(20):
        (worn,) = accessories(replace(draw_person(3, number), glasses=True, hair_style="short"))
        x, y = np.abs(worn.vertices[:, 0]), worn.vertices[:, 1]
        before = x < BROW[-1, 0]
        assert (y < np.interp(x, *BROW.T) - 0.03)[before].all()
        assert 0.2 < np.ptp(y[before]) < 0.45
