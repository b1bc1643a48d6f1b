"""The starter model: it comes with the package, so that a portrait can be steered before any training.

`docs/starter.md` says what it was trained on and what it is bad at. `python -m icface.starter BUNDLE` writes it from
the bundle of a training.
"""

import sys
from pathlib import Path

NAME = "starter"
"""What MODEL is on the command line. A folder of that name is `./starter`."""
FOLDER = Path(__file__).parent / "assets" / NAME
"""Its bundle; the weights are stored in half precision."""
CLIPPING = "each gradient was clipped at 1.5 times the median norm of the last 60 steps"
CARD = """
## What it is bad at

It was trained on computer graphics and on 42 frames of one person. docs/starter.md has measurements and a picture.

- Lips that part are a swollen lip or a stretched mouth. Teeth and dark mouths are not made.
- A blink lowers the brows and hardly closes the lids.
- Cheeks, lids that tighten, nose, chin, dimples and tight lips (AU06, 07, 09, 14, 17, 20, 23) hardly move.
- Hair bends with the head, and turns of 20 degrees and more tear its edge.
- The neutral face keeps 70 % of the expression. Portraits turned by more than 20 degrees swell at the cheek.
- Of real people never seen, dlib takes 19 % of the outputs for somebody else.
- 64 px: it shows what control by action units is, no more. Train on real people for anything else.
"""


def write(bundle: str | Path, folder: Path = FOLDER) -> None:
    """Write the bundle folder `folder`, with the weights of `bundle` in half precision."""
    from dataclasses import replace

    from icface.bundle import load_bundle, save_bundle

    model = load_bundle(bundle)
    model.config = replace(model.config, training={**model.config.training, "gradients": CLIPPING})
    save_bundle(model.half(), folder)
    card = folder / "README.md"
    card.write_text(card.read_text() + CARD)


if __name__ == "__main__":
    write(sys.argv[1])
