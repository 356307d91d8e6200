"""What was found out about triggers, as text and as a table."""

import csv
import io
from collections.abc import Iterator, Sequence

from .probe_words import PROBE_WORDS
from .report import counted
from .trigger_choice import Choice
from .trigger_facts import EncoderFacts, Near, Piece, WordFacts
from .trigger_verdict import plain, verdict

_COLUMNS = ("word", "role", "encoder", "part", "text", "id", "rank", "frequency", "norm", "near", "cosine", "usual")
_NOTE = (
    f"Nearest in meaning: of {len(PROBE_WORDS)} everyday words, by the cosine of what the encoder gives out for each "
    "alone, less what all texts of as many pieces share: 0 unrelated, 1 the same. Near: by the cosine of the pieces' "
    "embeddings to those of all words in the vocabulary. Length: of the embedding, the middle one of all being 1."
)


def inspection_report(choice: Choice) -> str:
    """Return a paragraph for each word asked for, and the suggestions, one a line."""
    parts = [_word(facts) for facts in choice.asked]
    if choice.nonce:
        parts.append(["Free words, the freest first:", *(_suggestion(facts) for facts in choice.nonce)])
    if choice.rare:
        head = "Rare tokens, the freest first. One may carry an old meaning (a name, a brand): draw it once to see."
        parts.append([head, *(_suggestion(facts) for facts in choice.rare)])
    return "\n\n".join("\n".join(lines) for lines in [*parts, [_NOTE]])


def inspection_table(choice: Choice) -> str:
    """Return CSV: one row for each piece, mean of pieces and output, for each encoder, and each of its nearest words.

    role: asked, nonce or rare. part: piece, mean or output. usual: what the cosine is between a known word and its
    nearest. Fields that a row does not have are empty.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for role in ("asked", "nonce", "rare"):
        words: Sequence[WordFacts] = getattr(choice, role)
        writer.writerows((facts.word, role, *row) for facts in words for one in facts.encoders for row in _rows(one))
    return text.getvalue()


def _word(facts: WordFacts) -> list[str]:
    lines = [f"{facts.word}: {verdict(facts)}"]
    if facts.of:
        lines.append(f"  In {facts.captions} of {counted(facts.of, 'caption')}.")
    return lines + [line for one in facts.encoders for line in _encoder(one)]


def _encoder(one: EncoderFacts) -> Iterator[str]:
    if one.near_output:
        usual = f"(known words to theirs: {one.usual_output:.2f})"
        yield f"  {one.encoder}: nearest in meaning {_list(one.near_output)} {usual}"
    for piece in one.pieces:
        yield f"    {plain(piece)}: {_how_common(piece)}, length {piece.norm:.2f}{_near(piece.near)}"
    if one.near_mean:
        yield f"    their mean{_near(one.near_mean)} (known words to theirs: {one.usual_table:.2f})"


def _how_common(piece: Piece) -> str:
    numbers = [
        f"{name} {number}" for name, number in (("rank", piece.rank), ("id", piece.number)) if number is not None
    ]
    return f"{piece.frequency} ({', '.join(numbers)})" if numbers else piece.frequency


def _near(near: Sequence[Near]) -> str:
    return f", near {_list(near)}" if near else ""


def _suggestion(facts: WordFacts) -> str:
    cuts = {one.encoder: " + ".join(map(plain, one.pieces)) for one in facts.encoders if len(one.pieces) > 1}
    alike = len(cuts) == len(facts.encoders) and len({*cuts.values()}) == 1
    cut = next(iter(cuts.values())) if alike else _by_name(cuts, len(facts.encoders))
    nearest = _by_name({one.encoder: _list(one.near_output[:1]) for one in facts.encoders}, len(facts.encoders))
    return f"  {facts.word}: {cut + '; ' if cut else ''}nearest {nearest}"


def _by_name(texts: dict[str, str], encoders: int) -> str:
    """Return the texts, each with the encoder it belongs to where there are several."""
    return ", ".join(f"{text} ({name})" if encoders > 1 else text for name, text in texts.items())


def _list(near: Sequence[Near]) -> str:
    return ", ".join(f"{one.word} {one.cosine:.2f}" for one in near)


def _rows(one: EncoderFacts) -> Iterator[tuple[str, ...]]:
    for piece in one.pieces:
        told = (_text(piece.number), _text(piece.rank), piece.frequency, f"{piece.norm:.4f}")
        yield from _each(piece.near, (one.encoder, "piece", piece.text, *told), one.usual_table)
    if one.near_mean:
        yield from _each(one.near_mean, (one.encoder, "mean", *[""] * 5), one.usual_table)
    yield from _each(one.near_output, (one.encoder, "output", *[""] * 5), one.usual_output)


def _each(near: Sequence[Near], told: tuple[str, ...], usual: float) -> Iterator[tuple[str, ...]]:
    for one in near:
        yield *told, one.word, f"{one.cosine:.4f}", f"{usual:.4f}"
    if not near:
        yield *told, "", "", ""


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
