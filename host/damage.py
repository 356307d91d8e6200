"""IMAGE tensors through a function of pictures, keeping exactly what it does not change."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def changed_batch(
    images: Tensor, change: Callable[[Sequence[Image.Image]], Iterator[Image.Image]], mask: Tensor | None = None
) -> Tensor:
    """Return an IMAGE tensor [B, H, W, 3 or 4] whose pictures went through `change` as 8-bit RGB or RGBA.

    A pixel that `change` leaves as it is keeps the tensor's own value, which 8 bits would round. mask: [any, h, w],
    0..1, how much of the change is laid over the original; resized to the pictures, and begun again when there are
    fewer. Raises ValueError for other shapes of images.
    """
    if images.ndim != 4 or images.shape[-1] not in (3, 4):
        raise ValueError(f"images: got shape {tuple(images.shape)}, allowed [batch, height, width, 3 or 4], convert it")
    before = torch.round(images.detach().cpu().float().clamp(0, 1) * 255).to(torch.uint8)
    pictures = [Image.fromarray(pixels) for pixels in before.numpy()]
    amounts = None if mask is None else _fitted(mask.to(images), images)
    result = torch.empty_like(images)
    # One by one: a film in floats is several times as large as its pictures.
    for number, picture in enumerate(change(pictures)):
        after = torch.from_numpy(np.array(picture))
        amount = (after != before[number]).to(images)
        if amounts is not None:
            amount *= amounts[number % len(amounts)]
        result[number] = torch.lerp(images[number], after.to(images) / 255, amount)
    return result


def _fitted(mask: Tensor, images: Tensor) -> Tensor:
    """Return a mask as [any, H, W, 1]."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    mask = torch.nn.functional.interpolate(mask, images.shape[1:3], mode="bilinear", align_corners=False)
    return mask.movedim(1, -1).clamp(0, 1)
