"""What stands beside and in the exported ONNX files, so that they can be used without this project."""

import json

from icface.bundle import ICface

README = """# {title} as ONNX

`neutraliser.onnx` and `generator.onnx` have two inputs and one output, float32, of any batch size B:

- `image` and `picture`: (B, 3, {size}, {size}), channels red, green, blue, rows from the top, values -1..1
  (pixel / 127.5 - 1).
- `attributes`: (B, {count}), codes 0..1 in the order below. A code is (v - low) / (high - low), clipped to 0..1. A
  value that is not known gets the code of its neutral value.
- The neutraliser takes {neutraliser}.
- The generator takes what the neutraliser made and the codes of the values that are wanted.
{layers}- The picture is a square around one face: its side is {scale:g} times the longer side of the box
  around 68 landmarks (mode `{mode}` of `icface.crop.CropRule`).

{table}

`config.json` holds the same numbers, and so do the files' metadata (`onnx.load(FILE).metadata_props`). This code runs
in this folder, with numpy, onnxruntime and Pillow, and a square `crop.png`:

```python
import json, numpy as np, onnxruntime
from PIL import Image
schema = json.load(open("config.json"))["schema"]
def code(v):
    rows = [(v.get(a["name"], a["neutral"]) - a["low"]) / (a["high"] - a["low"]) for a in schema]
    return np.array([rows], np.float32).clip(0, 1)
def run(file, image, codes):
    return onnxruntime.InferenceSession(file).run(None, {{"image": image, "attributes": codes}})[0]
crop = np.asarray(Image.open("crop.png").convert("RGB").resize(({size}, {size})), np.float32)
own = {{}}  # what was measured on the crop, as {{"AU12": 0.8, "pose_yaw": 0.1}}
neutral = run("neutraliser.onnx", crop.transpose(2, 0, 1)[None] / 127.5 - 1, {neutral_code})
picture = run("generator.onnx", neutral, code({{**own, "AU12": 1.5, "pose_yaw": 0.3}}))[0]
Image.fromarray(((picture.transpose(1, 2, 0) + 1) * 127.5).round().clip(0, 255).astype(np.uint8)).save("picture.png")
```

Licence: {licence}. Pictures of people made with it are synthetic: say so wherever they are shown.
"""
LAYERED = """- The neutraliser's `picture` and the generator's `image` have 12 channels. The first three are the neutral
  picture. The others say where its pixels come from, so that the generator fetches them from the face itself.
"""
NEUTRALISER = {
    "neutral": ("the face and the codes of the neutral values, always the same", "code({})"),
    "change": (
        "the face and the change that is wanted: 0.5 + (neutral code - own code) / 2, so 0.5 leaves an attribute alone",
        "0.5 + (code({}) - code(own)) / 2",
    ),
}
"""By `neutraliser_input`: what its attributes are, in words and in the README's code."""


def onnx_readme(model: ICface) -> str:
    """The README of a folder with the exported model: how its inputs are made, and code that runs."""
    config = model.config
    words, code = NEUTRALISER[config.model.neutraliser_input]
    rows = [
        f"| {place} | {each.name} | {each.unit} | {each.low:g} | {each.high:g} | {each.neutral:g} | "
        f"{'yes' if each.trained else 'no'} |"
        for place, each in enumerate(config.schema.attributes)
    ]
    table = ["| place | attribute | unit | low | high | neutral | trained |", "|---|---|---|---|---|---|---|", *rows]
    return README.format(
        title=f"ICface {model.size} px",
        size=model.size,
        count=len(config.schema),
        neutraliser=words,
        neutral_code=code,
        layers=LAYERED if config.model.layered else "",
        scale=config.crop_rule.get("scale", 1.6),
        mode=config.crop_rule.get("mode", "smooth"),
        table="\n".join(table),
        licence=config.licence,
    )


def onnx_metadata(model: ICface) -> dict[str, str]:
    """The same for programs: strings by name, for an ONNX file's `metadata_props`."""
    config = model.config
    names = ("name", "unit", "low", "high", "neutral", "trained")
    schema = [{name: getattr(each, name) for name in names} for each in config.schema.attributes]
    return {
        "attributes": json.dumps(schema),
        "attribute_code": "(v - low) / (high - low), clipped to 0..1; unknown: the code of neutral",
        "neutraliser_attributes": NEUTRALISER[config.model.neutraliser_input][0],
        "pixels": "RGB, (B, 3, rows, columns) from the top, pixel / 127.5 - 1",
        **({"layers": LAYERED.removeprefix("- ").replace("\n ", "").strip()} if config.model.layered else {}),
        "crop_rule": json.dumps(dict(config.crop_rule)),
        "licence": config.licence,
    }
