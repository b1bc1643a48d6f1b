"""What colours a painted mouth has: those between the lips of real frames.

An animated picture has its driving frame. A random edit has none, and no judge that sees the whole face minds a blue
mouth. So it borrows one: the real mouth of the batch that is opened most alike, brought between the edited lips.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from icface.training.region_weights import EYES, LEAST_LIPS, Opening, between_lips

SKIN = ((28, 28), (29, 29), (2, 31), (14, 35))
"""iBUG landmarks between which the skin's colour is taken: twice on the nose, and on both cheeks."""
ALIKE = 0.35
"""Distance of two mouths, in logarithms of what they are compared by, at which a target is worth 1/e."""
DARK = 3.0
"""What a borrowed mouth's lightness over the skin's counts, against the squared distance in units of `ALIKE`. Else the
median of dark insides, teeth and tongues is learned: skin."""
LARGEST_GAIN = 2.0
"""A borrowed mouth is made at most so many times as light or as dark, a colour channel."""


def inside_error(painted: Tensor, target: Tensor, inside: Tensor, worth: Tensor | None = None) -> Tensor:
    """L1 of the paint to a target, both (B, 3, S, S), over what lies between the lips (B, 1, S, S): a mean of pictures.

    Mouths smaller than `LEAST_LIPS` count by their area, and each picture by its `worth` (B,), 1 by default.
    """
    area = inside.sum(dim=(1, 2, 3)).clamp(min=LEAST_LIPS * inside.shape[-1] ** 2)
    errors = ((painted - target).abs().mean(dim=1, keepdim=True) * inside).sum(dim=(1, 2, 3)) / area
    return (errors if worth is None else errors * worth).mean()


def borrowed_mouths(
    edited: Tensor, edited_landmarks: Tensor, pictures: Tensor, landmarks: Tensor
) -> tuple[Tensor, Tensor]:
    """Targets (R, 3, S, S) for what lies between the lips of `edited` (R, 3, S, S), and (R,) what each is worth, 0..1.

    `pictures` (N, 3, S, S) in [-1, 1] are real; landmarks (R or N, 68, 2) are fractions of the picture. Of the real
    mouths that are open, each edited one borrows one that is like its own and dark. Mouths are compared by their form:
    the logarithms of height over width and of width over that of the eyes. The mouth is stretched to the corners and
    middles of the edited inner lips, and its channels are scaled as the skins' are. Worth falls with the distance
    (`ALIKE`); it is 0 where no real mouth is open. There is no gradient.
    """
    with torch.no_grad():
        size = pictures.shape[-1]
        real, own = Opening.of(landmarks), Opening.of(edited_landmarks)
        inside, skins = between_lips(landmarks, size), skin(pictures, landmarks)
        is_open = inside.mean(dim=(1, 2, 3)) >= LEAST_LIPS
        shown = ((pictures + 1) * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)).clamp(min=1e-6)
        lightness = shown.mean(dim=1) / skins.mean(dim=1).clamp(min=1e-3)
        distance = torch.cdist(_form(own, edited_landmarks), _form(real, landmarks)) / ALIKE
        cost = (distance.square() + DARK * lightness).masked_fill(~is_open, torch.inf)
        chosen = cost.argmin(dim=1)
        worth = torch.exp(-distance.gather(1, chosen[:, None])[:, 0].square()) * is_open[chosen]
        grid = real.at(chosen).places(*own.coordinates(size))
        mouths = F.grid_sample(pictures[chosen], 2 * grid - 1, padding_mode="border", align_corners=False)
        gain = (skin(edited, edited_landmarks) / skins[chosen].clamp(min=1e-3)).clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
        return ((mouths + 1) * gain[:, :, None, None] - 1).clamp(-1, 1), worth


def _form(opening: Opening, landmarks: Tensor) -> Tensor:
    """(B, 2) what mouths are compared by."""
    eyes = (landmarks[:, EYES[0][0]] - landmarks[:, EYES[1][0] + 3]).norm(dim=1)  # from outer corner to outer corner
    width = 2 * opening.half_width / eyes.clamp(min=1e-6)
    return torch.stack([opening.shape, width], dim=1).clamp(min=1e-3).log()


def skin(pictures: Tensor, landmarks: Tensor) -> Tensor:
    """(B, 3) mean colour of nose and cheeks of pictures (B, 3, S, S) in [-1, 1], above black: 0..2."""
    points = torch.stack([(landmarks[:, a] + landmarks[:, b]) / 2 for a, b in SKIN], dim=1)
    found = F.grid_sample(pictures, 2 * points[:, None] - 1, padding_mode="border", align_corners=False)
    return found[:, :, 0].mean(dim=2) + 1
