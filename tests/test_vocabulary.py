"""Words in text encoders. Oracles: transformers' tokenizer, CLIP's list of merges, NumPy, ComfyUI's own encoding."""

from pathlib import Path
from typing import Any

import comfy.sd1_clip
import numpy as np
import pytest
import torch
from glitch_lora.dataset.probe_words import PROBE_WORDS
from glitch_lora.host import vocabulary as module
from glitch_lora.host.demo_model import load_demo_model
from glitch_lora.host.description import tensor_hash
from glitch_lora.host.tokens import word_pieces
from glitch_lora.host.trigger_inspection import Inspector
from glitch_lora.host.vocabulary import TextEncoder, Vocabulary, scan_table, text_encoders
from glitch_lora.host.word_outputs import word_directions, word_outputs
from glitch_lora.host.words import clip_with_words
from safetensors.torch import save_file
from tiny_models import tiny_clip
from transformers import CLIPTokenizer

FOLDER = Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer"
WORDS = ("prtkl", "glitchwork", "star", "oil painting", "Sks", "über", "x7", "a (red:1.2) car")


def nothing() -> None:
    """The check of a user who does not cancel."""


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary({number: text for text, number in CLIPTokenizer.from_pretrained(FOLDER).get_vocab().items()})


def encoder_of(clip: Any, name: str) -> TextEncoder:
    (found,) = (encoder for encoder in text_encoders(clip) if encoder.name == name)
    return found


def table_of(clip: Any, name: str) -> np.ndarray:
    weight = getattr(clip.cond_stage_model, name).transformer.get_input_embeddings().weight
    return weight.detach().double().numpy()


def test_pieces_are_those_of_the_reference_tokenizer() -> None:
    reference = CLIPTokenizer.from_pretrained(FOLDER)
    found = Inspector(tiny_clip("sd15")).inspect(WORDS, ["dog", "cat"], 1)
    for word, (facts,) in zip(WORDS, found, strict=True):
        ids = reference(word)["input_ids"][1:-1]
        assert [piece.number for piece in facts.pieces] == ids
        assert [piece.text for piece in facts.pieces] == reference.convert_ids_to_tokens(ids)


def test_ranks_are_the_order_of_merges(vocabulary: Vocabulary) -> None:
    merges = (FOLDER / "merges.txt").read_text("utf-8").splitlines()[1:]
    numbers = {text: number for number, text in vocabulary.texts.items()}
    for place in range(0, 48_000, 997):
        assert vocabulary.rank(numbers["".join(merges[place].split())]) == place
    for text in ("a", "a</w>", "<", "<|endoftext|>"):
        assert vocabulary.rank(numbers[text]) is None
    classes = {word: vocabulary.frequency(numbers[word + "</w>"]) for word in ("the", "dog", "circle", "zebra", "x")}
    assert classes == {"the": "very common", "dog": "common", "circle": "uncommon", "zebra": "rare", "x": "letter"}
    assert vocabulary.frequency(numbers["<|endoftext|>"]) == "special"
    assert vocabulary.rank(numbers["<<</w>"]) == numbers["<<</w>"] - 512, "brackets alone make no special token"


def test_words_and_rare_tokens(vocabulary: Vocabulary) -> None:
    numbers = {text: number for number, text in vocabulary.texts.items()}
    assert vocabulary.words[numbers["zebra</w>"]] == "zebra"
    assert numbers["glit"] not in vocabulary.words and numbers["!</w>"] not in vocabulary.words
    rare = vocabulary.rare_tokens()
    assert "sks" in rare and len(rare) > 500
    assert all(1 < len(word) < 4 and numbers[word + "</w>"] - 512 >= 20_000 for word in rare)


def test_dreambooths_range_of_t5() -> None:
    texts = tiny_clip("flux").tokenizer.t5xxl.inv_vocab
    numbers = {text: number for number, text in texts.items()}
    rare = Vocabulary(texts).rare_tokens()
    assert rare and all(5_000 <= numbers[f"▁{word}"] <= 10_000 and len(word) <= 3 for word in rare)


def test_rare_pieces_without_a_meaning_are_empty(vocabulary: Vocabulary) -> None:
    numbers = {text: number for number, text in vocabulary.texts.items()}

    def emptiness(*pieces: str) -> float:
        return vocabulary.emptiness([numbers[piece] for piece in pieces])

    assert emptiness("koz", "wib</w>") == pytest.approx((numbers["koz"] - 512) / 49408)
    assert emptiness("pr", "wib</w>") == pytest.approx((numbers["pr"] - 512) / 49408)
    assert emptiness("koz", "dog</w>") == emptiness("lark", "wib</w>") == 0, "a word of its own"
    assert emptiness("zebra</w>") == 0, "one piece"
    assert emptiness("koz", "t", "wib</w>") == 0, "a letter has no rank"


def test_every_probe_word_is_one_token(vocabulary: Vocabulary) -> None:
    texts = set(vocabulary.texts.values())
    assert len(set(PROBE_WORDS)) == len(PROBE_WORDS) == 309
    assert [word for word in PROBE_WORDS if f"{word}</w>" not in texts] == []


@pytest.mark.parametrize(
    ("family", "name"), [("sd15", "clip_l"), ("sdxl", "clip_l"), ("sdxl", "clip_g"), ("flux", "t5xxl")]
)
def test_nearest_words_are_those_of_the_whole_table(family: str, name: str) -> None:
    """NumPy in double precision over the whole table at once."""
    clip = tiny_clip(family)
    index = [encoder.name for encoder in text_encoders(clip)].index(name)
    facts = Inspector(clip).inspect(["prtkl"], PROBE_WORDS[:20], 5)[0][index]
    table, vocabulary = table_of(clip, name), encoder_of(clip, name).vocabulary
    norms = np.linalg.norm(table, axis=1)
    special = [number for number in range(len(table)) if vocabulary.frequency(number) == "special"]
    median = np.median(np.delete(norms, special))
    ids = [piece.number for piece in facts.pieces]
    for piece in facts.pieces:
        assert piece.norm == pytest.approx(norms[piece.number] / median, rel=1e-4)
        assert_nearest(piece.near, table[piece.number], table, vocabulary.words, {piece.number})
    assert_nearest(facts.near_mean, table[ids].mean(0), table, vocabulary.words, set(ids))


def assert_nearest(near: Any, query: np.ndarray, table: np.ndarray, words: dict[int, str], own: set) -> None:
    numbers = [number for number in words if number not in own]
    cosines = table[numbers] @ query / np.linalg.norm(table[numbers], axis=1) / np.linalg.norm(query)
    order = np.argsort(-cosines)[:5]
    assert [one.word for one in near] == [words[numbers[place]] for place in order]
    assert [one.cosine for one in near] == pytest.approx(cosines[order].tolist(), abs=1e-5)


def test_the_table_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = encoder_of(tiny_clip("sd15"), "clip_l")
    queries = encoder.embed([1000, 30_000])
    whole = scan_table(encoder, queries, 7, nothing)
    monkeypatch.setattr(module, "_ROWS", 1001)
    calls: list[int] = []
    assert scan_table(encoder, queries, 7, lambda: calls.append(0)).nearest == whole.nearest
    assert len(calls) == 50


def test_cancelling_stops_it() -> None:
    class Cancelled(Exception): ...

    def cancel() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        Inspector(tiny_clip("sd15")).inspect(["prtkl"], ["dog", "cat"], 1, cancel)


@pytest.mark.parametrize(("family", "name"), [("sd15", "clip_l"), ("sdxl", "clip_g"), ("flux", "clip_l")])
def test_the_output_is_comfyuis_unprojected_pooled_one(family: str, name: str) -> None:
    clip = tiny_clip(family)
    words = ["dog", "prtkl", "oil painting", "supercalifragilistic"]
    pieces = [word_pieces(clip, word)[name.removeprefix("clip_")] for word in words]
    found = word_outputs(clip, encoder_of(clip, name), pieces, nothing)
    for row, word in zip(found, words, strict=True):
        _, pooled = clip.encode_from_tokens(clip.tokenize(word), return_pooled="unprojected")
        assert torch.allclose(row, pooled[0], atol=1e-5), word


def test_sdxls_other_encoder_too() -> None:
    """SDXL gives its pooled output out for CLIP-G only; CLIP-L's own encoding of the whole window has it."""
    clip = tiny_clip("sdxl")
    clip.cond_stage_model.clip_l.set_clip_options({"projected_pooled": False})
    _, pooled = clip.cond_stage_model.clip_l.encode_token_weights(clip.tokenize("prtkl")["l"])
    clip.cond_stage_model.reset_clip_options()
    found = word_outputs(clip, encoder_of(clip, "clip_l"), [word_pieces(clip, "prtkl")["l"]], nothing)
    assert torch.allclose(found, pooled, atol=1e-5)


def test_t5s_output_is_the_mean_over_the_pieces() -> None:
    clip = tiny_clip("flux")
    pieces = [word_pieces(clip, word)["t5xxl"] for word in ("prtkl", "dog", "glitchwork")]
    found = word_outputs(clip, encoder_of(clip, "t5xxl"), pieces, nothing)
    for row, word, cut in zip(found, ("prtkl", "dog", "glitchwork"), pieces, strict=True):
        rows = clip.tokenizer.t5xxl.tokenize_with_weights(word, min_length=1)
        sequence = clip.cond_stage_model.t5xxl.encode_token_weights(rows)[0]
        assert sequence.shape[1] == len(cut) + 1, "the pieces and the end token"
        assert torch.allclose(row, sequence[0, : len(cut)].mean(0), atol=1e-5)


def test_what_all_texts_of_a_length_share_is_taken_off() -> None:
    clip = load_demo_model()[1]
    encoder = encoder_of(clip, "clip_l")
    known = [word_pieces(clip, word)["l"] for word in PROBE_WORDS]
    outputs = word_outputs(clip, encoder, known, nothing).double().numpy()
    directions = word_directions(clip, encoder, known, known, nothing).numpy()
    centred = outputs - outputs.mean(0)
    assert directions == pytest.approx(centred / np.linalg.norm(centred, axis=1, keepdims=True), abs=1e-4)
    plain = outputs / np.linalg.norm(outputs, axis=1, keepdims=True)
    assert np.median(plain @ plain.T) > 0.98 and abs(np.median(directions @ directions.T)) < 0.1


def test_a_phrase_of_the_demo_model_is_heard_as_one_of_its_words() -> None:
    """Compared as they are, the end outputs would tell the number of tokens, not the words."""
    (facts,) = Inspector(load_demo_model()[1]).inspect(["oil painting"], PROBE_WORDS, 1)[0]
    assert facts.near_output[0].word == "oil"


def test_loras_and_patches_on_the_table_count() -> None:
    clip = tiny_clip("sd15")
    before = Inspector(clip).inspect(["prtkl"], PROBE_WORDS[:20], 3)[0][0]
    root = "clip_l.transformer.text_model."
    layer, table = f"{root}encoder.layers.1.mlp.fc1.weight", f"{root}embeddings.token_embedding.weight"
    bent, lengthened = clip.clone(), clip.clone()
    bent.add_patches({layer: ("diff", (torch.randn(128, 64, generator=torch.Generator().manual_seed(0)),))})
    change = torch.zeros(49408, 64)
    change[before.pieces[0].number] = table_row(clip, before.pieces[0].number)
    lengthened.add_patches({table: ("diff", (change,))})
    after = Inspector(bent).inspect(["prtkl"], PROBE_WORDS[:20], 3)[0][0]
    assert after.near_output != before.near_output and after.pieces == before.pieces
    doubled = Inspector(lengthened).inspect(["prtkl"], PROBE_WORDS[:20], 3)[0][0]
    assert doubled.pieces[0].norm == pytest.approx(2 * before.pieces[0].norm, rel=1e-4)
    assert Inspector(clip).inspect(["prtkl"], PROBE_WORDS[:20], 3)[0][0] == before


def table_row(clip: Any, number: int) -> torch.Tensor:
    return torch.from_numpy(table_of(clip, "clip_l")[number]).float()


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_the_clip_stays_as_it_is(family: str, unchanged_random_state: None) -> None:
    clip = tiny_clip(family)
    clip.clip_layer(-2)
    prompt = clip.encode_from_tokens(clip.tokenize("a red car"), return_pooled=True)
    hashes = {key: tensor_hash(value) for key, value in clip.cond_stage_model.state_dict().items()}
    with torch.inference_mode():
        first = Inspector(clip).inspect(["prtkl", "dog"], PROBE_WORDS[:20], 3)
    assert Inspector(clip).inspect(["prtkl", "dog"], PROBE_WORDS[:20], 3) == first
    assert {key: tensor_hash(value) for key, value in clip.cond_stage_model.state_dict().items()} == hashes
    again = clip.encode_from_tokens(clip.tokenize("a red car"), return_pooled=True)
    assert torch.equal(again[0], prompt[0]) and torch.equal(again[1], prompt[1])
    assert clip.layer_idx == -2 and clip.patcher.patches == {}


def test_a_learned_word_is_told_by_its_vectors(tmp_path: Path) -> None:
    clip = tiny_clip("sd15")
    clip.tokenizer.clip_l.embedding_directory = [str(tmp_path)]
    clip.tokenizer.clip_l.embedding_size = 64
    table, dog = table_of(clip, "clip_l"), word_pieces(clip, "dog")["l"][0]
    save_file({"emb_params": torch.from_numpy(table[[dog, 30_000]]).float()}, tmp_path / "rust.safetensors")
    (facts,) = Inspector(clip).inspect(["embedding:rust"], ["cat", "dog"], 2)[0]
    assert [(piece.number, piece.frequency) for piece in facts.pieces] == [(None, "learned")] * 2
    assert facts.pieces[0].near[0].word == "dog" and facts.pieces[0].near[0].cosine == pytest.approx(1, abs=1e-5)
    save_file({"emb_params": torch.ones(1, 32)}, tmp_path / "rust.safetensors")
    with pytest.raises(ValueError, match="word: got 'embedding:rust', 0 tokens in clip_l, allowed 1 to 75"):
        Inspector(clip).inspect(["embedding:rust"], ["cat", "dog"], 2)


def test_a_word_of_a_run_is_learned_where_it_has_vectors() -> None:
    clip = tiny_clip("sdxl")
    dog = word_pieces(clip, "dog")["g"][0]
    learned = torch.from_numpy(table_of(clip, "clip_g")[[dog]]).float() * 2
    knowing = clip_with_words(clip, {"prtkl": {"clip_g": learned}})
    small, great = Inspector(knowing).inspect(["prtkl"], ["cat", "dog"], 1)[0]
    plain = Inspector(clip).inspect(["prtkl"], ["cat", "dog"], 1)[0]
    assert small == plain[0] and all(piece.number for piece in small.pieces)
    assert [piece.number for piece in great.pieces] == [None] and great.pieces[0].near[0].word == "dog"


def test_encoders_that_wrap_a_prompt_are_refused() -> None:
    clip = tiny_clip("sd15")
    tokenize = clip.tokenizer.tokenize_with_weights
    clip.tokenizer.tokenize_with_weights = lambda text, *args, **kwargs: tokenize(f"describe: {text}", *args, **kwargs)
    with pytest.raises(ValueError, match="clip: got one whose text encoders all wrap the prompt in a template"):
        Inspector(clip)
