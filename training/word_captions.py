"""Which caption a picture is trained with when a recipe learns new words."""

from collections.abc import Iterable, Sequence

from .randomness import uniform
from .text_settings import EmbeddingSettings
from .words import mentions

# Gal et al. 2022, "An Image is Worth One Word", and the code that came with it: for things, and for styles.
OBJECT_TEMPLATES = (
    *("a photo of a {}", "a rendering of a {}", "a cropped photo of the {}", "the photo of a {}"),
    *("a photo of a clean {}", "a photo of a dirty {}", "a dark photo of the {}", "a photo of my {}"),
    *("a photo of the cool {}", "a close-up photo of a {}", "a bright photo of the {}", "a cropped photo of a {}"),
    *("a photo of the {}", "a good photo of the {}", "a photo of one {}", "a close-up photo of the {}"),
    *("a rendition of the {}", "a photo of the clean {}", "a rendition of a {}", "a photo of a nice {}"),
    *("a good photo of a {}", "a photo of the nice {}", "a photo of the small {}", "a photo of the weird {}"),
    *("a photo of the large {}", "a photo of a cool {}", "a photo of a small {}"),
)
STYLE_TEMPLATES = (
    *("a painting in the style of {}", "a rendering in the style of {}", "a cropped painting in the style of {}"),
    *("the painting in the style of {}", "a clean painting in the style of {}", "a dirty painting in the style of {}"),
    *("a dark painting in the style of {}", "a picture in the style of {}", "a cool painting in the style of {}"),
    *("a close-up painting in the style of {}", "a bright painting in the style of {}"),
    *("a good painting in the style of {}", "a rendition in the style of {}", "a nice painting in the style of {}"),
    *("a small painting in the style of {}", "a weird painting in the style of {}"),
    "a large painting in the style of {}",
)
_TEMPLATES = {"object templates": OBJECT_TEMPLATES, "style templates": STYLE_TEMPLATES}


class WordCaptions:
    """Captions as they are, or templates in their place where a word of the recipe wants them."""

    def __init__(self, settings: Sequence[EmbeddingSettings], captions: Iterable[str], seed: int) -> None:
        """captions: of the whole dataset. Raises ValueError for a word that no caption has and no template names."""
        captions = list(captions)
        self._seed = seed
        self._templated = [each for each in settings if each.captions in _TEMPLATES]
        self._everywhere = {each.token for each in settings if not any(mentions(c, each.token) for c in captions)}
        for each in settings:
            if each.token in self._everywhere and each.captions not in _TEMPLATES:
                raise ValueError(
                    f"token: got {each.token!r}, which no caption of the dataset has, allowed a word that captions "
                    "have, put Trigger Word with this word before the training or train it on templates"
                )

    def caption(self, caption: str, step: int, place: int) -> str:
        """Return what sample `place` of update number `step` is trained with, given its own caption.

        A template replaces the captions that have the word; where no caption of the dataset has it, all of them.
        """
        wanting = [e for e in self._templated if e.token in self._everywhere or mentions(caption, e.token)]
        if not wanting:
            return caption
        templates = _TEMPLATES[wanting[0].captions]
        drawn = int(uniform(1, self._seed, "template", step, place) * len(templates))
        return templates[drawn].format(" and ".join(each.token for each in wanting))
