"""What a recipe bends on purpose: noise, noise levels, learning rate; each measured where it acts, on a real training.

Oracles: the definitions (variances, ranges, the schedule's own values) and the training that bends nothing.
"""

from typing import Any

import pytest
import torch
import training_scene as scene
from glitch_lora.training.key import run_key
from glitch_lora.training.noise import training_noise
from glitch_lora.training.randomness import normal
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.session import train
from tiny_models import tiny_sd15

LATENT = torch.zeros(1, 4, 32, 32)


def noises(count: int = 200, latent: torch.Tensor = LATENT, **settings: Any) -> torch.Tensor:
    return torch.cat([training_noise(Recipe(**settings), latent, step, 0) for step in range(count)])


def test_plain_noise_is_what_it_was() -> None:
    assert torch.equal(training_noise(Recipe(seed=4), LATENT, 7, 2), normal((1, 4, 32, 32), 4, "noise", 7, 2))


def test_the_offset_moves_whole_channels_by_its_deviation() -> None:
    means = noises(noise_offset=0.5).mean((-1, -2))
    assert means.std() == pytest.approx(0.5, rel=0.1)
    assert noises(50).mean((-1, -2)).std() < 0.05


def test_multires_noise_has_unit_variance_and_more_of_the_coarse() -> None:
    plain, mixed = noises(50), noises(50, multires_noise_iterations=6, multires_noise_discount=0.8)
    assert mixed.std() == pytest.approx(1.0, rel=0.02)
    coarse = [torch.nn.functional.avg_pool2d(noise, 8).std() for noise in (plain, mixed)]
    assert coarse[1] > 1.5 * coarse[0]


def test_noise_of_a_film_is_noise_for_each_of_its_frames() -> None:
    film = torch.zeros(1, 16, 3, 16, 16)
    bent = {"multires_noise_iterations": 4, "multires_noise_discount": 0.8, "noise_offset": 0.5, "frozen_noises": 2}
    noise = noises(100, film, **bent)
    assert noise.shape == (100, 16, 3, 16, 16) and torch.isfinite(noise).all()
    means = noises(200, film, noise_offset=0.5).mean((-1, -2))
    assert means.mean(2).std() == pytest.approx(0.5, rel=0.1), "a channel's offset is that of all its frames"
    assert (means - means.mean(2, keepdim=True)).std() < 0.1


def test_frozen_noises_belong_to_a_picture() -> None:
    mine, other = LATENT, LATENT + 1
    drawn = {noise.numpy().tobytes() for noise in noises(60, mine, frozen_noises=3)}
    others = {noise.numpy().tobytes() for noise in noises(60, other, frozen_noises=3)}
    assert len(drawn) == len(others) == 3 and not drawn & others


def test_noise_levels_stay_in_their_part(tmp_path) -> None:
    dataset, graph = scene.photographs(tmp_path / "data", count=2), scene.graph("sd15")
    sigmas = {}
    for name, part in {"clean": (0.0, 0.3), "noise": (0.7, 1.0)}.items():
        recipe = scene.recipe(steps=6, min_timestep=part[0], max_timestep=part[1])
        run = train(graph, dataset, recipe, scene.request(tmp_path / name), scene.Events()).run
        sigmas[name] = [row["sigma_mean"] for row in run.metrics()]
    table = tiny_sd15().get_model_object("model_sampling").sigmas
    assert max(sigmas["clean"]) <= table[300] and min(sigmas["noise"]) >= table[699]


def test_the_rate_jumps_when_asked(tmp_path) -> None:
    dataset, graph = scene.photographs(tmp_path / "data", count=2), scene.graph("sd15")
    recipe = scene.recipe(steps=5, lr_spike_every=2, lr_spike_factor=4.0)
    run = train(graph, dataset, recipe, scene.request(tmp_path), scene.Events()).run
    assert [row["learning_rate"] for row in run.metrics()] == [1e-3, 4e-3, 1e-3, 4e-3, 1e-3]


@pytest.mark.parametrize(
    "bent", [{"noise_offset": 0.3}, {"frozen_noises": 1}, {"min_snr_gamma": 1.0}, {"multires_noise_iterations": 3}]
)
def test_a_bend_trains_something_else_and_resumes_to_equal_bits(tmp_path, bent: dict[str, Any]) -> None:
    dataset, graph = scene.photographs(tmp_path / "data", count=2), scene.graph("sd15")

    def lora(folder: str, stop: int | None = None, **settings: Any) -> dict[str, torch.Tensor]:
        request = scene.request(tmp_path / folder, keep_on_cancel=True)
        return train(graph, dataset, scene.recipe(**settings), request, scene.Events(stop)).lora()

    plain, straight = lora("plain"), lora("straight", **bent)
    lora("parts", stop=2, **bent)
    resumed = lora("parts", **bent)
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert any(not torch.equal(straight[name], plain[name]) for name in plain)


def test_recipes_that_bend_nothing_keep_their_key(tmp_path) -> None:
    """A run that was trained before these settings existed is found again."""
    dataset = scene.photographs(tmp_path, count=1)
    settings = Recipe().to_json()
    assert run_key({}, dataset, Recipe(), 10) == run_key({}, dataset, Recipe.from_json(settings), 10)
    old = {name: settings[name] for name in settings if name not in ("noise_offset", "lr_cycles", "max_timestep")}
    assert run_key({}, dataset, Recipe.from_json(old), 10) == run_key({}, dataset, Recipe(), 10)
    assert run_key({}, dataset, Recipe(noise_offset=0.1), 10) != run_key({}, dataset, Recipe(), 10)


def test_an_empty_part_of_the_noise_levels_is_refused() -> None:
    with pytest.raises(ValueError, match="min_timestep: got 0.5, allowed below max_timestep"):
        Recipe(min_timestep=0.5, max_timestep=0.5)


def test_the_node_on_a_server(server) -> None:
    """The chain through validation: a bent recipe comes out of the node as JSON-like text."""
    from glitch_lora.nodes.recipe_glitches import GlitchRecipeGlitches

    inputs = {each.id: each.default for each in GlitchRecipeGlitches.GET_SCHEMA().inputs if each.id != "recipe"}
    object_info = server.get("/object_info/GlitchRecipeGlitches")["GlitchRecipeGlitches"]
    assert set(object_info["input"]["required"]) == {"recipe", *inputs}
    same = GlitchRecipeGlitches.execute(Recipe(lr_schedule="linear"), **inputs).result[0]
    assert same == Recipe(lr_schedule="linear"), "as it comes it changes nothing"
    offset = Recipe(noise_offset=0.3, max_timestep=0.5)
    assert GlitchRecipeGlitches.execute(offset, **inputs).result[0] == offset, "what an earlier node bent stays bent"
    both = GlitchRecipeGlitches.execute(offset, **inputs | {"frozen_noises": 2}).result[0]
    assert both == offset.changed(frozen_noises=2)
    bent = GlitchRecipeGlitches.execute(Recipe(), **inputs | {"lr_cycles": 6}).result[0]
    assert (bent.lr_schedule, bent.lr_cycles) == ("cosine_with_restarts", 6)
