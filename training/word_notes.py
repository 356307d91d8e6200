"""What people should know of the words that they are about to train."""

from collections.abc import Sequence

from .model import TrainableText
from .text_settings import EmbeddingSettings
from .words import mentions


def word_notes(text: TrainableText, words: Sequence[EmbeddingSettings], captions: Sequence[str]) -> list[str]:
    """Return a sentence for each word that has a meaning already, and for what the captions can teach of it.

    captions: of the whole dataset.
    """
    return [note for word in words for note in (_known(text, word), _share(word, captions)) if note]


def _known(text: TrainableText, word: EmbeddingSettings) -> str:
    """Return a warning of a word that is one token of a text encoder: such words were learnt, others are spelt."""
    if all(len(text.token_ids(encoder, word.token)) != 1 for encoder in text.encoders):
        return ""
    return (
        f"Warning: {word.token} is a word that the text encoder knows. Wherever captions and prompts have it they now "
        "mean the new one; Inspect Trigger suggests words that mean nothing yet"
    )


def _share(word: EmbeddingSettings, captions: Sequence[str]) -> str:
    """Return a note on the captions that have the word: those without it are what tells its meaning apart."""
    having = sum(mentions(caption, word.token) for caption in captions)
    without = len(captions) - having
    if word.captions != "captions":
        return ""
    if not without:
        return (
            f"Every caption has {word.token}, so nothing tells it apart from the pictures as such: the LoRA will show "
            "without it too. Merge Datasets adds pictures without the word"
        )
    rest = "the other one shows" if without == 1 else f"the other {without} show"
    return f"{word.token} is in {having} of {len(captions)} captions; {rest} what pictures are without it"
