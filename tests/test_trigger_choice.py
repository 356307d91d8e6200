"""What is told and suggested about triggers, from text encoders whose answers the test makes up."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from glitch_lora.dataset.nonce_words import is_near
from glitch_lora.dataset.probe_words import PROBE_WORDS
from glitch_lora.dataset.trigger_choice import Choice, choose_trigger, split_words
from glitch_lora.dataset.trigger_facts import EncoderFacts, Near, Piece, WordFacts, usual_nearest
from glitch_lora.dataset.trigger_inspection import inspection_report, inspection_table
from glitch_lora.dataset.trigger_verdict import verdict


class Ears:
    """Hears words with many letters e as near to "dog"; takes words with a z for rarely cut ones."""

    def __init__(self, *tokens: str) -> None:
        self.tokens, self.asked = list(tokens), [""]

    def known_words(self) -> frozenset[str]:
        return frozenset({"zebra", "maze"})

    def rare_tokens(self) -> list[str]:
        return self.tokens

    def emptiness(self, word: str) -> float:
        return word.count("z") / 10

    def inspect(self, words: Sequence[str], probes: Sequence[str], count: int) -> list[tuple[EncoderFacts, ...]]:
        assert tuple(probes) == PROBE_WORDS
        self.asked = list(words)
        return [(heard(word.count("e") / 10),) for word in words]


def heard(cosine: float, *pieces: Piece, usual: float = 0.5, encoder: str = "clip_l") -> EncoderFacts:
    near = (Near("dog", cosine), Near("cat", cosine / 2))
    return EncoderFacts(encoder, pieces or two_pieces(), (Near("meat", 0.1),), near, 0.3, usual)


def piece(text: str, number: int | None = 30_000, frequency: str = "rare") -> Piece:
    return Piece(number, text, None if number is None else number - 512, frequency, 1.25, (Near("fog", 0.25),))


def two_pieces() -> tuple[Piece, ...]:
    return piece("zor"), piece("vek</w>")


def told(word: str, *encoders: EncoderFacts, **more: object) -> str:
    return verdict(WordFacts(word, encoders, **more))  # type: ignore[arg-type]


def test_words_stand_between_commas_and_lines() -> None:
    assert split_words(" prtkl,\n oil   painting\n\nprtkl,,x7 ") == ("prtkl", "oil painting", "x7")
    assert split_words(" \n,") == ()


def test_suggestions_are_the_freest_of_the_rarely_cut() -> None:
    ears = Ears()
    choice = choose_trigger(ears, ["prtkl"], suggestions=5)
    assert len(ears.asked) == 1 + 48 and all("z" in word for word in ears.asked[1:])
    order = sorted(ears.asked[1:], key=lambda word: (word.count("e"), word))
    assert list(choice.suggested) == order[:5] and choice.rare == ()
    assert not any(is_near(word, ears.known_words()) for word in choice.suggested)
    assert choose_trigger(Ears(), ["other"], suggestions=5).suggested == choice.suggested
    assert choose_trigger(Ears(), ["prtkl"], suggestions=5, seed=1).suggested != choice.suggested


def test_a_suggestion_is_nowhere_else() -> None:
    """Not in a caption, in any case of letters, no embedding file's name, and not what was asked for."""
    first, second, third, *_ = choose_trigger(Ears(), [], suggestions=5).suggested

    def files(texts: Sequence[str]) -> dict[str, Path | None]:
        names = [text.removeprefix("embedding:") for text in texts]
        return {name: Path(f"{name}.pt") if name == second else None for name in names}

    choice = choose_trigger(Ears(), [third.upper()], [f"a cat, {first.title()}."], files, suggestions=5)
    assert len(choice.suggested) == 5 and not {first, second, third} & set(choice.suggested)


def test_rare_tokens_are_drawn_by_the_seed() -> None:
    tokens = [f"{a}{b}e"[: 2 + (a < b)] for a in "bcdfghjk" for b in "lmnpqrstvwx"]
    ears = Ears(*tokens)
    choice = choose_trigger(ears, [], ["a sks cat"], suggestions=3, kind="rare tokens")
    assert choice.nonce == () and len(choice.rare) == 3 and set(ears.asked) <= set(tokens)
    again = Ears(*tokens)
    choose_trigger(again, [], suggestions=3, kind="rare tokens", seed=1)
    assert len(ears.asked) == 48 and set(again.asked) != set(ears.asked)
    both = choose_trigger(Ears("sks", "zw", "kkk"), [], ["a sks cat"], suggestions=3, kind="both")
    assert len(both.nonce) == 3 and [facts.word for facts in both.rare] == ["zw"]


def test_no_suggestions_are_no_work() -> None:
    ears = Ears("sks")
    choice = choose_trigger(ears, ["prtkl"], suggestions=0, kind="both")
    assert ears.asked == ["prtkl"] and choice.suggested == ()
    with pytest.raises(ValueError, match="word: got none and no suggestions, allowed is one word or more, type one"):
        choose_trigger(ears, [], suggestions=0)


def test_captions_are_counted_whole_words_only() -> None:
    captions = ["prtkl, a cat", "a PRTKL dog", "a prtkls dog", "a cat"]
    (facts,) = choose_trigger(Ears(), ["prtkl"], captions, suggestions=0).asked
    assert (facts.captions, facts.of) == (2, 4)
    assert "\n  In 2 of 4 captions.\n" in inspection_report(Choice((facts,)))


def test_verdicts() -> None:
    free = heard(0.3)
    assert told("zorvek", free) == "free. No known word is near."
    assert told("zorvek", free, file="zorvek.pt").startswith("taken. An embedding file has this name (zorvek.pt)")
    near = heard(0.6, encoder="clip_g")
    assert told("zorvek", free, near).startswith("not free. To clip_g it is as near to 'dog'")
    assert told("cat", heard(0.9, piece("cat</w>", 2368, "common"))).startswith("known. To clip_l it is one token")
    rare = told("sks", heard(0.9, piece("sks</w>", 48136)))
    assert rare.startswith("rare, but known. To clip_l it is one token, which may carry an old meaning")
    phrase = told("oil painting", heard(0.1, piece("▁oil"), piece("▁painting")))
    assert phrase.startswith("known. To clip_l it is only words with a meaning")
    paired = told("ohwx man", heard(0.1, piece("ohwx</w>"), piece("man</w>", 786, "very common")))
    assert paired.startswith("known but for 'ohwx'. To clip_l that is one rare token")
    common = heard(0.1, piece("pr", 766, "very common"), piece("kl</w>"))
    assert told("prkl", common) == "free, but its piece 'pr' is in very many words."
    letters = heard(0.1, piece("k", 40, "very common"), piece("zor"))
    assert told("kzor", letters) == "free. No known word is near.", "a letter says nothing"
    long = heard(0.1, *[piece("zor")] * 5)
    assert told("zor" * 5, long).startswith("free, but long. clip_l cuts it into 5 pieces")
    learned = heard(0.9, piece("(learned vector)", None, "learned"))
    assert told("embedding:rust", learned).startswith("a learned word. Its vectors stand in clip_l")


def test_the_word_is_judged_by_its_worst_encoder() -> None:
    facts = WordFacts("zorvek", (heard(0.3, usual=0.5), heard(0.4, usual=0.45)))
    assert facts.closeness == pytest.approx(-0.05)
    assert usual_nearest([0.1, 0.9, 0.4]) == 0.4 and usual_nearest([]) == 1


def test_the_report_names_everything() -> None:
    asked = WordFacts("zorvek", (heard(0.3),))
    two = WordFacts("mizlok", (heard(0.3), heard(0.2, *two_pieces(), piece("a"), encoder="t5xxl")))
    token = WordFacts("sks", (heard(0.3, piece("sks</w>")),))
    lines = inspection_report(Choice((asked,), (two,), (token,))).splitlines()
    assert lines[:5] == [
        "zorvek: free. No known word is near.",
        "  clip_l: nearest in meaning dog 0.30, cat 0.15 (known words to theirs: 0.50)",
        "    zor: rare (rank 29488, id 30000), length 1.25, near fog 0.25",
        "    vek: rare (rank 29488, id 30000), length 1.25, near fog 0.25",
        "    their mean, near meat 0.10 (known words to theirs: 0.30)",
    ]
    assert "  mizlok: zor + vek (clip_l), zor + vek + a (t5xxl); nearest dog 0.30 (clip_l), dog 0.20 (t5xxl)" in lines
    assert "  sks: nearest dog 0.30" in lines
    assert "309 everyday words" in lines[-1]


def test_the_table_has_a_row_for_each_nearest_word() -> None:
    word, token = WordFacts("zorvek", (heard(0.3),)), WordFacts("sks", (heard(0.3, piece("sks</w>")),))
    rows = list(csv.DictReader(io.StringIO(inspection_table(Choice((word,), (), (token,))))))
    assert [(row["word"], row["role"], row["part"], row["near"]) for row in rows] == [
        ("zorvek", "asked", "piece", "fog"),
        ("zorvek", "asked", "piece", "fog"),
        ("zorvek", "asked", "mean", "meat"),
        ("zorvek", "asked", "output", "dog"),
        ("zorvek", "asked", "output", "cat"),
        ("sks", "rare", "piece", "fog"),
        ("sks", "rare", "mean", "meat"),
        ("sks", "rare", "output", "dog"),
        ("sks", "rare", "output", "cat"),
    ]
    assert rows[0]["text"] == "zor" and float(rows[0]["norm"]) == 1.25 and rows[0]["rank"] == "29488"
    assert float(rows[3]["cosine"]) == 0.3 and float(rows[3]["usual"]) == 0.5 and rows[3]["id"] == ""
