"""What decides how clips become a data set. Light to import: neither arrays nor Ray.

`PreprocessConfig` holds one dataclass for each part of the job. Flags, YAML files and stored options know its fields on
one level, as in `--every 5`: see `from_flat` and `to_flat`.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from icface.analyzers.registry import AnalyzerOptions, created, flags, record, registration
from icface.errors import IcfaceError
from icface.mappings import flattened, read, read_flat
from icface.options import Decides, decided

if TYPE_CHECKING:
    from icface.analyzers.face import Analyzer
    from icface.crop import CropRule

LATER = {"crop_smoothing": 1.0, "max_clipped": 1.0, "max_jitter": None, "max_text": 1.0}
"""Options that data sets of version 0.1 know nothing of, at the values that change nothing."""


@dataclass(frozen=True, kw_only=True)
class SelectionConfig:
    """Which frames of which clips, and who is on which side of the split."""

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

    def __post_init__(self) -> None:
        _at_least_1(self, "every", "limit")
        _shares(self, "val_fraction")


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
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

    def __post_init__(self) -> None:
        _not_negative(self, "gpus", "analyzer_workers")
        try:
            known = registration(self.analyzer)
        except IcfaceError as error:
            raise ValueError(str(error)) from None
        read(known.options, self.analyzer_options, self.analyzer)
        if self.gpus and not known.uses_gpu:
            raise ValueError(f"gpus are for an analyzer that uses one; {self.analyzer} runs on the CPU")
        if self.analyzer_workers and known.reads_files:
            raise ValueError(f"analyzer_workers are for an analyzer that measures; {self.analyzer} reads files")


@dataclass(frozen=True, kw_only=True)
class PictureConfig:
    """What is stored of a track."""

    size: Decides[int] = 128
    """Width and height of the stored pictures, pixels."""
    crop: Decides[Literal["smooth", "centred", "track", "frame"]] = "smooth"
    """`smooth`: the crop follows the face and stays within the frame. `centred`: it may leave the frame, whose edges
    are repeated: for faces that fill the frame. `track`: one crop per track. `frame`: the whole frame."""
    crop_smoothing: Decides[float] = 1.0
    """Seconds over which `smooth` and `centred` average. With less, 0.3 for instance, the face strays less in the
    picture, and the attributes explain more of what changes."""
    tracks: Decides[Literal["longest", "all"]] = "longest"
    """Tracks kept of a clip: the longest one, or all that have `min_frames`."""
    min_frames: Decides[int] = 8
    """Minimum frames of a track, after `--every` and all filters."""

    def __post_init__(self) -> None:
        _at_least_1(self, "size", "min_frames")
        if self.size % 2:
            raise ValueError(f"size must be even, not {self.size}")
        if not 0 <= self.crop_smoothing <= 60:
            raise ValueError(f"crop_smoothing must lie in 0..60 seconds, not {self.crop_smoothing}")

    def rule(self) -> "CropRule":
        """Which square of a frame is stored."""
        from icface.crop import CropRule

        return CropRule(mode=self.crop, smoothing_seconds=self.crop_smoothing)


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Which frames are dropped."""

    min_face: Decides[int] = 48
    """Minimum face height, in source pixels."""
    min_confidence: Decides[float] = 0.5
    """Minimum confidence of a face, 0..1. Not for `mediapipe`, which tells none."""
    min_sharpness: Decides[float] = 0.0
    """Minimum sharpness of a face: variance of the Laplacian of grey values (0..255) in the stored picture."""
    max_pose: Decides[float] = 0.7
    """Maximum pitch, yaw and roll of a face, radians."""
    max_clipped: Decides[float] = 1.0
    """Maximum share of a face's pixels that are black or white, where no detail is left. At 1 no frame is dropped."""
    max_text: Decides[float] = 1.0
    """Maximum share of a face's pixels on thin bright strokes, as the letters of a caption before it have. At 1 no
    frame is dropped; 0.013 finds most captions."""
    max_jitter: Decides[float | None] = None
    """Maximum jitter of a track's landmarks, % of the distance between the eyes. A track above it is dropped. By
    default none is."""
    keep_truncated: Decides[bool] = False
    """Keep the frames that decode of a truncated clip. Its row says so. By default such a clip fails."""
    max_several_faces: Decides[float] = 0.2
    """Maximum share of frames with a second face, at least half as high as the main one. Such frames are dropped, and
    a clip above the share is rejected."""

    def __post_init__(self) -> None:
        _shares(self, "min_confidence", "max_several_faces", "max_clipped", "max_text")
        _not_negative(self, "min_face", "min_sharpness", "max_pose", "max_jitter")


@dataclass(frozen=True, kw_only=True)
class RunningConfig:
    """How the job runs. Except for `shard_clips`, the result does not depend on it."""

    workers: int | None = None
    """Worker processes. Default: one per core."""
    address: str = "local"
    """Ray cluster: `local` starts one, `auto` joins the one on this machine, else HOST or HOST:PORT."""
    shard: str | None = None
    """Do only part I of N, as in `3/16`, apart from the others. `icface dataset finish DATASET` puts them together."""
    max_failed: float = 1.0
    """Maximum share of failed clips. Above it the job fails, after everything else is written."""
    max_rejected: float = 1.0
    """Maximum share of rejected clips. Above it the job fails with the reasons, after everything else is written."""
    dry_run: bool = False
    """Probe a few clips and estimate time and disk space. Writes nothing."""
    check_identities: bool = False
    """Flag clips that show another person than their identity's other clips, and identities that share pictures or a
    face. Needs dlib."""
    shard_clips: Decides[int | None] = None
    """Average clips per shard. Default: 1 to 64, for at least 64 shards where possible."""
    cpu_seconds: float = 1800.0
    """CPU time limit of a clip, seconds. Ten times that by the clock fails the clip for this run only."""
    buffer_megabytes: int = 384
    """Memory for the source frames of a clip, per process. A longer clip is decoded twice."""

    def __post_init__(self) -> None:
        _at_least_1(self, "workers", "shard_clips", "buffer_megabytes")
        _shares(self, "max_failed", "max_rejected")
        if self.cpu_seconds <= 0:
            raise ValueError(f"cpu_seconds must be positive, not {self.cpu_seconds}")
        if self.part and self.check_identities:
            raise ValueError(
                "check_identities looks at all clips: leave it out here, and run it without shard at the end"
            )

    @property
    def part(self) -> tuple[int, int] | None:
        """I and N of `shard`; None for the whole. Raises ValueError for another text.

        >>> RunningConfig(shard="3/16").part
        (3, 16)
        """
        if self.shard is None:
            return None
        found = re.fullmatch(r"(\d+)/(\d+)", self.shard)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"shard is I/N with I in 1..N, as in 3/16, not {self.shard}")
        return int(found[1]), int(found[2])


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Clips in, Parquet out."""

    source: str
    """Folder of clips (`identity/video/clip.mp4` or clips alone), a csv file, or one clip. A path or fsspec URL."""
    dataset: str
    """Folder of the data set. A path or fsspec URL."""
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    """Which frames of which clips."""
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    """Who measures the faces."""
    pictures: PictureConfig = field(default_factory=PictureConfig)
    """What is stored of a track."""
    filters: FilterConfig = field(default_factory=FilterConfig)
    """Which frames are dropped."""
    running: RunningConfig = field(default_factory=RunningConfig)
    """How the job runs."""

    def __post_init__(self) -> None:
        analyzer = self.analysis.analyzer
        asked = self.filters.min_confidence != FilterConfig.min_confidence
        if asked and not registration(analyzer).tells_confidence:
            raise ValueError(
                f"min_confidence does nothing with the analyzer {analyzer}, which tells no confidence: leave it "
                "out, or use the analyzer mediapipe-torch"
            )

    @classmethod
    def from_flat(cls, values: Mapping[str, Any], place: str = "") -> "PreprocessConfig":
        """The configuration of fields on one level, as the command line and YAML have them: `pyfeat_detector: v2`.

        `place` is the name of the mapping in messages. Raises ValueError for an option of an analyzer that is not
        asked for, and as `icface.mappings.read` does.

        >>> PreprocessConfig.from_flat({"source": "c", "dataset": "d", "analyzer": "pyfeat", "pyfeat_detector": "mp"})\\
        ...     .resolved_options()
        PyFeatOptions(detector='mp', weights=None)
        """
        analyzer = values.get("analyzer", AnalysisConfig.analyzer)
        own = dict(values)
        found = {}
        for flag, name, option in flags():
            if flag in own:
                if name != analyzer:
                    raise ValueError(f"{flag} is for --analyzer {name}")
                found[option] = own.pop(flag)
        if found:
            own["analyzer_options"] = {**own.get("analyzer_options", {}), **found}
        return read_flat(cls, own, place)

    def to_flat(self) -> dict[str, Any]:
        """The fields on one level, which `from_flat` reads."""
        return flattened(self)

    def resolved_options(self) -> AnalyzerOptions:
        """The analyzer's options with what was left open filled in.

        >>> PreprocessConfig(source="clips", dataset="data", analysis=AnalysisConfig(analyzer="pyfeat", gpus=0.5))\\
        ...     .resolved_options()
        PyFeatOptions(detector='v2', weights=None)
        """
        options = registration(self.analysis.analyzer).options(**self.analysis.analyzer_options)
        return options.resolved(self.source, gpu=self.analysis.gpus > 0)

    def create_analyzer(self) -> "Analyzer":
        """The analyzer that is asked for. Raises IcfaceError when it cannot be made here."""
        return created(self.analysis.analyzer, self.resolved_options(), gpu=self.analysis.gpus > 0)

    def on_the_cpu(self) -> "PreprocessConfig":
        """The same labels without a GPU."""
        options = asdict(self.resolved_options())
        return replace(self, analysis=replace(self.analysis, gpus=0.0, analyzer_options=options))

    def analyzer_record(self, fingerprint: str) -> dict[str, Any]:
        """What the data set says of who measured (`icface.analyzers.record`)."""
        return record(self.analysis.analyzer, self.resolved_options(), fingerprint)

    def naming(self) -> dict[str, Any]:
        """The options that decide the data set's contents: a second run into it must have the same ones.

        Options that came later are left out at their defaults: data sets of before have none of them.
        """
        own = decided(self.resolved_options())
        named = {name: value for name, value in decided(self).items() if (name, value) not in LATER.items()}
        return named | {
            flag: own[option] for flag, name, option in flags() if name == self.analysis.analyzer and option in own
        }


def _at_least_1(config: Any, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")


def _not_negative(config: Any, *names: str) -> None:
    for name in names:
        if (getattr(config, name) or 0) < 0:
            raise ValueError(f"{name} must not be negative: {getattr(config, name)}")


def _shares(config: Any, *names: str) -> None:
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} must lie in 0..1, not {getattr(config, name)}")
