"""The training configuration, as frozen dataclasses. Light to import: no torch here.

The command line and the YAML files are made from these classes; a run stores the resolved `TrainConfig`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

from icface.errors import IcfaceError
from icface.mappings import merge
from icface.networks.config import ModelConfig

RENAMED = {
    "data.batch": "batch_size",
    "data.pairs_per_visit": "pairs_per_row_group",
    "optimiser.clip": "grad_clip_norm",
    "optimiser.discriminator_rate": "discriminator_lr",
    "optimiser.generator_rate": "generator_lr",
}
"""Old names of fields -> new names in the same section. Files, flags and stored runs of version 0.1 may use them."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How batches are drawn."""

    batch_size: int = 16
    """Pairs per step, over all ranks together."""
    pairs_per_row_group: int = 8
    """Pairs drawn from a row group each time it is read. They go to consecutive steps."""
    balanced_share: float = 0.5
    """Share of the driving frames drawn by the inverse frequency of their strongest AU. The rest is uniform."""
    smoothing_frames: int = 5
    """Average labels over this many frames, without delay. AU45 is exempt: a blink lasts 3 to 5 frames. Synthetic
    people are exempt: their labels are exact."""
    baselines: bool = False
    """Subtract each track's resting baseline from its labels: median pitch, 20th percentile of each action unit."""
    sides: bool = False
    """Left and right apart for eight action units, as AU12L and AU12R. Needs stored blendshapes, as MediaPipe has."""
    flip: bool = True
    """Mirror half of the pairs: both pictures, the signs of yaw and roll, and left and right."""
    rotate: float = 0.0
    """Largest random rotation of source and driving frame in the picture plane, degrees. Roll labels follow."""
    workers: int = 0
    """Reader processes per rank. 0: the training process reads and decodes itself."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "pairs_per_row_group"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name} must be at least 1, not {getattr(self, name)}")
        if not 0 <= self.balanced_share <= 1:
            raise ValueError(f"data.balanced_share must lie in 0..1, not {self.balanced_share}")
        if self.smoothing_frames < 1 or self.smoothing_frames % 2 == 0:
            raise ValueError(
                f"data.smoothing_frames must be odd, so that it delays nothing, not {self.smoothing_frames}"
            )
        if not 0 <= self.rotate <= 45:
            raise ValueError(f"data.rotate must lie in 0..45 degrees, not {self.rotate}")
        if self.workers < 0:
            raise ValueError(f"data.workers must not be negative: {self.workers}")


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the loss terms, named as in the paper where it has them. 0 leaves a term out."""

    recipe: Literal["icface", "paper"] = "icface"
    """`paper`: the phases and terms of the released training code. `icface`: ours."""
    gan: Literal["lsgan", "hinge"] = "lsgan"
    """The adversarial loss: least squares (the paper's) or hinge."""
    adversarial: float = 1.0
    """Weight of the adversarial loss, for the generator's and the neutraliser's output."""
    attribute: float = 10.0
    """λ_A: error of the attributes that the discriminator reads, against the requested ones."""
    attribute_error: Literal["squared", "l1"] = "squared"
    """`squared`: squared error of attributes divided by their standard deviation. `l1`: the paper's."""
    readable_from: float = 0.3
    """Minimum validation correlation (Pearson r) for an attribute to contribute to the generator loss."""
    identity: float = 10.0
    """λ_C: the discriminator's identity head on the generated picture."""
    reconstruction: float = 10.0
    """λ_D: L1 of the generator to the driving frame, and of the neutraliser to its (pseudo) target."""
    reanimation: float = 10.0
    """λ_B (recipe `paper`): in the neutraliser phase, L1 of the re-animated neutral face to the driving frame."""
    perceptual: float = 0.0
    """L1 between features of a network trained on ImageNet."""
    perceptual_network: Literal["efficientnet-lite0", "vgg19"] = "efficientnet-lite0"
    """`efficientnet-lite0` is downloaded at first use. `vgg19` (the paper's) needs `perceptual_weights`."""
    perceptual_weights: str | None = None
    """Path of torchvision's vgg19-dcbb9e9d.pth."""
    feature_matching: float = 0.0
    """L1 between the discriminator's features of the generated and the driving frame."""
    landmarks: float = 0.0
    """Distance between the source's landmarks and the driving frame's, taken back through both flows. In half widths of
    the picture, for architecture `warp` only."""
    painted: float = 0.0
    """Share of the picture that is painted, of both networks, where `landmarks` is above 0. Without it a thin coat lies
    over the whole picture and blurs it."""
    mouths: bool = False
    """With `painted`, for 3000 steps or more: between open lips the generator paints, and real mouths teach it what
    paint looks like, not the critic. Lips, lids and units that a frame shows or an edit asks for count more."""
    critic: float = 0.0
    """A frozen MediaPipe reads the outputs: smooth L1 to the attributes asked for. Animated and neutral pictures are
    read, and random edits, which have no target. Needs MediaPipe's labels; not with `data.baselines`."""
    critic_neutral: float = 1.0
    """With `critic`: factor on its term on the neutral picture. Real near-neutral frames, the other target of that
    picture, still show some of the expression."""
    critic_jitter: bool = True
    """With `critic`: it sees each picture a little moved, enlarged, brightened, blurred. That takes the value from
    patterns that only MediaPipe's networks see."""
    critic_shape: float = 10.0
    """With `critic`: L1 of the landmarks it finds to those of the driving and the neutral frame, half widths."""
    critic_hold: float = 5.0
    """With `critic`: L1 of the landmarks before and after an edit, but for those that it moves, half widths."""
    critic_share: float = 0.5
    """With `critic`: share of the pairs that are read and edited. Each costs three pictures through MediaPipe."""
    regions: float = 0.0
    """Extra weight of eyes and mouth in the reconstruction loss. 1 doubles it there."""
    r1: float = 0.05
    """Weight of the R1 penalty: the squared gradient norm on real pictures."""
    r1_interval: int = 1
    """Steps between R1 penalties. Lazy regularisation: the weight is multiplied by this."""
    neutral_frames: bool = True
    """Use a track's near-neutral frame as the neutraliser's target, where there is one."""
    pseudo_target_start: float = 0.1
    """Share of the steps before the neutraliser's pseudo target starts. It ramps up over as many steps again."""
    neutral_noise: float = 0.0
    """Noise on the generator's input, in 255ths. It keeps the expression from hiding in the neutral face."""

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, (int, float)) and value < 0:
                raise ValueError(f"loss.{item.name} must not be negative: {value}")
        if self.r1_interval < 1:
            raise ValueError(f"loss.r1_interval must be at least 1, not {self.r1_interval}")
        for name in ("readable_from", "pseudo_target_start", "critic_share"):
            if getattr(self, name) > 1:
                raise ValueError(f"loss.{name} must lie in 0..1, not {getattr(self, name)}")
        if self.mouths and not (self.painted and self.landmarks):
            raise ValueError("loss.mouths needs loss.painted and loss.landmarks above 0")
        if self.perceptual and self.perceptual_network == "vgg19" and not self.perceptual_weights:
            raise ValueError("loss.perceptual_network vgg19 needs loss.perceptual_weights, the path of its weights")


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Optimisers and the averaged weights."""

    name: Literal["adam", "rmsprop"] = "adam"
    """`rmsprop` (alpha 0.99) is the paper's for G_N, G_A and D; its I_E has Adam (beta1 0.5)."""
    generator_lr: float = 2e-4
    """Learning rate of the neutraliser, the generator and the encoder."""
    discriminator_lr: float = 2e-4
    """Learning rate of the discriminator."""
    decay_from: float = 0.5
    """Share of the steps before the learning rates fall linearly to 0."""
    ema_halflife: float = 0.02
    """Half-life of the EMA weights, as a share of the steps so far. At most 1000 steps."""
    grad_clip_norm: float = 0.0
    """Largest gradient norm of a phase. 0: no clipping."""
    warmup: float = 0.05
    """With --init-from: share of the steps in which only the new discriminator learns."""

    def __post_init__(self) -> None:
        for name in ("generator_lr", "discriminator_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"optimiser.{name} must be positive, not {getattr(self, name)}")
        for name in ("decay_from", "ema_halflife", "warmup"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"optimiser.{name} must lie in 0..1, not {getattr(self, name)}")
        if self.grad_clip_norm < 0:
            raise ValueError(f"optimiser.grad_clip_norm must not be negative: {self.grad_clip_norm}")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training."""

    steps: int = 200_000
    """Training steps. A step runs all phases once."""
    seed: int = 0
    """Random seed of initial weights, data order and augmentation."""
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimiser: OptimiserConfig = field(default_factory=OptimiserConfig)
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`bf16` runs the networks in autocast. Flows, masks, losses and R1 stay in float32. `auto`: bf16 on a GPU. A CPU
    without instructions for it emulates it, which takes several times as long."""
    compile: Literal["auto", "always", "never"] = "auto"
    """Compile the networks with torch.compile, except for R1, which needs a double backward. `auto`: on GPUs, from
    5000 steps on, where steps cannot be recorded (`graphs`)."""
    graphs: Literal["auto", "never"] = "auto"
    """Record a step as a CUDA graph, which starts all its kernels at once. `auto`: on one GPU, with recipe `icface`."""
    accumulate: int = 1
    """Gradient accumulation: parts into which each rank's share of a batch is split. Less memory, same gradients."""
    log_every: int = 50
    """Steps between two log entries."""
    validate_every: int = 500
    """Steps between two validations of discriminator and neutraliser on real frames."""
    images_every: int = 1000
    """Steps between two sample grids."""
    checkpoint_every: int = 1000
    """Steps between two checkpoints."""
    checkpoint_minutes: float = 5.0
    """Longest time between two checkpoints, minutes. A crash loses no more."""

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "log_every", "validate_every", "images_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative: {self.seed}")
        if self.checkpoint_minutes <= 0:
            raise ValueError(f"checkpoint_minutes must be positive, not {self.checkpoint_minutes}")
        if self.data.batch_size % self.accumulate:
            raise ValueError(
                f"data.batch_size {self.data.batch_size} cannot be parted into accumulate {self.accumulate} evenly"
            )

    @classmethod
    def preset(cls, name: str) -> "TrainConfig":
        """The preset of that name. Raises IcfaceError naming the presets when there is none."""
        try:
            return PRESETS[name]
        except KeyError:
            raise IcfaceError(f"unknown preset {name!r}; presets are {', '.join(PRESETS)}") from None

    def to_json(self) -> dict[str, Any]:
        """Plain nested dicts that `merge` reads."""
        return asdict(self)

    def merge(self, values: Mapping[str, Any]) -> "TrainConfig":
        """This config with some fields replaced, nested as in `to_json`.

        Raises IcfaceError naming the first unknown field or refused value.

        >>> TrainConfig().merge({"model": {"size": 64}}).model.size
        64
        """
        try:
            return merge(self, current_names(values)[0])
        except ValueError as error:
            raise IcfaceError(str(error)) from None


def current_names(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """`values`, nested as in `TrainConfig.to_json`, with today's names of fields; and a notice for each old name.

    >>> current_names({"data": {"batch": 8}})
    ({'data': {'batch_size': 8}}, ['data.batch is now data.batch_size; the old name goes in the next version'])
    """
    renamed, notices = dict(values), []
    for old, new in RENAMED.items():
        section, name = old.split(".")
        fields_of = renamed.get(section)
        if isinstance(fields_of, Mapping) and name in fields_of:
            renamed[section] = {new if key == name else key: value for key, value in fields_of.items()}
            notices.append(f"{old} is now {section}.{new}; the old name goes in the next version")
    if isinstance(renamed.get("compile"), bool):
        renamed["compile"] = "always" if renamed["compile"] else "never"
        notices.append(f"compile is now auto, always or never; here it is read as {renamed['compile']}")
    return renamed, notices


ICFACE_LOSS = LossConfig(
    adversarial=0.5,
    attribute=0.1,
    identity=0.1,
    landmarks=10.0,
    regions=2.0,
    painted=1.0,
    critic=1.0,
    critic_neutral=2.0,
    neutral_noise=2.0,
    r1=0.5,
    r1_interval=8,
)
"""The weights of preset `icface`; docs/results.md says what they were chosen by."""
FREE = ("graphs", "log_every", "images_every", "checkpoint_every", "checkpoint_minutes", "data.workers")
"""Fields that touch no weight: a run that goes on may change them."""
ICFACE_MODEL = ModelConfig(
    blocks=5, attribute_gain=3.0, neutraliser_input="change", painting="smooth", pixels_from="source", flow_basis=8
)
"""The generators of preset `icface`; `small` has fewer channels and blocks."""
SMALL = TrainConfig(
    steps=2000,
    model=replace(ICFACE_MODEL, size=64, width=32, blocks=2, discriminator_width=32),
    data=DataConfig(batch_size=8, rotate=10.0),
    loss=replace(ICFACE_LOSS, adversarial=0.25, regions=3.0, critic_share=0.375),
    optimiser=OptimiserConfig(generator_lr=1e-3, discriminator_lr=4e-4, decay_from=0.4),
    log_every=10,
    validate_every=50,
    images_every=250,
    checkpoint_every=500,
)
PRESETS: dict[str, TrainConfig] = {
    "icface": TrainConfig(
        model=ICFACE_MODEL,
        loss=ICFACE_LOSS,
    ),
    "small": SMALL,
    "expressive": replace(
        SMALL,
        steps=7500,
        loss=replace(
            SMALL.loss,
            mouths=True,
            adversarial=0.35,
            identity=0.3,
            reconstruction=20.0,
            critic_hold=15.0,
            pseudo_target_start=0.0,
        ),
        optimiser=OptimiserConfig(
            generator_lr=5e-4, discriminator_lr=4e-4, decay_from=0.45, ema_halflife=0.02, grad_clip_norm=200.0
        ),
        log_every=20,
        validate_every=200,
    ),
    "paper": TrainConfig(
        model=ModelConfig(
            architecture="resnet",
            width=128,
            encoder=True,
            dropout=0.5,
            discriminator_width=256,
            discriminator_depth=2,
            identity_head="softmax",
        ),
        data=DataConfig(balanced_share=0.0, smoothing_frames=1),
        loss=LossConfig(
            recipe="paper",
            attribute_error="l1",
            readable_from=0.0,
            perceptual=0.1,
            neutral_frames=False,
            pseudo_target_start=0.0,
        ),
        optimiser=OptimiserConfig(name="rmsprop"),
    ),
}
"""`icface` is the default; `small` trains on a CPU in about an hour; `expressive` paints mouths, in some hours of one;
`paper` is the paper's recipe."""
