"""The text side of a training: adapters on the text encoders, new words, and captions encoded anew in each step."""

from collections.abc import Iterable, Mapping

from torch import Tensor

from .adapters import LoraAdapters
from .conditioning import TextConditioning
from .embeddings import Embeddings
from .lora_file import Adapter
from .model import TrainableText
from .parts import Pace, Part, stop_step
from .recipe import Recipe
from .text_settings import EmbeddingSettings, TextEncoderSettings
from .word_captions import WordCaptions
from .words import Vectors


class TextSide:
    """What a recipe trains of the text, on a private copy of the encoders.

    Names of trained values begin with the encoder's name (adapters) or with ``embedding.`` (words).
    """

    def __init__(
        self, text: TrainableText, recipe: Recipe, captions: Iterable[str], files: Mapping[str, Vectors]
    ) -> None:
        """captions: of the whole dataset. files: vectors of words that go on from a file, by token.

        Raises ValueError when the model has none of the encoders that the recipe trains, and as `Embeddings` does.
        """
        self._text, self._recipe = text, recipe
        self.lora_names = text.lora_names()  # adapters bring layers of their own
        self.encoders = _adapted(text, recipe.text_encoder)
        self.adapters = self._inject(recipe.text_encoder) if recipe.text_encoder else None
        self.embeddings = Embeddings(text, recipe.embeddings, files, recipe.seed)
        self._captions = WordCaptions(recipe.embeddings, captions, recipe.seed)
        self._stop = 0  # update number from which nothing changes any more
        self._kept: dict[str, TextConditioning] = {}

    def _inject(self, settings: TextEncoderSettings) -> LoraAdapters:
        adapters = LoraAdapters(
            self._text.network,
            self._text.layers(settings.target_modules, self.encoders),
            rank=settings.rank,
            alpha=settings.alpha,
            dropout=self._recipe.lora_dropout,
            seed=self._recipe.seed,
        )
        self._text.adapters_changed()
        return adapters

    def load(self) -> None:
        """Put the encoders on the training device."""
        self._text.load()

    @property
    def text(self) -> TrainableText:
        """The private encoders."""
        return self._text

    def parts(self, total_steps: int) -> list[Part]:
        """Return the parts of the text side, optimizers made: call it when the parameters are where they train."""
        settings = self._recipe.text_encoder
        parts = [self._encoder_part(settings, encoder, total_steps) for encoder in self.encoders] if settings else []
        parts += [self._word_part(word, total_steps) for word in self._recipe.embeddings]
        self._stop = max(part.pace.stop for part in parts)
        return parts

    def _encoder_part(self, settings: TextEncoderSettings, encoder: str, total_steps: int) -> Part:
        assert self.adapters is not None
        own = {name: p for name, p in self.adapters.named_parameters().items() if name.startswith(f"{encoder}.")}
        pace = Pace(
            settings.learning_rate(encoder),
            settings.lr_schedule,
            0,
            stop_step(settings.text_encoder_frac, total_steps),
            settings.warmup_steps,
        )
        return Part(encoder, own, pace, settings.weight_decay)

    def _word_part(self, word: EmbeddingSettings, total_steps: int) -> Part:
        stop = stop_step(word.ti_frac, total_steps)
        pace = Pace(word.learning_rate, word.lr_schedule, 0, stop, word.warmup_steps)
        own = self.embeddings.parameters(word.token)
        return Part(f"embedding.{word.token}", own, pace, word.weight_decay, lambda: self.embeddings.pull(word.token))

    def training_caption(self, caption: str, step: int, place: int) -> str:
        """Return what sample `place` of update number `step` is trained with, given its own caption."""
        return self._captions.caption(caption, step, place)

    def encode(self, caption: str) -> TextConditioning:
        """Return a caption's conditioning as the encoders and words are now, with gradients to what is trained."""
        return self._text.encode(caption, self.embeddings.vectors, self._recipe.prompt_syntax)

    def heard(self, caption: str, step: int) -> TextConditioning:
        """Return what `encode` gives for a caption in update number `step`, kept once nothing changes it any more.

        With dropout on the adapters it changes to the end; a recipe that keeps its dataset on disk has no room for it.
        """
        drops = self.adapters is not None and self._recipe.lora_dropout > 0
        if step < self._stop or drops or self._recipe.cache_in != "ram":
            return self.encode(caption)
        if caption not in self._kept:
            self._kept[caption] = self.encode(caption)
        return self._kept[caption]

    def encode_prompt(self, prompt: str) -> TextConditioning:
        """Return the conditioning of a sample's prompt, prompt syntax on."""
        return self._text.encode(prompt, self.embeddings.vectors, True)

    def train(self, training: bool) -> None:
        """Switch dropout on for a training step, off for a preview."""
        if self.adapters is not None:
            self.adapters.train(training)

    def state(self) -> dict[str, Tensor]:
        """Return copies of all trained values on the CPU, fp32."""
        return (self.adapters.state() if self.adapters else {}) | self.embeddings.state()

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put the values of `state` back in."""
        self._kept.clear()
        if self.adapters is not None:
            self.adapters.load(state)
        self.embeddings.load(state)

    def exported(self) -> dict[str, Adapter]:
        """Return the encoders' adapters by layer path, as a LoRA file stores them."""
        return self.adapters.exported() if self.adapters else {}


def _adapted(text: TrainableText, settings: TextEncoderSettings | None) -> tuple[str, ...]:
    """Return the encoders of the model that get adapters."""
    if settings is None:
        return ()
    adapted = tuple(encoder for encoder in text.encoders if settings.learning_rate(encoder))
    if not adapted:
        wanted = " or ".join(f"learning_rate_{encoder}" for encoder in text.encoders)
        raise ValueError(
            f"text encoder: got a rate of 0 for every encoder of this model, allowed above 0 for one of {wanted}, "
            "raise it or take the text encoder off the recipe"
        )
    return adapted
