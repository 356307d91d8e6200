"""Embedding files we write. Oracles: ComfyUI's loader and tokenizers, diffusers' load_textual_inversion."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import comfy.sd1_clip
import pytest
import torch
from glitch_lora.training.embedding_file import read_embedding
from glitch_lora.training.embedding_layout import embedding_file_name, embedding_metadata, embedding_tensors
from glitch_lora.training.lora_file import DTYPES, lora_metadata, save_safetensors
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.words import prompt_text, rewrite
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny_models import Family, tiny_clip

ENCODERS = {"sd15": ["clip_l"], "sd2": ["clip_h"], "sdxl": ["clip_l", "clip_g"], "flux": ["clip_l", "t5xxl"]}
WIDTHS = {"clip_l": 8, "clip_h": 10, "clip_g": 12, "t5xxl": 16}


def vectors(widths: dict[str, int], count: int, seed: int = 0) -> dict[str, torch.Tensor]:
    source = torch.Generator().manual_seed(seed)
    return {encoder: torch.randn(count, width, generator=source) for encoder, width in widths.items()}


@settings(max_examples=30, deadline=None)
@given(family=st.sampled_from(list(ENCODERS)), count=st.integers(1, 16), dtype=st.sampled_from(list(DTYPES)))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, family: str, count: int, dtype: str) -> None:
    """By ComfyUI, encoder by encoder, and by ourselves; a file for one encoder is SD1's and SD2's."""
    folder = tmp_path_factory.mktemp("written")
    word = vectors({encoder: WIDTHS[encoder] for encoder in ENCODERS[family]}, count)
    tensors = embedding_tensors(word, DTYPES[dtype])
    assert list(tensors) == (["emb_params"] if len(word) == 1 else list(word))
    path = save_safetensors(folder / "rust.safetensors", tensors, {})
    ours = read_embedding(path, WIDTHS).words["rust"]
    for encoder, tensor in word.items():
        theirs = comfy.sd1_clip.load_embed("rust", [str(folder)], WIDTHS[encoder], encoder)
        assert torch.equal(theirs, tensor.to(DTYPES[dtype])) and torch.equal(theirs.float(), ours[encoder])


def test_numbers_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="emb_params: got 70000, allowed up to 65504 in torch.float16, save as bf16"):
        embedding_tensors({"clip_l": torch.full((1, 8), 7e4)}, torch.float16)


def tokenizers(clip: Any, folder: Path) -> tuple[Any, dict[str, int]]:
    """Return (tokenizer of the CLIP that looks for embeddings in `folder`, width of each encoder)."""
    tokenizer, widths = copy.copy(clip.tokenizer), {}
    for name, part in vars(clip.tokenizer).items():
        if hasattr(part, "embedding_directory"):
            part = copy.copy(part)
            part.embedding_directory = [str(folder)]
            setattr(tokenizer, name, part)
            widths[part.embedding_key] = part.embedding_size
    return tokenizer, widths


PROMPTS = ("{}", "a photo, {}, a cat", "a ({}:1.3) cat", "a {}", "a cat\n{}\na dog", "a {}<b>")


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_comfyuis_tokenizers_find_the_file(family: Family, tmp_path: Path) -> None:
    """Wherever it stands in a prompt, each encoder gets its vectors as tokens, in their order."""
    tokenizer, widths = tokenizers(tiny_clip(family), tmp_path)
    word = vectors(widths, 3)
    save_safetensors(tmp_path / "sub" / "rust-2.safetensors", embedding_tensors(word), {})
    for prompt in PROMPTS:
        batches = tokenizer.tokenize_with_weights(prompt.format(prompt_text("rust-2")))
        for encoder, tensor in word.items():
            (key,) = [key for key in batches if key in (encoder, encoder.removeprefix("clip_"))]
            found = [token for batch in batches[key] for token, *_ in batch if torch.is_tensor(token)]
            assert torch.equal(torch.stack(found), tensor), prompt


@pytest.fixture(scope="module")
def sd15_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("names")
    return tokenizers(tiny_clip("sd15"), folder)[0], folder


@settings(max_examples=80, deadline=None)
@given(wish=st.text(max_size=40), prompt=st.sampled_from(PROMPTS))
@example(wish="my word, (best): {a|b} <x> [y]\\z", prompt="a ({}:1.3) cat")
@example(wish="../../up.safetensors", prompt="{}")
@example(wish="CON", prompt="{}")
@example(wish="中文 ß\u2028é", prompt="a photo, {}, a cat")
def test_any_name_becomes_one_that_prompts_can_hold(sd15_tokenizer: tuple[Any, Path], wish: str, prompt: str) -> None:
    tokenizer, folder = sd15_tokenizer
    name = embedding_file_name(wish)
    assert re.fullmatch(r"[\w.-]+", name) and not name.startswith((".", "-"))
    path = save_safetensors(folder / f"{name}.safetensors", {"emb_params": torch.ones(1, 768)}, {})
    assert path.parent == folder
    (batch,) = tokenizer.tokenize_with_weights(prompt.format(prompt_text(name)))["l"]
    assert sum(torch.is_tensor(token) for token, _ in batch) == 1
    path.unlink()


@pytest.mark.parametrize("token", ["prtkl", "Prtkl_2", "a-b"])
def test_a_word_keeps_its_name(token: str) -> None:
    """So that the prompt says the file's name where it says the word."""
    assert embedding_file_name(token) == token
    assert rewrite(f"a {prompt_text(token)}", [token], str.upper) == f"a {token.upper()}"


# Metadata


def checkpoint_metadata(family: str) -> dict[str, str]:
    return lora_metadata(
        name="rusty", step=400, family=family, recipe=Recipe(), trigger="gl1tch", dataset_fingerprint="abc",
        base_model="v1-5.safetensors", resolution=(512, 512), prediction_type="epsilon", captions=["a", "b"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("family", "architecture"),
    [
        ("sd15", "stable-diffusion-v1/textual-inversion"),
        ("sdxl", "stable-diffusion-xl-v1-base/textual-inversion"),
        ("flux", "flux-1-dev/textual-inversion"),
    ],
)
def test_metadata_tell_what_the_file_is(family: str, architecture: str, tmp_path: Path) -> None:
    metadata = embedding_metadata("prtkl", 400, checkpoint_metadata(family))
    assert metadata["modelspec.architecture"] == architecture
    assert metadata["modelspec.trigger_phrase"] == metadata["glitch_lora.trigger"] == metadata["name"] == "prtkl"
    assert Recipe.from_json(json.loads(metadata["glitch_lora.recipe"])) == Recipe()
    assert metadata["glitch_lora.dataset_fingerprint"] == "abc"
    assert "ss_network_dim" not in metadata and "ss_tag_frequency" not in metadata
    path = save_safetensors(tmp_path / "a.safetensors", {"emb_params": torch.ones(1, 8)}, metadata)
    read = read_embedding(path, WIDTHS)
    assert (read.step, read.base_model) == (400, "v1-5.safetensors")


def test_metadata_of_an_unknown_model() -> None:
    metadata = embedding_metadata("prtkl", 1, {})
    assert metadata["step"] == "1" and "modelspec.architecture" not in metadata
    assert all(isinstance(value, str) for value in metadata.values())


# diffusers


def diffusers_loader() -> Any:
    from diffusers.loaders import TextualInversionLoaderMixin

    class Loader(TextualInversionLoaderMixin):
        hf_device_map = None
        components: dict[str, Any] = {}

    return Loader()


def text_model(width: int) -> tuple[Any, Any]:
    """Return (tokenizer, text encoder) as diffusers has them, the tokenizer's files being ComfyUI's own."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer"))
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=width, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    with torch.random.fork_rng():
        return tokenizer, CLIPTextModel(config)


def rows(tokenizer: Any, encoder: Any, token: str, count: int) -> torch.Tensor:
    names = [token, *(f"{token}_{number}" for number in range(1, count))]
    return encoder.get_input_embeddings().weight.detach()[tokenizer.convert_tokens_to_ids(names)]


def test_diffusers_reads_a_file_of_sd15(tmp_path: Path) -> None:
    word = vectors({"clip_l": 8}, 3)
    metadata = embedding_metadata("prtkl", 400, checkpoint_metadata("sd15"))
    path = save_safetensors(tmp_path / "prtkl.safetensors", embedding_tensors(word), metadata)
    tokenizer, encoder = text_model(8)
    diffusers_loader().load_textual_inversion(str(path), token="prtkl", tokenizer=tokenizer, text_encoder=encoder)
    assert torch.equal(rows(tokenizer, encoder, "prtkl", 3), word["clip_l"])


def test_diffusers_reads_a_file_of_sdxl(tmp_path: Path) -> None:
    """Encoder by encoder, as its own documentation loads the files of its advanced trainer."""
    from safetensors.torch import load_file

    word = vectors({"clip_l": 8, "clip_g": 12}, 2)
    path = save_safetensors(tmp_path / "prtkl.safetensors", embedding_tensors(word), {})
    held = load_file(str(path))
    for name, tensor in word.items():
        tokenizer, encoder = text_model(tensor.shape[1])
        diffusers_loader().load_textual_inversion(held[name], token="prtkl", tokenizer=tokenizer, text_encoder=encoder)
        assert torch.equal(rows(tokenizer, encoder, "prtkl", 2), tensor)
