"""LoRA files: byte-identical, readable by the safetensors library, and damage is named."""

import json
import string
from pathlib import Path

import pytest
import safetensors.torch
import torch
from glitch_lora.training.lora_file import (
    Adapter,
    check_safetensors,
    load_safetensors,
    lora_metadata,
    lora_state_dict,
    save_safetensors,
    tag_frequency,
)
from glitch_lora.training.recipe import Recipe
from hypothesis import given, settings
from hypothesis import strategies as st

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.uint8, torch.bool]
SHAPES = st.lists(st.integers(0, 4), max_size=4)


@st.composite
def tensor_dicts(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """Return named tensors of any dtype and shape, empty ones and scalars among them."""
    names = draw(st.lists(st.text(string.ascii_letters + "._é", min_size=1), unique=True, min_size=1, max_size=6))
    names = [name for name in names if name != "__metadata__"] or ["a"]
    return {name: _tensor(draw(SHAPES), draw(st.sampled_from(DTYPES)), number) for number, name in enumerate(names)}


def _tensor(shape: list[int], dtype: torch.dtype, seed: int) -> torch.Tensor:
    return (torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 200).to(dtype)


@settings(max_examples=60, deadline=None)
@given(tensors=tensor_dicts(), metadata=st.dictionaries(st.text(max_size=9), st.text(max_size=30), max_size=4))
def test_the_safetensors_library_reads_what_we_write(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    """Oracle: the safetensors library's reader, and our own reader on the library's file."""
    folder = tmp_path_factory.mktemp("files")
    ours = save_safetensors(folder / "ours.safetensors", tensors, metadata)
    theirs = folder / "theirs.safetensors"
    safetensors.torch.save_file(tensors, str(theirs), metadata)
    for read in (safetensors.torch.load_file(str(ours)), load_safetensors(ours)[0], load_safetensors(theirs)[0]):
        assert set(read) == set(tensors)
        assert all(torch.equal(read[name], tensors[name]) for name in tensors)
        assert all(read[name].dtype == tensors[name].dtype for name in tensors)
    assert load_safetensors(ours)[1] == metadata == load_safetensors(theirs)[1]


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    """Whatever the order of tensors and metadata."""
    tensors = {name: torch.full((3,), float(number)) for number, name in enumerate("abc")}
    metadata = {key: key for key in string.ascii_letters}
    first = save_safetensors(tmp_path / "1.safetensors", tensors, metadata).read_bytes()
    turned = dict(reversed(tensors.items())), dict(reversed(metadata.items()))
    assert save_safetensors(tmp_path / "2.safetensors", *turned).read_bytes() == first


def test_views_shared_memory_and_inference_tensors(tmp_path: Path) -> None:
    """What training hands over need not be tidy, and is not changed."""
    with torch.inference_mode():
        inference = torch.arange(4.0)
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {"view": base.t(), "same": base, "slice": base[:, 1:3], "inference": inference}
    tensors["trained"] = torch.nn.Parameter(base.clone())
    read, _ = load_safetensors(save_safetensors(tmp_path / "a.safetensors", tensors, {}))
    assert all(torch.equal(read[name], tensors[name]) for name in tensors)


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, 400), extra=st.binary(max_size=5))
def test_a_cut_or_longer_file_is_named(tmp_path_factory: pytest.TempPathFactory, cut: int, extra: bytes) -> None:
    """Any prefix of a file, with anything after it, is refused, never read as something else."""
    path = tmp_path_factory.mktemp("cut") / "torn.safetensors"
    whole = save_safetensors(path, {"a": torch.arange(40.0), "b": torch.zeros(3)}, {"k": "v"}).read_bytes()
    damaged = whole[:cut] + extra
    if len(damaged) == len(whole):  # other bytes of the right length are the disk's to notice
        return
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"torn\.safetensors: got a file that cannot be read"):
        load_safetensors(path)


@settings(max_examples=80, deadline=None)
@given(content=st.binary(max_size=200))
def test_any_bytes_are_refused_with_a_clear_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """No other exception escapes (unless the bytes happen to be a file)."""
    path = tmp_path_factory.mktemp("any") / "any.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"any\.safetensors"):
        check_safetensors(path)


@pytest.mark.parametrize(
    ("style", "down", "up"),
    [("kohya", "lora_down.weight", "lora_up.weight"), ("diffusion_model", "lora_A.weight", "lora_B.weight")],
)
def test_names_of_both_styles(style: str, down: str, up: str) -> None:
    """Prefix, factor, and one alpha in fp32 a layer."""
    adapters = {"m.1": Adapter(torch.ones(2, 3, 3, 3), torch.ones(5, 2, 1, 1), 1.5)}
    tensors = lora_state_dict(adapters, {"m.1": "prefix"}, style, torch.float16)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == {
        f"prefix.{down}": (2, 3, 3, 3),
        f"prefix.{up}": (5, 2, 1, 1),
        "prefix.alpha": (),
    }
    assert tensors[f"prefix.{down}"].dtype == torch.float16
    assert tensors["prefix.alpha"].item() == 1.5


def test_a_tensor_cannot_be_called_metadata(tmp_path: Path) -> None:
    """The format keeps that name for itself."""
    with pytest.raises(ValueError, match="__metadata__"):
        save_safetensors(tmp_path / "a.safetensors", {"__metadata__": torch.ones(1)}, {})


def test_what_does_not_fit_half_precision_is_refused() -> None:
    """70000 is infinity in fp16; bf16 holds it."""
    adapters = {"m": Adapter(torch.full((1, 2), 7e4), torch.ones(2, 1), 1.0)}
    with pytest.raises(ValueError, match=r"prefix\.lora_down\.weight: got 70000, allowed up to 65504 .*save as bf16"):
        lora_state_dict(adapters, {"m": "prefix"}, "kohya", torch.float16)
    lora_state_dict(adapters, {"m": "prefix"}, "kohya", torch.bfloat16)


def test_a_layer_without_a_name_is_refused() -> None:
    """Nothing trained is dropped in silence."""
    with pytest.raises(ValueError, match=r"adapters on \['lost'\]"):
        lora_state_dict({"lost": Adapter(torch.ones(1, 1), torch.ones(1, 1), 1.0)}, {}, "kohya", torch.float32)


def test_metadata_says_what_readers_look_for() -> None:
    """Oracle: key names and value spellings of kohya's sd-scripts and of the modelspec standard, by hand."""
    recipe = Recipe(rank=8, alpha=4.0, learning_rate=2e-4, seed=7, target_modules="all-linear+conv")
    metadata = lora_metadata(
        name="street",
        step=300,
        family="sdxl",
        recipe=recipe,
        trigger="gl1tch",
        dataset_fingerprint="f" * 64,
        base_model="sd_xl_base_1.0.safetensors",
        resolution=(832, 1216),
        prediction_type="epsilon",
        clip_skip=-2,
        captions=["gl1tch, wall", "gl1tch, street, wall"],
        dataset_folders={"street": (2, 40)},
    )
    expected = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": "8",
        "ss_network_alpha": "4.0",
        "ss_network_args": '{"conv_dim": "8", "conv_alpha": "4.0"}',
        "ss_base_model_version": "sdxl_base_v1-0",
        "ss_output_name": "street",
        "ss_steps": "300",
        "ss_learning_rate": "0.0002",
        "ss_seed": "7",
        "ss_clip_skip": "2",
        "ss_sd_model_name": "sd_xl_base_1.0.safetensors",
        "ss_resolution": "(832, 1216)",
        "ss_tag_frequency": '{"street": {"gl1tch": 2, "wall": 2, "street": 1}}',
        "ss_dataset_dirs": '{"street": {"n_repeats": 2, "img_count": 40}}',
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
        "modelspec.title": "street",
        "modelspec.trigger_phrase": "gl1tch",
        "modelspec.resolution": "832x1216",
        "modelspec.prediction_type": "epsilon",
        "modelspec.encoder_layer": "2",
        "glitch_lora.trigger": "gl1tch",
        "glitch_lora.dataset_fingerprint": "f" * 64,
    }
    assert {key: metadata.get(key) for key in expected} == expected
    assert Recipe.from_json(json.loads(metadata["glitch_lora.recipe"])) == recipe
    assert all(isinstance(value, str) for value in metadata.values())
    assert not any("date" in key or "time" in key for key in metadata)


def test_metadata_says_nothing_that_is_not_known() -> None:
    """No empty values, no architecture for an unknown family, no kohya module for a transformer."""
    bare = lora_metadata(name="r", step=1, family="unheard-of", recipe=Recipe())
    assert "" not in bare.values()
    assert not {"modelspec.architecture", "ss_base_model_version", "ss_clip_skip"} & set(bare)
    assert "ss_network_module" not in lora_metadata(name="r", step=1, family="flux", recipe=Recipe())


def test_tag_frequency_is_ordered() -> None:
    """Most frequent first, then by name; empty parts do not count."""
    assert list(tag_frequency(["b, a", "a,, c", ""]).items()) == [("a", 2), ("b", 1), ("c", 1)]
