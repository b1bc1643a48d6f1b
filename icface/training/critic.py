"""The critic: a frozen face analyzer that reads what the generators made and compares it with what was asked for.

D reads attributes as far as it has learned them, and of most action units that is too little to teach them.
MediaPipe's networks read them well (`icface.analyzers.mediapipe_torch`), and gradients go through them. So a picture
needs no target: random edits of a neutral face, for which no frame exists, are judged too.

| term | what is read | compared with |
|---|---|---|
| `A/critic` | the animated picture | the driving frame's labels |
| `N/critic` | the neutral picture | the neutral face |
| `E/critic` | the neutral picture with a random edit | that edit, all else neutral |
| `A/shape` `N/shape` | the landmarks of the first two | those of the driving and of the track's neutral frame |
| `E/shape` | the landmarks of the edited picture | the neutral picture's, where the edit leaves them |
| `E/painted` `E/lips` | what is painted of the edited picture, with `mouths` | what lies between the lips in it |
| `E/inside` | what is painted between and on those lips | a real mouth of the batch; the lips that are moved |

An edit is one action unit, two of them, or all attributes of another pair's driving frame. Half of the first two kinds
turn the head too. D judges the edited pictures for realism and person (`Losses.edited`). Only the generator learns from
them: the neutral face has targets of its own.
"""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from icface.analyzers.blendshapes import MEASURES
from icface.analyzers.mediapipe_torch.attributes import sides_of_units
from icface.analyzers.mediapipe_torch.crop_reader import CropReader
from icface.analyzers.mediapipe_torch.task import load_task
from icface.attributes import LABEL_NAMES, POSE_NAMES, SIDE_NAMES, AttributeSchema, unit_of
from icface.bundle import BundleConfig
from icface.networks.warp import Warped
from icface.training.batch import DeviceBatch
from icface.training.config import LossConfig
from icface.training.jitter import Look
from icface.training.losses import ELSEWHERE, INSIDE, LIPS
from icface.training.mouth_colours import borrowed_mouths, inside_error
from icface.training.region_weights import between_lips, misplaced_paint, on_lips

Terms = dict[str, Tensor]

ANALYZERS = frozenset({"mediapipe", "mediapipe-torch"})
"""Analyzers whose labels the critic reads on their own scale."""
SINGLE, PAIR = 0.5, 0.25
"""Shares of the edits of one action unit and of two; the rest borrows another pair's attributes."""
TURNED = 0.5
"""Share of the edits of action units that turn the head as well."""
EDITED_WEIGHT, EDITED_WITH_MOUTHS = 4.0, 6.0
"""Weight of an edited action unit, without and with `loss.mouths`; all others that are read have 1."""
SHOWN_WEIGHT = 4.0
"""With `loss.mouths`: weight of an action unit that a frame shows at its 99th percentile; one that it does not show
has 1."""
FALLBACK_SHARE = 0.35
"""Share of an attribute's range that counts as its 99th percentile where the data set does not say."""
LEAST_SCALE = {"rad": 0.03, "intensity": 0.1}
"""Smallest unit of an error, raw: an attribute that hardly varies must not rule the loss."""
MESH_POINTS = 478
ACROSS = 1.5
"""Centimetres beyond the middle of the face to which one side's action unit moves it."""
FOLLOWERS = {"AU06": ("AU07", "AU12"), "AU10": ("AU25",), "AU26": ("AU25",), "AU45": ("AU07",)}
"""Action units that cannot be read apart, by `icface.analyzers.blendshapes`: a jaw that drops parts the lips. They may
follow the edited one."""
REGIONS = {
    **dict.fromkeys(("AU01", "AU02", "AU04"), ("brows", "eyes")),
    **dict.fromkeys(("AU05", "AU07", "AU45"), ("eyes",)),
    "AU06": ("eyes", "mouth", "cheeks"),
    "AU09": ("brows", "eyes", "nose", "mouth"),
    "AU10": ("nose", "mouth"),
    "AU12": ("mouth", "cheeks"),
    "AU25": ("mouth",),
    "AU26": ("mouth", "jaw"),
}
"""Parts of the face that an action unit moves. Their landmarks are free in an edit of it."""


class Reading(Protocol):
    """What is needed of a `CropReading`."""

    @property
    def unclipped(self) -> Tensor:
        """(B, 20) attributes before they are clipped to their range."""
        ...

    @property
    def blendshapes(self) -> Tensor:
        """(B, 52) 0..1 in MediaPipe's order."""
        ...

    @property
    def mesh(self) -> Tensor:
        """(B, 478, 3) points of the face mesh, fractions of the crop."""
        ...

    @property
    def landmarks(self) -> Tensor:
        """(B, 68, 2) iBUG points, fractions of the crop."""
        ...


class Reader(Protocol):
    """Reads pictures (B, 3, S, S) in [-1, 1], as a `CropReader` does."""

    def __call__(self, images: Tensor) -> Reading: ...


@dataclass(frozen=True)
class Edits:
    """Random edits of R neutral faces; m attributes are read."""

    encoded: Tensor
    """(R, n) in [0, 1]: what the generator is told."""
    wanted: Tensor
    """(R, m) raw: what should be read."""
    weights: Tensor
    """(R, m): what each reading counts; 0 for what may follow the edit."""
    held: Tensor
    """(R, 478) bool: mesh points that stay where they are in the neutral face."""


class Critic:
    """The loss terms of one training that come from reading pictures."""

    def __init__(
        self,
        config: LossConfig,
        schema: AttributeSchema,
        reader: Reader,
        measures: Iterable[str],
        canonical: npt.NDArray[np.float32],
        device: torch.device | str = "cpu",
    ) -> None:
        """`measures` names what `reader` can read; `canonical` (468, 3) is the face mesh at rest, centimetres.

        A reader reads both sides of what it reads.
        """
        self.config = config
        self.reader = reader
        measured = set(measures)
        known = [
            attribute for attribute in schema.attributes if attribute.trained and unit_of(attribute.name) in measured
        ]
        names = [attribute.name for attribute in known]

        def column(values: Iterable[float]) -> Tensor:
            return torch.tensor(list(values), device=device, dtype=torch.float32)

        def places(values: Iterable[int]) -> Tensor:
            return torch.tensor(list(values), device=device, dtype=torch.long)

        self._own = places(schema.index(name) for name in names)  # of what is read, among the model's attributes
        self._read = places(LABEL_NAMES.index(name) for name in names)  # and in a reading
        self._sided = schema.sided
        self._poses = places(place for place, name in enumerate(names) if name in POSE_NAMES)
        self._is_unit = torch.tensor([name not in POSE_NAMES for name in names], device=device)
        self._low, self._high = column(a.low for a in known), column(a.high for a in known)
        self._neutral = column(a.neutral for a in known)
        self._all_neutral = torch.as_tensor(schema.neutral_encoded(), device=device)
        near = [FALLBACK_SHARE * a.low if a.seen is None else a.seen.p01 for a in known]
        far = [FALLBACK_SHARE * a.high if a.seen is None else a.seen.p99 for a in known]
        self._near, self._far = column(near), column(far)
        units = [place for place, name in enumerate(names) if name not in POSE_NAMES]
        # An edit of a unit that the data never shows would ask for nothing.
        self._units = places([place for place in units if far[place] > 0] or units)
        # An error of 1: a quarter of the way from neutral to the end of what occurs.
        self._scale = column(
            max((f - n) / 8 if a.unit == "rad" else f / 4, LEAST_SCALE[a.unit])
            for a, n, f in zip(known, near, far, strict=True)
        )
        followers = [[follows(other, name) for other in names] for name in names]
        self._followers = torch.tensor(followers, device=device, dtype=torch.float32)
        moved = [moved_points(name, canonical) for name in names]
        self._moved = torch.as_tensor(np.stack(moved), device=device, dtype=torch.float32)

    def rows(self, batch: DeviceBatch) -> int:
        """Pairs of a batch that are read: its first ones."""
        return max(1, round(self.config.critic_share * len(batch)))

    def draw_edits(self, batch: DeviceBatch) -> Edits:
        """Random edits for the pairs that are read, drawn by torch's own generator."""
        rows, device = self.rows(batch), batch.source.device
        kind, turn, first, second, *sizes = torch.rand(6, rows, device=device)
        each = torch.arange(rows, device=device)
        units = len(self._units)
        one = (first * units).long().clamp(max=units - 1)
        other = (one + 1 + (second * (units - 1)).long()) % units
        wanted = self._neutral.repeat(rows, 1)
        edited = torch.zeros_like(wanted, dtype=torch.bool)
        pair = (kind >= SINGLE) & (kind < SINGLE + PAIR)
        for place, size, also in ((other, sizes[1], pair), (one, sizes[0], torch.ones_like(pair))):
            place = self._units[place]
            wanted[each, place] = torch.where(also, size * self._far[place], wanted[each, place])
            edited[each, place] |= also
        turned = turn < TURNED
        span = (self._far - self._near)[self._poses]
        poses = self._near[self._poses] + span * torch.rand(rows, len(self._poses), device=device)
        wanted[:, self._poses] = torch.where(turned[:, None], poses, wanted[:, self._poses])
        encoded = self._all_neutral.repeat(rows, 1)
        encoded[:, self._own] = (wanted - self._low) / (self._high - self._low)
        borrowed = kind >= SINGLE + PAIR
        theirs = batch.driving_encoded.roll(1, dims=0)[:rows]
        free = (edited.float() @ self._followers > 0) & ~edited
        weight = EDITED_WITH_MOUTHS if self.config.mouths else EDITED_WEIGHT
        weights = (1 + (weight - 1) * edited) * ~free
        return Edits(
            encoded=torch.where(borrowed[:, None], theirs, encoded),
            wanted=torch.where(borrowed[:, None], self._raw(theirs), wanted),
            weights=torch.where(borrowed[:, None], self._shown(self._raw(theirs)), weights),
            held=~(turned | borrowed)[:, None] & (edited.float() @ self._moved == 0),
        )

    def terms(
        self,
        batch: DeviceBatch,
        animated: Tensor,
        neutral: Tensor,
        edited: Tensor,
        edits: Edits,
        changed: Warped | None = None,
    ) -> Terms:
        """The terms of `animated` and `neutral` pictures (B, 3, S, S) and of the `edited` ones (R, 3, S, S).

        `changed` is what is behind the edited ones, for architecture `warp`.
        """
        config, rows = self.config, len(edited)
        pictures = torch.cat([animated[:rows], neutral[:rows], edited])
        # The three pictures of a pair are looked at alike, so that their landmarks can be compared.
        look = Look.draw(rows, 3, pictures.device) if config.critic_jitter else None
        # A CPU is faster in float32 here (`icface.analyzers.mediapipe_torch.frozen`), a GPU in what autocast says.
        on_cpu = pictures.device.type == "cpu"
        with torch.autocast("cpu", enabled=False) if on_cpu else nullcontext():
            pictures = pictures.float() if on_cpu else pictures
            reading = self.reader(pictures if look is None else look(pictures))
        labels = reading.unclipped
        if self._sided:
            labels = torch.cat([labels, sides_of_units(reading.blendshapes)], dim=1)
        found = labels[:, self._read].chunk(3)
        asked = self._raw(batch.driving_encoded[:rows])
        measured = batch.driving_measured[:rows][:, self._own].float()
        terms = {
            "A/critic": config.critic * self._error(found[0], asked, measured * self._shown(asked)),
            "N/critic": config.critic
            * config.critic_neutral
            * self._error(found[1], self._neutral.expand_as(asked), torch.ones_like(asked)),
            "E/critic": config.critic * self._error(found[2], edits.wanted, edits.weights),
        }
        landmarks = reading.landmarks if look is None else look.back(reading.landmarks)
        animated_points, neutral_points, edited_points = landmarks.chunk(3)
        if config.mouths and changed is not None:
            terms |= self._paint(batch, changed, edited_points.detach())
        if config.critic_shape:
            own = batch.has_neutral[:rows, None, None]
            distances = {
                "A/shape": animated_points - batch.driving_landmarks[:rows],
                "N/shape": (neutral_points - batch.neutral_landmarks[:rows]) * own,
            }
            terms |= {name: config.critic_shape * 2 * value.abs().mean() for name, value in distances.items()}
        if config.critic_hold:
            mesh = reading.mesh[..., :2]
            _, before, after = (mesh if look is None else look.back(mesh)).chunk(3)
            moved = (after - before.detach()).abs() * edits.held[..., None]
            terms["E/shape"] = config.critic_hold * 2 * moved.mean()
        return terms

    def _paint(self, batch: DeviceBatch, changed: Warped, points: Tensor) -> Terms:
        """Where paint of random edits goes and what is painted between the lips; `points` (R, 68, 2) of the edited."""
        elsewhere, lips = misplaced_paint(changed.kept, points)
        real = torch.cat([batch.source, batch.driving]), torch.cat([batch.source_landmarks, batch.driving_landmarks])
        target, worth = borrowed_mouths(changed.picture, points, *real)
        inside, ring = between_lips(points, target.shape[-1]), on_lips(points, target.shape[-1])
        kept, moved = changed.kept.detach(), changed.moved.detach()
        # Lips that are painted over keep their colour.
        colours = inside_error(changed.painted, target, inside, worth)
        colours = colours + inside_error(changed.painted, moved, ring * (1 - kept))
        return {
            "E/painted": ELSEWHERE * self.config.painted * elsewhere,
            "E/lips": LIPS * self.config.painted * lips,
            "E/inside": INSIDE * colours,
        }

    def _raw(self, encoded: Tensor) -> Tensor:
        """(R, m) raw values of what is read, of the model's encoded attributes (R, n)."""
        return self._low + encoded[:, self._own] * (self._high - self._low)

    def _shown(self, asked: Tensor) -> Tensor:
        """(R, m) what each reading counts: most units of most frames are 0, and those that a frame shows say more."""
        if not self.config.mouths:
            return torch.ones_like(asked)
        # What the data never shows has a percentile of 0.
        share = (asked / self._far.clamp(min=LEAST_SCALE["intensity"])).clamp(0, 1) * self._is_unit
        return 1 + (SHOWN_WEIGHT - 1) * share

    def _error(self, found: Tensor, asked: Tensor, weights: Tensor) -> Tensor:
        """Weighted mean of the smooth L1 error; an action unit that is asked for as 0 may be read below it."""
        error = found - asked
        error = torch.where(self._is_unit & (asked <= 0), error.clamp(min=0), error) / self._scale
        return (F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none") * weights).mean()


def make_critic(
    config: LossConfig,
    bundle_config: BundleConfig,
    device: torch.device | str = "cpu",
    weights: str | Path | None = None,
) -> Critic | None:
    """The critic of a training; None where `config` has none or `why_no_critic` tells why it cannot be.

    `weights` is a face_landmarker.task, by default fetched. Raises IcfaceError when MediaPipe's weights cannot be had.
    """
    if not config.critic or why_no_critic(config, bundle_config):
        return None
    # Under autocast its convolutions run in bfloat16.
    reader = CropReader(weights).to(device)
    return Critic(config, bundle_config.schema, reader, MEASURES, load_task(weights).canonical, device)


def why_no_critic(config: LossConfig, bundle_config: BundleConfig) -> str | None:
    """Why a critic that `config` asks for is left out, in words; None when it is not."""
    if not config.critic:
        return None
    if config.recipe == "paper":
        return "loss.recipe paper has no critic"
    if bundle_config.baselines:
        return "the critic reads what a face shows, and data.baselines trains on what differs from its resting face"
    analyzer = bundle_config.analyzer.get("name", "unknown")
    if analyzer not in ANALYZERS:
        return f"the critic reads faces as MediaPipe does, and this data set's labels are by {analyzer}"
    return None


def follows(other: str, name: str) -> bool:
    """Whether an attribute may move when `name` is edited (`FOLLOWERS`): never the other side of the face.

    >>> follows("AU07", "AU45"), follows("AU07L", "AU45L"), follows("AU07R", "AU45L"), follows("AU25", "AU10L")
    (True, True, False, True)
    """
    across = other in SIDE_NAMES and name in SIDE_NAMES and other[-1] != name[-1]
    return unit_of(other) in FOLLOWERS.get(unit_of(name), ()) and not across


def moved_points(name: str, canonical: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """(478,) bool: which mesh points the attribute `name` moves, by their places in the face at rest (468, 3).

    x to the person's left, y up, z to the front, centimetres from the head's middle. The last ten points are the
    irises'. What one side moves ends `ACROSS` the middle.
    """
    x, y, z = np.abs(canonical[:, 0]), canonical[:, 1], canonical[:, 2]
    side = {"L": 1.0, "R": -1.0}[name[-1]] if name in SIDE_NAMES else 0.0
    within = side * canonical[:, 0] >= -ACROSS
    parts = {
        "brows": (y > 3.4) & (y < 7),
        "eyes": (x < 5.2) & (y > 1.3) & (y < 4),
        "nose": (x < 2) & (y > -2.5) & (y < 3.3),
        "cheeks": (y > -4) & (y < 1.5) & (z > 0.5),
        "mouth": (x < 3.4) & (y > -6.3) & (y < -2.4),
        "jaw": y < -2.4,
    }
    moved = np.zeros(MESH_POINTS, bool)
    for part in REGIONS.get(unit_of(name), ()):
        moved[: len(canonical)] |= parts[part] & within
        moved[len(canonical) :] |= part == "eyes"
    return moved
