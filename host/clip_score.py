"""CLIPScore: how well a picture fits a text, by a text encoder and a vision encoder that belong together."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

# Plain pictures that every CLIP tells apart, and the least that have to be right: chance gets 5 of 6 in 1 of 1500.
_COLOURS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 0.6, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 0.9, 0.0),
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}
_LEAST_RIGHT = 5
_SIDE = 224
_WEIGHT = 2.5  # Hessel et al. 2021, "CLIPScore", section 3
_PAIRS = "CLIP-L with a ViT-L/14 vision model, or SDXL's clip_g with ViT-bigG"


class ClipScorer:
    """Scores pictures against texts.

    Only the two halves of one CLIP share a space. ComfyUI loads a text encoder whose projection is missing from the
    file without a word, and then its vector means nothing, so the pair is tried on plain colours first.
    """

    def __init__(self, clip: Any, clip_vision: Any) -> None:
        """clip: CLIP; clip_vision: CLIP_VISION. Raises ValueError when the two do not belong together."""
        self._clip, self._vision = clip, clip_vision
        texts = self._of_texts([f"a plain {name} image" for name in _COLOURS])
        pictures = self._of_pictures([torch.tensor(colour).expand(1, _SIDE, _SIDE, 3) for colour in _COLOURS.values()])
        if texts.shape[1] != pictures.shape[1]:
            raise ValueError(
                f"clip_vision: got a vision model of width {pictures.shape[1]} for a text encoder of width "
                f"{texts.shape[1]}, allowed are the two halves of one CLIP ({_PAIRS}), load one that belongs to it"
            )
        right = int((pictures @ texts.T).argmax(1).eq(torch.arange(len(_COLOURS))).sum())
        if right < _LEAST_RIGHT:
            raise ValueError(
                f"clip_vision: got {right} of {len(_COLOURS)} plain colours right, allowed {_LEAST_RIGHT} or more: "
                f"the two are not halves of one CLIP, or the file lacks the text projection; load such as {_PAIRS}"
            )

    def scores(
        self, pictures: Sequence[Tensor], texts: Sequence[str], check: Callable[[], None] = lambda: None
    ) -> list[float]:
        """Return the CLIPScore of each picture [1, H, W, 3], values 0..1, and its text: 2.5 * max(cosine, 0).

        Pictures are scaled and cropped to their middle square as CLIP Vision Encode does; of a long text, what the
        encoder reads at once counts. check: called before each, may raise to stop. Raises ValueError when the numbers
        differ.
        """
        if len(pictures) != len(texts):
            raise ValueError(f"texts: got {len(texts)} for {len(pictures)} pictures, give one text for each picture")
        if not pictures:
            return []
        likeness = (self._of_pictures(pictures, check) * self._of_texts(texts, check)).sum(1)
        return [_WEIGHT * max(0.0, float(value)) for value in likeness]

    def _of_texts(self, texts: Sequence[str], check: Callable[[], None] = lambda: None) -> Tensor:
        vectors: dict[str, Tensor] = {}
        for text in dict.fromkeys(texts):
            check()
            pooled = self._clip.encode_from_tokens(self._clip.tokenize(text), return_pooled=True)[1]
            if pooled is None:
                raise ValueError(f"clip: got a text encoder that is no CLIP, allowed such as {_PAIRS}, load one")
            vectors[text] = pooled
        return _unit([vectors[text] for text in texts])

    def _of_pictures(self, pictures: Sequence[Tensor], check: Callable[[], None] = lambda: None) -> Tensor:
        vectors = []
        for picture in pictures:
            check()
            vectors.append(self._vision.encode_image(picture)["image_embeds"])
        return _unit(vectors)


def clip_scores(
    batches: Sequence[Tensor],
    clips: Sequence[Any] | None,
    visions: Sequence[Any] | None,
    texts: Sequence[str] | None,
    check: Callable[[], None] = lambda: None,
) -> list[float]:
    """Return the CLIPScore of each picture of IMAGE batches; nothing when no encoder and no text is connected.

    clips, visions: the first counts. texts: one for all pictures or one for each. check: called before each text and
    picture, may raise to stop. Raises ValueError.
    """
    if not (clips or visions or texts):
        return []
    if not (clips and visions and texts):
        parts = {"clip": clips, "clip_vision": visions, "texts": texts}
        missing = [name for name, part in parts.items() if not part]
        raise ValueError(f"CLIPScore: got no {' and no '.join(missing)}, allowed all three or none, connect the rest")
    pictures = [picture[None, ..., :3] for batch in batches for picture in batch]
    shared = list(texts) * len(pictures) if len(texts) == 1 else list(texts)
    return ClipScorer(clips[0], visions[0]).scores(pictures, shared, check)


def _unit(vectors: Sequence[Tensor]) -> Tensor:
    """Return vectors [1, D] as rows of length 1; what is not finite becomes 0."""
    rows = torch.cat([vector.detach().float().cpu().reshape(1, -1) for vector in vectors]).nan_to_num(0.0, 0.0, 0.0)
    return torch.nn.functional.normalize(rows, dim=1)
