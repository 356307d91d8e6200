"""Between ComfyUI's IMAGE tensors (float 0..1, [batch, height, width, channels]) and pictures."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image


def from_tensor(batch: Any) -> Iterator[np.ndarray]:
    """Yield each picture of an IMAGE tensor as a float array [height, width, channels]."""
    yield from batch.detach().cpu().float().numpy()


def to_tensor(image: Image.Image) -> Any:
    """Return an RGB picture as an IMAGE tensor [1, height, width, 3]."""
    return to_batch([image])


def to_batch(images: Sequence[Image.Image]) -> Any:
    """Return RGB pictures of one size as an IMAGE tensor."""
    import torch

    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels.astype(np.float32) / 255)
