"""Whether a word makes a good trigger, in one line."""

from .trigger_facts import EncoderFacts, Piece, WordFacts
from .trigger_report import is_of_real_words

_MANY_PIECES = 4


def verdict(facts: WordFacts) -> str:
    """Return in one line what speaks most against `facts.word` as a trigger, or that nothing does."""
    if facts.file:
        return (
            f"taken. An embedding file has this name ({facts.file}), and prompts may load it. "
            "If an earlier run of yours learnt the word, keep it: a new file gets a number."
        )
    learned = [one.encoder for one in facts.encoders if any(piece.number is None for piece in one.pieces)]
    if learned:
        return f"a learned word. Its vectors stand in {_listed(learned)}; what they are near to is below."
    known = [one for one in facts.encoders if is_of_real_words(facts.word, [piece.text for piece in one.pieces])]
    if known:
        return _known_verdict(known)
    worst = max(facts.encoders, key=lambda one: one.excess)
    if worst.excess > 0:
        near = worst.near_output[0].word
        return f"not free. To {worst.encoder} it is as near to {near!r} as known words are to one another."
    return _free_verdict(facts)


def plain(piece: Piece) -> str:
    """Return a piece's text without the tokenizer's marks."""
    return piece.text.removesuffix("</w>").removeprefix("▁") or piece.text


def _known_verdict(known: list[EncoderFacts]) -> str:
    names, words = _listed([one.encoder for one in known]), known[0].pieces
    rare = [plain(piece) for piece in words if piece.frequency == "rare"]
    if 0 < len(rare) < len(words):
        return f"known but for {rare[0]!r}. To {names} that is one rare token, and the rest keep their meaning."
    if len(words) > 1:
        return f"known. To {names} it is only words with a meaning; training would start from that and bend it."
    if words[0].frequency == "rare":
        return f"rare, but known. To {names} it is one token, which may carry an old meaning: draw it once to see."
    return f"known. To {names} it is one token with a meaning; training would start from that and bend it."


def _free_verdict(facts: WordFacts) -> str:
    most = max(facts.encoders, key=lambda one: len(one.pieces))
    common = [plain(piece) for one in facts.encoders for piece in one.pieces if _is_in_many_words(piece)]
    if len(most.pieces) > _MANY_PIECES:
        return f"free, but long. {most.encoder} cuts it into {len(most.pieces)} pieces, and a prompt holds 75."
    if common:
        return f"free, but its piece {common[0]!r} is in very many words."
    return "free. No known word is near."


def _is_in_many_words(piece: Piece) -> bool:
    return piece.frequency == "very common" and len(plain(piece)) > 1


def _listed(names: list[str]) -> str:
    return " and ".join(names)
