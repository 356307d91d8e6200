"""Captions: the trigger word, dropping parts, prompt syntax, prompt sets.

Oracles: ComfyUI's real SD1, SDXL and Flux tokenizers, and tokens of known words in CLIP's vocabulary.
"""

from pathlib import Path

import pytest
from glitch_lora.dataset.captions import TriggerWord, caption_parts, contains_word, drop_parts, without_word
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.folder import load_folder
from glitch_lora.dataset.prompts import PromptSet, escape_prompt_syntax, one_per_line
from glitch_lora.dataset.sample import Sample
from glitch_lora.dataset.seeds import generator
from glitch_lora.dataset.trigger_report import describe_trigger
from hypothesis import example, given, settings
from hypothesis import strategies as st
from photographs import write_dataset
from PIL import Image

CAPTIONS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=80)
SYNTAX = st.text(st.sampled_from("()\\:[]{}<>.,1 aé猫\n\t\0\1\2"), max_size=60)


@pytest.fixture
def photos(tmp_path: Path) -> Dataset:
    folder = write_dataset(tmp_path / "photos", ["astronaut", "chelsea", "coffee"])
    (folder / "coffee.txt").write_text("a cup (white:1.2), [trigger] on a table")
    return load_folder(folder)


@given(CAPTIONS, st.sampled_from(["prefix", "suffix", "replace placeholder"]))
def test_every_caption_has_the_trigger_once_placed(caption: str, position: str) -> None:
    placed = TriggerWord("prtkl", position).placed_in(caption)
    assert "prtkl" in placed
    assert (
        TriggerWord("prtkl", position).placed_in(placed).count("prtkl") == placed.count("prtkl") or position != "prefix"
    )


def test_positions() -> None:
    assert TriggerWord("w").placed_in("a cat") == "w, a cat"
    assert TriggerWord("w", "suffix", " ").placed_in("a cat") == "a cat w"
    assert TriggerWord("w", "replace placeholder").placed_in("a [trigger] and [trigger]") == "a w and w"
    assert TriggerWord("w", "replace placeholder").placed_in("a cat") == "w, a cat"
    assert TriggerWord("w").placed_in("") == TriggerWord("w", "suffix").placed_in("  ") == "w"
    assert TriggerWord("w").placed_in("w, a cat") == "w, a cat"
    assert TriggerWord("cat").placed_in("category") == "cat, category"
    assert TriggerWord("cat", "suffix").placed_in("concat") == "concat, cat"
    assert TriggerWord("a+b").placed_in("a+b c") == "a+b c"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TriggerWord("  "), "trigger word: got an empty"),
        (lambda: TriggerWord("w", "middle"), "position: got 'middle'"),
        (lambda: TriggerWord("w", "replace placeholder", placeholder=""), "placeholder: got an empty"),
    ],
)
def test_impossible_triggers_are_refused(make, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_words_are_whole_words() -> None:
    assert contains_word("a cat, sitting", "cat") and not contains_word("a category", "cat")
    assert not contains_word("anything", "") and contains_word("x (a+b) y", "a+b")
    assert without_word("cat, a cat on a mat", "cat") == "a on a mat"
    assert without_word("prtkl, a photo", "prtkl") == "a photo" == without_word("a photo, prtkl", "prtkl")
    assert without_word("a  photo", "prtkl") == "a  photo"


def test_parts_are_split_at_commas_or_sentences() -> None:
    assert caption_parts("a, b , ,c") == (["a", "b", "c"], ", ")
    assert caption_parts("One thing. Another! A third") == (["One thing.", "Another!", "A third"], " ")


@given(
    st.lists(st.text("abcdef ", min_size=1, max_size=8).map(str.strip).filter(bool), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_dropped_parts_keep_the_trigger_and_the_order(parts: list[str], probability: float) -> None:
    caption = ", ".join(["prtkl", *parts])
    kept = drop_parts(caption, ["prtkl"], probability, generator(0, caption))
    assert kept.startswith("prtkl")
    remaining = iter(caption_parts(caption)[0])
    assert all(part in remaining for part in caption_parts(kept)[0])  # a subsequence
    assert drop_parts(caption, ["prtkl"], 0, generator(0)) == caption
    assert drop_parts(caption, ["prtkl"], 1, generator(0)) == "prtkl"


def test_a_trigger_that_is_hard_to_see_stays() -> None:
    assert drop_parts("one, in foo, bar style, two", ["foo, bar"], 1, generator(0)) == "in foo, bar style"
    assert drop_parts("a cat, prtkls", ["prtkl"], 1, generator(0)) == "prtkls"
    assert drop_parts("category, a cat", ["cat"], 1, generator(0)) == "a cat"
    assert drop_parts("a cat, a dog", ["prtkl"], 1, generator(0)) == ""


def test_every_trigger_of_a_chain_stays() -> None:
    sample = Sample(Image.new("RGB", (8, 8)), "one, two", (8, 8))
    for step in (TriggerWord("prtkl"), TriggerWord("foo, bar"), TriggerWord("foo"), TriggerWord("end", "suffix")):
        sample = step.apply(sample, generator(0))
    assert sample.triggers == ("prtkl", "foo, bar", "foo", "end")
    assert sample.caption == "foo, bar, prtkl, one, two, end"  # the third word already stands in front
    assert drop_parts(sample.caption, sample.triggers, 1, generator(0)) == "foo, bar, prtkl, end"


def test_parts_are_dropped_as_often_as_asked() -> None:
    caption = ", ".join(f"part{number}" for number in range(2000))
    kept = len(caption_parts(drop_parts(caption, [], 0.3, generator(7)))[0])
    assert abs(kept / 2000 - 0.7) < 0.05  # five standard deviations
    assert drop_parts("One. Two. Three.", ["Two"], 1.0, generator(0)) == "Two."


@pytest.fixture(scope="module", params=["sd15", "sdxl", "flux"])
def tokenizer(request, comfy):
    """ComfyUI's real tokenizers, as its CLIP objects hold them."""
    if request.param == "sd15":
        from comfy.sd1_clip import SD1Tokenizer as kind
    elif request.param == "sdxl":
        from comfy.sdxl_clip import SDXLTokenizer as kind
    else:
        from comfy.text_encoders.flux import FluxTokenizer as kind
    return kind()


@given(text=SYNTAX)
@settings(max_examples=200, deadline=None)
@example(text="(a) \\(b\\) (c:1.2) [d] a:b \\\\(e) ((f")
@example(text="a )) b (( c")
@example(text="")
def test_escaped_captions_are_plain_text_to_comfyui(tokenizer, text: str) -> None:
    found = tokenizer.tokenize_with_weights(escape_prompt_syntax(text))
    assert found == tokenizer.tokenize_with_weights(text, disable_weights=True)


def test_unescaped_brackets_would_be_weights(tokenizer) -> None:
    text = "a (white:1.3) cup"
    plain = tokenizer.tokenize_with_weights(text, disable_weights=True)
    assert tokenizer.tokenize_with_weights(text) != plain


def test_words_are_cut_as_the_text_encoder_does() -> None:
    from glitch_lora.host.tokens import cut_word
    from tiny_models import tiny_clip

    (cat,) = cut_word(tiny_clip("sd15"), "cat")
    assert cat == ("l", ((2368, "cat</w>"),))
    (made_up,) = cut_word(tiny_clip("sd15"), "prtkl")
    assert len(made_up.tokens) > 1 and "".join(text for _, text in made_up.tokens) == "prtkl</w>"
    assert [cut.tokenizer for cut in cut_word(tiny_clip("sdxl"), "cat")] == ["g", "l"]
    flux = {cut.tokenizer: cut.tokens for cut in cut_word(tiny_clip("flux"), "cat")}
    assert flux["l"] == ((2368, "cat</w>"),) and [text for _, text in flux["t5xxl"]] == ["▁cat"]


def test_the_report_warns_of_real_words(photos: Dataset) -> None:
    from glitch_lora.host.tokens import cut_word
    from tiny_models import tiny_clip

    clip = tiny_clip("sd15")
    real = TriggerWord("cat")
    assert "Warning: 'cat' is a real word" in describe_trigger(photos, real, cut_word(clip, "cat"))
    made_up = TriggerWord("prtkl", "replace placeholder")
    report = describe_trigger(photos, made_up, cut_word(clip, "prtkl"))
    assert "Warning" not in report and "Tokens (l)" in report
    assert "2 captions have no '[trigger]'" in report and "First caption: prtkl, a photo of astronaut" in report
    assert "have the trigger 'prtkl' already" in describe_trigger(photos.with_step(made_up), TriggerWord("swrmy"))


@pytest.mark.parametrize(
    ("word", "warned"),
    [("oil painting", True), ("oil, painting", True), ("prtkl", False), ("prtkl painting", False), ("x7", False)],
)
def test_the_report_warns_of_phrases_of_real_words(photos: Dataset, word: str, warned: bool) -> None:
    from glitch_lora.host.tokens import cut_word
    from tiny_models import tiny_clip

    for kind in ("sd15", "flux"):
        report = describe_trigger(photos, TriggerWord(word), cut_word(tiny_clip(kind), word))
        expected = [f"made only of real words for tokenizer {cut.tokenizer}" for cut in cut_word(tiny_clip(kind), word)]
        assert [line in report for line in expected] == [warned] * len(expected), report


def test_prompts_from_lines_and_captions(photos: Dataset) -> None:
    dataset = photos.with_step(TriggerWord("prtkl", "replace placeholder"))
    lines = "  (a dog:1.2)\n\na cat\na cat\n"
    assert PromptSet().texts(lines) == ["(a dog:1.2)", "a cat"]
    captions = PromptSet("captions").texts(lines, dataset)
    assert captions[2] == r"a cup \(white:1.2\), prtkl on a table"
    assert PromptSet("captions", prompt_syntax=True).texts("", dataset)[2] == "a cup (white:1.2), prtkl on a table"
    assert PromptSet("text and captions").texts(lines, dataset) == ["(a dog:1.2)", "a cat", *captions]
    assert PromptSet("text", "with").texts("a cat\na prtkl cat", dataset) == ["prtkl, a cat", "a prtkl cat"]
    assert PromptSet("captions", "without").texts("", dataset)[0] == "a photo of astronaut"
    both = ["prtkl, a cat", "a cat", "a prtkl dog", "a dog"]
    assert PromptSet("text", "with and without").texts("a cat\na prtkl dog", dataset) == both
    assert PromptSet("text", "with", "other").texts("a cat", dataset) == ["other, a cat"]


def test_limits_choose_and_variations_multiply() -> None:
    lines = "\n".join(f"prompt {number}" for number in range(88))
    assert PromptSet(limit=2).texts(lines) == ["prompt 0", "prompt 1"]
    assert PromptSet(limit=4, choice="evenly spaced").texts(lines) == [f"prompt {n}" for n in (0, 22, 44, 66)]
    random = PromptSet(limit=10, choice="random", seed=3)
    assert random.texts(lines) == random.texts(lines) != PromptSet(limit=10, choice="random", seed=4).texts(lines)
    pictures = PromptSet(variations=2, seed=100).prompts(lines)
    assert len(pictures) == 176 and len({picture.name for picture in pictures}) == 176
    assert [picture.seed for picture in pictures[:4]] == [100, 101, 100, 101]
    assert pictures[2].text == pictures[3].text == "prompt 1" and pictures[2].name == "002-prompt-1-v1"


@pytest.mark.parametrize(
    ("prompt_set", "dataset", "words"),
    [
        (PromptSet(), None, "prompts: got none from text"),
        (PromptSet("captions"), None, "dataset: got nothing"),
        (PromptSet("captions"), Dataset(()), "got no pictures"),
        (PromptSet("text", "with"), None, "trigger: got 'with' and no word"),
    ],
)
def test_empty_prompt_sets_are_refused(prompt_set: PromptSet, dataset: Dataset | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prompt_set.texts("", dataset)


def test_one_prompt_a_line() -> None:
    assert one_per_line(["a\nb", " c  d "]) == "a b\nc d"
