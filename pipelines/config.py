"""What decides how clips become a data set. Light to import: neither arrays nor Ray."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from icface.analyzers.registry import AnalyzerOptions, flags, record, registration
from icface.errors import IcfaceError
from icface.mappings import read
from icface.options import Decides, deciding


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which clips become which data set."""

    source: str
    """Folder of clips (`identity/video/clip.mp4` or clips alone), a csv file, or one clip. A path or fsspec URL."""
    dataset: str
    """Folder of the data set. A path or fsspec URL."""
    every: Decides[int] = 1
    """Keep each Nth frame of a clip."""
    layout: Decides[str | None] = None
    """Folders above a clip in another tree than `identity/video/clip`, as in `{identity}/video/{view}/...`."""
    limit: int | None = None
    """Use only the first N clips by name. Clips that are already in the data set stay."""
    val_fraction: Decides[float] = 0.05
    """Share of the identities in split `val`. If above 0, at least one of two or more identities. At 1 all are in
    `val`: such a data set is for evaluation, and training refuses it."""
    seed: Decides[int] = 0
    """Random seed for the choice of `val` identities."""
    licence: Decides[str] = "unknown"
    """Licence of the clips. Data set and models record it."""


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """Who measures the faces."""

    analyzer: Decides[str] = "mediapipe"
    """Program that measures landmarks, pose and action units."""
    analyzer_options: Mapping[str, Any] = field(default_factory=dict)
    """The analyzer's own options by name; in flat configurations and on the command line `ANALYZER_OPTION`."""
    gpus: float = 0.0
    """GPUs per process that measures faces, for an analyzer that uses them. A fraction lets processes share one."""
    analyzer_workers: int | None = None
    """Processes that measure faces for all workers, which then only decode. At 0 each worker measures its own.
    Default: as many as `gpus` allows, else 0."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What is stored of a track."""

    size: Decides[int] = 128
    """Width and height of the stored pictures, pixels."""
    crop: Decides[Literal["smooth", "track", "frame"]] = "smooth"
    """`smooth`: the crop follows the face, smoothed over a second. `track`: one crop per track. `frame`: the whole
    frame."""
    tracks: Decides[Literal["longest", "all"]] = "longest"
    """Tracks kept of a clip: the longest one, or all that have `min_frames`."""
    min_frames: Decides[int] = 8
    """Minimum frames of a track, after `--every` and all filters."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which frames are dropped."""

    min_face: Decides[int] = 48
    """Minimum face height, in source pixels."""
    min_confidence: Decides[float] = 0.5
    """Minimum confidence of a face, 0..1. Not for `mediapipe`, which tells none."""
    min_sharpness: Decides[float] = 0.0
    """Minimum sharpness of a face: variance of the Laplacian of grey values (0..255) in the stored picture."""
    max_pose: Decides[float] = 0.7
    """Maximum pitch, yaw and roll of a face, radians."""
    keep_truncated: Decides[bool] = False
    """Keep the frames that decode of a truncated clip. Its row says so. By default such a clip fails."""
    max_several_faces: Decides[float] = 0.2
    """Maximum share of frames with a second face, at least half as high as the main one. Such frames are dropped, and
    a clip above the share is rejected."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """How the job runs. Except for `shard_clips`, the result does not depend on it."""

    workers: int | None = None
    """Worker processes. Default: one per core."""
    address: str = "local"
    """Ray cluster: `local` starts one, `auto` joins the one on this machine, else HOST or HOST:PORT."""
    shard: str | None = None
    """Do only part I of N, as in `3/16`, apart from the others. `icface dataset finish DATASET` puts them together."""
    max_failed: float = 1.0
    """Maximum share of failed clips. Above it the job fails, after everything else is written."""
    dry_run: bool = False
    """Probe a few clips and estimate time and disk space. Writes nothing."""
    check_identities: bool = False
    """Flag clips that show another person than their identity's other clips. Needs dlib."""
    shard_clips: Decides[int | None] = None
    """Average clips per shard. Default: 1 to 64, for at least 64 shards where possible."""
    cpu_seconds: float = 1800.0
    """CPU time limit of a clip, seconds. Ten times that by the clock fails the clip for this run only."""
    buffer_megabytes: int = 384
    """Memory for the source frames of a clip, per process. A longer clip is decoded twice."""


# Of several bases a dataclass takes the fields of the last one first.
@dataclass(frozen=True, kw_only=True)
class PreprocessConfig(Running, Filters, Pictures, Measuring, Source):
    """Clips in, Parquet out."""

    def __post_init__(self) -> None:
        for name in ("size", "every", "min_frames", "buffer_megabytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("limit", "workers", "shard_clips"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("val_fraction", "max_failed", "min_confidence", "max_several_faces"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)}")
        for name in ("min_face", "min_sharpness", "max_pose", "gpus"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        if (self.analyzer_workers or 0) < 0:
            raise ValueError(f"analyzer_workers must not be negative: {self.analyzer_workers}")
        if self.size % 2:
            raise ValueError(f"size must be even, not {self.size}")
        if self.part and self.check_identities:
            raise ValueError(
                "check_identities looks at all clips: leave it out here, and run it without shard at the end"
            )
        if self.cpu_seconds <= 0:
            raise ValueError(f"cpu_seconds must be positive, not {self.cpu_seconds}")
        self._check_analyzer()

    @property
    def part(self) -> tuple[int, int] | None:
        """I and N of `shard`; None for the whole. Raises ValueError for another text.

        >>> PreprocessConfig(source="c", dataset="d", shard="3/16").part
        (3, 16)
        """
        if self.shard is None:
            return None
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"shard is I/N with I in 1..N, as in 3/16, not {self.shard}")
        return int(found[1]), int(found[2])

    def _check_analyzer(self) -> None:
        try:
            known = registration(self.analyzer)
        except IcfaceError as error:
            raise ValueError(str(error)) from None
        read(known.options, self.analyzer_options, self.analyzer)
        if self.gpus and not known.uses_gpu:
            raise ValueError(f"gpus are for an analyzer that uses one; {self.analyzer} runs on the CPU")
        if self.min_confidence != type(self).min_confidence and not known.tells_confidence:
            raise ValueError(
                f"min_confidence does nothing with the analyzer {self.analyzer}, which tells no confidence: leave it "
                "out, or use the analyzer mediapipe-torch"
            )
        if self.analyzer_workers and known.reads_files:
            raise ValueError(f"analyzer_workers are for an analyzer that measures; {self.analyzer} reads files")

    @classmethod
    def from_flat(cls, values: Mapping[str, Any], place: str = "") -> "PreprocessConfig":
        """The configuration of flat fields, as the command line and YAML have them: `pyfeat_detector: v2`.

        Raises ValueError for an option of an analyzer that is not asked for, and as `icface.mappings.read` does.

        >>> PreprocessConfig.from_flat({"source": "c", "dataset": "d", "analyzer": "pyfeat", "pyfeat_detector": "mp"})\\
        ...     .resolved_options()
        PyFeatOptions(detector='mp', weights=None)
        """
        analyzer = values.get("analyzer", cls.analyzer)
        own = {name: value for name, value in values.items() if name != "analyzer_options"}
        options = dict(values.get("analyzer_options", {}))
        for flag, name, option in flags():
            if flag in own:
                if name != analyzer:
                    raise ValueError(f"{flag} is for --analyzer {name}")
                options[option] = own.pop(flag)
        return read(cls, {**own, "analyzer_options": options}, place)

    def resolved_options(self) -> AnalyzerOptions:
        """The analyzer's options with what was left open filled in.

        >>> PreprocessConfig(source="clips", dataset="data", analyzer="pyfeat", gpus=0.5).resolved_options()
        PyFeatOptions(detector='v2', weights=None)
        """
        options = registration(self.analyzer).options(**self.analyzer_options)
        return options.resolved(self.source, gpu=self.gpus > 0)

    def on_the_cpu(self) -> "PreprocessConfig":
        """The same labels without a GPU."""
        return replace(self, gpus=0.0, analyzer_options=asdict(self.resolved_options()))

    def analyzer_record(self, fingerprint: str) -> dict[str, Any]:
        """What the data set says of who measured (`icface.analyzers.record`)."""
        return record(self.analyzer, self.resolved_options(), fingerprint)

    def naming(self) -> dict[str, Any]:
        """The options that decide the data set's contents: a second run into it must have the same ones."""
        options = {name: getattr(self, name) for name in deciding(type(self))}
        own = self.resolved_options()
        decided = deciding(type(own))
        return options | {
            flag: getattr(own, option) for flag, name, option in flags() if name == self.analyzer and option in decided
        }
