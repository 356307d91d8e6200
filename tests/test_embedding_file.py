"""Embedding files of other programs, written here as those programs write them.

Oracles: ComfyUI's own `load_embed` on the same file where it reads it; the tensors that went in.
"""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.sd1_clip
import pytest
import torch
from glitch_lora.training.embedding_file import WIDTHS, EmbeddingFile, read_embedding
from glitch_lora.training.embedding_source import LARGEST_BYTES
from glitch_lora.training.words import bundled
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import Parameter, ParameterDict

Words = dict[str, dict[str, torch.Tensor]]


def vectors(encoder: str, count: int = 2, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, WIDTHS[encoder], generator=torch.Generator().manual_seed(seed + count)) * 0.02


L, G, H, T5 = (vectors(encoder) for encoder in WIDTHS)


def lora() -> dict[str, torch.Tensor]:
    return {"lora_unet_a.lora_down.weight": torch.ones(4, 768), "lora_unet_a.alpha": torch.tensor(4.0)}


def write_a1111(path: Path) -> Words:
    told = {"name": "rust", "step": 499, "sd_checkpoint": "4bdfc29c", "sd_checkpoint_name": "v1-5-pruned"}
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": Parameter(L)}} | told, path)
    return {"rust": {"clip_l": L}}


def write_first_programs(path: Path) -> Words:
    """The container of the paper's own program, which loads as weights only if it is let in."""
    params = ParameterDict({"*": Parameter(L)})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": params}, path)
    return {path.stem: {"clip_l": L}}


def write_kohya_pt(path: Path) -> Words:
    torch.save({"emb_params": L}, path)
    return {path.stem: {"clip_l": L}}


def write_kohya(path: Path) -> Words:
    save_file({"emb_params": H.half()}, path, {"ss_steps": "499", "ss_sd_model_name": "v1-5-pruned"})
    return {path.stem: {"clip_h": H.half().float()}}


def write_kohya_sdxl(path: Path) -> Words:
    save_file({"clip_g": G, "clip_l": L}, path)
    return {path.stem: {"clip_l": L, "clip_g": G}}


def write_kohya_flux(path: Path) -> Words:
    save_file({"clip_l": L, "t5xxl": T5.bfloat16()}, path)
    return {path.stem: {"clip_l": L, "t5xxl": T5.bfloat16().float()}}


def write_ai_toolkit(path: Path) -> Words:
    told = {"string_to_token": {"*": 265}, "name": "rust", "step": 499, "sd_checkpoint_name": "v1-5-pruned"}
    metadata = {key: json.dumps(value) for key, value in told.items()}
    save_file({"emb_params": L}, path, metadata | {"string_to_param": "{'*': 'emb_params'}"})
    return {path.stem: {"clip_l": L}}


def write_diffusers(path: Path) -> Words:
    save_file({"<cat-toy>": L}, path)
    return {"cat-toy": {"clip_l": L}}


def write_concept(path: Path) -> Words:
    """As the files of the concepts library: one vector without a second dimension."""
    torch.save({"<cat-toy>": L[0].clone()}, path)
    return {"cat-toy": {"clip_l": L[:1]}}


def write_diffusers_sdxl(path: Path) -> Words:
    save_file({"<cat-toy>": L}, path)
    save_file({"<cat-toy>": G}, path.with_stem(path.stem.replace("learned_embeds", "learned_embeds_2")))
    return {"cat-toy": {"clip_l": L, "clip_g": G}}


def write_onetrainer(path: Path) -> Words:
    save_file({"emp_params": L, "emp_params_out": vectors("clip_l", 2, 9)}, path)
    return {path.stem: {"clip_l": L}}


def write_onetrainer_sdxl(path: Path) -> Words:
    save_file({"clip_l": L, "clip_g": G, "clip_l_out": vectors("clip_l", 2, 9), "clip_g_out": G * 2}, path)
    return {path.stem: {"clip_l": L, "clip_g": G}}


def write_onetrainer_flux(path: Path) -> Words:
    torch.save({"clip_l": L, "t5": T5}, path)
    return {path.stem: {"clip_l": L, "t5xxl": T5}}


def write_lora_with_words(path: Path) -> Words:
    words = {"<rust>": {"clip_l": L, "clip_g": G}, "moss.v2": {"clip_l": L * 2, "clip_l_out": L * 3}}
    save_file(lora() | bundled(words), path)
    return {"rust": {"clip_l": L, "clip_g": G}, "moss.v2": {"clip_l": L * 2}}


def write_lora_with_a1111_word(path: Path) -> Words:
    save_file(lora() | {"bundle_emb.rust.string_to_param.*": L}, path)
    return {"rust": {"clip_l": L}}


def write_cog(path: Path) -> Words:
    save_file({"text_encoders_0": L, "text_encoders_1": G}, path)
    return {path.stem: {"clip_l": L, "clip_g": G}}


def write_list(path: Path) -> Words:
    torch.save([{"a": L[0].clone(), "b": L[1:].clone()}, {"c": G.double()}], path)
    return {path.stem: {"clip_l": L, "clip_g": G}}


def write_tensor(path: Path) -> Words:
    torch.save(G[0].clone(), path)
    return {path.stem: {"clip_g": G[:1]}}


BOTH, ONE = ("clip_l", "clip_g"), ("clip_l",)
# Writer, file name, for which encoders ComfyUI reads the same from it.
WRITERS: list[tuple[Callable[[Path], Words], str, tuple[str, ...]]] = [
    (write_a1111, "old.pt", ONE),
    (write_first_programs, "first.pt", ONE),
    (write_kohya_pt, "kohya.pt", ONE),
    (write_kohya, "sd2.safetensors", ("clip_h",)),
    (write_kohya_sdxl, "sdxl.safetensors", BOTH),
    (write_kohya_flux, "flux.safetensors", ("clip_l", "t5xxl")),
    (write_ai_toolkit, "toolkit.safetensors", ONE),
    (write_diffusers, "learned_embeds.safetensors", ONE),
    (write_concept, "learned_embeds.bin", ONE),
    (write_diffusers_sdxl, "learned_embeds.safetensors", ONE),
    (write_diffusers_sdxl, "learned_embeds-steps-500.safetensors", ONE),
    (write_onetrainer, "one.safetensors", ONE),
    (write_onetrainer_sdxl, "one.safetensors", BOTH),
    (write_onetrainer_flux, "one.pt", ONE),
    (write_lora_with_words, "carrier.safetensors", ()),
    (write_lora_with_a1111_word, "carrier.safetensors", ONE),
    (write_cog, "cog.safetensors", ONE),
    (write_list, "list.pt", BOTH),
    (write_tensor, "tensor.pt", ()),
]


def assert_equal(read: Words, wanted: Words) -> None:
    assert {token: set(parts) for token, parts in read.items()} == {
        token: set(parts) for token, parts in wanted.items()
    }
    for token, parts in wanted.items():
        for encoder, tensor in parts.items():
            found = read[token][encoder]
            assert found.dtype == torch.float32 and found.device.type == "cpu" and not found.requires_grad
            assert torch.equal(found, tensor), (token, encoder)


@pytest.mark.parametrize(("write", "name", "encoders"), WRITERS)
def test_every_form_is_read(tmp_path: Path, write: Any, name: str, encoders: tuple[str, ...]) -> None:
    wanted = write(tmp_path / name)
    read = read_embedding(tmp_path / name)
    assert_equal(read.words, wanted)
    (first, *_) = read.words.values()
    for encoder in encoders:
        theirs = comfy.sd1_clip.load_embed(name, [str(tmp_path)], WIDTHS[encoder], encoder)
        assert torch.equal(theirs.detach().float().reshape(-1, WIDTHS[encoder]), first[encoder])
    assert bool(read.notes) == (write in (write_onetrainer, write_onetrainer_sdxl, write_lora_with_words))
    told = write in (write_a1111, write_kohya, write_ai_toolkit)
    assert (read.step, read.base_model) == ((499, "v1-5-pruned") if told else (None, ""))


def test_of_a_pair_either_file_may_be_named(tmp_path: Path) -> None:
    wanted = write_diffusers_sdxl(tmp_path / "learned_embeds.safetensors")
    both = (tmp_path / "learned_embeds.safetensors", tmp_path / "learned_embeds_2.safetensors")
    renamed = (tmp_path / "cat.safetensors", tmp_path / "cat_2.safetensors")
    for source, copy in zip(both, renamed, strict=True):
        copy.write_bytes(source.read_bytes())
    for files in (both, renamed):
        for path in files:
            read = read_embedding(path)
            assert_equal(read.words, wanted)
            assert read.files == files


def test_equally_wide_encoders_go_by_their_order(tmp_path: Path) -> None:
    """As those of the tests' small SDXL."""
    widths = {"clip_l": 4, "clip_g": 4}
    for stem, value in (("learned_embeds", 1.0), ("learned_embeds_2", 2.0)):
        save_file({"<a>": torch.full((1, 4), value)}, tmp_path / f"{stem}.safetensors")
    words = read_embedding(tmp_path / "learned_embeds.safetensors", widths).words
    assert {key: value.unique().item() for key, value in words["a"].items()} == {"clip_l": 1.0, "clip_g": 2.0}


@pytest.mark.parametrize("other", [{"<dog>": G}, {"<cat-toy>": L}, {"clip_l": L, "clip_g": G}])
def test_a_neighbour_that_is_no_partner_is_left_alone(tmp_path: Path, other: dict[str, torch.Tensor]) -> None:
    wanted = write_diffusers(tmp_path / "cat.safetensors")
    save_file(other, tmp_path / "cat_2.safetensors")
    read = read_embedding(tmp_path / "cat.safetensors")
    assert_equal(read.words, wanted)
    assert read.files == (tmp_path / "cat.safetensors",)


def test_what_the_model_has_no_encoder_for_is_left_out(tmp_path: Path) -> None:
    write_kohya_sdxl(tmp_path / "sdxl.safetensors")
    read = read_embedding(tmp_path / "sdxl.safetensors", {"clip_l": 768})
    assert_equal(read.words, {"sdxl": {"clip_l": L}})
    assert read.notes == ("sdxl.safetensors: clip_g is left out, the model has no such text encoder.",)


def test_a_safetensors_file_under_a_foreign_name_is_read(tmp_path: Path) -> None:
    write_kohya_sdxl(tmp_path / "sdxl.bin")
    assert set(read_embedding(tmp_path / "sdxl.bin").words["sdxl"]) == {"clip_l", "clip_g"}


@settings(max_examples=40, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from(["clip_l", "clip_g", "t5xxl", "qwen"]), st.integers(1, 20), min_size=1),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]),
    flat=st.booleans(),
)
def test_any_vectors_of_any_model_come_back(
    tmp_path_factory: pytest.TempPathFactory, counts: dict[str, int], dtype: torch.dtype, flat: bool
) -> None:
    widths = {"clip_l": 8, "clip_g": 12, "t5xxl": 16, "qwen": 16}
    source = torch.Generator().manual_seed(sum(counts.values()))
    wanted = {key: torch.randn(count, widths[key], generator=source).to(dtype) for key, count in counts.items()}
    path = tmp_path_factory.mktemp("any") / "word.safetensors"
    shown = {key: value[0] if flat and len(value) == 1 else value for key, value in wanted.items()}
    save_file({key: value.contiguous() for key, value in shown.items()}, path)
    assert_equal(read_embedding(path, widths).words, {"word": {key: value.float() for key, value in wanted.items()}})


# What is refused


def refusal(path: Path, widths: dict[str, int] | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        read_embedding(path, widths)
    return sentence(path, caught.value)


def sentence(path: Path, error: ValueError) -> str:
    text = str(error)
    assert "\n" not in text and path.name in text and ": got " in text and "allowed" in text and len(text) < 500
    return text


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"emb_params": torch.zeros(1, 512)}, "got vectors of width 512 for 'bad', allowed 768 (clip_l) or 1280"),
        ({"clip_l": torch.zeros(1, 1280)}, "got vectors of width 1280 for 'bad', allowed 768 (clip_l), choose"),
        ({"<a>": torch.zeros(1, 512)}, "got vectors of width 512 for 'a'"),
        ({"clip_l": torch.full((1, 768), torch.nan)}, "not finite"),
        ({"clip_l": torch.full((1, 768), 1e300, dtype=torch.float64)}, "not finite"),
        ({"clip_l": torch.zeros(1025, 768)}, "got 1025 vectors for 'bad', allowed 1 to 1024"),
        ({"clip_l": torch.zeros(0, 768)}, "got 0 vectors"),
        ({"clip_l": torch.zeros(1, 768, dtype=torch.int64)}, "floating point"),
        ({"clip_l": torch.zeros(1, 1, 768)}, "3 dimensions"),
        ({"clip_l": torch.tensor(1.0)}, "0 dimensions"),
        ({"clip_l_out": torch.zeros(1, 768)}, "got ['clip_l_out'], allowed 768"),
        ({"mistral": torch.zeros(1, 768, 2)}, "it holds no embedding"),
        (lora(), "it holds no embedding"),
        ({}, "it holds no embedding"),
    ],
)
def test_what_is_no_embedding_of_the_model_is_named(
    tmp_path: Path, tensors: dict[str, torch.Tensor], words: str
) -> None:
    for suffix, save in ((".safetensors", save_file), (".pt", torch.save)):
        path = tmp_path / f"bad{suffix}"
        save(tensors, path)
        assert words in refusal(path)


@pytest.mark.parametrize(
    "contents",
    [
        *([], None, 3, "text", {"a": 1}, [1, 2], [{"a": 1}], {"string_to_param": 3}, {"string_to_param": {"*": 1}}),
        *({"string_to_param": {}}, {"clip_l": torch.zeros(1, 768).to_sparse()}, {"clip_l": torch.zeros(1, 768) * 1j}),
        {"clip_l": torch.zeros(1, 768, device="meta")},
        {"clip_l": torch.zeros(1).expand(10**12, 768)},
    ],
)
def test_pickles_of_anything_else_are_refused(tmp_path: Path, contents: Any) -> None:
    torch.save(contents, tmp_path / "odd.pt")
    refusal(tmp_path / "odd.pt")


class Program:
    """What a pickle can do to a reader that runs it."""

    def __reduce__(self) -> Any:
        return os.mkdir, (str(Program.place),)

    place: Path


@pytest.mark.parametrize("modern", [True, False])
def test_a_program_in_a_pickle_is_not_run(tmp_path: Path, modern: bool) -> None:
    Program.place = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    torch.save({"string_to_param": {"*": L}, "x": Program()}, path, _use_new_zipfile_serialization=modern)
    assert "it could hold a program" in refusal(path)
    assert not Program.place.exists()


def test_too_large_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file is small and unpacks to much; of a LoRA only the words count."""
    assert 10**8 < LARGEST_BYTES < 10**9
    monkeypatch.setattr("glitch_lora.training.embedding_source.LARGEST_BYTES", 20_000)
    torch.save({"emb_params": torch.zeros(7, 768)}, tmp_path / "a.pt")
    save_file({"emb_params": torch.zeros(7, 768)}, tmp_path / "b.safetensors")
    with zipfile.ZipFile(tmp_path / "c.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("c/data.pkl", bytes(10**6))
    assert (tmp_path / "c.pt").stat().st_size < 2_000
    for name in ("a.pt", "b.safetensors", "c.pt"):
        assert "bytes of tensors, allowed for embeddings up to 20,000" in refusal(tmp_path / name)
    save_file({"big": torch.zeros(10**5), "bundle_emb.a.clip_l": L}, tmp_path / "d.safetensors")
    assert_equal(read_embedding(tmp_path / "d.safetensors").words, {"a": {"clip_l": L}})


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\x03\x04", b"\x80\x02}q\x00.", b"\x89PNG\r\n\x1a\n" * 40, b"{" * 99]
)
@pytest.mark.parametrize("name", ["a.pt", "a.bin", "a.safetensors"])
def test_foreign_bytes_are_refused(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    refusal(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "folder.pt").mkdir()
    for name in ("none.safetensors", "none.pt", "folder.pt"):
        refusal(tmp_path / name)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sound")
    for write, name in (
        (write_a1111, "old.pt"),
        (write_first_programs, "first.pt"),
        (write_kohya_sdxl, "new.safetensors"),
    ):
        write(folder / name)
    torch.save({"emb_params": L}, folder / "legacy.pt", _use_new_zipfile_serialization=False)
    return sorted(folder.iterdir())


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_told_in_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, sound: list[Path], data: st.DataObject
) -> None:
    """Cut off, or with bytes changed where the structure is: a sentence, or vectors that are sound."""
    whole = data.draw(st.sampled_from(sound))
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            edge = data.draw(st.integers(0, min(1200, len(content) - 1)))
            content[edge if data.draw(st.booleans()) else -1 - edge] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / whole.name
    path.write_bytes(bytes(content))
    try:
        read = read_embedding(path)
    except ValueError as error:  # not to be raised twice: torch's zip reader may take the same damage either way
        sentence(path, error)
    else:
        assert isinstance(read, EmbeddingFile) and read.words
        assert all(torch.isfinite(part).all() for parts in read.words.values() for part in parts.values())
