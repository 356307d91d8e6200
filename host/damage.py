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

    A pixel that `change` leaves as it is keeps the tensor's own value, which 8 bits would round. mask: [B or 1, h, w],
    0..1, how much of the change is laid over the original; resized to the pictures. Raises ValueError for other shapes.
    """
    if images.ndim != 4 or images.shape[-1] not in (3, 4):
        raise ValueError(f"images: got shape {tuple(images.shape)}, allowed [batch, height, width, 3 or 4], convert it")
    before = torch.round(images.detach().cpu().float().clamp(0, 1) * 255).to(torch.uint8)
    pictures = [Image.fromarray(pixels) for pixels in before.numpy()]
    after = torch.stack([torch.from_numpy(np.array(picture)) for picture in change(pictures)])
    amount = (after != before).to(images)
    if mask is not None:
        amount *= _fitted(mask.to(images), images)
    return torch.lerp(images, after.to(images) / 255, amount)


def _fitted(mask: Tensor, images: Tensor) -> Tensor:
    """Return a mask as [B, H, W, 1]; a single one, or fewer than pictures, is repeated from the start."""
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    mask = torch.nn.functional.interpolate(mask, images.shape[1:3], mode="bilinear", align_corners=False)
    places = torch.arange(images.shape[0], device=mask.device) % mask.shape[0]
    return mask[places].movedim(1, -1).clamp(0, 1)
