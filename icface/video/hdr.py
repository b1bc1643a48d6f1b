"""HDR footage to SDR, so that a face looks as it does in SDR footage of the same scene.

PQ (ST 2084) is decoded to nits. HLG (BT.2100) is decoded for a screen of 1000 nits: inverse OETF, then the OOTF of
gamma 1.2. Diffuse white lies at 203 nits (BT.2408) and becomes SDR white. BT.2020 primaries become those of BT.709,
without negative values. Light is unchanged up to `KNEE` of SDR white; above, a shoulder (Reinhard's with a white
point) takes 1000 nits to SDR white. It scales all three channels by what it does to the largest, which keeps the hue.
The sRGB curve codes the result.

Sources: ITU-R BT.2100-2 (PQ, HLG, OOTF), ITU-R BT.2408-7 (203 nits), ITU-R BT.2087-0 (primaries).
"""

import tempfile
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

TRANSFERS = {16: "pq", 18: "hlg"}
"""FFmpeg's numbers of the transfer functions of HDR."""
PEAK = 1000.0
"""Nits that become SDR white; brighter light is clipped."""
WHITE = 203.0
"""Nits of diffuse white."""
KNEE = 0.75
"""Share of SDR white up to which light is not changed."""
GRID = 33
"""Points a side of the table that FFmpeg applies; between them it interpolates in tetrahedra."""
BT2020_TO_BT709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])
BT2020_LUMINANCE = np.array([0.2627, 0.6780, 0.0593])

Colours = npt.NDArray[np.float64]


def tone_mapped(codes: Colours, transfer: str) -> Colours:
    """SDR codes (..., 3) in 0..1, sRGB, of HDR codes (..., 3) in 0..1, BT.2020 RGB in `transfer` (`pq` or `hlg`)."""
    light = np.maximum((_nits(codes, transfer) / WHITE) @ BT2020_TO_BT709.T, 0.0)
    largest = np.maximum(light.max(axis=-1, keepdims=True), 1e-12)
    shown = light * (_shoulder(largest) / largest)
    return np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * np.maximum(shown, 1e-12) ** (1 / 2.4) - 0.055)


def tone_map_graph(frame: av.VideoFrame, transfer: str) -> av.filter.Graph:
    """A filter that maps frames like this one, of 16-bit RGB."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000))
    with tempfile.TemporaryDirectory(prefix="icface-") as folder:
        table = Path(folder) / "hdr.cube"
        table.write_text(_cube(transfer))
        lut = graph.add("lut3d", f"file={_escaped(str(table))}:interp=tetrahedral")
    sink = graph.add("buffersink")
    source.link_to(lut)
    lut.link_to(sink)
    graph.configure()
    return graph


def _nits(codes: Colours, transfer: str) -> Colours:
    if transfer == "pq":
        root = codes ** (1 / 78.84375)
        return np.asarray(
            10000.0 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        )
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    luminance = (scene @ BT2020_LUMINANCE)[..., None]
    return np.asarray(PEAK * luminance**0.2 * scene)


def _shoulder(light: Colours) -> Colours:
    """The curve for light relative to diffuse white: a line up to the knee, then a bow that ends at 1."""
    above = np.clip(light, KNEE, PEAK / WHITE) - KNEE
    span, end = 1 - KNEE, (PEAK / WHITE - KNEE) / (1 - KNEE)
    t = above / span
    return np.minimum(light, KNEE) + span * t * (1 + t / end**2) / (1 + t)


@lru_cache(maxsize=2)
def _cube(transfer: str) -> str:
    """The operator as a table in the format `.cube`, red changing fastest."""
    steps = np.linspace(0.0, 1.0, GRID)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    values = tone_mapped(np.stack([red, green, blue], axis=-1), transfer).reshape(-1, 3)
    return f"LUT_3D_SIZE {GRID}\n" + "".join(f"{r:.6f} {g:.6f} {b:.6f}\n" for r, g, b in values)


def _escaped(path: str) -> str:
    """A path as a value in FFmpeg's description of a filter."""
    return "".join("\\" + letter if letter in "\\':,;[]" else letter for letter in path)
