"""What a recipe says of the text side: LoRA on the text encoders, and new words."""

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from .schedule import LearningRateSchedule

TextTargets = Literal["attention", "attention+ff"]
Init = Literal["words", "mean of words", "noise", "file"]
WordCaptions = Literal["captions", "object templates", "style templates"]
ALL_ENCODERS = "all"
FIRST_WORD = "prtkl"
MAX_VECTORS = 16
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class TextEncoderSettings:
    """LoRA on the text encoders.

    learning_rate_<encoder>: peak rate of that encoder's adapters; 0 leaves the encoder alone, and so does a model
    without it. rank, alpha, target_modules: as in the recipe, of the encoders' layers. text_encoder_frac: part of the
    training's steps after which the adapters stay as they are. lr_schedule, warmup_steps, weight_decay: of these
    adapters; a schedule ends where the training of the encoders does.
    """

    learning_rate_clip_l: float = 5e-5
    learning_rate_clip_g: float = 5e-5
    learning_rate_t5xxl: float = 0.0
    rank: int = 16
    alpha: float = 16.0
    target_modules: TextTargets = "attention"
    text_encoder_frac: float = 1.0
    lr_schedule: LearningRateSchedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.01

    def learning_rate(self, encoder: str) -> float:
        """Return the peak rate of an encoder by ComfyUI's name of it, 0 for one that is never trained."""
        return float(getattr(self, f"learning_rate_{encoder}", 0.0))

    def problems(self) -> list[str]:
        """Return a sentence for each impossible setting."""
        return _problems("text encoder", self, _TEXT_ENCODER_RULES)


@dataclass(frozen=True)
class EmbeddingSettings:
    """One new word (textual inversion, Gal et al. 2022).

    token: how prompts and captions write it. num_vectors: how many token embeddings it stands for.
    init: "words" takes the embeddings of `init_text`'s tokens one after the other, again from the first when there are
    fewer than vectors; "mean of words" starts every vector at their mean; "noise" draws normal noise of the token
    table's standard deviation; "file" goes on from the vectors of `init_file` (`init_hash`: of its bytes).
    encoders: "all", or the one encoder whose vectors are trained; the others' stay at their start.
    learning_rate, lr_schedule, warmup_steps, weight_decay: of these vectors alone; a schedule ends at the pivot.
    ti_frac: part of the training's steps after which the vectors stay as they are, bit for bit.
    norm_pull: after each update a vector's length becomes |v|^(1 - pull) * m^pull, with m the median length in the
    encoder's token table. 0 leaves it free, 1 keeps it at m.
    captions: train on the pictures' own captions, or on the templates of Gal et al. 2022 with the word in them.
    """

    token: str
    num_vectors: int = 1
    init: Init = "words"
    init_text: str = "style"
    init_file: str = ""
    init_hash: str = ""
    encoders: str = ALL_ENCODERS
    learning_rate: float = 5e-4
    lr_schedule: LearningRateSchedule = "constant"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    ti_frac: float = 1.0
    norm_pull: float = 0.0
    captions: WordCaptions = "captions"

    def problems(self) -> list[str]:
        """Return a sentence for each impossible setting."""
        found = _problems(f"embedding {self.token!r}", self, _EMBEDDING_RULES)
        if self.init in ("words", "mean of words") and not self.init_text.strip():
            found.append(
                f"init_text: got nothing for {self.token!r}, allowed one or more words, write some or choose noise"
            )
        if self.init == "file" and not self.init_file:
            found.append(f"init_file: got none for {self.token!r}, allowed an embedding file, choose one (advanced)")
        return found


def settings_from_json(kind: type[Any], values: dict[str, Any]) -> Any:
    """Return settings of `kind` from plain values. Raises ValueError for a setting it does not have."""
    unknown = sorted(set(values) - set(kind.__dataclass_fields__))
    if unknown:
        allowed = sorted(kind.__dataclass_fields__)
        raise ValueError(f"Recipe refused: unknown settings {unknown}, allowed {allowed}, remove them")
    return kind(**values)


def _problems(what: str, settings: Any, rules: dict[str, tuple[str, Any]]) -> list[str]:
    values = asdict(settings)
    return [
        f"{name} of {what}: got {values[name]!r}, allowed {allowed}, change it"
        for name, (allowed, accepts) in rules.items()
        if not accepts(values[name])
    ]


def _between(low: float, high: float) -> tuple[str, Any]:
    return f"{low} to {high}", lambda value: low <= value <= high


def _one_of(literal: Any) -> tuple[str, Any]:
    choices = get_args(literal)
    return f"one of {list(choices)}", lambda value: value in choices


def _is_token(value: str) -> bool:
    """Say whether prompts can write a word so; ComfyUI would take ``(embedding:nan)`` for a weight."""
    return _TOKEN.fullmatch(value) is not None and value.lower() not in ("nan", "inf", "infinity")


_FRACTION = "above 0, up to 1", lambda value: 0 < value <= 1
_SCHEDULE_RULES = {
    "lr_schedule": _one_of(LearningRateSchedule),
    "warmup_steps": _between(0, 10_000_000),
    "weight_decay": _between(0.0, 100.0),
}
_TEXT_ENCODER_RULES = {
    **{f"learning_rate_{encoder}": _between(0.0, 1e3) for encoder in ("clip_l", "clip_g", "t5xxl")},
    "rank": _between(1, 4096),
    "alpha": _between(0.0, 1e6),
    "target_modules": _one_of(TextTargets),
    "text_encoder_frac": _FRACTION,
    **_SCHEDULE_RULES,
}
_EMBEDDING_RULES = {
    "token": (
        "a letter, then letters, digits, - and _, no < >; not nan or inf",
        lambda value: _is_token(value),
    ),
    "num_vectors": _between(1, MAX_VECTORS),
    "init": _one_of(Init),
    "learning_rate": _between(0.0, 1e3),
    "ti_frac": _FRACTION,
    "norm_pull": _between(0.0, 1.0),
    "captions": _one_of(WordCaptions),
    **_SCHEDULE_RULES,
}
