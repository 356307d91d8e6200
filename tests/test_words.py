"""New words in prompts and captions.

Oracle: ComfyUI's own CLIPTextEncode with the word as an embedding file, written out as ``embedding:word`` where a
prompt or a caption has the word. Bar: 1e-5 of the largest value, cross-attention and pooled output, in fp32.
"""

from pathlib import Path
from typing import Any

import folder_paths
import pytest
import torch
from glitch_lora.host.encoding import encode_text
from glitch_lora.host.identity import clip_identity
from glitch_lora.host.text_model import private_text
from glitch_lora.host.words import clip_with_plain_words, clip_with_words
from glitch_lora.training.conditioning import TextConditioning
from glitch_lora.training.embedding_layout import embedding_tensors
from glitch_lora.training.lora_file import save_safetensors
from glitch_lora.training.words import Vectors, bundled, mentions, plain_words, rewrite, split_bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import tiny_clip

from nodes import CLIPTextEncode

FAMILIES = ("sd15", "sdxl")
LAYERS = 12
TOKENS = {"prtkl": 2, "prtkl2": 1, "ninefold": 9, "un-known_7": 8}
WINDOW = "word " * 70  # five tokens are left of the first window

# As a prompt may write a word -> as ComfyUI reads it with files.
PROMPTS = {
    "prtkl": "embedding:prtkl",
    "a photo of prtkl": "a photo of embedding:prtkl",
    "prtkl, a photo": "embedding:prtkl, a photo",
    "a <prtkl> photo": "a embedding:prtkl photo",
    "an embedding:prtkl photo": "an embedding:prtkl photo",
    "PRTKL and Prtkl and embedding:PrTkL": "embedding:prtkl and embedding:prtkl and embedding:prtkl",
    "a (prtkl:1.3) cat": "a (embedding:prtkl:1.3) cat",
    "a ((prtkl)) cat": "a ((embedding:prtkl)) cat",
    "a (red prtkl cat:0.7)": "a (red embedding:prtkl cat:0.7)",
    "a (<prtkl>:1.2), (embedding:ninefold:0.5)": "a (embedding:prtkl:1.2), (embedding:ninefold:0.5)",
    'a "prtkl" cat': 'a " embedding:prtkl " cat',
    "prtkl's cat (prtkl).": "embedding:prtkl 's cat (embedding:prtkl).",
    "a cat\nprtkl.": "a cat\nembedding:prtkl .",
    'embedding:prtkl\'s at the end, "embedding:prtkl"': 'embedding:prtkl \'s at the end, " embedding:prtkl "',
    "[prtkl|cat]": "[ embedding:prtkl |cat]",
    "prtkl prtkl2 ninefold": "embedding:prtkl embedding:prtkl2 embedding:ninefold",
    "a un-known_7, <un-known_7>": "a embedding:un-known_7, embedding:un-known_7",
    "no word of ours": "no word of ours",
    "xprtkl prtkl3 _prtkl": "xprtkl prtkl3 _prtkl",
    "embedding:prtkl3, embedding:my-prtkl cat": "embedding:prtkl3, embedding:my-prtkl cat",
    "embedding:prtkl.v2 cat": "embedding:prtkl.v2 cat",
    WINDOW + "prtkl and ninefold cat": WINDOW + "embedding:prtkl and embedding:ninefold cat",
    WINDOW + "a (ninefold:1.4) cat" + WINDOW: WINDOW + "a (embedding:ninefold:1.4) cat" + WINDOW,
    "word, " * 75 + "(un-known_7:0.8)": "word, " * 75 + "(embedding:un-known_7:0.8)",
}
# As a caption has it -> the prompt, whose brackets are escaped, that means the same.
CAPTIONS = {
    "a photo of prtkl": "a photo of embedding:prtkl",
    "a (prtkl:1.3) [cat]": "a \\( embedding:prtkl :1.3\\) [cat]",
    "((prtkl)) (cat:0.2)": "\\(\\( embedding:prtkl \\)\\) \\(cat:0.2\\)",
    "<prtkl>, it says embedding: prtkl": "embedding:prtkl , it says embedding : embedding:prtkl",
    WINDOW + "ninefold's (cat)": WINDOW + "embedding:ninefold 's \\(cat\\)",
}


class Scene:
    """A CLIP, words with random vectors, and the same words as embedding files for a CLIP that is ComfyUI's alone."""

    def __init__(self, family: str, folder: Path) -> None:
        self.clip, self.stock = tiny_clip(family, layers=LAYERS), tiny_clip(family, layers=LAYERS)
        random = torch.Generator().manual_seed(7)
        parts = {name: part for name, part in vars(self.clip.tokenizer).items() if hasattr(part, "embedding_key")}
        widths = {name: self.width(name) for name in parts}
        self.words = {token: _vectors(count, widths, random) for token, count in TOKENS.items()}
        for token, vectors in (self.words | {"my-prtkl": _vectors(3, widths, random)}).items():
            save_safetensors(folder / f"{token}.safetensors", embedding_tensors(vectors), {})
        self.directories = [str(folder)]
        self._know_files(self.stock)
        self._know_files(self.clip, str(folder / "others"))
        save_safetensors(folder / "others" / "my-prtkl.safetensors", embedding_tensors(vectors), {})

    def width(self, encoder: str) -> int:
        return int(getattr(self.clip.cond_stage_model, encoder).transformer.get_input_embeddings().weight.shape[1])

    def _know_files(self, clip: Any, folder: str = "") -> None:
        for part in vars(clip.tokenizer).values():
            if hasattr(part, "embedding_key"):
                part.embedding_directory = [folder] if folder else self.directories

    def expected(self, prompt: str) -> TextConditioning:
        return conditioning(self.stock, prompt)


def _vectors(count: int, widths: dict[str, int], random: torch.Generator) -> Vectors:
    return {encoder: torch.randn(count, width, generator=random) for encoder, width in widths.items()}


def conditioning(clip: Any, prompt: str) -> TextConditioning:
    ((cross_attn, extras),) = CLIPTextEncode().encode(clip, prompt)[0]
    return TextConditioning(cross_attn, extras)


def require_equal(ours: TextConditioning, expected: TextConditioning, what: str) -> None:
    assert ours.cross_attn.shape == expected.cross_attn.shape, what
    error = (ours.cross_attn - expected.cross_attn).abs().max()
    assert error <= 1e-5 * expected.cross_attn.abs().max(), what
    pooled, theirs = ours.extras["pooled_output"], expected.extras["pooled_output"]
    assert (pooled - theirs).abs().max() <= 1e-5 * theirs.abs().max(), what


@pytest.fixture(scope="module", params=FAMILIES)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(request.param, tmp_path_factory.mktemp("embeddings"))


def test_every_way_of_writing_a_word_is_the_file_in_prompts(scene: Scene) -> None:
    knowing = clip_with_words(scene.clip, scene.words)
    with private_text(scene.clip) as text, torch.no_grad():
        text.load()
        for prompt, stock in PROMPTS.items():
            expected = scene.expected(stock)
            require_equal(conditioning(knowing, prompt), expected, prompt)
            with text.training(gradient_checkpointing=True):
                require_equal(text.encode(prompt, scene.words, prompt_syntax=True), expected, prompt)


def test_captions_in_training_take_brackets_as_they_are(scene: Scene) -> None:
    with private_text(scene.clip) as text, torch.no_grad(), text.training(gradient_checkpointing=True):
        text.load()
        for caption, stock in CAPTIONS.items():
            require_equal(text.encode(caption, scene.words), scene.expected(stock), caption)


@pytest.mark.parametrize("skip", [None, *range(-1, -LAYERS - 2, -1)])
def test_the_word_in_training_is_the_file_at_every_clip_skip(scene: Scene, skip: int | None) -> None:
    """-13 asks for more layers than there are: ComfyUI then takes the last one."""
    prompt, stock = WINDOW + "a (ninefold:1.4) prtkl", WINDOW + "a (embedding:ninefold:1.4) embedding:prtkl"
    clip = scene.clip.clone()
    clip.clip_layer(skip)
    scene.stock.clip_layer(skip)
    try:
        expected = scene.expected(stock)
    finally:
        scene.stock.clip_layer(None)
    words = {token: {k: torch.nn.Parameter(v) for k, v in parts.items()} for token, parts in scene.words.items()}
    with private_text(clip) as text, text.training(gradient_checkpointing=True):
        text.load()
        ours = text.encode(prompt, words, prompt_syntax=True)
    assert ours.cross_attn.requires_grad
    require_equal(ours, expected, str(skip))
    require_equal(conditioning(clip_with_words(clip, scene.words), prompt), expected, str(skip))


def test_a_caption_without_a_word_is_encoded_as_if_there_were_none(scene: Scene) -> None:
    """What a recipe without words gives for the same caption: ordinary text, ``embedding:`` and brackets too."""
    captions = ("", "a (cat:1.3)", "an embedding:my-prtkl cat", "xprtkl <cat> embedding:\\(", WINDOW * 2)
    with private_text(scene.clip) as text, torch.no_grad():
        text.load()
        for caption in captions:
            ours, expected = text.encode(caption, scene.words), encode_text(scene.clip, caption)
            assert torch.equal(ours.cross_attn, expected.cross_attn), caption
            assert torch.equal(ours.extras["pooled_output"], expected.extras["pooled_output"]), caption


def test_the_clip_that_goes_in_knows_no_word_afterwards(scene: Scene) -> None:
    before, folders = conditioning(scene.clip, "a prtkl"), list(folder_paths.get_folder_paths("embeddings"))
    parts = {name: dict(vars(part)) for name, part in vars(scene.clip.tokenizer).items() if hasattr(part, "__dict__")}
    identity = clip_identity(scene.clip)
    knowing = clip_with_words(scene.clip, scene.words)
    assert not torch.equal(conditioning(knowing, "a prtkl").cross_attn, before.cross_attn)
    assert torch.equal(conditioning(scene.clip, "a prtkl").cross_attn, before.cross_attn)
    assert {name: dict(vars(part)) for name, part in vars(scene.clip.tokenizer).items() if name in parts} == parts
    assert clip_identity(scene.clip) == identity != clip_identity(knowing)
    assert folder_paths.get_folder_paths("embeddings") == folders
    assert clip_with_words(scene.clip, {}) is scene.clip


def test_the_identity_tells_vectors_and_tokens_apart(scene: Scene) -> None:
    words = scene.words
    moved = {"prtkl": {encoder: value + 1e-3 for encoder, value in words["prtkl"].items()}}
    renamed = {"other": words["prtkl"]}
    told = [clip_identity(clip_with_words(scene.clip, w)) for w in ({"prtkl": words["prtkl"]}, moved, renamed)]
    told.append(clip_identity(clip_with_words(clip_with_words(scene.clip, {"prtkl": words["prtkl"]}), renamed)))
    told.append(clip_identity(clip_with_plain_words(scene.clip, ("prtkl",))))
    assert all(a != b for i, a in enumerate(told) for b in told[i + 1 :])
    same = {"prtkl": {encoder: value.clone() for encoder, value in words["prtkl"].items()}}
    assert clip_identity(clip_with_words(scene.clip, same)) == told[0]


def test_words_add_up_and_the_last_of_a_name_counts(scene: Scene) -> None:
    prompt, stock = "prtkl2 and <ninefold> and prtkl", "embedding:prtkl2 and embedding:ninefold and embedding:prtkl"
    one = clip_with_words(scene.clip, {"prtkl": scene.words["ninefold"], "ninefold": scene.words["ninefold"]})
    two = clip_with_words(one, {"PRTKL": scene.words["prtkl"], "prtkl2": scene.words["prtkl2"]})
    require_equal(conditioning(two, prompt), scene.expected(stock), "one after the other")
    others = clip_with_words(two, {"zzz": scene.words["prtkl"]})
    require_equal(conditioning(others, prompt), scene.expected(stock), "a third leaves them alone")


def test_plain_words_are_ordinary_text_beside_known_ones(scene: Scene) -> None:
    knowing = clip_with_words(scene.clip, scene.words)
    plain = clip_with_plain_words(knowing, ("prtkl", "un-known_7"))
    prompt = "a (PRTKL:1.2), <prtkl>, embedding:prtkl and ninefold"
    stock = "a (PRTKL:1.2), prtkl, prtkl and embedding:ninefold"
    assert mentions(prompt, "prtkl")
    require_equal(conditioning(plain, prompt.replace("PRTKL", "prtkl")), scene.expected(stock.lower()), "plain")
    again = clip_with_words(plain, {"prtkl": scene.words["prtkl"]})
    require_equal(conditioning(again, "a prtkl"), scene.expected("a embedding:prtkl"), "known again")


def test_a_clip_with_words_takes_captions_for_training(scene: Scene) -> None:
    """Its own words are what the graph means by them; ``embedding:`` of others stays ordinary text in captions."""
    knowing = clip_with_words(scene.clip, {"prtkl": scene.words["prtkl"]})
    expected = conditioning(scene.clip, "an embedding : my-prtkl cat")
    require_equal(encode_text(knowing, "an embedding:my-prtkl cat"), expected, "another's name")
    caption, expected = "a <prtkl> (cat), Prtkl", scene.expected("a embedding:prtkl \\(cat\\), embedding:prtkl")
    require_equal(encode_text(knowing, caption), expected, "encoded before the training")
    with private_text(knowing) as text, torch.no_grad():
        require_equal(text.encode(caption, {}), expected, "encoded in each step")
        both = text.encode(f"{caption} ninefold", {"ninefold": scene.words["ninefold"]})
    stock = "a embedding:prtkl \\(cat\\), embedding:prtkl embedding:ninefold"
    require_equal(both, scene.expected(stock), "beside a word in training")


TOKEN = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,6}", fullmatch=True)
MARK = "\ue000"


@given(
    token=TOKEN,
    before=st.sampled_from(["", "9 ", "(", '"', "9, ", "[", "\n"]),
    after=st.text(" ,.'!?:)]\n\"", max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_each_way_of_writing_is_found_once(token: str, before: str, after: str) -> None:
    for written in (token, token.upper(), f"<{token}>", f"embedding:{token}"):
        text = before + written + after
        assert rewrite(text, [token], lambda _: MARK) == before + MARK + after
        assert mentions(text, token)
        assert plain_words(text, [token]) == before + token + after


@given(token=TOKEN, letters=st.sampled_from("aZ9_é"), text=st.text("ab ,(embding:)<>", max_size=20))
@settings(max_examples=200, deadline=None)
def test_longer_words_and_other_names_are_left_alone(token: str, letters: str, text: str) -> None:
    for other in (letters + token, token + letters, f"embedding:{token}{letters}", f"embedding:my{token}"):
        assert rewrite(f"{other} ...", [token], lambda _: MARK) == f"{other} ..."
    assert rewrite(text, [], lambda _: MARK) == text
    assert rewrite(text, ["zzzz"], lambda _: MARK) == text


@given(st.lists(TOKEN, min_size=2, max_size=4, unique_by=str.lower), st.data())
@settings(max_examples=100, deadline=None)
def test_of_words_that_begin_alike_the_whole_one_counts(tokens: list[str], data: st.DataObject) -> None:
    tokens = [*tokens, f"{tokens[0]}x"]
    tokens = list({token.lower(): token for token in tokens}.values())
    said = data.draw(st.lists(st.sampled_from(tokens), min_size=1, max_size=5))
    seen: list[str] = []
    rewrite(", ".join(said), tokens, lambda token: (seen.append(token), token)[1])
    assert seen == said


@given(st.dictionaries(TOKEN, st.sampled_from([("clip_l",), ("clip_l", "clip_g"), ("t5xxl",)]), max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_bundle_gives_back_what_was_put_in(words: dict[str, tuple[str, ...]]) -> None:
    given_words = {token: {encoder: torch.ones(1, 2) for encoder in parts} for token, parts in words.items()}
    lora = {"lora_unet_a.lora_up.weight": torch.ones(1), "lora_te_b.alpha": torch.ones(1)}
    tensors = bundled(given_words)
    assert all(name.startswith("bundle_emb.") for name in tensors)
    parts, back = split_bundle(lora | tensors)
    assert parts == lora and back == given_words
