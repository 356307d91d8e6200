"""Renders cells with ComfyUI: a run's LoRA files put on a MODEL and CLIP, merged as Load LoRA does."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..dataset.files import content_key
from ..host.checkpoint import apply_checkpoint, before_training
from ..host.embeddings import embedding_files
from ..host.identity import clip_identity, model_identity, vae_identity
from ..host.rendering import (
    encode_prompt,
    render,
    require_parts,
    restore_weights,
    text_encoder_changed,
    with_clip_layer,
)
from ..training.lora_file import load_safetensors
from ..training.run import Run
from .cells import Weights
from .plan import BASE, Cell, SweepPlan
from .sweep import Sweep, Watcher, run_sweep


@dataclass(frozen=True)
class PreparedModel:
    """MODEL and CLIP with one LoRA merged, or without. text_state: see `sampling.sweep.Prepared`."""

    model: Any
    clip: Any
    vae: Any
    text_state: Hashable

    def encode(self, prompt: str) -> Any:
        """Return CONDITIONING, prompt syntax on."""
        return encode_prompt(self.clip, prompt)

    def render(self, cell: Cell, positive: Any, negative: Any) -> NDArray[np.floating[Any]]:
        """Return the picture, float [H, W, 3] in 0..1; the first frame of a video model."""
        width, height = cell.size
        pictures = render(
            self.model,
            self.vae,
            positive,
            negative,
            width=width,
            height=height,
            seed=cell.seed,
            steps=cell.steps,
            cfg=cell.cfg,
            sampler=cell.sampler,
            scheduler=cell.scheduler,
        )
        pixels: NDArray[np.floating[Any]] = pictures[0].float().cpu().numpy()
        return pixels


class LoraRenderer:
    """The renderer of a run. The MODEL, CLIP and VAE given in are not changed: LoRAs and words go on clones of them."""

    def __init__(self, model: Any, clip: Any, vae: Any, checkpoints: Mapping[int, Path], tokens: Sequence[str] = ()):
        """checkpoints: step -> LoRA file. clip: with the run's clip skip on it. tokens: the words the run learns."""
        self._model, self._clip, self._vae = model, clip, vae
        self._tokens = tuple(tokens)
        self._checkpoints = dict(checkpoints)
        self._read: tuple[int, dict[str, torch.Tensor]] | None = None

    def prepare(self, checkpoint: int, strength: float) -> PreparedModel:
        """Return the model with the LoRA of a step at a strength and that step's words; step 0 is the base.

        Raises ValueError when the file does not belong to this MODEL.
        """
        if checkpoint == BASE:
            return PreparedModel(self._model, before_training(self._clip, self._tokens), self._vae, "base")
        model, clip = apply_checkpoint(self._model, self._clip, self._tensors(checkpoint), strength)
        if text_encoder_changed(self._clip, clip):
            return PreparedModel(model, clip, self._vae, (checkpoint, strength))
        return PreparedModel(model, clip, self._vae, checkpoint if self._tokens else "base")

    def _tensors(self, checkpoint: int) -> dict[str, torch.Tensor]:
        if self._read is None or self._read[0] != checkpoint:
            self._read = checkpoint, load_safetensors(self._checkpoints[checkpoint])[0]
        return self._read[1]


def sweep_checkpoints(
    run: Run,
    plan: SweepPlan,
    model: Any,
    clip: Any,
    vae: Any,
    watcher: Watcher,
    check_interrupt: Callable[[], None],
    chunks: Mapping[str, str],
    with_settings: bool = True,
) -> tuple[Sweep, str]:
    """Render what is missing of `plan` with the run's checkpoints on MODEL and CLIP; returns (sweep, report).

    The run's clip skip is put on the CLIP. MODEL, CLIP and VAE come out as they went in. See `run_sweep`. Raises
    ValueError when the checkpoint file had no text encoder or no VAE.
    """
    require_parts(clip, vae)
    files = {step: run.checkpoint(step).path for step in plan.checkpoint}
    if run.has_clip_skip:
        clip = with_clip_layer(clip, run.clip_skip)
    renderer = LoraRenderer(model, clip, vae, files, run.tokens)
    own = {token.lower() for token in run.tokens}  # of these the checkpoints tell what they are, not files
    found = embedding_files([*plan.prompt, *plan.negative])
    named = {name: path for name, path in found.items() if name.lower() not in own}
    weights = Weights(
        model=model_identity(model),
        clip=clip_identity(clip),
        vae=vae_identity(vae),
        checkpoints={step: content_key(path) for step, path in files.items()},
        embeddings={name: content_key(path) if path else None for name, path in named.items()},
    )
    try:
        sweep, report = run_sweep(
            run.folder,
            plan,
            weights,
            renderer,
            watcher,
            check_interrupt,
            about={"run": run.name, "trigger": run.trigger},
            chunks=chunks,
            with_settings=with_settings,
        )
    finally:
        restore_weights(model, clip.patcher)
    return sweep, "\n".join((report, *run.problems()))
