"""The page in a real browser: Debian's Chromium without a screen, driven by Playwright."""

import base64
import io
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Locator, Route, expect, sync_playwright
from playwright.sync_api import Page as Tab
from support.studio_page import UNTRAINED, Page, run_page

from icface.arrays import Picture
from icface.images import decode_image, encode_png
from icface.studio.resolvers import LiveSetting, ModelChoice, Resolvers
from icface.video.camera import played_frames

pytestmark = pytest.mark.system

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--disable-dev-shm-usage",  # containers have little of it, and the browser dies when it is full
    # A picture that moves instead of a camera, without a question to the visitor.
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)
PATIENCE = 180_000
"""Milliseconds: machines that run tests are slow."""
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM, "no Chromium here: `make test-system` installs it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def tab(browser: Browser, page: Page) -> Iterator[Tab]:
    """The opened page. Whatever the browser complains of fails the test."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    tab = context.new_page()
    complaints: list[str] = []
    elsewhere: list[str] = []
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
    tab.on("request", lambda asked: elsewhere.append(asked.url) if "127.0.0.1" not in asked.url else None)
    tab.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    tab.goto(f"http://127.0.0.1:{page.port}/")
    tab.locator("body[data-ready]").wait_for()
    yield tab
    context.close()
    assert complaints == []
    assert [url for url in elsewhere if not url.startswith(("blob:", "data:"))] == []


@pytest.fixture(scope="module")
def picture_file(face: Picture, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("upload") / "my face.png"
    path.write_bytes(encode_png(face))
    return path


def upload(tab: Tab, path: Path) -> None:
    tab.set_input_files("#upload", str(path))
    expect(tab.locator("#portrait-name")).to_contain_text(f"{path.name}, ")
    tab.locator("#result[data-sequence]").wait_for()


def shown(image: Locator) -> Picture:
    """The pixels of a picture on the page; one that is just being replaced is waited for."""
    data = image.evaluate(
        "async (image) => { while (!image.complete || !image.naturalWidth) await new Promise(requestAnimationFrame);"
        "const canvas = document.createElement('canvas');"
        "canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;"
        "canvas.getContext('2d').drawImage(image, 0, 0); return canvas.toDataURL('image/png').split(',')[1]; }"
    )
    return decode_image(base64.b64decode(data))


def settled(tab: Tab) -> Picture:
    """The result of the newest request."""
    result = tab.locator("#result")
    expect(result).to_have_attribute("aria-busy", "false")
    return shown(result)


def barriers(tab: Tab) -> list[tuple[str, list]]:
    """What axe-core finds serious: the rule and where it is broken."""
    cache = Path(
        os.environ.get("ICFACE_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "icface"
    )
    (axe,) = cache.glob("axe-core-*/axe.min.js")
    tab.evaluate(axe.read_text())
    found = json.loads(tab.evaluate("axe.run().then((found) => JSON.stringify(found.violations))"))
    return [(each["id"], [node["target"] for node in each["nodes"]]) for each in found if each["impact"] in SERIOUS]


def test_upload_sliders_by_mouse_and_keyboard_and_reset(tab: Tab, picture_file: Path) -> None:
    upload(tab, picture_file)
    first = settled(tab)
    assert first.shape == (32, 32, 3)
    slider = tab.locator("#slider-AU12")
    own = slider.input_value()
    # By mouse: from the left end to the middle.
    slider.evaluate("(slider) => slider.scrollIntoView({block: 'center'})")
    box = slider.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    tab.mouse.move(box["x"] + 10, y)
    tab.mouse.down()
    tab.mouse.move(box["x"] + box["width"] / 2, y, steps=15)
    tab.mouse.up()
    middle = float(slider.input_value())
    assert middle == pytest.approx(2.5, abs=0.4)
    by_mouse = settled(tab)
    assert (by_mouse != first).any()
    # By keyboard: one step more.
    slider.focus()
    tab.keyboard.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(middle + 0.05, abs=1e-6)
    assert (settled(tab) != by_mouse).any()
    expect(tab.locator("#still-command")).to_contain_text(f"'my face.png' --set AU12={middle + 0.05:.6g}")
    tab.get_by_role("button", name="Reset AU12").click()
    assert slider.input_value() == own
    np.testing.assert_array_equal(settled(tab), first)
    # The picture that was kept says that it is synthetic.
    with tab.expect_download() as download:
        tab.locator("#save").click()
    assert b"trainedAlgorithmicMedia" in Path(download.value.path()).read_bytes()


def test_a_portrait_chosen_before_a_model_is_open_is_used(tab: Tab, picture_file: Path) -> None:
    held: list[Route] = []
    tab.route("**/api/state", lambda route: held.append(route))  # Playwright takes no builtin
    with tab.expect_request("**/api/state"):
        tab.reload(wait_until="commit")
    with tab.expect_response("**/api/portraits"):
        tab.set_input_files("#upload", str(picture_file))
    expect(tab.locator("#portrait-name")).to_contain_text("waits for a model")
    held[0].continue_()
    expect(tab.locator("#portrait-name")).to_contain_text(f"{picture_file.name}, ")
    tab.locator("#result[data-sequence]").wait_for()


def test_presets_groups_pad_and_what_cannot_be_set(tab: Tab, picture_file: Path) -> None:
    upload(tab, picture_file)
    first = settled(tab)
    tab.get_by_role("button", name="happiness").click()
    assert float(tab.locator("#slider-AU06").input_value()) == pytest.approx(4.0)
    box = tab.locator("#pad").bounding_box()
    assert box is not None
    tab.mouse.click(box["x"] + 10, box["y"] + box["height"] - 10)
    assert float(tab.locator("#slider-yaw").input_value()) > 25  # to the left of the picture
    assert float(tab.locator("#slider-pitch").input_value()) > 25  # down
    tab.get_by_role("button", name="Reset pose").click()
    assert float(tab.locator("#slider-yaw").input_value()) < 25
    assert float(tab.locator("#slider-AU06").input_value()) == pytest.approx(4.0)
    assert (settled(tab) != first).any()
    tab.get_by_role("button", name="Reset all").click()
    np.testing.assert_array_equal(settled(tab), first)
    assert tab.locator(f"#slider-{UNTRAINED}").is_disabled()
    expect(tab.locator(f"#reason-{UNTRAINED}")).to_contain_text("not trained")


def test_a_film_is_driven_edited_and_downloaded(tab: Tab, picture_file: Path, tmp_path: Path) -> None:
    upload(tab, picture_file)
    tab.locator("#tab-video").click()
    driver = tmp_path / "driver.csv"
    pd.DataFrame({"timestamp": np.arange(10) / 10, "AU12": np.linspace(0, 2, 10), "AU25": 1.0}).to_csv(
        driver, index=False
    )
    tab.set_input_files("#driver-upload", str(driver))
    expect(tab.locator("#drivers li")).to_contain_text("driver.csv: 0.9 s")
    tab.select_option("#follow-pose", "")
    tab.locator("#end").fill("0.5")
    tab.locator("#end").press("Tab")
    tab.select_option("#curve", "AU12")
    tab.locator("#gain").fill("2")
    expect(tab.locator("#film-command")).to_contain_text("--end 0.5 --scale AU12=2")
    tab.locator("#plot").focus()
    tab.keyboard.press("ArrowUp")  # draws at the first frame
    expect(tab.locator("#film-command")).to_contain_text("--drive curves.csv")
    tab.locator("#make-film").click()
    expect(tab.locator("#film-state")).to_have_text("6 frames: done")
    with tab.expect_download() as download:
        tab.locator("#film-mp4").click()
    with av.open(str(download.value.path())) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
    with tab.expect_download() as download:
        tab.locator("#film-csv").click()
    table = pd.read_csv(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert table["AU12"].tolist() == pytest.approx([0.1, *(2 * 2 * n / 9 for n in range(1, 6))], abs=2e-3)


def test_two_models_are_compared(tab: Tab, picture_file: Path) -> None:
    upload(tab, picture_file)
    tab.locator("#tab-compare").click()
    words = tab.locator("#difference-words")
    expect(words).to_have_text(re.compile(r"Mean difference: [1-9][\d.]* of 255\."))
    assert (shown(tab.locator("#first-picture")) != shown(tab.locator("#second-picture"))).any()
    tab.select_option("#second", "first")
    expect(words).to_have_text("Mean difference: 0.00 of 255.")


def test_clips_of_a_data_set(tab: Tab, picture_file: Path) -> None:
    tab.locator("#tab-data").click()
    expect(tab.locator("#clips button")).to_have_count(2)
    tab.locator("#filter").fill("AU12 > 1.5")
    tab.keyboard.press("Enter")
    expect(tab.locator("#clips button")).to_have_count(1)
    tab.locator("#clips button").click()
    expect(tab.locator("#clip-words")).to_contain_text("AU12 1.556")  # the first frame that the filter lets through
    tab.get_by_role("button", name="Use the clip as driver").click()
    expect(tab.locator("#drivers li")).to_contain_text("id/v/2: 0.7 s")
    tab.set_input_files("#upload", str(picture_file))
    expect(tab.locator("#message")).to_contain_text("was measured by dlib")
    tab.locator("#map-attributes").check()
    expect(tab.locator("#film-command")).to_contain_text("--drive 'noise#id/v/2' --map-attributes")


def test_bad_files_are_told_and_the_page_goes_on(tab: Tab, picture_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "text.png"
    bad.write_text("this is not a picture")
    tab.set_input_files("#upload", str(bad))
    expect(tab.locator("#message")).to_contain_text("not a table of attributes")
    bad.write_bytes(encode_png(np.full((90, 90, 3), 128, np.uint8)))
    tab.set_input_files("#upload", str(bad))
    expect(tab.locator("#message")).to_contain_text("no face is found")
    upload(tab, picture_file)
    expect(tab.locator("#message")).to_be_hidden()


def test_the_camera(tab: Tab) -> None:
    tab.get_by_role("button", name="Use the camera").click()
    tab.get_by_role("button", name="Take the picture").click()
    # Chromium's stand-in for a camera shows no face.
    expect(tab.locator("#message")).to_contain_text("no face is found")


def test_the_camera_is_recorded_as_a_driver(tab: Tab) -> None:
    tab.locator("#tab-video").click()
    tab.get_by_role("button", name="Record the camera").click()
    tab.locator("#record-start").click()
    expect(tab.locator("#record-words")).to_have_text(re.compile(r"[1-9]\d* s"))
    tab.locator("#record-stop").click()
    # The recording was taken as a video and measured; Chromium's stand-in for a camera shows no face.
    expect(tab.locator("#message")).to_contain_text("no face is found")
    expect(tab.locator("#record-box")).to_be_hidden()


def test_live_follows_a_film(
    browser: Browser, face: Picture, bundles: dict[str, Path], sample_clips: dict[str, Path]
) -> None:
    live = LiveSetting(
        model="first",
        portrait=face,
        name="me.png",
        driver="film.mp4",
        frames=lambda: played_frames(str(sample_clips["single_face.mp4"]), repeat=True),
        edit=lambda row, own: row,
    )
    choice = ModelChoice(reference="first", label="the first")
    for page in run_page(Resolvers(models=lambda: [choice], bundle=bundles.__getitem__, live=live)):
        tab = browser.new_page()
        tab.set_default_timeout(PATIENCE)
        expect.set_options(timeout=PATIENCE)
        tab.goto(f"http://127.0.0.1:{page.port}/")
        expect(tab.locator("#live-words")).to_contain_text("film.mp4:")
        picture = tab.locator("#live-picture")
        picture.and_(tab.locator("[data-number]")).wait_for()
        first, number = shown(picture), picture.get_attribute("data-number")
        assert first.shape[0] == 256
        expect(picture).not_to_have_attribute("data-number", str(number))
        assert (shown(picture) != first).any()
        assert barriers(tab) == []
        tab.locator("#live-stop").click()
        expect(tab.locator("#live-words")).to_contain_text("(stopped)")
        tab.close()


@pytest.mark.parametrize("width", [390, 1200])
def test_no_barriers_and_nothing_beyond_the_edge(width: int, tab: Tab, picture_file: Path) -> None:
    tab.set_viewport_size({"width": width, "height": 844})
    upload(tab, picture_file)
    for name in ("sliders", "video", "compare", "data"):
        tab.locator(f"#tab-{name}").click()
        tab.wait_for_timeout(300)
        assert barriers(tab) == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_by_keyboard_alone(tab: Tab, picture_file: Path) -> None:
    upload(tab, picture_file)
    first = settled(tab)
    tab.locator("#tab-sliders").focus()
    tab.keyboard.press("ArrowRight")
    assert tab.locator("#panel-video").is_visible()
    tab.keyboard.press("ArrowLeft")
    assert tab.locator("#panel-sliders").is_visible()
    for _ in range(60):  # Tab leads to every control
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "slider-AU26":
            break
    tab.keyboard.press("End")
    assert tab.locator("#slider-AU26").input_value() == "5"
    assert (settled(tab) != first).any()
