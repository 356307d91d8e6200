"""The articles "a" and "an" before words that corruptions replace or take out.

Oracle: examples written out, as a dictionary has them.
"""

import pytest
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.captions.articles import begins_with_vowel
from glitch_lora.glitch.captions.lexicons import ANTONYMS, ATTRIBUTES, CLASSES
from glitch_lora.glitch.captions.words import change_words
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation

AN = "apple hour honest heirloom umbrella unimportant ugly oneiric Old egg ice-cream undone upper honorary"
A = "cat European one one-eyed unicorn uniform Union useful usual ewe utensil ubiquitous young hat historic unanimous"


def replaced(caption: str, word: str, other: str, triggers: tuple[str, ...] = ()) -> str:
    return change_words(caption, triggers, lambda _, found: other if found == word else found, mend_articles=True)


def corrupted(name: str, caption: str, **values: str) -> str:
    return find_operation(name).apply(caption, generator(0), 1.0, Context(triggers=("prtkl",)), **values)


@pytest.mark.parametrize(("words", "vowel"), [(AN, True), (A, False)])
def test_words_sound_as_in_the_dictionary(words: str, vowel: bool) -> None:
    assert [word for word in words.split() if begins_with_vowel(word) is not vowel] == []


def test_what_may_sound_either_way_is_not_guessed() -> None:
    assert [word for word in "UFO MRI X-ray e-mail 8 11th b herb été 猫 usher".split() if begins_with_vowel(word)] == []
    assert begins_with_vowel("MRI") is begins_with_vowel("herb") is begins_with_vowel("") is None


def test_every_word_of_the_lists_is_certain() -> None:
    words = {word for words in ATTRIBUTES.values() for word in words} | {*ANTONYMS, *CLASSES}
    words |= {*ANTONYMS.values(), *CLASSES.values()}
    assert [word for word in words if begins_with_vowel(word) is None] == []


@pytest.mark.parametrize(
    ("caption", "word", "other", "expected"),
    [
        ("an old cat", "old", "young", "a young cat"),
        ("A young cat", "young", "old", "An old cat"),
        ("AN old CAT", "old", "young", "A young CAT"),
        ("a red apple", "red", "", "an apple"),
        ("an orange  cat", "orange", "", "a cat"),
        ("a big red old hat", "big", "", "a red old hat"),
        ("a single cup", "single", "eleven", "an eleven cup"),
        # what was wrong before, what is not certain and what stands apart stays
        ("a old cat", "old", "young", "a young cat"),
        ("an young cat", "young", "old", "an old cat"),
        ("a red MRI", "red", "", "a MRI"),
        ("vitamin a, red apples", "red", "", "vitamin a, apples"),
        ("an orange, 8 cats", "orange", "", "an, 8 cats"),
        ("the old cat and a dog", "old", "young", "the young cat and a dog"),
        ("an", "an", "a", "a"),
    ],
)
def test_articles_follow_simple_changes(caption: str, word: str, other: str, expected: str) -> None:
    assert replaced(caption, word, other) == expected


def test_triggers_and_what_stands_before_them_stay() -> None:
    assert replaced("an old style, an old cat", "old", "young", ("an old style",)) == "an old style, a young cat"
    assert replaced("an old prtkl", "old", "", ("prtkl",)) == "an prtkl"


def test_corruptions_speak_properly() -> None:
    assert corrupted("opposites", "prtkl, an open door, an old red van") == "prtkl, a closed door, a young green van"
    assert corrupted("opposites", "a bus, an apple", kind="classes") == "an aeroplane, a brick"
    assert corrupted("attribute_strip", "an orange cat on a red umbrella") == "a cat on an umbrella"
    swapped = corrupted("attribute_strip", " ".join(["a red cat, an orange dog,"] * 60), change="swap").split()
    pairs = [(one, other) for one, other in zip(swapped, swapped[1:], strict=False) if one in ("a", "an")]
    assert {one for one, _ in pairs} == {"a", "an"}
    assert [pair for pair in pairs if (pair[0] == "an") != (pair[1][0] in "aeiou")] == []
