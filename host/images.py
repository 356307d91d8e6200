"""Between Pillow's pictures and ComfyUI's IMAGE tensors."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def to_batch(image: Image.Image) -> Tensor:
    """Return an IMAGE [1, H, W, 3], fp32 in 0..1."""
    return torch.from_numpy(np.asarray(image.convert("RGB"), dtype=np.float32) / 255.0)[None]


def to_image(picture: Tensor) -> Image.Image:
    """Return the first picture of an IMAGE [B, H, W, 3] as 8-bit RGB, values outside 0..1 clipped.

    Truncates as ComfyUI's Save Image does, so that both write the same file.
    """
    pixels = (picture[0, ..., :3].float().cpu().numpy() * 255.0).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)
