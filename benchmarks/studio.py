"""From a slider to a new picture: `python benchmarks/studio.py [--moves N] [--size S] [--threads N] [--device cuda]`.

The Studio page in headless Chromium on loopback, with a model of preset `icface` whose weights are drawn, and the
sample portrait. One slider is moved to N places by key events; the time runs in the browser from the event until the
picture is decoded and shown. Goals for the 95th percentile: 250 ms at 128 px on two CPU cores, 30 ms on a GPU. Beside
it one pass of the generator alone in the same process, between the moves, so that both meet the same load. And the
processor time that this process, which is the server, takes for each: of that the load says nothing.
"""

import argparse
import os
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import torch
import uvicorn
from animate import drawn_model
from measuring import surroundings
from playwright.sync_api import sync_playwright

from icface.animate import Animator
from icface.arrays import Picture
from icface.bundle import save_bundle
from icface.studio.app import create_app
from icface.studio.resolvers import ModelChoice, Resolvers
from icface.video.reading import read_frames
from icface.weights import SAMPLE_CLIPS, fetch

GOALS = {"cuda": 30.0, "cpu": 250.0}
"""Milliseconds."""
SHOWN, ALONE = "slider to picture", "generator alone"
MOVE = """async (value) => {
  const slider = document.getElementById("slider-AU25"), result = document.getElementById("result");
  const before = result.dataset.sequence, began = performance.now();
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  while (result.dataset.sequence === before) await new Promise((resolve) => setTimeout(resolve, 1));
  return performance.now() - began;
}"""


def portrait() -> Picture:
    """The sample clip's first frame."""
    return next(read_frames(fetch(SAMPLE_CLIPS["single_face.mp4"]), window=1))[1][0]


def measure(size: int, moves: int, device: str) -> dict[str, list[float]]:
    """Milliseconds of each move in the browser and of a pass of the generator after each, and of the processor."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, "bundle")
        save_bundle(drawn_model(size), bundle)
        choice = ModelChoice(reference="drawn", label="drawn")
        app = create_app(
            Resolvers(models=lambda: [choice], bundle=lambda _: bundle, samples={"sample": portrait}), device=device
        )
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.02)
        animator = Animator.from_bundle(bundle, device=device)
        neutral = torch.zeros(1, 3, size, size, device=device).contiguous(memory_format=torch.channels_last)
        code = torch.full((1, len(animator.model.schema)), 0.5, device=device)
        found: dict[str, list[float]] = {name: [] for name in (SHOWN, f"{SHOWN}, CPU", ALONE, f"{ALONE}, CPU")}
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        with sync_playwright() as playwright:
            arguments = ["--headless", "--no-sandbox", "--disable-gpu"]
            browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
            tab = browser.new_page(viewport={"width": 1200, "height": 900})
            tab.set_default_timeout(120_000)
            tab.goto(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/")
            tab.locator("body[data-ready]").wait_for()
            tab.select_option("#sample", "sample")
            tab.locator("#result[data-sequence]").wait_for()
            tab.wait_for_timeout(1000)  # the pictures of source and neutral face, the command line
            for number in range(moves + 3):
                busy = [time.process_time()]
                milliseconds = tab.evaluate(MOVE, 0.1 + 0.05 * (number % 60))
                busy.append(time.process_time())
                start = time.perf_counter()
                with torch.inference_mode():
                    animator.model.generator(neutral, code).cpu()
                seconds = time.perf_counter() - start
                busy.append(time.process_time())
                if number >= 3:  # the first ones warm up
                    times = [milliseconds, 1000 * (busy[1] - busy[0]), 1000 * seconds, 1000 * (busy[2] - busy[1])]
                    for values, value in zip(found.values(), times, strict=True):
                        values.append(value)
            browser.close()
        server.should_exit = True
        thread.join(30)
        animator.analyzer.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--threads", type=int, default=None, help="of torch; as the page chooses by default")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    before = os.getloadavg()[0]
    found = measure(options.size, options.moves, options.device)
    print(surroundings(torch.device(options.device)) + f"; load {before:.1f} before and {os.getloadavg()[0]:.1f} after")
    for name, values in found.items():
        middle, high = np.percentile(values, [50, 95])
        print(f"{name:22} median {middle:6.1f} ms, 95th percentile {high:6.1f} ms")
    goal = GOALS["cuda" if options.device.startswith("cuda") else "cpu"]
    high = float(np.percentile(found[SHOWN], 95))
    print(f"goal {goal:g} ms: {'reached' if high <= goal else f'missed by {high - goal:.0f} ms'}")
    print(f"beyond the generator: median {np.median(found[SHOWN]) - np.median(found[ALONE]):.1f} ms")


if __name__ == "__main__":
    main()
