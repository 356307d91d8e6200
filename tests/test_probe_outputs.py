"""What text encoders make of probes. Oracles: ComfyUI's CLIPTextEncode, Load LoRA and tokenizer."""

from typing import Any

import comfy.sd
import numpy as np
import pytest
import torch
from glitch_lora.host.description import fingerprint, tensor_hash
from glitch_lora.host.probe_outputs import ProbeEncoder
from glitch_lora.host.rendering import with_clip_layer
from glitch_lora.training.words import bundled
from tiny_models import tiny_clip

from nodes import CLIPTextEncode

WIDTHS = {"sd15": {"clip_l": 64}, "sdxl": {"clip_l": 32, "clip_g": 32}, "flux": {"t5xxl": 64}}
TEXTS = ("statue", "a (red:1.3) car, (blurry:0.5)", "a photograph of a very old street, " * 12)
PREFIXES = {"sd15": ("lora_te",), "sdxl": ("lora_te1", "lora_te2")}


def nothing(done: int) -> None:
    """The progress of a user who does not look."""


def lora(family: str, size: float = 1.0) -> dict[str, torch.Tensor]:
    """Return a LoRA on one layer of every text encoder, and one on the network, which the CLIP must not mind."""
    tensors = {"lora_unet_input_blocks_1_1_proj_in.lora_up.weight": torch.ones(4, 2)}
    for prefix, width in zip(PREFIXES[family], WIDTHS[family].values(), strict=True):
        name = f"{prefix}_text_model_encoder_layers_1_mlp_fc1"
        tensors[f"{name}.lora_down.weight"] = torch.randn(2, width, generator=torch.Generator().manual_seed(1))
        tensors[f"{name}.lora_up.weight"] = size * torch.randn(128, 2, generator=torch.Generator().manual_seed(2))
        tensors[f"{name}.alpha"] = torch.tensor(2.0)
    return tensors


def own_places(clip: Any, name: str, text: str) -> list[int]:
    """Return where a text's own tokens stand in the conditioning."""
    entries = [entry for row in clip.tokenize(text, return_word_ids=True)[name] for entry in row]
    return [place for place, entry in enumerate(entries) if entry[2]]


def weights(clip: Any) -> str:
    return fingerprint({name: tensor_hash(value) for name, value in clip.cond_stage_model.state_dict().items()})


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
@pytest.mark.parametrize("layer", [None, -2])
def test_outputs_are_those_of_clip_text_encode(family: str, layer: int | None) -> None:
    """At the text's own tokens, encoder by encoder; pooled is the one the network hears."""
    clip = tiny_clip(family)
    with ProbeEncoder(clip, (), layer, True) as encoder:
        found = encoder.before(TEXTS, nothing)
        assert set(encoder.encoders) == set(WIDTHS[family]) | ({"clip_l"} if family == "flux" else set())
    for text, outputs in zip(TEXTS, found, strict=True):
        [[cond, extra]] = CLIPTextEncode().encode(with_clip_layer(clip, layer), text)[0]
        start = 0
        for name, width in WIDTHS[family].items():
            places = own_places(clip, name.removeprefix("clip_"), text)
            expected = cond[0, places, start : start + width].numpy()
            assert len(places) == len(outputs[name].pieces)
            assert np.array_equal(outputs[name].sequence, expected)
            start += width
        heard = "clip_g" if family == "sdxl" else "clip_l"
        assert np.array_equal(outputs[heard].pooled, extra["pooled_output"][0].numpy())
        assert family != "flux" or outputs["t5xxl"].pooled is None


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_checkpoint_is_what_load_lora_gives(family: str) -> None:
    clip, tensors = tiny_clip(family), lora(family)
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("lora_te")}
    with ProbeEncoder(clip, ()) as encoder:
        before, after = encoder.before(TEXTS, nothing), encoder.after(tensors, TEXTS, nothing)
    loaded = comfy.sd.load_lora_for_models(None, clip, own, 1.0, 1.0)[1]
    for text, plain, changed in zip(TEXTS, before, after, strict=True):
        [[cond, _]] = CLIPTextEncode().encode(loaded, text)[0]
        name, width = next(iter(WIDTHS[family].items()))
        expected = cond[0, own_places(clip, name.removeprefix("clip_"), text), :width].numpy()
        assert np.array_equal(changed[name].sequence, expected)
        assert not np.allclose(plain[name].sequence, expected)


def test_a_learnt_word_is_ordinary_text_before_and_its_vectors_after() -> None:
    clip = tiny_clip("sd15")
    vectors = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    texts = ("a <prtkl> on a table", "a cup on a table")
    done: list[int] = []
    with ProbeEncoder(clip, ("prtkl",)) as encoder:
        before = encoder.before(texts, done.append)
        after = encoder.after(bundled({"prtkl": {"clip_l": vectors}}), texts, done.append)
    assert done == [1, 2, 1, 2]
    [[plain, _]] = CLIPTextEncode().encode(clip, "a prtkl on a table")[0]
    count = len(before[0]["clip_l"].pieces)
    assert np.array_equal(before[0]["clip_l"].sequence, plain[0, 1 : count + 1].numpy())
    assert None not in before[0]["clip_l"].pieces
    assert after[0]["clip_l"].pieces.count(None) == 2
    assert after[1] is before[1]  # without the word nothing can have changed


def test_nothing_is_left_behind() -> None:
    clip = tiny_clip("sd15")
    tokenizer, whole, options = clip.tokenizer, weights(clip), dict(clip.tokenizer_options)

    def cancelled(done: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with ProbeEncoder(clip, ("prtkl",), -2, True) as encoder:
        encoder.before(TEXTS, nothing)
        encoder.after(lora("sd15"), TEXTS, nothing)
    assert weights(clip) == whole
    with pytest.raises(KeyboardInterrupt), ProbeEncoder(clip, ("prtkl",)) as encoder:
        encoder.after(lora("sd15"), TEXTS, cancelled)
    assert weights(clip) == whole
    assert clip.tokenizer is tokenizer and clip.tokenizer_options == options
    assert clip.layer_idx is None and not clip.patcher.patches


@pytest.mark.parametrize(
    ("texts", "tensors", "message"),
    [
        (("dog", "()"), {}, r"probes: got '\(\)', which has no token"),
        (("dog",), lora("sdxl"), "LoRA: got a file of which 3 of 6 keys exist in this SD1ClipModel"),
        (("dog",), bundled({"w": {"clip_g": torch.ones(1, 8)}}), "run: got the word 'w' with vectors"),
    ],
)
def test_refusals(texts: tuple[str, ...], tensors: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message), ProbeEncoder(tiny_clip("sd15"), ()) as encoder:
        encoder.before(texts, nothing)
        encoder.after(tensors, texts, nothing)


def test_no_clip_is_refused() -> None:
    with pytest.raises(ValueError, match="clip: got nothing, allowed a CLIP"):
        ProbeEncoder(None, ())
