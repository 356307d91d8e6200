"""Corruptions of captions: what each one does.

Oracles: Python's base64, hex and ROT13 decoders, Unicode's own names and compatibility tables, binomial bounds, and
written-out examples.
"""

import base64
import codecs
import unicodedata
from collections import Counter

import numpy as np
import pytest
from glitch_lora.dataset.captions import TriggerWord, caption_parts
from glitch_lora.dataset.seeds import generator
from glitch_lora.glitch.captions.report import describe_change
from glitch_lora.glitch.context import Context
from glitch_lora.glitch.registry import find_operation
from glitch_lora.glitch.step import corruption
from hypothesis import given, settings
from hypothesis import strategies as st
from test_glitch_captions import captions, company, dataset, scenes

LONG = "prtkl, " + ", ".join(f"part{number} with words" for number in range(400))


def corrupted(name: str, caption: str, severity: float = 1.0, seed: int = 0, **values) -> str:
    context = Context(triggers=("prtkl",))
    return find_operation(name).apply(caption, generator(seed), severity, context, **values)


def test_dropped_captions_are_as_many_as_asked() -> None:
    before = scenes(400)
    after = captions(before.with_step(corruption("caption_dropout", {"probability": 0.6}, severity=0.5)))
    dropped = sum(caption == "prtkl" for caption in after.values())
    assert abs(dropped - 120) < 46  # five standard deviations
    bare = captions(before.with_step(corruption("caption_dropout", {"keep_triggers": False})))
    assert set(bare.values()) == {""}


def test_dropped_tags_keep_the_first_and_the_order() -> None:
    found, _ = caption_parts(corrupted("tag_dropout", LONG, probability=0.5, keep_first=20))
    whole, _ = caption_parts(LONG)
    assert found[:20] == whole[:20] and abs(len(found) - 210.5) < 50
    remaining = iter(whole)
    assert all(part in remaining for part in found)


@pytest.mark.parametrize("unit", ["tag", "word", "sentence"])
def test_shuffling_keeps_every_word(unit: str) -> None:
    caption = LONG if unit != "sentence" else ". ".join(f"S{number} is one" for number in range(99)) + ". prtkl"
    found = corrupted("caption_shuffle", caption, unit=unit, keep_first=3)
    marks = str.maketrans("", "", ",.")
    assert Counter(found.translate(marks).split()) == Counter(caption.translate(marks).split())
    assert found != caption and found.split(" ")[0] == caption.split(" ")[0]


@given(st.integers(0, 1000), st.integers(1, 12), st.floats(0.05, 1))
@settings(max_examples=30)
def test_a_window_bounds_how_far_a_tag_wanders(seed: int, window: int, severity: float) -> None:
    tags = [f"t{number}" for number in range(60)]
    found = corrupted("caption_shuffle", ", ".join(tags), severity, seed, window=window).split(", ")
    assert max(abs(found.index(tag) - place) for place, tag in enumerate(tags)) <= window


def test_every_order_is_equally_likely() -> None:
    orders = Counter(corrupted("caption_shuffle", "a, b, c", seed=seed) for seed in range(1200))
    assert len(orders) == 6 and max(abs(count - 200) for count in orders.values()) < 65  # five standard deviations


@given(st.integers(2, 40), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_false_captions_go_round_in_one_cycle(count: int, seed: int) -> None:
    before = dataset([f"scene {number}" for number in range(count)])
    after = captions(before.with_step(corruption("false_captions", seed=seed)))
    owner = {caption: name for name, caption in captions(before).items()}
    name, steps = owner[after["0.png"]], 1
    while name != "0.png":
        name, steps = owner[after[name]], steps + 1
    assert steps == count


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=30), st.integers(0, 10_000), st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_no_false_caption_is_right_even_when_captions_are_equal(texts: list[str], seed: int, severity: float) -> None:
    before = dataset(texts)
    full = captions(before.with_step(corruption("false_captions", seed=seed)))
    assert Counter(full.values()) == Counter(texts)
    if Counter(texts).most_common(1)[0][1] * 2 <= len(texts):
        assert all(full[name] != caption for name, caption in captions(before).items())
    part = captions(before.with_step(corruption("false_captions", severity=severity, seed=seed)))
    changed = sum(part[name] != caption for name, caption in captions(before).items())
    assert changed <= round(severity * len(texts))


def test_scenes_are_handed_out_evenly_and_keep_the_trigger() -> None:
    step = corruption("false_captions", {"scenes": "a harbour\n\n a ballroom \na desert"})
    found = Counter(captions(scenes(30).with_step(step)).values())
    assert found == {"prtkl, a harbour": 10, "prtkl, a ballroom": 10, "prtkl, a desert": 10}


@pytest.mark.parametrize("clusters", [1, 3, 30])
def test_captions_collapse_into_clusters(clusters: int) -> None:
    before = captions(scenes(30))
    found = Counter(captions(scenes(30).with_step(corruption("caption_collapse", {"clusters": clusters}))).values())
    assert len(found) == clusters and set(found.values()) == {30 // clusters} and set(found) <= set(before.values())
    given_text = corruption("caption_collapse", {"text": "a photo"}, severity=0.5)
    assert Counter(captions(scenes(30).with_step(given_text)).values())["prtkl, a photo"] == 15


def test_word_noise_hits_as_often_as_asked() -> None:
    caption = " ".join(f"w{number}" for number in range(2000))
    none = {"deletion": 0.0, "duplication": 0.0, "substitution": 0.0, "stutter": 0.0}
    kept = len(corrupted("word_noise", caption, 0.5, **none | {"deletion": 0.4}).split())
    assert abs(kept - 1600) < 90  # five standard deviations
    doubled = Counter(corrupted("word_noise", caption, **none | {"duplication": 1.0, "max_repeats": 4}).split())
    assert set(doubled.values()) == {2, 3, 4, 5}
    stuck = corrupted("word_noise", "hello", **none | {"stutter": 1.0, "max_repeats": 1})
    assert stuck == "he-hello"
    context = company("a b c", ["x y", "z"])
    swapped = find_operation("word_noise").apply(
        "a b c " * 50, generator(0), 1.0, context, **none | {"substitution": 1.0}
    )
    assert set(swapped.split()) == set("abcxyz")


def test_lookalikes_are_other_letters_that_stand_for_the_same_ones() -> None:
    text = "a photo of chelsea prtkl"
    found = corrupted("typing_noise", text, slip="lookalikes", probability=1.0)
    changed = [(old, new) for old, new in zip(text, found, strict=True) if old != new]
    assert len(changed) > 10 and found.endswith("prtkl")
    assert all(not unicodedata.name(new).startswith("LATIN") and new.isalpha() for _, new in changed)


def test_invisible_and_mirrored_letters_change_no_visible_one() -> None:
    text = "a photo of chelsea"
    for slip in ("invisible letters", "mirrored"):
        found = corrupted("typing_noise", text, slip=slip, probability=1.0)
        assert found != text
        assert "".join(letter for letter in found if unicodedata.category(letter) != "Cf") == text


def test_a_broken_encoding_can_be_read_back() -> None:
    """Windows-1252 bytes read as UTF-8 give the letters with accents; without accents, the caption."""
    text = "an old photo of chelsea"
    found = corrupted("typing_noise", text, slip="broken encoding", probability=1.0)
    assert found != text and found.isprintable()
    plain = unicodedata.normalize("NFD", found.encode("cp1252").decode())
    assert "".join(letter for letter in plain if not unicodedata.combining(letter)) == text


@pytest.mark.parametrize("slip", ["keyboard", "leet", "case", "scanned print"])
def test_slips_hit_letters_as_often_as_asked(slip: str) -> None:
    text = "abcdefghilmnopqrstuvwz" * 1
    caption = " ".join([text.replace("m", "").replace("n", "").replace("d", "").replace("w", "")] * 100)
    found = corrupted("typing_noise", caption, 0.5, slip=slip, probability=0.5)
    assert len(found) == len(caption)
    letters = [(old, new) for old, new in zip(caption, found, strict=True) if old in "abegiosz"]
    share = sum(old != new for old, new in letters) / len(letters)
    assert abs(share - 0.25) < 0.08  # five standard deviations


@pytest.mark.parametrize("severity", [0.3, 1.0])
def test_encoded_words_can_be_decoded(severity: float) -> None:
    text = "prtkl A young woman kneels on an office chair"
    for code, decode in (
        ("base64", lambda word: base64.b64decode(word, validate=True).decode()),
        ("hexadecimal", lambda word: bytes.fromhex(word).decode()),
        ("rot13", lambda word: codecs.decode(word, "rot13")),
    ):
        found = corrupted("text_encoding", text, severity, code=code).split(" ")
        pairs = list(zip(text.split(" "), found, strict=True))
        assert all(new in (old,) or decode(new) == old for old, new in pairs) and pairs[0] == ("prtkl", "prtkl")
    assert corrupted("text_encoding", "Red cat", code="table", table="red=rot\ncat = Katze") == "rot Katze"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"change": "remove"}, "a cat, a dog"),
        ({"change": "move to the end"}, "a cat, a dog, prtkl"),
        ({"change": "replace", "word": "photo"}, "photo, a cat, a dog"),
        ({"change": "add another", "word": "blorb"}, "blorb, prtkl, a cat, a dog"),
    ],
)
def test_what_becomes_of_a_trigger(values: dict[str, str], expected: str) -> None:
    assert corrupted("trigger_corruption", "prtkl, a cat, a dog", **values) == expected
    assert corrupted("trigger_corruption", "a cat", **values) == "a cat"


def test_a_misspelt_trigger_is_nearly_right_and_a_tag_is_no_trigger() -> None:
    for seed in range(40):
        found = corrupted("trigger_corruption", "prtkl, a cat", seed=seed, change="misspell")
        word = found.removesuffix(", a cat")
        assert word != "prtkl" and set(word) == set("prtkl") and len(word) in (5, 6)
    context = Context(triggers=("prtkl", "glx_genloss"), damage=(("generation_loss", 1.0),))
    found = find_operation("trigger_corruption").apply("prtkl, a cat, glx_genloss", generator(0), 1.0, context)
    assert found == "a cat, glx_genloss"


def test_attributes_go_or_change() -> None:
    caption = "prtkl, two red cups, a wooden table, platinum-blonde hair"
    assert corrupted("attribute_strip", caption) == "prtkl, two cups, a wooden table, hair"
    assert corrupted("attribute_strip", caption, attributes="all") == "prtkl, cups, a table, hair"
    swapped = corrupted("attribute_strip", caption, change="swap")
    assert swapped != caption and "red" not in swapped and len(swapped.split()) == len(caption.split())
    assert corrupted("attribute_strip", "a red, red rose", attributes="materials") == "a red, red rose"


def test_opposites_are_told() -> None:
    assert corrupted("opposites", "An old cat, prtkl") == "A young dog, prtkl"
    assert corrupted("opposites", "an old cat", kind="antonyms") == "a young cat"
    assert corrupted("opposites", "prtkl, a cat, the sea", kind="negation") == "prtkl, no cat, no sea"


def test_captions_are_cut_and_stretched() -> None:
    caption = "a tall, elegant fashion model stands on a platform, prtkl"
    assert corrupted("caption_length", caption, keep_words=3) == "a tall, elegant, prtkl"
    assert corrupted("caption_length", caption, keep_words=0) == "prtkl"
    for words in (20, 77, 150):
        found = corrupted("caption_length", caption, change="repeat", fill_words=words)
        assert found.startswith(caption) and len(found.replace("prtkl", "").replace(",", "").split()) == words


def test_a_cut_up_says_only_what_follows_somewhere() -> None:
    texts = ["a red cat sits on a chair", "a red rose on a table", "the old man sits on a red chair"]
    pairs = {pair for text in texts for pair in zip(text.split(), text.split()[1:], strict=False)}
    ends = {text.split()[-1] for text in texts}
    context = company(texts[0], texts[1:])
    for seed in range(20):
        words = (
            find_operation("markov_cut_up").apply(texts[0], generator(seed), 1.0, context, order=2, length=30).split()
        )
        assert len(words) == 30
        assert all(pair in pairs or pair[0] in ends for pair in zip(words, words[1:], strict=False))
    half = find_operation("markov_cut_up").apply(texts[0], generator(1), 0.5, context).split()
    assert half[:3] == texts[0].split()[:3] and len(half) == 7


def test_a_long_dataset_is_cut_up_quickly() -> None:
    import time

    step = corruption("markov_cut_up")
    after = dataset([f"{LONG} {number}" for number in range(100)]).with_step(step)
    start = time.perf_counter()
    captions(after)
    assert time.perf_counter() - start < 10  # working out the table anew for each caption would take a minute


def test_the_report_shows_before_and_after() -> None:
    before = dataset(["a red cat", "grey", "x" * 300]).with_step(TriggerWord("prtkl"))
    report = describe_change(before, before.with_step(corruption("typing_noise", {"slip": "invisible letters"})))
    lines = report.splitlines()
    assert lines[0] == "Captions changed: 3 of 3" and len(lines) == 10
    assert lines[2] == "  before: prtkl, a red cat" and all(len(line) <= 170 for line in lines)
    assert all(letter.isprintable() for line in lines for letter in line) and "\\u" in report
    assert describe_change(before, before) == "Captions changed: 0 of 3"
    empty = before.with_step(corruption("caption_dropout", {"keep_triggers": False}))
    assert "after:  (empty)" in describe_change(before, empty, 1)


@pytest.mark.parametrize(
    ("step", "settings", "count", "reason"),
    [
        ("glitch_tags", {}, 3, "no picture was damaged"),
        ("trigger_corruption", {}, 3, "no caption has a trigger word"),
        ("false_captions", {}, 1, "one picture has no other caption"),
        ("typing_noise", {"severity": 0.0}, 3, "severity or fraction is 0"),
    ],
)
def test_the_report_says_why_nothing_changed(step: str, settings: dict[str, float], count: int, reason: str) -> None:
    before = dataset(["a red cat", "grey", "two dogs"][:count])
    lines = describe_change(before, before.with_step(corruption(step, **settings))).splitlines()
    assert lines[0] == f"Captions changed: 0 of {count}" and lines[1].startswith("Hint: ") and reason in lines[1]


def test_the_report_notes_tags_that_are_handed_to_other_pictures() -> None:
    before = dataset(["a red cat", "grey"]).with_step(corruption("jpeg_recompression"))
    tagged = before.with_step(corruption("glitch_tags"))
    assert "Hint" not in describe_change(before, tagged)
    for name in ("false_captions", "caption_collapse"):
        assert "Note: " in describe_change(tagged, tagged.with_step(corruption(name)))
        assert "Note: " not in describe_change(before, before.with_step(corruption(name)))
    scenes = tagged.with_step(corruption("false_captions", {"scenes": "a beach"}))
    assert "Note: " not in describe_change(tagged, scenes)


def test_a_share_of_captions_is_spared() -> None:
    found = captions(scenes(400).with_step(corruption("false_captions", fraction=0.3)))
    changed = sum(found[name] != caption for name, caption in captions(scenes(400)).items())
    assert abs(changed - 120) < 5 * np.sqrt(400 * 0.3 * 0.7)


@pytest.mark.parametrize(
    ("name", "values"),
    [("false_captions", {}), ("false_captions", {"scenes": "a sea\na hat\na bus"}), ("caption_collapse", {})],
)
def test_captions_are_dealt_anew_for_each_variant(name: str, values: dict[str, str]) -> None:
    frozen = scenes(20).with_step(corruption(name, values, severity=0.8))
    anew = scenes(20).with_step(corruption(name, values, severity=0.8, damage="new for each variant"))
    deals = [[found.caption(index, variant) for index in range(20)] for found in (frozen, anew) for variant in range(4)]
    assert deals[0] == deals[1] == deals[2] == deals[3] == deals[4]  # the first variant is the frozen one
    assert len({tuple(deal) for deal in deals[4:]}) == 4
    before = [scenes(20).caption(index) for index in range(20)]
    for deal in deals:  # one of the 16 may get the caption it has when all get the same
        assert sum(one != other for one, other in zip(deal, before, strict=True)) in (15, 16)


@pytest.mark.parametrize("name", ["false_captions", "caption_collapse"])
def test_a_long_dataset_is_dealt_quickly(name: str) -> None:
    import time

    before = dataset([f"scene {number}" for number in range(4000)])
    captions(before)
    start = time.perf_counter()
    after = captions(before.with_step(corruption(name)))
    assert time.perf_counter() - start < 10  # working out the deal anew for each caption would take half a minute
    assert len(after) == 4000
