"""The sliders' side of the server: models, portraits, pictures, late requests."""

import hashlib
import io
import json
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyexiv2
import pytest
from PIL import Image
from support.studio_page import UNTRAINED, Page

from icface.animate import Animator
from icface.arrays import Picture
from icface.attributes import Attribute, Seen
from icface.images import decode_image, encode_png
from icface.studio.latest import Overtaken
from icface.studio.resolvers import Resolvers
from icface.studio.workshop import Portrait, Workshop, describe_slider


def asked(portrait: str, **values: float) -> dict:
    return {"model": "first", "portrait": portrait, "values": values, "view": "v", "sequence": 0}


def picture(page: Page, body: dict) -> Picture:
    status, headers, data = page.ask(
        "POST", "/api/picture", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    assert (status, headers["content-type"]) == (200, "image/png"), data
    return decode_image(data)


def test_a_picture_is_the_animators(page: Page, portrait: str, face: Picture, bundles: dict[str, Path]) -> None:
    animator = Animator.from_bundle(bundles["first"])
    table = pd.DataFrame({"AU12": [2.0], "pose_yaw": [np.radians(10)]})
    expected = next(animator.animate(face, table))
    animator.analyzer.close()
    shown = picture(page, asked(portrait, AU12=2.0, yaw=10))
    assert np.abs(shown.astype(int) - expected).max() <= 1
    assert np.abs(picture(page, asked(portrait)).astype(int) - expected).max() > 3


def test_a_picture_says_that_it_is_synthetic(page: Page, portrait: str, bundles: dict[str, Path]) -> None:
    body = json.dumps(asked(portrait)).encode()
    _, _, data = page.ask("POST", "/api/picture", body, {"content-type": "application/json"})
    with pyexiv2.ImageData(data) as image:
        xmp = image.read_xmp()
    assert xmp["Xmp.iptcExt.DigitalSourceType"].endswith("/trainedAlgorithmicMedia")
    weights = (bundles["first"] / "model.safetensors").read_bytes()
    assert xmp["Xmp.icface.bundle"] == hashlib.sha256(weights).hexdigest()


def test_a_model_is_its_sliders(page: Page) -> None:
    model = page.post("/api/models", {"reference": "first"})
    sliders = {slider["name"]: slider for slider in model["sliders"]}
    assert len(sliders) == 20 and {s["region"] for s in sliders.values()} == {"pose", "brows", "eyes", "nose", "mouth"}
    assert (sliders["yaw"]["low"], sliders["yaw"]["high"], sliders["yaw"]["unit"]) == (-40.1, 40.1, "°")
    assert sliders["AU12"]["title"] == "Lip Corner Puller"
    assert not sliders[UNTRAINED]["trained"] and "0% of the frames" in sliders[UNTRAINED]["reason"]
    contempt = next(preset for preset in model["presets"] if preset["name"] == "contempt")
    assert (contempt["units"], contempt["left_out"]) == (["AU12"], ["AU14"])


def test_a_slider_goes_as_far_as_training_has_seen() -> None:
    seen = Seen(min=0.004, p01=0.01, p50=0.5, p99=1.5, max=1.876)
    made = describe_slider(Attribute(name="AU12", unit="intensity", low=0, high=5, neutral=0, seen=seen))
    assert (made["low"], made["high"], made["full"], made["neutral"]) == (0.0, 1.87, 1.5, 0)
    turned = replace(seen, min=-0.2)
    made = describe_slider(Attribute(name="pose_yaw", unit="rad", low=-0.7, high=0.7, neutral=0, seen=turned))
    assert (made["name"], made["low"], made["high"]) == ("yaw", -11.45, 107.48)


def test_source_and_neutral_are_pictures_of_the_models_size(page: Page, portrait: str) -> None:
    for name in ("source", "neutral"):
        status, _, data = page.ask("GET", f"/api/{name}.png?model=first&portrait={portrait}")
        assert status == 200 and decode_image(data).shape == (32, 32, 3)


def test_a_request_that_was_overtaken_is_dropped_and_the_last_one_wins(resolvers: Resolvers, face: Picture) -> None:
    workshop = Workshop(resolvers)
    model = workshop.model("first")
    source = workshop.prepared(model, workshop.portraits.add(Portrait(picture=face, name="a")))
    made: dict[int, object] = {}

    def ask(sequence: int) -> None:
        try:
            made[sequence] = workshop.picture(model, source, {"AU12": sequence / 2}, "view", sequence)
        except Overtaken:
            made[sequence] = None

    with workshop._busy:  # as while another picture is being made
        threads = [threading.Thread(target=ask, args=(sequence,)) for sequence in (1, 3, 2)]
        for thread in threads:
            thread.start()
        while not workshop.latest.is_late("view", 2):
            pass
    for thread in threads:
        thread.join(30)
    assert made[1] is None and made[2] is None
    expected = next(model.animator.animate(source, pd.DataFrame({"AU12": [1.5]})))
    np.testing.assert_array_equal(made[3], expected)
    workshop.close()


def test_the_command_line_is_told(page: Page, portrait: str, face: Picture) -> None:
    named = page.ask("POST", "/api/portraits", encode_png(face), {"x-file-name": "..%2F..%2Fmy%20face.png"})[2]
    other = json.loads(named)
    assert other["name"] == "my face.png"
    said = page.post("/api/command", asked(other["portrait"], AU12=1.25, yaw=-10))["command"]
    assert said == "icface animate first 'my face.png' --set AU12=1.25 yaw=-10 -o picture.png"


def png(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def still(face: Picture) -> Image.Image:
    return Image.fromarray(face)


@pytest.mark.parametrize("name", ["cmyk", "grey16", "alpha", "exif", "gif", "webp"])
def test_portraits_of_every_kind_are_taken(name: str, page: Page, still: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    grey16 = Image.fromarray(np.asarray(still.convert("L")).astype(np.uint16) * 257)
    data = {
        "cmyk": lambda: png(still.convert("CMYK"), "JPEG"),
        "grey16": lambda: png(grey16),
        "alpha": lambda: png(still.convert("RGBA")),
        "exif": lambda: png(still.rotate(90, expand=True), "JPEG", exif=exif),
        "gif": lambda: png(still, "GIF", save_all=True, append_images=[still.rotate(180)]),
        "webp": lambda: png(still, "WEBP"),
    }[name]()
    portrait = page.post("/api/portraits", data)["portrait"]
    assert page.post("/api/prepare", {"model": "first", "portrait": portrait})["faces"] == 1


def test_bad_portraits_are_refused_with_a_reason(page: Page, still: Image.Image, sample_clips: dict[str, Path]) -> None:
    for data, said in (
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\nnonsense" * 9, "damaged"),
        (png(still)[:2000], "cannot be read"),
        (b"MZ" + bytes(500), "neither a picture, a video nor a csv"),
        (sample_clips["single_face.mp4"].read_bytes(), "this is not a picture"),
        (png(Image.new("1", (20000, 20000))), "far too many pixels"),
        (png(Image.new("1", (13000, 100))), "13000 x 100"),
        (png(Image.new("RGB", (1, 1))), "1 x 1 pixels, too few"),
        (bytes(26 << 20), "larger than the 25 MiB"),
    ):
        assert said in page.refused("POST", "/api/portraits", data)
    wall = page.post("/api/portraits", png(Image.new("RGB", (200, 200), "grey")))["portrait"]
    assert "no face is found" in page.refused("POST", "/api/prepare", {"model": "first", "portrait": wall})


def test_bad_questions_are_refused_with_a_reason(page: Page, portrait: str) -> None:
    for path, body, said in (
        ("/api/picture", asked(portrait, AU99=1), "unknown attribute 'AU99'"),
        ("/api/picture", asked(portrait, AU14=1), "AU14 cannot be set"),
        ("/api/picture", asked(portrait, AU12=50), "must lie in"),
        ("/api/picture", asked(portrait, pose_yaw=0.1), "write yaw in degrees"),
        ("/api/picture", asked("nothing"), "not there any more"),
        ("/api/picture", {"model": "first"}, "portrait"),
        ("/api/picture", b"{", "JSON"),
        ("/api/prepare", {"model": "first", "portrait": portrait, "face": 5}, "no face 6"),
        ("/api/models", {"reference": "/etc"}, "not among those on offer"),
        ("/api/samples/none", {}, "no sample"),
    ):
        assert said in page.refused("POST", path, body)
