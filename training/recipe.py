"""The recipe: everything about a training that is not the dataset and not the model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from .schedule import LearningRateSchedule
from .text_settings import FIRST_WORD, EmbeddingSettings, TextEncoderSettings, settings_from_json

TargetModules = Literal["attention", "attention+ff", "all-linear", "all-linear+conv"]
SaveDtype = Literal["fp16", "bf16", "fp32"]
Precision = Literal["auto", "bf16", "fp16", "fp32"]
CacheIn = Literal["ram", "disk"]
# How far one queueing may take a training; not part of a recipe.
Mode = Literal["train", "reuse only", "steps per queue"]


@dataclass(frozen=True)
class SampleSettings:
    """Pictures made while training, one per prompt and seed, all with the same settings.

    every: steps between previews; 0 makes none. prompts: prompt syntax as in CLIPTextEncode. seeds: each prompt is
    drawn once with each. width, height: pixels. steps: sampler steps. cfg: guidance scale.
    """

    every: int = 0
    prompts: tuple[str, ...] = ()
    negative: str = ""
    seeds: tuple[int, ...] = (0,)
    width: int = 512
    height: int = 512
    steps: int = 20
    cfg: float = 7.0
    sampler: str = "euler"
    scheduler: str = "normal"


@dataclass(frozen=True)
class Recipe:
    """Training settings of the spine; a settings node takes one and gives a changed one (`changed`).

    A step is one optimizer update, whatever `grad_accumulation_steps`.

    steps: optimizer updates; ignored when `epochs` > 0.
    epochs: passes over the dataset (repeats counted); 0 means use `steps`.
    batch_size: items per forward. grad_accumulation_steps: forwards per update.
    learning_rate: peak rate. lr_schedule, warmup_steps: linear warm-up, then the schedule over the rest.
    weight_decay: AdamW's decoupled decay. max_grad_norm: global norm clip; 0 turns clipping off.
    rank, alpha: LoRA scale is alpha / rank. lora_dropout: probability on the adapter's input.
    target_modules: which layers get an adapter.
    caption_dropout: probability, drawn anew each step, of training an item on the empty caption.
    partial_caption_dropout: probability of dropping each comma-separated part of a caption (the trigger stays).
    variants: pre-encoded variants per item where a random crop, flip or partial dropout makes them differ.
    prompt_syntax: read brackets and ``embedding:`` in captions as ComfyUI prompt syntax.
    checkpoint_every: steps between checkpoints; 0 keeps only the last.
    save_dtype: of the checkpoint files (the training itself keeps fp32 adapters).
    precision: autocast dtype of the frozen model; "auto" takes what ComfyUI chose for the device.
    gradient_checkpointing: recompute each block in the backward pass (less memory, more time).
    cache_in: where encoded latents and captions wait.
    deterministic: let CUDA use only deterministic kernels while training (slower; the CPU always is).
    seed: of adapter initialisation, data order, noise, sigmas and dropout.
    lr_cycles: how often a schedule with restarts begins anew.
    lr_spike_every, lr_spike_factor: every so many steps (0: never) the rate is that many times as high.
    noise_offset: standard deviation of a shift of each channel's noise. multires_noise_iterations: coarser layers of
    noise; multires_noise_discount: their weight, to the power of their number.
    frozen_noises: each picture is only ever trained with this many noise tensors; 0 draws a new one each time.
    min_snr_gamma: weights the loss as min(SNR, gamma) of the clean picture's error (Hang et al. 2023); 0 is unweighted.
    min_timestep, max_timestep: the part of the noise levels that is trained, 0 (clean) to 1 (noise).
    train_network: give the diffusion model a LoRA; without it only the text side below is trained.
    network_start_frac: part of the steps that the text side trains alone, before the LoRA joins.
    text_encoder: LoRA on the text encoders, None for none. embeddings: the new words.
    """

    steps: int = 1000
    epochs: int = 0
    batch_size: int = 1
    grad_accumulation_steps: int = 1
    learning_rate: float = 1e-4
    lr_schedule: LearningRateSchedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    rank: int = 16
    alpha: float = 16.0
    lora_dropout: float = 0.0
    target_modules: TargetModules = "attention"
    caption_dropout: float = 0.05
    partial_caption_dropout: float = 0.0
    variants: int = 4
    prompt_syntax: bool = False
    checkpoint_every: int = 100
    save_dtype: SaveDtype = "fp16"
    precision: Precision = "auto"
    gradient_checkpointing: bool = True
    cache_in: CacheIn = "ram"
    deterministic: bool = False
    seed: int = 0
    lr_cycles: int = 1
    lr_spike_every: int = 0
    lr_spike_factor: float = 10.0
    noise_offset: float = 0.0
    multires_noise_iterations: int = 0
    multires_noise_discount: float = 0.3
    frozen_noises: int = 0
    min_snr_gamma: float = 0.0
    min_timestep: float = 0.0
    max_timestep: float = 1.0
    train_network: bool = True
    network_start_frac: float = 0.0
    text_encoder: TextEncoderSettings | None = None
    embeddings: tuple[EmbeddingSettings, ...] = ()
    samples: SampleSettings = SampleSettings()

    def __post_init__(self) -> None:
        """Refuse impossible settings, all of them in one ValueError."""
        problems = [
            f"{name}: got {getattr(self, name)!r}, allowed {allowed}, change the recipe"
            for name, allowed, accepts in _RULES
            if not accepts(getattr(self, name))
        ]
        if not self.min_timestep < self.max_timestep:
            problems.append(
                f"min_timestep: got {self.min_timestep!r}, allowed below max_timestep ({self.max_timestep!r}), lower it"
            )
        problems += [
            f"sample_{side}: got {getattr(self.samples, side)!r}, allowed multiples of 8 from 16 to 16384, change it"
            for side in ("width", "height")
            if getattr(self.samples, side) not in range(16, 16385, 8)
        ]
        problems += _text_side_problems(self)
        if problems:
            raise ValueError("Recipe refused:\n" + "\n".join(problems))

    @property
    def trains_text(self) -> bool:
        """Whether captions mean something else after each step, so that they are encoded anew in each."""
        return self.text_encoder is not None or bool(self.embeddings)

    @property
    def trains_lora(self) -> bool:
        """Whether checkpoints hold a LoRA, of the diffusion model or of text encoders."""
        return self.train_network or self.text_encoder is not None

    def changed(self, **settings: Any) -> "Recipe":
        """Return a copy with other settings, checked again."""
        return replace(self, **settings)

    def with_text(self, values: Mapping[str, Mapping[str, Any] | None]) -> "Recipe":
        """Return a copy with another text side. A part that is not named stays; None takes it off.

        "text_encoder": settings of a text encoder's training; "word": settings of every word, or of a first one called
        `FIRST_WORD` where there is none. What they do not name has its default, for words that are there its own value.
        """
        changed: dict[str, Any] = {}
        if "text_encoder" in values:
            given = values["text_encoder"]
            changed["text_encoder"] = None if given is None else TextEncoderSettings(**given)
        if "word" in values:
            given, words = values["word"], self.embeddings or (EmbeddingSettings(FIRST_WORD),)
            changed["embeddings"] = () if given is None else tuple(replace(word, **given) for word in words)
        return self.changed(**changed)

    def warnings(self) -> list[str]:
        """Return a line for each interval that is longer than the training, so that it does nothing."""
        if self.epochs:
            return []
        told = [
            ("lr_spike_every", self.lr_spike_every, "the rate never jumps"),
            ("checkpoint_every", self.checkpoint_every, "only the last step is kept"),
            ("sample_every", self.samples.every, "no samples are made"),
        ]
        return [
            f"Warning: {name} {every} is more than the recipe's {self.steps} steps, so {so}: lower it or train longer."
            for name, every, so in told
            if every > self.steps
        ]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; `Recipe.from_json` reads them back."""
        return asdict(self) | {
            "samples": _as_lists(asdict(self.samples)),
            "embeddings": [asdict(settings) for settings in self.embeddings],
        }

    @staticmethod
    def from_json(values: dict[str, Any]) -> "Recipe":
        """Return the recipe written by `to_json`. Raises ValueError naming keys that no recipe has."""
        known = {field.name for field in fields(Recipe)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(f"Recipe refused: unknown settings {unknown}, allowed {sorted(known)}, remove them")
        samples = values.get("samples", {})
        samples = {name: tuple(value) if isinstance(value, list) else value for name, value in samples.items()}
        text_encoder = values.get("text_encoder")
        return Recipe(
            **(values | {"samples": SampleSettings(**samples)})
            | {
                "text_encoder": settings_from_json(TextEncoderSettings, text_encoder) if text_encoder else None,
                "embeddings": tuple(settings_from_json(EmbeddingSettings, e) for e in values.get("embeddings", ())),
            }
        )


def _text_side_problems(recipe: Recipe) -> list[str]:
    problems = recipe.text_encoder.problems() if recipe.text_encoder else []
    problems += [problem for settings in recipe.embeddings for problem in settings.problems()]
    tokens = [settings.token.lower() for settings in recipe.embeddings]
    twice = sorted({token for token in tokens if tokens.count(token) > 1})
    if twice:
        problems.append(f"token: got {twice} more than once, allowed each word once, rename or remove one")
    if not recipe.train_network:
        problems += _ends_early(recipe)
    if not recipe.train_network and recipe.network_start_frac:
        problems.append("network_start_frac: got a start without the LoRA, allowed 0 then, turn train_network on")
    elif recipe.network_start_frac > _text_ends(recipe):
        problems.append(
            f"network_start_frac: got {recipe.network_start_frac:g} with a text side that stops at "
            f"{_text_ends(recipe):g} of the steps, allowed up to that, lower it or train the text side longer"
        )
    return problems


def _text_ends(recipe: Recipe) -> float:
    """Return after which part of the steps nothing of the text side is trained any more."""
    encoders = [recipe.text_encoder.text_encoder_frac] if recipe.text_encoder else []
    return max([settings.ti_frac for settings in recipe.embeddings] + encoders, default=0.0)


def _ends_early(recipe: Recipe) -> list[str]:
    """Return what is wrong with a recipe that trains the text side alone."""
    ends = _text_ends(recipe)
    if ends == 1.0:
        return []
    if not recipe.trains_text:
        return ["train_network: got off with nothing else to train, allowed on, turn it on or add a word to the recipe"]
    return [
        f"train_network: got off with a text side that stops at {ends:g} of the steps, so that nothing learns after "
        "that, allowed off where ti_frac or text_encoder_frac is 1, set it to 1 or turn train_network on"
    ]


def _as_lists(values: dict[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def _one_of(literal: Any) -> tuple[str, Any]:
    choices = get_args(literal)
    return f"one of {list(choices)}", lambda value: value in choices


def _between(low: float, high: float) -> tuple[str, Any]:
    return f"{low} to {high}", lambda value: low <= value <= high


_RULES: tuple[tuple[str, str, Any], ...] = (
    ("steps", *_between(1, 10_000_000)),
    ("epochs", *_between(0, 100_000)),
    ("batch_size", *_between(1, 1024)),
    ("grad_accumulation_steps", *_between(1, 4096)),
    ("learning_rate", *_between(0.0, 1e3)),
    ("lr_schedule", *_one_of(LearningRateSchedule)),
    ("warmup_steps", *_between(0, 10_000_000)),
    ("weight_decay", *_between(0.0, 100.0)),
    ("max_grad_norm", *_between(0.0, 1e9)),
    ("rank", *_between(1, 4096)),
    ("alpha", *_between(0.0, 1e6)),
    ("lora_dropout", *_between(0.0, 0.99)),
    ("target_modules", *_one_of(TargetModules)),
    ("caption_dropout", *_between(0.0, 1.0)),
    ("partial_caption_dropout", *_between(0.0, 1.0)),
    ("variants", *_between(1, 256)),
    ("checkpoint_every", *_between(0, 10_000_000)),
    ("save_dtype", *_one_of(SaveDtype)),
    ("precision", *_one_of(Precision)),
    ("cache_in", *_one_of(CacheIn)),
    ("lr_cycles", *_between(1, 1000)),
    ("lr_spike_every", *_between(0, 10_000_000)),
    ("lr_spike_factor", *_between(0.0, 1000.0)),
    ("noise_offset", *_between(0.0, 2.0)),
    ("multires_noise_iterations", *_between(0, 10)),
    ("multires_noise_discount", *_between(0.0, 1.0)),
    ("frozen_noises", *_between(0, 1000)),
    ("min_snr_gamma", *_between(0.0, 1000.0)),
    ("min_timestep", *_between(0.0, 1.0)),
    ("max_timestep", *_between(0.0, 1.0)),
    ("network_start_frac", "0 up to but not 1", lambda value: 0 <= value < 1),
)
