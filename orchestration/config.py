"""Options of training, animation and demo. Light to import: the command line is made from these."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from icface.attributes import REGIONS
from icface.errors import IcfaceError
from icface.training.config import TrainConfig
from orchestration.selection import Selection

ENDINGS = (".mp4", ".webm", ".gif", ".png")
OUTPUT = "animated.mp4"
"""Where an animation goes by default."""
LAYOUT = ("source", "driver", "result")
LONGEST_RECORDING = 600.0
"""Seconds."""
OWN = "source"
"""In place of a driver: the source's own values."""


@dataclass(frozen=True, kw_only=True)
class TrainJob:
    """A training to launch."""

    dataset: str
    """A data set. A path or fsspec URL."""
    mixed_with: Annotated[
        tuple[str, ...], tyro.conf.arg(name="with", metavar="DATASET:SHARE ...", help_behavior_hint="")
    ] = ()
    """Other data sets to draw pairs from, each with its share of them, as in synthetic:0.3. The first data set has the
    rest. Pictures, crops and attributes must agree."""
    workers: int | str = 1
    """Training processes, which share each batch evenly. A range such as 1-3 uses as many as the cluster has room
    for."""
    gpu: bool = False
    """Give each worker a GPU."""
    storage: str = "./runs"
    """Folder of the runs: checkpoints and bundles. A path or fsspec URL."""
    name: str | None = None
    """Name of the run. Default: the data set's name and the time."""
    address: str = "local"
    """Ray cluster: `local` starts one, `auto` joins the one on this machine, else HOST or HOST:PORT."""
    resume: bool = False
    """Continue the run called `--name` from its last checkpoint. What is left out is as it was. It may get more steps,
    and other values of what touches no weight (`log_every` and the like)."""
    cache: str | None = None
    """Folder on each node for copies of the row groups that are read. For a remote data set."""
    cache_gib: float = 50.0
    """Maximum size of `cache`, GiB. The least recently used copies are deleted first."""
    register: str | None = None
    """Register the result as a version of this model."""
    init_from: str | None = None
    """Start from the weights of this model: starter, a bundle folder, a checkpoint as runs/NAME@STEP, runs:/ID/bundle,
    models:/NAME/VERSION or models:/NAME@ALIAS."""
    ingest: Literal["loader", "ray"] = "loader"
    """`loader`: each training process reads and decodes. `ray`: Ray Data does it on other CPUs of the cluster, with
    `data.workers` (at least one) per process. The batches are the same."""
    evaluate_every: int = 0
    """Steps between two evaluations of the averaged model beside the training, on another CPU. The pairs are few, and
    always the same: of people in `val`, else held-out frames. 0: none."""
    keep: str | None = None
    """best:METRIC, as in best:face_l1: keep the bundle whose evaluation is best. It is what `--register` registers.
    Needs `--evaluate-every`."""
    patience: int | None = None
    """End the training after so many evaluations in a row that were not better than the best. Needs `--keep`."""
    profile: bool = False
    """Trace some steps of the first process. The trace is in the run's artifacts, under `profile`."""
    preset: str = "custom"
    """Name of the preset that `training` came from, for the record."""
    training: Annotated[TrainConfig, tyro.conf.arg(name="")] = field(default_factory=TrainConfig)
    """The training itself."""

    def __post_init__(self) -> None:
        least, most = self.worker_range
        if not 1 <= least <= most:
            raise ValueError(f"--workers must be at least 1, or a range as in 1-3, not {self.workers}")
        batch, multiple = self.training.data.batch_size, math.lcm(*range(least, most + 1))
        if batch % multiple:
            raise ValueError(
                f"data.batch_size {batch} cannot be shared evenly by --workers {self.workers}: take a multiple of "
                f"{multiple}, as in --data.batch-size {-(-batch // multiple) * multiple}"
            )
        parts = self.training.accumulate
        if batch % (multiple * parts):
            raise ValueError(
                f"a worker's share of data.batch_size {batch} cannot be divided by accumulate {parts} evenly with "
                f"--workers {self.workers}: take a multiple of {multiple * parts}"
            )
        if self.register is not None and not re.fullmatch(r"(?![. ]+$)[^/:]+", self.register):
            raise ValueError(f"--register {self.register!r}: MLflow takes names without '/' and ':'")
        if self.resume and self.name is None:
            raise ValueError("--resume needs --name: which run is to go on?")
        if self.evaluate_every < 0:
            raise ValueError(f"--evaluate-every must be at least 1, or 0 for none, not {self.evaluate_every}")
        if self.keep is not None and Selection.parse(self.keep) and not self.evaluate_every:
            raise ValueError("--keep needs --evaluate-every: without evaluations no model is the best")
        if self.patience is not None and (self.patience < 1 or self.keep is None):
            raise ValueError("--patience must be at least 1, and needs --keep best:METRIC")
        if self.cache_gib <= 0:
            raise ValueError(f"--cache-gib must be more than 0, not {self.cache_gib}")

    @property
    def selection(self) -> Selection | None:
        """What `keep` asks for."""
        return None if self.keep is None else Selection.parse(self.keep)

    @property
    def worker_range(self) -> tuple[int, int]:
        """The least and the most workers.

        >>> TrainJob(dataset="d", workers="1-2").worker_range
        (1, 2)
        """
        if isinstance(self.workers, int):
            return self.workers, self.workers
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", self.workers.strip())
        if match is None:
            raise ValueError(f"--workers {self.workers!r}: give a number, or a range as in 1-3")
        return int(match[1]), int(match[2] or match[1])


@dataclass(frozen=True, kw_only=True)
class AnimateJob:
    """Drive a portrait. Drivers are mixed first. Then --scale, --add and --set apply, in this order.

    Without a driver, a picture gets the edits at once. A video moves from the source's own face to the edited one and
    back.
    """

    model: str
    """starter, a bundle folder, a checkpoint as runs/NAME@STEP, runs:/ID/bundle, models:/NAME/VERSION or
    models:/NAME@ALIAS."""
    source_image: str
    """The portrait: an image with a face, or a video, whose frames are edited one by one."""
    drive: str | None = None
    """Driver of all attributes: a video, an image, an attribute csv, a clip of a data set as DATASET#CLIP, or
    camera:0, which is recorded first."""
    keyframes: str | None = None
    """Keyframes instead of a driver: a csv or JSON file."""
    interpolate: Literal["smooth", "linear"] = "smooth"
    """How values run from one keyframe to the next. A csv whose rows are 0.2 s and more apart is keyframes too."""
    record: float = 5.0
    """Seconds that are recorded of a camera."""
    gesture: Literal["smile", "blink", "nod", "shake", "look-around"] | None = None
    """A built-in gesture instead of a driver."""
    pose_from: str | None = None
    """Driver of pitch, yaw and roll; `source` keeps the portrait's own."""
    eyes_from: str | None = None
    """Driver of the upper face (brows and eyes), or `source`."""
    mouth_from: str | None = None
    """Driver of the lower face (nose and mouth), or `source`."""
    brows_from: str | None = None
    """Driver of the brows alone, or `source`."""
    nose_from: str | None = None
    """Driver of the nose alone, or `source`."""
    replace: str | None = None
    """Regions that follow --drive where the source is a video, as in eyes,mouth; the others keep their own motion."""
    start: float | None = None
    """Begin at this second of the driver."""
    end: float | None = None
    """End at this second of the driver."""
    smooth: Literal["video", "always", "never"] = "video"
    """Filter the jitter of drivers (one-euro filter, without delay): of videos, of all, or of none."""
    gain: tuple[str, ...] = ()
    """REGION=FACTOR: scale pose, brows, eyes, nose or mouth as --scale does each of their attributes."""
    set: tuple[str, ...] = ()
    """NAME=VALUE: AUs 0..5; pitch, yaw, roll in degrees. NAME=100%: the 99th percentile of the training data. Beyond
    its largest value is clamped."""
    add: tuple[str, ...] = ()
    """NAME=DIFFERENCE, in the same units or percent."""
    scale: tuple[str, ...] = ()
    """NAME=FACTOR."""
    relative: bool = False
    """Subtract the driver's resting face, so that only its motion is transferred. Of a driver under 50 frames, its
    first face is taken for it."""
    map_attributes: bool = False
    """Convert a table that another analyzer than the model's measured. Without it, such a table is refused."""
    output: Annotated[str, tyro.conf.arg(aliases=["-o"])] = OUTPUT
    """OUT.mp4, OUT.webm, OUT.gif or OUT.png. A drive as OUT.png is a sheet: 12 frames under those of the driver."""
    neutral: bool = False
    """Write the neutral face itself; takes neither drivers nor edits."""
    face: int = 1
    """Which face of the portrait, the largest first."""
    paste_back: bool = False
    """Put the face back into the full picture, with a soft edge."""
    layout: str | None = None
    """What is shown side by side: source, driver and result, as in source,driver,result. Default: result, and
    driver,result with `--live`."""
    save_attributes: str | None = None
    """Also write the 20 curves that were used to this csv, which drives again."""
    plot: str | None = None
    """Also draw the curves that were used over time, to this png."""
    sign_key: str | None = None
    """Sign the output by C2PA with this private key, a PEM file. Needs `--sign-certificates` and c2pa-python."""
    sign_certificates: str | None = None
    """The certificates of `--sign-key`, a PEM file: its own first, then those that vouch for it."""
    live: bool = False
    """Show the portrait on a local page, following `--drive` (camera:0, or a video) at the speed of this machine."""
    port: int = 7860
    """Port of the `--live` page; 0 takes any free one."""
    overwrite: bool = False
    """Replace the output when it exists. The portrait and the drivers are never replaced."""
    gpu: bool = False
    """Run the networks on the GPU."""

    def __post_init__(self) -> None:
        if Path(self.output).suffix.lower() not in ENDINGS:
            raise IcfaceError(f"-o {self.output}: the name must end in {', '.join(ENDINGS)}")
        if self.live:
            self._check_live()
        main = [name for name in ("drive", "keyframes", "gesture") if getattr(self, name) is not None]
        if len(main) > 1:
            raise IcfaceError(f"--{main[0]} and --{main[1]} both drive everything: give one of them")
        edits = any((self.set, self.add, self.scale, self.gain))
        if self.neutral and (main or any(self.parts.values()) or edits):
            raise IcfaceError("--neutral writes the neutral face itself: give it without drivers and edits")
        if not (main or any(self.parts.values()) or edits or self.neutral):
            raise IcfaceError("nothing to do: give --drive FILE, --set AU12=1.5, or another driver or edit")
        if self.face < 1:
            raise IcfaceError(f"--face counts from 1, not {self.face}")
        if self.start is not None and self.end is not None and self.end < self.start:
            raise IcfaceError(f"--end {self.end:g} lies before --start {self.start:g}")
        if self.replace is not None and self.drive is None:
            raise IcfaceError("--replace needs --drive: what takes the place of these regions?")
        unknown = [name for name in self.replaced if name not in REGIONS]
        if unknown:
            raise IcfaceError(
                f"--replace {self.replace}: unknown region {unknown[0]!r}; known are {', '.join(REGIONS)}"
            )
        unknown = [name for name in self.shown if name not in LAYOUT]
        if unknown or "result" not in self.shown:
            raise IcfaceError(f"--layout {self.layout}: name some of {', '.join(LAYOUT)}, result among them")
        if "driver" in self.shown and self.drive is None:
            raise IcfaceError("--layout with driver needs --drive: a video or a picture that can be shown")
        if self.plot is not None and not self.plot.lower().endswith(".png"):
            raise IcfaceError(f"--plot {self.plot}: the name must end in .png")
        if self.plot is not None and Path(self.plot) == Path(self.output):
            raise IcfaceError(f"--plot and -o are both {self.plot}: choose two names")
        if not 0 < self.record <= LONGEST_RECORDING:
            raise IcfaceError(f"--record {self.record:g}: seconds must lie in 0..{LONGEST_RECORDING:g}")
        if (self.sign_key is None) != (self.sign_certificates is None):
            raise IcfaceError("--sign-key and --sign-certificates belong together: give both")
        if self.sign_key is not None and Path(self.output).suffix.lower() == ".webm":
            raise IcfaceError(f"-o {self.output}: C2PA cannot sign a webm; write an mp4, a gif or a png")
        if self.save_attributes is not None and not self.save_attributes.lower().endswith(".csv"):
            raise IcfaceError(f"--save-attributes {self.save_attributes}: the name must end in .csv")

    def _check_live(self) -> None:
        if self.drive is None or Path(self.drive).suffix.lower() in (".csv", ".json"):
            raise IcfaceError("--live needs --drive with a camera or a video, as in --drive camera:0")
        unused = {
            "-o": self.output != OUTPUT,
            "--paste-back": self.paste_back,
            "--map-attributes": self.map_attributes,
            **{f"--{region}-from": path is not None for region, path in self.parts.items()},
        }
        for name in ("save_attributes", "plot", "sign_key", "start", "end", "replace"):
            unused[f"--{name.replace('_', '-')}"] = getattr(self, name) is not None
        given = [option for option, there in unused.items() if there]
        if given:
            raise IcfaceError(f"--live shows a page, follows one driver and writes nothing: leave {given[0]} out")
        if not 0 <= self.port <= 65535:
            raise IcfaceError(f"--port must lie in 0..65535, not {self.port}")

    @property
    def parts(self) -> dict[str, str | None]:
        """Region of the face: the driver that it follows, `source` for the portrait's own, None for --drive's."""
        return {
            "pose": self.pose_from,
            "brows": self.brows_from or self.eyes_from,
            "eyes": self.eyes_from,
            "nose": self.nose_from or self.mouth_from,
            "mouth": self.mouth_from,
        }

    @property
    def replaced(self) -> tuple[str, ...]:
        """The regions of `replace`."""
        return tuple(name.strip() for name in self.replace.split(",")) if self.replace is not None else ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The pictures of `layout`."""
        layout = self.layout or ("driver,result" if self.live else "result")
        return tuple(name.strip() for name in layout.split(","))


@dataclass(frozen=True, kw_only=True)
class StudioJob:
    """Show the page with the sliders at http://127.0.0.1:7860, until Ctrl-C."""

    models: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL ...]", help_behavior_hint="")
    ] = ()
    """Models on offer: starter, bundle folders, checkpoints as runs/NAME@STEP, runs:/ID/bundle, models:/NAME/VERSION or
    models:/NAME@ALIAS. By default every registered version, or starter where none is."""
    dataset: tuple[str, ...] = ()
    """Data sets whose clips can be browsed."""
    host: str = "127.0.0.1"
    """Address to listen at. Any other than a loopback address is reached by others on the network."""
    port: int = 7860
    """Port to listen at; 0 takes any free one."""
    auth: str | None = None
    """Token that visitors must bring; `generate` draws one."""
    gpu: bool = False
    """Run the networks on the GPU."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie in 0..65535, not {self.port}")
        if self.auth is not None and not re.fullmatch(r"[A-Za-z0-9_-]{8,200}", self.auth):
            raise ValueError("--auth: take 8 or more letters, digits, - and _, or `generate`")


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """Run every step on two sample clips, in under ten minutes on two cores."""

    output: str = "results/demo"
    """Output folder. Results of an earlier demo in it are used again."""
    steps: int | None = None
    """Training steps. Default: 450, which begin with the starter model."""
