"""Pictures encoded and decoded again and again by VAEs, as copies of copies are."""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..dataset.seeds import generator

Pairing = Literal["take turns", "first encodes, second decodes"]


@dataclass(frozen=True)
class VaeLoss:
    """How pictures are worn down.

    generations: how often each is encoded and decoded. shift: before each generation the picture is moved against the
    VAE's grid by up to so many pixels (what leaves it comes in opposite), and moved back after. pairing: what a second
    VAE does: every other generation, or the decoding of each. seed: of the shifts, with the picture's content.
    """

    generations: int = 10
    shift: int = 0
    pairing: Pairing = "take turns"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.generations <= 50:
            raise ValueError(f"generations: got {self.generations}, allowed 1 to 50, change it")
        if not 0 <= self.shift <= 7:
            raise ValueError(f"shift: got {self.shift}, allowed 0 to 7 px, change it")
        if self.pairing not in get_args(Pairing):
            raise ValueError(f"pairing: got {self.pairing!r}, allowed {list(get_args(Pairing))}, choose one of them")

    @torch.no_grad()
    def apply(self, images: Tensor, vae: Any, second: Any = None, watch: Callable[[int], None] | None = None) -> Tensor:
        """Return an IMAGE tensor [B, H, W, C] after all generations, of the same shape; more channels than 3 stay.

        Every picture goes alone, so that a video VAE takes none for the next frame of another. watch: told the number
        of generations done, of all pictures together. Raises ValueError when one VAE cannot decode the other's latents.
        """
        self._require_pair(vae, second)
        done = 0
        worn = []
        for image in images:
            picture, key = image[None, ..., :3], _content(image[..., :3])
            for number in range(self.generations):
                picture = self._generation(picture, key, number, vae, second)
                done += 1
                if watch:
                    watch(done)
            worn.append(torch.cat([picture.to(image), image[None, ..., 3:]], dim=-1))
        return torch.cat(worn) if worn else images.clone()

    def _generation(self, picture: Tensor, key: str, number: int, vae: Any, second: Any) -> Tensor:
        encoder, decoder = self._pair(number, vae, second)
        way = generator(self.seed, "vae_loss", key, number).integers(0, self.shift + 1, 2)
        down, right = int(way[0]), int(way[1])
        moved = torch.roll(picture, (down, right), dims=(1, 2))
        decoded = through(moved, encoder, decoder)
        return torch.roll(decoded, (-down, -right), dims=(1, 2))

    def _pair(self, number: int, vae: Any, second: Any) -> tuple[Any, Any]:
        if second is None:
            return vae, vae
        if self.pairing == "take turns":
            return (second, second) if number % 2 else (vae, vae)
        return vae, second

    def _require_pair(self, vae: Any, second: Any) -> None:
        if second is None or self.pairing == "take turns":
            return
        if vae.latent_channels != second.latent_channels:
            raise ValueError(
                f"second_vae: got one of {second.latent_channels} channels beside {vae.latent_channels}, allowed is "
                "one of as many, let them take turns or choose another"
            )


def through(picture: Tensor, encoder: Any, decoder: Any) -> Tensor:
    """Return one picture [1, H, W, 3] encoded and decoded, 0..1, of its own size on its own device.

    Its edge is repeated up to the size the VAE takes: ComfyUI would cut it off.
    """
    height, width = picture.shape[1:3]
    grid = math.lcm(int(encoder.spacial_compression_encode()), int(decoder.spacial_compression_decode()))
    below, beside = -height % grid, -width % grid
    padded = torch.nn.functional.pad(picture.movedim(-1, 1), (0, beside, 0, below), mode="replicate").movedim(1, -1)
    latent = encoder.encode(padded)
    if decoder.latent_dim == 3 and latent.ndim == 4:
        latent = latent.unsqueeze(2)  # a film of one picture
    decoded = decoder.decode(latent)
    decoded = decoded.reshape(-1, *decoded.shape[-3:])[:1]
    if decoded.shape[1:3] != padded.shape[1:3]:
        raise ValueError(
            f"VAE: got {decoded.shape[2]}x{decoded.shape[1]} back from {padded.shape[2]}x{padded.shape[1]}, allowed "
            "are VAEs of one compression, let them take turns"
        )
    return decoded[:, :height, :width, :3].to(picture).clamp(0, 1)


def picture_through(vae: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function that gives a picture [H, W, 3] of 8 bits back as `vae` encodes and decodes it."""

    @torch.no_grad()
    def encode_decode(picture: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(picture.astype(np.float32) / 255)[None]
        return (through(pixels, vae, vae)[0].cpu() * 255).round().to(torch.uint8).numpy()

    return encode_decode


def _content(image: Tensor) -> str:
    return hashlib.sha256(repr(tuple(image.shape)).encode() + image.cpu().float().numpy().tobytes()).hexdigest()
