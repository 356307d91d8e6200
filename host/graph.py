"""The graph's MODEL, CLIP and VAE as the trainer uses them."""

from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from ..training.conditioning import PromptEncoder, TextConditioning
from ..training.recipe import SampleSettings
from .embeddings import embedding_path
from .encoding import clip_skip, encode_image, encode_text, free_encoders
from .families import family_of
from .identity import clip_identity, model_identity, vae_identity
from .images import to_image
from .models import TrainingModel, private_model
from .progress import Interrupted
from .rendering import encode_prompt, render, require_parts
from .text_model import TrainingText, private_text


class GraphEncoders:
    """CLIP and VAE, encoding for training."""

    def __init__(self, clip: Any, vae: Any, prompt_syntax: bool) -> None:
        self._clip, self._vae, self._prompt_syntax = clip, vae, prompt_syntax

    def encode_image(self, image: Image.Image) -> Tensor:
        """Return the unscaled latent [1, C, h, w]."""
        return encode_image(self._vae, image)

    def encode_text(self, text: str) -> TextConditioning:
        """Return the caption's conditioning."""
        return encode_text(self._clip, text, self._prompt_syntax)

    def free(self) -> None:
        """Take both off the device."""
        free_encoders()


class TrainingPreviews:
    """Sample pictures from the model that is being trained.

    Its prompts are encoded once, before training, or at each preview when the text side is trained.
    """

    def __init__(self, model: TrainingModel, clip: Any, vae: Any, settings: SampleSettings, text: PromptEncoder | None):
        self._model, self._vae, self._text = model, vae, text
        self._wanted = settings.prompts if settings.every else ()
        texts = () if text or not self._wanted else (*self._wanted, settings.negative)
        self._encoded = {prompt: encode_prompt(clip, prompt) for prompt in texts}

    def render(self, settings: SampleSettings) -> list[Image.Image]:
        """Return one RGB picture per prompt and seed, with what is trained as it is now."""
        negative = self._conditioning(settings.negative) if self._wanted else []
        positives = [self._conditioning(prompt) for prompt in self._wanted]
        pictures = [
            to_image(self._picture(positive, negative, seed, settings))
            for positive in positives
            for seed in settings.seeds
        ]
        self._model.free_others()  # the VAE would sit on the device until the training ends
        return pictures

    def _conditioning(self, prompt: str) -> Any:
        if self._text is None:
            return self._encoded[prompt]
        self._text.load()
        text = self._text.encode_prompt(prompt)
        return [[text.cross_attn, text.extras]]

    def _picture(self, positive: Any, negative: Any, seed: int, settings: SampleSettings) -> Tensor:
        return render(
            self._model.patcher,
            self._vae,
            positive,
            negative,
            width=settings.width,
            height=settings.height,
            seed=seed,
            steps=settings.steps,
            cfg=settings.cfg,
            sampler=settings.sampler,
            scheduler=settings.scheduler,
        )


class ComfyGraph:
    """MODEL, CLIP and VAE from the wires; nothing done through this changes them."""

    interrupted = Interrupted

    def __init__(self, model: Any, clip: Any, vae: Any) -> None:
        """Raises ValueError when the checkpoint had no text encoder or no VAE."""
        require_parts(clip, vae)
        self._model, self._clip, self._vae = model, clip, vae

    @property
    def family(self) -> str:
        """Name of the model's family. Raises ValueError for one that is not supported."""
        return family_of(self._model).name

    @property
    def clip_skip(self) -> int | None:
        """The CLIP layer in use, None for the encoder's own."""
        return clip_skip(self._clip)

    @property
    def base_model(self) -> str:
        """File name of the checkpoint, or the model's class where the loader left none."""
        files = self.identities()["model"].get("weights", {}).get("files") or []
        return str(files[0]["name"]) if files else type(self._model.model).__name__

    def identities(self) -> dict[str, Any]:
        """Return JSON values that name the weights of model, clip and vae and what is patched on them."""
        return self._identities

    @cached_property
    def _identities(self) -> dict[str, Any]:
        return {
            "model": model_identity(self._model),
            "clip": clip_identity(self._clip),
            "vae": vae_identity(self._vae),
        }

    def encoders(self, prompt_syntax: bool) -> GraphEncoders:
        """Return CLIP and VAE for encoding a dataset."""
        return GraphEncoders(self._clip, self._vae, prompt_syntax)

    def trainable(self, precision: str) -> AbstractContextManager[TrainingModel]:
        """Return a context with a private, trainable copy of the MODEL."""
        return private_model(self._model, precision)

    def trainable_text(self, model: TrainingModel) -> AbstractContextManager[TrainingText]:
        """Return a context with a private, trainable copy of the CLIP that trains beside `model`."""
        return private_text(self._clip, (model.patcher,))

    def embedding_file(self, name: str) -> Path:
        """Return where an embedding file is, by ComfyUI's name of it. Raises ValueError when there is none."""
        return embedding_path(name)

    def previewer(self, model: Any, settings: SampleSettings, text: PromptEncoder | None) -> TrainingPreviews:
        """Return what draws the recipe's samples with `model`, the private copy, and `text`, what is trained of it."""
        return TrainingPreviews(model, self._clip, self._vae, settings, text)
