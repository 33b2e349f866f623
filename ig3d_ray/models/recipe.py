"""How a member is trained, as plain data: the loss, and the recipe of its optimizer, sampling and images."""

from typing import Literal

from pydantic import Field, model_validator

from ig3d_ray.types import Frozen


class LossSpec(Frozen):
    """The paper's losses: cross entropy with valence-arousal terms (equations 1 and 2), or these alone (3).

    1: CE + (alpha * MSE + beta * (1 - CCC) + gamma * (1 - PCC)) / (alpha + beta + gamma); `random`, `fixed`
    2: CE + w1 * mean of both dimensions' MSE; `mse`
    3: w2 * (MSE_v + MSE_a) + (1 - CCC_v) + (1 - CCC_a); `ccc`; such a network has no class outputs

    In equation 1 MSE is the sum of both dimensions', CCC and PCC are their means.
    """

    class_weights: Literal["none", "inverse_frequency", "cage"] = "none"
    """Of the cross entropy: none, 1 / count normalized to mean 1, or the numbers that CAGE publishes for AffectNet."""
    va_terms: Literal["none", "random", "fixed", "mse", "ccc"] = "none"
    """`random` draws alpha, beta, gamma from [0, 1] for every batch (the paper); `fixed` takes those below."""
    alpha: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of the squared error in loss 1."""
    beta: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of 1 - CCC in loss 1."""
    gamma: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Weight of 1 - PCC in loss 1."""
    w1: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """Weight of the squared error in loss 2."""
    w2: float = Field(default=3.0, ge=0, allow_inf_nan=False)
    """Weight of the squared errors in loss 3."""

    @model_validator(mode="after")
    def _some_weight(self) -> "LossSpec":
        if self.va_terms == "fixed" and self.alpha + self.beta + self.gamma == 0:
            raise ValueError("alpha, beta and gamma are all 0; let one of them be positive")
        if self.va_terms == "ccc" and self.class_weights != "none":
            raise ValueError("va_terms 'ccc' has no cross entropy that class_weights could weight; remove them")
        return self

    @property
    def has_classes(self) -> bool:
        """Whether classes are trained."""
        return self.va_terms != "ccc"

    @property
    def has_va(self) -> bool:
        """Whether valence and arousal are trained."""
        return self.va_terms != "none"

    @property
    def label(self) -> str:
        """A short word for names: `ce`, `eq1random`, `eq1fixed`, `eq2`, `eq3`, with what differs from the paper."""
        words = {"none": "ce", "random": "eq1random", "fixed": "eq1fixed", "mse": "eq2", "ccc": "eq3"}[self.va_terms]
        if self.va_terms == "fixed" and (self.alpha, self.beta, self.gamma) != (1.0, 1.0, 1.0):
            words += f"_{self.alpha:g}_{self.beta:g}_{self.gamma:g}"
        if self.va_terms == "mse" and self.w1 != 5.0:
            words += f"_{self.w1:g}"
        if self.va_terms == "ccc" and self.w2 != 3.0:
            words += f"_{self.w2:g}"
        return words + {"none": "", "inverse_frequency": "-balanced", "cage": "-cageweights"}[self.class_weights]


Augmentation = Literal["none", "mirror", "ddamfn", "ddamfn++", "rafdb", "rafdb++", "cage", "cage_discrete"]


class TrainingRecipe(Frozen):
    """The recipe of Ig3D's Table 1 by default: AdamW under a triangular cyclic learning rate."""

    batch_size: int = Field(default=64, ge=2)
    """Samples per step over all workers together, so that the learning rate holds for any number of workers."""
    epochs: int = Field(default=100, ge=1)
    """How many, at most."""
    patience: int | None = Field(default=3, ge=1)
    """Stop after this many epochs without a better score on dev, or never (null); the best epoch is kept anyway."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """Of torch."""
    weight_decay: float = Field(default=1e-5, ge=0, allow_inf_nan=False)
    """Of the optimizer."""
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Of sgd."""
    sam_rho: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Sharpness-aware minimization with this radius around the optimizer: two passes per step."""
    schedule: Literal["cyclic", "constant", "exponential", "step", "cosine", "plateau"] = "cyclic"
    """`cyclic` and `cosine` move between base_lr and max_lr with every step; the others begin at max_lr, and
    multiply it by lr_factor: after every epoch, after every lr_epochs, or when the dev loss did not fall."""
    base_lr: float = Field(default=1e-6, ge=0, allow_inf_nan=False)
    """Lowest learning rate."""
    max_lr: float = Field(default=1e-4, gt=0, allow_inf_nan=False)
    """Highest learning rate."""
    half_cycle: int | None = Field(default=None, ge=1)
    """Steps from one learning rate to the other; by default half an epoch (cyclic) or all epochs (cosine)."""
    lr_factor: float = Field(default=0.1, gt=0, lt=1)
    """By which the learning rate is multiplied at each step of its schedule."""
    lr_epochs: int = Field(default=10, ge=1)
    """Epochs between the steps of the schedule."""
    sampling: Literal["shuffle", "inverse_frequency", "inverse_frequency_once", "min_class"] = "shuffle"
    """Samples of an epoch: all; the same number drawn with weight 1 / class count, in each epoch or only once;
    or as many of each class as the smallest has, drawn once."""
    mask: float = Field(default=0.0, ge=0, le=1)
    """In training, the probability with which a parameter group of a sample loses a random number of its values."""
    augment: Augmentation = "mirror"
    """What is done to training images."""
    clip_norm: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Largest norm of the gradient."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` trains image networks in bf16 autocast on GPUs from the A100 on, and on processors with bf16 products
    unless the network has depthwise convolutions; 3D classifiers in fp32, on GPUs with TF32 products. `fp32` trains
    everything in full precision. Scoring is always in full fp32 precision."""

    @model_validator(mode="after")
    def _climbs(self) -> "TrainingRecipe":
        if self.base_lr > self.max_lr:
            raise ValueError(f"base_lr {self.base_lr:g} is above max_lr {self.max_lr:g}")
        if self.schedule == "cyclic" and self.base_lr == 0:
            raise ValueError("base_lr 0: a cyclic learning rate begins there; give a positive one")
        return self


class Stage(Frozen):
    """One training after another: a loss and its recipe."""

    loss: LossSpec
    """Of this training."""
    recipe: TrainingRecipe
    """Of this training."""
