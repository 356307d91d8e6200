"""Corrupt Latent, Corrupt Conditioning and VAE Generation Loss: in process and in a real ComfyUI server.

Oracles: ComfyUI's own nodes for latents, prompts and VAEs, and the operations themselves.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from comfy.model_management import InterruptProcessingException
from comfy_server import ComfyServer, PromptError
from glitch_lora.dataset.seeds import generator
from glitch_lora.dataset.words import Words
from glitch_lora.glitch.encoded_batch import corrupted_latents, corrupted_words
from glitch_lora.host.encoded import changed_conditioning, changed_latent
from glitch_lora.host.vae_loss import VaeLoss
from glitch_lora.training.run import Run
from photographs import photograph
from PIL import Image
from test_demo_nodes import _shipped
from test_nodes_dataset import node
from tiny_models import tiny_clip, tiny_vae


def values(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(generator(seed, "values").standard_normal(shape, np.float32))


def damage_latent(latent: dict[str, Any], operation: str = "latent_noise", **settings: Any) -> dict[str, Any]:
    return changed_latent(latent, lambda items: corrupted_latents(items, operation, {}, **settings))


def damage_prompt(prompt: list[Any], operation: str = "conditioning_noise", **settings: Any) -> list[Any]:
    return changed_conditioning(prompt, lambda items: corrupted_words(items, operation, {}, **settings))


@pytest.mark.parametrize("shape", [(3, 4, 8, 8), (3, 16, 2, 8, 8), (3, 64, 40)])
@pytest.mark.parametrize("operation", ["latent_noise", "latent_sort", "latent_block_shuffle"])
def test_a_batch_is_its_latents_alone(shape: tuple[int, ...], operation: str) -> None:
    batch = values(*shape)
    before = batch.clone()
    whole = damage_latent({"samples": batch}, operation)["samples"]
    for number in (2, 0, 1):
        assert torch.equal(
            damage_latent({"samples": batch[number : number + 1]}, operation)["samples"][0], whole[number]
        )
    assert torch.equal(batch, before) and not torch.equal(whole, batch)


def test_number_damages_equal_latents_apart() -> None:
    empty = {"samples": torch.zeros(2, 4, 8, 8)}
    alike, apart = (damage_latent(empty, keyed_by=key)["samples"] for key in ("content", "number"))
    assert torch.equal(alike[0], alike[1]) and not torch.equal(apart[0], apart[1])
    assert not torch.equal(damage_latent(empty, seed=1)["samples"], alike)


def test_what_rides_along_stays() -> None:
    latent = {"samples": values(2, 4, 8, 8), "noise_mask": values(2, 1, 64, 64), "batch_index": [5, 7], "kind": "x"}
    changed = damage_latent(latent, severity=0.5)
    assert changed is not latent and {name: changed[name] for name in latent if name != "samples"} == {
        name: latent[name] for name in latent if name != "samples"
    }
    untouched = damage_latent(latent, severity=0.0)["samples"]
    assert torch.equal(untouched, latent["samples"]) and untouched is not latent["samples"]
    inside = {"samples": values(1, 4, 8, 8)}
    with torch.inference_mode():
        assert torch.equal(damage_latent(inside)["samples"], damage_latent(inside)["samples"])


def test_strangers_are_others_or_the_batch() -> None:
    batch, other = values(2, 4, 8, 8), values(1, 4, 16, 8, seed=1)
    mixed = damage_latent({"samples": batch}, "latent_mixup")["samples"]
    assert torch.allclose(mixed, (batch + batch.flip(0)) / 2, atol=1e-6)
    strange = damage_latent({"samples": batch}, "latent_mixup", strangers=list(other))["samples"]
    assert torch.allclose(strange, (batch + other[:, :, 1::2]) / 2, atol=1e-6)


def test_latents_in_several_parts_are_refused() -> None:
    from comfy.nested_tensor import NestedTensor

    with pytest.raises(ValueError, match="latent: got one of several parts"):
        damage_latent({"samples": NestedTensor((values(1, 4, 8, 8), values(1, 8, 20)))})


def test_every_entry_of_a_prompt_is_damaged_and_the_rest_stays() -> None:
    from nodes import CLIPTextEncode, ConditioningCombine, ConditioningSetArea

    clip = tiny_clip("sdxl")
    cat, dog = (CLIPTextEncode().encode(clip, text)[0] for text in ("a cat", "a red dog, running " * 30))
    area = ConditioningSetArea().append(dog, 64, 64, 8, 8, 0.7)[0]
    both = ConditioningCombine().combine(cat, area)[0]
    changed = damage_prompt(both)
    assert len(changed) == 2
    for (before, extras), (after, kept), alone in zip(both, changed, (cat, area), strict=True):
        assert after.shape == before.shape and not torch.equal(after, before)
        assert not torch.equal(kept["pooled_output"], extras["pooled_output"])
        rest = [{name: each[name] for name in each if name != "pooled_output"} for each in (extras, kept)]
        assert rest[0] == rest[1] and kept is not extras
        ((single, single_extras),) = damage_prompt(alone)
        assert torch.equal(single, after) and torch.equal(single_extras["pooled_output"], kept["pooled_output"])
    drifted = damage_prompt(both, "pooled_swap")
    assert torch.allclose(drifted[0][1]["pooled_output"], both[1][1]["pooled_output"], atol=1e-6)


def test_batches_of_prompts_with_one_or_no_vector() -> None:
    batch = values(3, 77, 8)
    for extras in ({}, {"pooled_output": None}, {"pooled_output": values(1, 4)}, {"pooled_output": values(3, 4)}):
        ((changed, kept),) = damage_prompt([[batch, extras]])
        assert changed.shape == batch.shape and kept.keys() == extras.keys()
        pooled = extras.get("pooled_output")
        assert (kept.get("pooled_output") is None) if pooled is None else kept["pooled_output"].shape == pooled.shape
    strange = damage_prompt([[batch, {}]], "conditioning_drift", strangers=[Words(values(20, 8, seed=1))])
    assert torch.allclose(strange[0][0][:, 20:], 0.3 * batch[:, 20:], atol=1e-5)


# VAE generation loss


def picture(size: tuple[int, int] = (72, 56), name: str = "chelsea") -> torch.Tensor:
    pixels = np.asarray(photograph(name).resize(size), np.float32) / 255
    return torch.from_numpy(pixels)[None]


def by_hand(image: torch.Tensor, *pairs: tuple[Any, Any]) -> torch.Tensor:
    from nodes import VAEDecode, VAEEncode

    for encoder, decoder in pairs:
        image = VAEDecode().decode(decoder, VAEEncode().encode(encoder, image)[0])[0]
    return image


def test_generations_are_the_stock_nodes_in_a_row() -> None:
    vae, other = tiny_vae(), tiny_vae(seed=1)
    wide = tiny_vae(16)
    image = picture()
    cases: list[tuple[VaeLoss, Any, list[tuple[Any, Any]]]] = [
        (VaeLoss(3), None, [(vae, vae)] * 3),
        (VaeLoss(3), wide, [(vae, vae), (wide, wide), (vae, vae)]),
        (VaeLoss(2, pairing="first encodes, second decodes"), other, [(vae, other)] * 2),
    ]
    for loss, second, pairs in cases:
        assert torch.allclose(loss.apply(image, vae, second), by_hand(image, *pairs), atol=1e-5)
    with pytest.raises(ValueError, match="second_vae: got one of 16 channels beside 4"):
        VaeLoss(2, pairing="first encodes, second decodes").apply(image, vae, wide)


class Lossless:
    """A VAE of 8 by 8 cells that gives back what it was given, and remembers it."""

    latent_channels, latent_dim = 3, 2

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def spacial_compression_encode(self) -> int:
        return 8

    spacial_compression_decode = spacial_compression_encode

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        self.seen.append(pixels)
        return pixels.movedim(-1, 1)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return latent.movedim(1, -1)


def test_a_shift_moves_the_grid_and_keeps_the_picture_in_place() -> None:
    vae, image = Lossless(), picture((64, 64))
    assert torch.equal(VaeLoss(20, shift=7).apply(image, vae), image), "it must not drift away"
    rolls = {(y, x): torch.roll(image, (y, x), (1, 2)) for y in range(8) for x in range(8)}
    shifts = [way for seen in vae.seen for way, roll in rolls.items() if torch.equal(seen, roll)]
    assert len(shifts) == 20 and len(set(shifts)) > 10 and {0, 7} <= {side for way in shifts for side in way}
    still, moved, other = (
        VaeLoss(2, shift, seed=seed).apply(image, tiny_vae()) for shift, seed in ((0, 0), (7, 0), (7, 1))
    )
    assert not torch.equal(still, moved) and not torch.equal(moved, other)


class LosslessFilm(Lossless):
    """The same for films, whose latents have a time."""

    latent_dim = 3

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        return super().encode(pixels).unsqueeze(2)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        assert latent.shape[2] == 1, "a picture must not become the next frame of another"
        return latent.movedim(1, -1)


def test_vaes_of_films_take_one_picture_at_a_time() -> None:
    images = torch.cat([picture(), picture(name="coffee")])
    assert torch.equal(VaeLoss(2, shift=3).apply(images, LosslessFilm()), images)
    cross = VaeLoss(2, shift=3, pairing="first encodes, second decodes")
    assert torch.equal(cross.apply(images, Lossless(), LosslessFilm()), images)


def test_a_batch_is_its_pictures_alone_of_any_size() -> None:
    vae = tiny_vae()
    for size in ((33, 17), (64, 40), (9, 8)):
        batch = torch.cat([picture(size), picture(size, "coffee")])
        before = batch.clone()
        worn = VaeLoss(2, shift=5).apply(batch, vae)
        assert worn.shape == batch.shape and torch.equal(batch, before) and 0 <= worn.min() and worn.max() <= 1
        assert torch.equal(worn[1:], VaeLoss(2, shift=5).apply(batch[1:], vae))
        see_through = torch.cat([batch, batch[..., :1]], dim=-1)
        assert torch.equal(VaeLoss(2, shift=5).apply(see_through, vae), torch.cat([worn, batch[..., :1]], dim=-1))


def test_it_is_seen_and_can_be_cancelled_after_every_generation() -> None:
    seen: list[int] = []

    def watch(done: int) -> None:
        seen.append(done)
        if done == 5:
            raise InterruptProcessingException()

    images = torch.cat([picture(), picture()])
    with pytest.raises(InterruptProcessingException):
        VaeLoss(3).apply(images, tiny_vae(), watch=watch)
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrong", [{"generations": 0}, {"generations": 51}, {"shift": 8}, {"pairing": "both"}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VaeLoss(**wrong)


# In a real server

pytestmark = pytest.mark.xdist_group("server")

NOISE = {
    "operation": "latent_noise",
    "operation.std": 1.0,
    "operation.colour": "white",
    "operation.cell": 4,
    "operation.same_for_all_channels": False,
    "severity": 1.0,
    "seed": 3,
    "keyed_by": "content",
}
TOKENS = {
    "operation": "token_shuffle",
    "operation.mode": "shuffle",
    "operation.fraction": 1.0,
    "operation.width": 0.5,
    "operation.spare_first": False,
    "severity": 1.0,
    "seed": 3,
    "keyed_by": "content",
}


def saved(server: ComfyServer, prompt: dict[str, Any], name: str) -> list[np.ndarray]:
    entry = server.queue(prompt)
    files = [server.base / "output" / each["filename"] for each in entry["outputs"][name]["images"]]
    return [np.asarray(Image.open(file)).astype(int) for file in files]


@pytest.fixture(scope="module")
def demo(server: ComfyServer) -> Callable[..., dict[str, Any]]:
    photograph("chelsea").resize((64, 64)).save(server.base / "input" / "cat.png")

    def graph(**nodes: dict[str, Any]) -> dict[str, Any]:
        start = {
            "demo": node("GlitchLoadDemoModel", {}),
            "image": node("LoadImage", {"image": "cat.png"}),
            "latent": node("VAEEncode", {}, pixels=["image", 0], vae=["demo", 2]),
            "two": node("RepeatLatentBatch", {"amount": 2}, samples=["latent", 0]),
        }
        return start | nodes

    return graph


def test_latents_are_damaged_in_a_graph(server: ComfyServer, demo: Callable[..., dict[str, Any]]) -> None:
    def decoded(**changes: Any) -> list[np.ndarray]:
        prompt = demo(
            damage=node("GlitchCorruptLatent", NOISE | changes, latent=["two", 0]),
            picture=node("VAEDecode", {}, samples=["damage", 0], vae=["demo", 2]),
            save=node("SaveImage", {"filename_prefix": "latent"}, images=["picture", 0]),
        )
        return saved(server, prompt, "save")

    clean = np.asarray(Image.open(server.base / "input" / "cat.png")).astype(int)
    assert all(np.abs(picture - clean).max() <= 1 for picture in decoded(severity=0.0))
    alike, apart = decoded(), decoded(keyed_by="number")
    assert np.abs(alike[0] - clean).mean() > 20 and np.array_equal(*alike) and not np.array_equal(*apart)
    with pytest.raises(PromptError, match="operation: got 'sideways', allowed"):
        decoded(operation="sideways")


def test_prompts_are_damaged_in_a_graph(server: ComfyServer, demo: Callable[..., dict[str, Any]]) -> None:
    sampling = {"seed": 1, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}

    def drawn(words: str, **changes: Any) -> np.ndarray:
        prompt = demo(
            text=node("CLIPTextEncode", {"text": "a red circle on white"}, clip=["demo", 1]),
            other=node("CLIPTextEncode", {"text": "a blue star on black"}, clip=["demo", 1]),
            damage=node("GlitchCorruptConditioning", TOKENS | changes, conditioning=["text", 0], others=["other", 0]),
            sample=node(
                "KSampler",
                sampling,
                model=["demo", 0],
                positive=[words, 0],
                negative=["other", 0],
                latent_image=["latent", 0],
            ),
            picture=node("VAEDecode", {}, samples=["sample", 0], vae=["demo", 2]),
            save=node("SaveImage", {"filename_prefix": "words"}, images=["picture", 0]),
        )
        return saved(server, prompt, "save")[0]

    clean = drawn("text")
    assert np.array_equal(drawn("damage", severity=0.0), clean)
    assert np.abs(drawn("damage") - clean).max() > 8
    assert np.abs(drawn("damage", **{"operation.width": 1.0}) - clean).max() <= 1, "attention hears no order"
    there = {"operation": "conditioning_drift", "operation.t": 1.0, "operation.path": "straight"}
    towards = drawn("damage", **there, **{"operation.pooled": True})
    assert np.abs(towards - drawn("other")).max() <= 1 < np.abs(towards - clean).max()


def test_a_vae_without_loss_gives_the_picture_back(server: ComfyServer, demo: Callable[..., dict[str, Any]]) -> None:
    settings = {"generations": 3, "shift": 5, "seed": 0, "pairing": "take turns"}
    prompt = demo(
        worn=node("GlitchVaeLoss", settings, images=["image", 0], vae=["demo", 2], second_vae=["demo", 2]),
        save=node("SaveImage", {"filename_prefix": "worn"}, images=["worn", 0]),
    )
    (worn,) = saved(server, prompt, "save")
    clean = np.asarray(Image.open(server.base / "input" / "cat.png")).astype(int)
    assert np.abs(worn - clean).max() <= 1
    prompt["worn"]["inputs"]["generations"] = 51
    with pytest.raises(PromptError, match="generations"):
        server.queue(prompt)


def test_a_dataset_with_damaged_latents_trains_in_a_graph(server: ComfyServer) -> None:
    damage = {"fraction": 1.0, "damage": "frozen", **{name: NOISE[name] for name in NOISE if name != "keyed_by"}}
    quick = {"steps": 2, "checkpoint_every": 0, "sample_every": 0}
    prompt = {
        "demo": node("GlitchLoadDemoModel", {}),
        "data": node("GlitchDemoDataset", {"style": "vhs", "pictures": 2, "seed": 0}),
        "corrupt": node("GlitchCorruptDataset", damage, dataset=["data", 0]),
        "recipe": _shipped(server, "GlitchRecipe", **quick),
        "train": _shipped(
            server,
            "GlitchTrain",
            **{"model": ["demo", 0], "clip": ["demo", 1], "vae": ["demo", 2]},
            **{"dataset": ["corrupt", 0], "recipe": ["recipe", 0], "name": "damaged-latents"},
        ),
    }
    server.queue(prompt)
    (folder,) = (server.base / "output" / "glitch_lora").glob("damaged-latents*")
    run = Run(folder)
    assert run.config()["steps_applied"][-1]["name"] == "latent_noise" and run.checkpoint(2).path.is_file()
