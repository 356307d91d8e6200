"""What is known about a word that may become a trigger: plain values, however they were found."""

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Near:
    """A known word and the cosine to it (-1..1)."""

    word: str
    cosine: float


@dataclass(frozen=True)
class Piece:
    """One token of a word.

    number: its id, None for a learned vector. rank: its place in the vocabulary's order of frequency, None for letters
    and learned vectors. frequency: that in words. norm: length of its embedding over the table's median. near: the
    words of the vocabulary whose embeddings point most nearly the same way.
    """

    number: int | None
    text: str
    rank: int | None
    frequency: str
    norm: float
    near: tuple[Near, ...] = ()


@dataclass(frozen=True)
class EncoderFacts:
    """What one text encoder makes of one word.

    near_mean: as `Piece.near`, for the mean of the pieces. near_output: the probe words whose outputs are nearest to
    the word's. usual_table, usual_output: the median over the probe words of the cosine to the nearest other known
    word, in the table and in the output: what is nearer than that is as near as known words are to one another.
    """

    encoder: str
    pieces: tuple[Piece, ...]
    near_mean: tuple[Near, ...]
    near_output: tuple[Near, ...]
    usual_table: float
    usual_output: float

    @property
    def excess(self) -> float:
        """How much nearer the nearest probe word is than known words are to one another; below 0 is free."""
        return self.near_output[0].cosine - self.usual_output if self.near_output else 0.0


@dataclass(frozen=True)
class WordFacts:
    """One word in every text encoder of a CLIP.

    file: the embedding file of that name, empty if there is none. captions, of: in how many of how many captions of the
    dataset the word stands, as a whole word, in any case of letters.
    """

    word: str
    encoders: tuple[EncoderFacts, ...]
    file: str = ""
    captions: int = 0
    of: int = 0

    @property
    def closeness(self) -> float:
        """The worst `EncoderFacts.excess`: words are ranked by it, the freest (lowest) first."""
        return max((facts.excess for facts in self.encoders), default=0.0)


def usual_nearest(nearest: list[float]) -> float:
    """Return the median of the cosines of known words to their nearest, 1 without any."""
    return median(nearest) if nearest else 1.0
