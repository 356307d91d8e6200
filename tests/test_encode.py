"""The dataset through VAE and text encoder. Oracle: the host's VAEEncode and CLIPTextEncode nodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.fits import FixedFit
from glitch_lora.dataset.framing import Frame
from glitch_lora.host.encoding import encode_image, encode_text
from glitch_lora.host.graph import GraphEncoders
from glitch_lora.host.rendering import with_clip_layer
from glitch_lora.training.encode import EncodedDataset, encode_dataset
from glitch_lora.training.store import DiskStore, RamStore, Store
from tiny_models import tiny_clip, tiny_vae
from training_scene import Events, photographs, recipe

IDENTITIES = {"clip": "a", "vae": "b"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photographs(tmp_path_factory.mktemp("photographs"))


def encoded(dataset: Dataset, store: Store | None = None, **settings: object) -> EncodedDataset:
    encoders = GraphEncoders(tiny_clip("sd15"), tiny_vae(), prompt_syntax=False)
    return encode_dataset(dataset, encoders, recipe(**settings), IDENTITIES, store or RamStore(), Events())


def test_latents_are_the_hosts(dataset: Dataset) -> None:
    from nodes import VAEEncode

    picture = dataset.sample(0).image
    pixels = torch.from_numpy(np.asarray(picture).astype(np.float32) / 255.0)[None]
    stock = VAEEncode().encode(tiny_vae(), pixels)[0]["samples"]
    assert torch.equal(encode_image(tiny_vae(), picture), stock)
    assert torch.equal(encoded(dataset).sample(0, 0).latent, stock)


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
@pytest.mark.parametrize("layer", [None, -2])
def test_text_is_the_hosts_whole_however_long(family: str, layer: int | None) -> None:
    from nodes import CLIPSetLastLayer, CLIPTextEncode

    clip = tiny_clip(family)
    stock_clip = CLIPSetLastLayer().set_last_layer(clip, layer)[0] if layer else clip
    for text in ("a cat", "a photograph, coffee on a table, " * 60):
        cross_attn, extras = CLIPTextEncode().encode(stock_clip, text)[0][0]
        ours = encode_text(with_clip_layer(clip, layer), text)
        assert torch.equal(ours.cross_attn, cross_attn)
        assert torch.equal(ours.extras["pooled_output"], extras["pooled_output"])
    assert cross_attn.shape[1] > 4 * 77
    assert clip.layer_idx is None, "the CLIP that came in keeps its own layer"


def test_captions_are_data_and_not_prompt_syntax() -> None:
    clip = tiny_clip("sd15")
    caption = "a (cat:1.9) and [a dog]: ((both))"
    plain = encode_text(clip, caption).cross_attn
    weighted = encode_text(clip, caption, prompt_syntax=True).cross_attn
    escaped = caption.replace("(", "\\(").replace(")", "\\)")
    assert torch.equal(plain, encode_text(clip, escaped, prompt_syntax=True).cross_attn)
    assert not torch.equal(plain, weighted)


def test_variants_are_made_only_where_something_varies(dataset: Dataset) -> None:
    assert encoded(dataset).variants == (1, 1, 1, 1)
    varied = replace(dataset, steps=(Frame(FixedFit(64, 64), crop="random", horizontal_flip="random"),))
    data = encoded(varied, variants=3)
    assert data.variants == (3, 3, 3, 3)
    for item in range(1, 4):  # all but the square first one leave room for another crop
        latents = [data.sample(item, variant).latent for variant in range(3)]
        assert not all(torch.equal(latents[0], other) for other in latents[1:])


def test_partial_dropout_keeps_the_trigger_and_whole_dropout_removes_it(dataset: Dataset) -> None:
    triggered = dataset.with_step(TriggerWord("glwrk")).with_step(TriggerWord("prtkl"))
    data = encoded(triggered, partial_caption_dropout=0.7, variants=8)
    captions = {data.caption(item, variant) for item in range(4) for variant in range(8)}
    assert all("prtkl" in caption and "glwrk" in caption for caption in captions)
    assert len(captions) > 4
    empty = encode_text(tiny_clip("sd15"), "").cross_attn
    assert torch.equal(data.sample(0, 0, without_caption=True).text.cross_attn, empty)
    assert not torch.equal(data.sample(0, 0).text.cross_attn, empty)


def test_equal_captions_and_pictures_are_encoded_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    real = GraphEncoders.encode_text
    monkeypatch.setattr(GraphEncoders, "encode_text", lambda self, text: (calls.append(text), real(self, text))[1])
    twice = replace(dataset, items=(*dataset.items, *dataset.items))
    encoded(twice)
    assert len(calls) == len(set(calls)) == 5  # four captions and the empty one


def test_the_disk_cache_gives_back_the_same_and_survives_damage(dataset: Dataset, tmp_path: Path) -> None:
    in_memory = encoded(dataset)
    for damage in (False, True):
        on_disk = encoded(dataset, DiskStore(tmp_path))
        for item in range(4):
            ours, expected = on_disk.sample(item, 0), in_memory.sample(item, 0)
            assert torch.equal(ours.latent, expected.latent)
            assert torch.equal(ours.text.cross_attn, expected.text.cross_attn)
            assert torch.equal(ours.text.extras["pooled_output"], expected.text.extras["pooled_output"])
        if not damage:
            for file in tmp_path.rglob("*.safetensors"):
                file.write_bytes(file.read_bytes()[:20])


def test_unframed_pictures_are_refused_by_name(dataset: Dataset) -> None:
    with pytest.raises(ValueError, match=r"\w+\.png: got a picture of \d+x\d+, .*Frame Dataset"):
        encoded(replace(dataset, steps=()))
    with pytest.raises(ValueError, match="got no pictures"):
        encoded(replace(dataset, items=()))
