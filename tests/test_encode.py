"""The dataset through VAE and text encoder. Oracle: the host's VAEEncode and CLIPTextEncode nodes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.dataset.derived import with_copies
from glitch_lora.dataset.fits import FixedFit
from glitch_lora.dataset.framing import Frame
from glitch_lora.dataset.seeds import generator
from glitch_lora.dataset.words import Words
from glitch_lora.glitch.registry import find_operation
from glitch_lora.glitch.step import Corruption, corruption
from glitch_lora.host.encoding import encode_image, encode_text
from glitch_lora.host.graph import GraphEncoders
from glitch_lora.host.rendering import with_clip_layer
from glitch_lora.training.encode import EncodedDataset, encode_dataset
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.session import train
from glitch_lora.training.store import DiskStore, RamStore, Store
from tiny_models import tiny_clip, tiny_vae
from training_scene import Events, graph, photographs, recipe, request

IDENTITIES = {"clip": "a", "vae": "b"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return photographs(tmp_path_factory.mktemp("photographs"))


def encoded(dataset: Dataset, store: Store | None = None, family: str = "sd15", **settings: object) -> EncodedDataset:
    events = Events()
    return encode_dataset(dataset, encoders(family), recipe(**settings), IDENTITIES, store or RamStore(), events)


@pytest.fixture(scope="module", autouse=True)
def free_encoders() -> Iterator[None]:
    yield
    encoders.cache_clear()  # while ComfyUI is still there to take them apart


@cache
def encoders(family: str) -> GraphEncoders:
    return GraphEncoders(tiny_clip(family), tiny_vae(16 if family == "flux" else 4), prompt_syntax=False)


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


# Damage after the encoding


def stream(dataset: Dataset, step: Corruption, item: int, variant: int = 0, twins: int = 0) -> np.random.Generator:
    """Return the stream that an item's damage is drawn from, behind the draw that decides whether it is damaged."""
    more = (twins,) if twins else ()
    random = generator(step.seed, step.operation, dataset.items[item].key, variant if step.varies else 0, *more)
    random.random()
    return random


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_latents_are_damaged_by_the_operation_and_nothing_else(dataset: Dataset, family: str) -> None:
    step = corruption("latent_noise", {"std": 0.5}, severity=0.7, seed=3)
    clean, data = encoded(dataset, family=family), encoded(dataset.with_step(step), family=family)
    for item in range(4):
        before, after = clean.sample(item, 0), data.sample(item, 0)
        by_hand = find_operation("latent_noise").apply(before.latent[0], stream(dataset, step, item), 0.7, std=0.5)
        assert torch.equal(after.latent[0], by_hand) and not torch.equal(after.latent, before.latent)
        assert torch.equal(after.text.cross_attn, before.text.cross_attn) and after.size == before.size
    assert data.groups == clean.groups


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_conditioning_is_damaged_with_its_vector(dataset: Dataset, family: str) -> None:
    step = corruption("conditioning_noise", {"std": 0.5}, seed=3)
    clean, data = encoded(dataset, family=family), encoded(dataset.with_step(step), family=family)
    for item in range(4):
        before, after = clean.sample(item, 0).text, data.sample(item, 0).text
        words = Words(before.cross_attn[0], before.extras["pooled_output"][0])
        by_hand = find_operation("conditioning_noise").apply(words, stream(dataset, step, item), std=0.5)
        assert torch.equal(after.cross_attn[0], by_hand.sequence)
        assert torch.equal(after.extras["pooled_output"][0], by_hand.pooled)
        assert after.extras.keys() == before.extras.keys()
        assert torch.equal(data.sample(item, 0).latent, clean.sample(item, 0).latent)
        without = data.sample(item, 0, without_caption=True).text
        assert torch.equal(without.cross_attn, clean.sample(item, 0, without_caption=True).text.cross_attn)


def test_others_are_seen_undamaged_and_by_content(dataset: Dataset) -> None:
    steps = [corruption("latent_noise", seed=1), corruption("latent_mixup", {"amount": 1.0}, seed=2)]
    mixed = replace(dataset, steps=(*dataset.steps, *steps))
    clean, data = encoded(dataset), encoded(mixed)
    for item in range(4):
        own = stream(dataset, steps[1], item)
        order = mixed.content_order
        others = [place for place in range(4) if order[place] != item]
        expected = order[others[int(own.integers(3))]]
        assert torch.equal(data.sample(item, 0).latent, clean.sample(expected, 0).latent)
    turned = encoded(replace(mixed, items=mixed.items[::-1]))
    for item in range(4):
        assert torch.equal(turned.sample(3 - item, 0).latent, data.sample(item, 0).latent)
    drifted = encoded(dataset.with_step(corruption("conditioning_drift", {"t": 1.0})))
    captions = [clean.sample(item, 0).text.cross_attn for item in range(4)]
    for item in range(4):
        found = [torch.allclose(drifted.sample(item, 0).text.cross_attn, caption, atol=1e-5) for caption in captions]
        assert sum(found) == 1 and not found[item]


def test_who_is_seen_by_others_is_made_once(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    sample = Dataset.sample

    def counted(self: Dataset, index: int, variant: int = 0) -> object:
        made.append((index, variant))
        return sample(self, index, variant)

    monkeypatch.setattr(Dataset, "sample", counted)
    seen = replace(dataset, steps=(*dataset.steps, corruption("latent_mixup"), corruption("pooled_swap")))
    encoded(seen)
    assert sorted(made) == [(index, 0) for index in range(4)]


def test_only_some_and_in_variants(dataset: Dataset) -> None:
    some = dataset.with_step(corruption("latent_holes", fraction=0.5, seed=1))
    clean, data = encoded(dataset), encoded(some)
    spared = [torch.equal(data.sample(n, 0).latent, clean.sample(n, 0).latent) for n in range(4)]
    assert 0 < sum(spared) < 4
    marked = [bool(some.marked(n).damage) for n in range(4)]
    assert marked == [not each for each in spared], "the dataset must know what will be damaged"
    again = encoded(dataset.with_step(corruption("latent_noise", damage="new for each variant")), variants=3)
    assert again.variants == (3, 3, 3, 3)
    latents = [again.sample(0, variant).latent for variant in range(3)]
    assert not torch.equal(latents[0], latents[1]) and not torch.equal(latents[1], latents[2])


def test_copies_of_one_picture_are_damaged_apart(dataset: Dataset) -> None:
    copied = with_copies(dataset, corruption("latent_noise"), copies=2, keep_clean=True)
    clean, data = encoded(dataset), encoded(copied)
    latents = [data.sample(n, 0).latent for n, item in enumerate(copied.items) if item.path == dataset.items[0].path]
    assert len(latents) == 3 and sum(torch.equal(latent, clean.sample(0, 0).latent) for latent in latents) == 1
    assert not torch.equal(latents[1], latents[2])


def test_copies_do_not_meet_their_own_twins(dataset: Dataset) -> None:
    """Blended wholly with another, no copy may come out as its own picture."""
    copied = with_copies(dataset, corruption("latent_mixup", {"amount": 1.0}), copies=6, keep_clean=True)
    clean, data = encoded(dataset), encoded(copied)
    places = {item.file_key: number for number, item in enumerate(dataset.items)}
    for number, item in enumerate(copied.items):
        own = clean.sample(places[item.file_key], 0).latent
        assert torch.equal(data.sample(number, 0).latent, own) == (not item.steps[len(dataset.steps) :])


def test_damaged_tensors_are_kept_apart_from_clean_ones(dataset: Dataset, tmp_path: Path) -> None:
    chains = [
        [],
        [corruption("latent_noise")],
        [corruption("latent_noise", seed=1)],
        [corruption("latent_noise"), corruption("latent_noise")],
        [corruption("latent_noise", severity=0.5), corruption("token_shuffle")],
        [corruption("latent_mixup"), corruption("pooled_swap")],
    ]
    for _ in range(2):  # the second time from the disk
        for chain in chains:
            damaged = replace(dataset, steps=(*dataset.steps, *chain))
            fresh, kept = encoded(damaged), encoded(damaged, DiskStore(tmp_path))
            for item in range(4):
                ours, expected = kept.sample(item, 0), fresh.sample(item, 0)
                assert torch.equal(ours.latent, expected.latent)
                assert torch.equal(ours.text.cross_attn, expected.text.cross_attn)
                assert torch.equal(ours.text.extras["pooled_output"], expected.text.extras["pooled_output"])


def test_damage_kept_on_disk_is_not_made_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = dataset.with_step(corruption("latent_noise")).with_step(corruption("latent_mixup"))
    encoded(damaged, DiskStore(tmp_path))
    monkeypatch.setattr(Corruption, "apply_encoded", lambda *_: pytest.fail("damaged again"))
    encoded(damaged, DiskStore(tmp_path))
    other = replace(damaged, items=damaged.items[:3])  # the company is another
    with pytest.raises(pytest.fail.Exception):
        encoded(other, DiskStore(tmp_path))


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_a_training_on_damage_resumes_to_the_same_bits(dataset: Dataset, tmp_path: Path, family: str) -> None:
    chain = (
        corruption("latent_noise", {"std": 0.5}, damage="new for each variant"),
        corruption("latent_mixup", fraction=0.5),
        corruption("token_shuffle"),
        corruption("pooled_swap"),
    )
    damaged = replace(dataset, steps=(*dataset.steps, *chain))
    settings = recipe(variants=2, batch_size=2, caption_dropout=0.2)

    def trained(folder: str, data: Dataset, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        with torch.inference_mode():  # as ComfyUI runs a node
            outcome = train(graph(family), data, settings, request(tmp_path / folder), Events(stop_at))
        return load_safetensors(outcome.run.checkpoint(outcome.step).path)[0]

    straight = trained("straight", damaged)
    with pytest.raises(InterruptProcessingException):
        trained("stopped", damaged, stop_at=2)
    resumed, clean = trained("stopped", damaged), trained("clean", dataset)
    assert straight.keys() == resumed.keys() == clean.keys()
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    assert not all(torch.equal(straight[key], clean[key]) for key in straight)
