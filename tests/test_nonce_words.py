"""Made-up words. Oracle: edit distance by dynamic programming, written out here."""

import itertools
import re
from codecs import decode

import numpy as np
import pytest
from glitch_lora.dataset.nonce_words import is_near, nonce_words
from glitch_lora.dataset.rude_words import is_rude
from glitch_lora.dataset.seeds import generator


def first(count: int, seed: int = 0, known: frozenset[str] = frozenset()) -> list[str]:
    return list(itertools.islice(nonce_words(seed, known), count))


def edit_distance(one: str, other: str) -> int:
    """Levenshtein's distance, row by row."""
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row = row, [i]
        for j, opposite in enumerate(other, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != opposite)))
    return row[-1]


def test_the_same_seed_gives_the_same_words(unchanged_random_state: None) -> None:
    assert first(50) == first(50) == first(80)[:50]
    assert len(set(first(50)) & set(first(50, seed=1))) < 5


def test_words_can_be_said() -> None:
    """Five to seven letters, no three vowels or four consonants in a row, each word once."""
    words = first(500)
    assert len(set(words)) == 500
    for word in words:
        assert re.fullmatch(r"[a-z]{5,7}", word)
        assert not re.search(r"[aeiou]{2}|[^aeiou]{4}", word), word
        assert re.search(r"[aeiou]", word)


def test_one_letter_away_is_near() -> None:
    rng = generator(0, "words for the test")
    words = ["".join(rng.choice(list("abz"), size=rng.integers(1, 6))) for _ in range(120)]
    for word in words[:40]:
        for other in words[40:]:
            assert is_near(word, {other}) == (edit_distance(word, other) <= 1), (word, other)


def test_no_word_is_near_a_known_one() -> None:
    known = frozenset(first(300))
    fresh = first(60, known=known)
    assert fresh and min(edit_distance(word, other) for word in fresh for other in known) >= 2


def test_it_ends_when_nothing_new_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    from glitch_lora.dataset import nonce_words as module

    monkeypatch.setattr(module, "_ONSETS", ("b",))
    monkeypatch.setattr(module, "_CODAS", ("d",))
    monkeypatch.setattr(module, "_VOWELS", ("a",))
    monkeypatch.setattr(module, "_TRIES", 50)
    assert set(nonce_words(0)) == {"babad", "badba", "badbad", "bababa"}


def test_every_word_is_drawn_by_its_own_generator() -> None:
    """Two streams read in turns give what each gives alone."""
    one, other = nonce_words(3), nonce_words(4)
    turns = [next(stream) for _ in range(20) for stream in (one, other)]
    assert turns[::2] == first(20, 3) and turns[1::2] == first(20, 4)
    assert np.unique(turns).size > 30


def test_no_word_sounds_rude() -> None:
    """The words, turned by 13 letters, are formed as made-up ones are."""
    for turned in ("shpxre", "FYHGN", "avttre", "xvxre", "snttb", "jbtrf", "cvffr", "anmvfg", "ergneq"):
        assert is_rude(decode(turned, "rot13"))
    assert not any(map(is_rude, ("prtkl", "zorvek", "bramil", "dog", "painting", "")))
    words = first(3000)
    assert len(words) == 3000 and not any(map(is_rude, words))
