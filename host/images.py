"""Between ComfyUI's IMAGE tensors (float 0..1, [batch, height, width, channels]) and pictures."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def from_tensor(batch: Tensor) -> Iterator[np.ndarray]:
    """Yield each picture of an IMAGE tensor as a float array [height, width, channels]."""
    yield from batch.detach().cpu().float().numpy()


def to_image(batch: Tensor) -> Image.Image:
    """Return the first picture of an IMAGE tensor as 8-bit RGB, rounded down as Save Image does."""
    pixels = next(from_tensor(batch))[..., :3]
    return Image.fromarray(np.clip(255.0 * pixels, 0, 255).astype(np.uint8))


def to_tensor(image: Image.Image) -> Tensor:
    """Return an RGB picture as an IMAGE tensor [1, height, width, 3]."""
    return to_batch([image])


def to_batch(images: Sequence[Image.Image]) -> Tensor:
    """Return RGB pictures of one size as an IMAGE tensor."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels.astype(np.float32) / 255)
