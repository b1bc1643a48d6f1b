"""What decides how clips become a data set. Light to import: neither arrays nor Ray."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

NOT_NAMING = frozenset(
    {
        *("source", "dataset", "limit", "workers", "address", "max_failed", "dry_run", "cpu_seconds"),
        *("buffer_megabytes", "gpus", "pyfeat_weights", "check_identities"),
    }
)
"""Fields that may differ between two runs into the same data set; all others decide its contents."""


@dataclass(frozen=True, kw_only=True)
class PreprocessConfig:
    """Clips in, Parquet out."""

    source: str
    """Folder of clips (`identity/video/clip.mp4`), a folder of clips alone, or one clip; a path or an fsspec URL."""
    dataset: str
    """Folder that becomes the data set; a path or an fsspec URL."""
    analyzer: Literal["mediapipe", "openface", "pyfeat"] = "mediapipe"
    """Who measures landmarks, pose and action units: MediaPipe, OpenFace 2's csv files, or py-feat's networks."""
    openface_root: str | None = None
    """Where OpenFace's csv files lie (`identity/video/clip.csv`), by default beside the clips; a path or a URL."""
    openface_confidence: float = 0.8
    """Rows of OpenFace's files of less confidence have no face, 0..1."""
    pyfeat_detector: Literal["auto", "v1", "v2", "mp"] = "auto"
    """py-feat's Detectorv1, Detectorv2 or MPDetector; `auto` is v2 where `gpus` gives a process one, else v1."""
    pyfeat_weights: str | None = None
    """Folder of py-feat's weights, laid out as the hub's cache; by default the hub is asked."""
    gpus: float = 0.0
    """GPUs that Ray gives each process, for py-feat; a fraction lets several share one."""
    size: int = 128
    """Side of the stored pictures, pixels."""
    every: int = 1
    """Keep each Nth frame of a clip."""
    limit: int | None = None
    """At most so many clips, the first in order of their names; a data set that has more already keeps them."""
    workers: int | None = None
    """Processes; by default one for each core."""
    val_fraction: float = 0.05
    """Share of the identities that becomes `val`; above 0 and with two identities it is at least one."""
    seed: int = 0
    """Decides which identities become `val`."""
    address: str = "local"
    """Ray cluster: `local` starts one here, `auto` joins the one that runs here, else HOST or HOST:PORT."""
    max_failed: float = 1.0
    """A larger share of failed clips than this makes the job fail, after all else is written."""
    dry_run: bool = False
    """List the clips and look at a few, write nothing, and say what the whole will take."""
    crop: Literal["smooth", "track", "frame"] = "smooth"
    """`smooth`: the square follows the face, smoothed over a second; `track`: one square a track; `frame`: all."""
    tracks: Literal["longest", "all"] = "longest"
    """Which tracks of a clip are kept: the longest one, or every one that has `min_frames`."""
    min_frames: int = 8
    """A track with fewer frames left after all filters is dropped."""
    min_face: int = 48
    """Faces whose landmarks' box is lower than this are dropped, source pixels."""
    min_confidence: float = 0.5
    """Faces of less confidence are dropped, 0..1."""
    min_sharpness: float = 0.0
    """Faces whose Laplacian has a smaller variance (of grey values 0..255 in the stored picture) are dropped."""
    max_pose: float = 0.7
    """Faces with a larger pitch, yaw or roll are dropped, radians."""
    max_several_faces: float = 0.2
    """Frames with another face at least half as high as the main one are dropped; a clip in which more than this
    share of the frames with a face has one is rejected."""
    check_identities: bool = False
    """Compare one face a clip with the identity's other clips and flag those that are somebody else's (needs dlib)."""
    licence: str = "unknown"
    """Licence of the clips; data set and models record it."""
    shard_clips: int | None = None
    """Clips in a shard on average; by default 1 to 64, so that a run has 64 shards or more where it can."""
    cpu_seconds: float = 1800.0
    """CPU time after which a clip counts as failed; ten times that in wall-clock time fails it for this run only."""
    buffer_megabytes: int = 384
    """Source frames that a process keeps in memory; a longer clip is decoded twice."""

    def __post_init__(self) -> None:
        for name in ("size", "every", "min_frames", "buffer_megabytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("limit", "workers", "shard_clips"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        for name in ("val_fraction", "max_failed", "min_confidence", "max_several_faces", "openface_confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, not {getattr(self, name)}")
        for name in ("min_face", "min_sharpness", "max_pose", "gpus"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative: {getattr(self, name)}")
        if self.openface_root is not None and self.analyzer != "openface":
            raise ValueError("openface_root is for --analyzer openface")
        if self.gpus and self.analyzer != "pyfeat":
            raise ValueError("gpus are for --analyzer pyfeat: the other analyzers run on the CPU")
        if self.val_fraction == 1:
            raise ValueError("val_fraction must be below 1: somebody has to be trained on")
        if self.size % 2:
            raise ValueError(f"size must be even, not {self.size}")
        if self.cpu_seconds <= 0:
            raise ValueError(f"cpu_seconds must be positive, not {self.cpu_seconds}")

    def analyzer_options(self) -> dict[str, Any]:
        """What `icface.analyzers.create` is told besides the analyzer's name.

        >>> PreprocessConfig(source="clips", dataset="data", analyzer="pyfeat", gpus=0.5).analyzer_options()
        {'detector': 'v2', 'device': 'cuda', 'weights': None}
        """
        if self.analyzer == "openface":
            return {"root": self.openface_root or self.source, "least_confidence": self.openface_confidence}
        if self.analyzer == "pyfeat":
            detector = self.pyfeat_detector
            if detector == "auto":
                detector = "v2" if self.gpus else "v1"
            return {
                "detector": detector,
                "device": "cuda" if self.gpus else "cpu",
                "weights": self.pyfeat_weights,
            }
        return {}

    def naming(self) -> dict[str, Any]:
        """The options that decide the data set's contents: a second run into it must have the same ones."""
        options = {name: value for name, value in asdict(self).items() if name not in NOT_NAMING}
        for name in list(options):
            if name.split("_")[0] in ("openface", "pyfeat") and not name.startswith(self.analyzer):
                del options[name]
        if self.analyzer == "pyfeat":
            options["pyfeat_detector"] = self.analyzer_options()["detector"]
        return options
