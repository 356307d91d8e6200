"""The parts of a training: paces, freezing, and the optimizer of new words.

Oracles: diffusers' get_scheduler for rates, a textual inversion written as diffusers writes it (transformers' text
model, AdamW over the whole table, all old rows put back after each step) for the vectors, formulas for the lengths.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from glitch_lora.host.text_model import private_text
from glitch_lora.training.embeddings import Embeddings
from glitch_lora.training.parts import Pace, Part, stop_step
from glitch_lora.training.recipe import Recipe
from glitch_lora.training.schedule import LearningRateSchedule
from glitch_lora.training.text_settings import EmbeddingSettings
from glitch_lora.training.text_side import TextSide
from text_twins import token_ids, transformers_twin
from tiny_models import tiny_clip
from training_scene import recipe

SCHEDULES: tuple[LearningRateSchedule, ...] = ("constant", "cosine", "linear", "cosine_with_restarts")
NEW = 49408  # the first id that CLIP's vocabulary does not have
WORD = EmbeddingSettings("prtkl", num_vectors=1, init_text="style", learning_rate=5e-3)


@pytest.mark.parametrize("warmup", [0, 3])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_run_from_the_parts_first_step_to_its_last(schedule: LearningRateSchedule, warmup: int) -> None:
    from diffusers.optimization import get_scheduler

    start, stop, cycles = 4, 24, 2
    pace = Pace(2e-3, schedule, start, stop, warmup, cycles)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    scheduler = get_scheduler(
        name, optimizer, num_warmup_steps=warmup, num_training_steps=stop - start, num_cycles=cycles
    )
    for step in range(30):
        assert pace.active(step) == (start <= step < stop)
        if pace.active(step):
            assert pace.rate(step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9, abs=1e-12)
            optimizer.step()
            scheduler.step()


def test_a_part_stops_after_its_share_of_the_steps() -> None:
    assert [stop_step(fraction, 7) for fraction in (0.01, 0.5, 0.65, 0.99, 1.0)] == [1, 4, 5, 7, 7]
    assert stop_step(0.3, 1) == 1


def test_outside_its_steps_a_part_has_no_gradient_no_state_and_keeps_its_bits() -> None:
    value = torch.nn.Parameter(torch.ones(2))
    part = Part("word", {"word": value}, Pace(0.1, "constant", 1, 3), 0.5)
    kept = []
    for step in range(5):
        active = part.prepare(step)
        assert value.requires_grad == active == (step in (1, 2))
        kept.append((value.detach().clone(), len(part.optimizer.state)))
        if active:
            value.square().sum().backward()
            assert part.has_gradient
            part.set_rate(step)
            part.optimizer.step()
            part.updated()
        assert not part.has_gradient
    assert torch.equal(kept[0][0], kept[1][0]) and torch.equal(kept[3][0], kept[4][0])
    assert not torch.equal(kept[1][0], kept[2][0]) and not torch.equal(kept[2][0], kept[3][0])
    assert [count for _, count in kept] == [0, 0, 1, 0, 0]
    assert part.state() == ({}, {})


@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
def test_vectors_learn_as_in_diffusers_textual_inversion(weight_decay: float) -> None:
    """Ten updates on the encoder's output: rate, schedule, moments and decay, of the new row alone."""
    settings = replace(WORD, lr_schedule="cosine", warmup_steps=2, weight_decay=weight_decay)
    wanted = recipe(steps=10, train_network=False, embeddings=(settings,))
    clip = tiny_clip("sd15")
    target = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(4))
    with private_text(clip) as text:
        side = TextSide(text, wanted, ["a photo of prtkl"], {})
        text.load()
        (part,) = side.parts(10)
        oracle = _DiffusersInversion(clip, side.embeddings.vectors["prtkl"]["clip_l"], settings)
        for step in range(10):
            part.prepare(step)
            with text.training(gradient_checkpointing=True):
                output = side.encode("a photo of prtkl").cross_attn
                (output - target).square().mean().backward()
            part.set_rate(step)
            part.optimizer.step()
            part.updated()
            theirs = oracle.step(target)
            assert (theirs - output).abs().max() <= 2e-5, step
            ours = side.embeddings.vectors["prtkl"]["clip_l"]
            assert (ours - oracle.table[NEW:]).abs().max() <= 1e-5 * ours.abs().max(), step
    assert torch.equal(oracle.table[:NEW], oracle.originals)
    assert (oracle.table[NEW:] - oracle.start).abs().max() > 5e-3, "the word must have moved"


class _DiffusersInversion:
    """What examples/textual_inversion/textual_inversion.py of diffusers does, on the encoder's output."""

    def __init__(self, clip: Any, start: torch.Tensor, settings: EmbeddingSettings) -> None:
        from diffusers.optimization import get_scheduler

        self.model = transformers_twin(clip, "clip_l")
        self.ids = torch.tensor([[49406, 320, 1125, 539, NEW, *[49407] * 72]])
        assert self.ids.ne(token_ids(clip, "clip_l", "a photo of cat")).nonzero().tolist() == [[0, 4]]
        self.start = start.detach().clone()
        self.originals = self.model.get_input_embeddings().weight.detach().clone()
        self.model.resize_token_embeddings(NEW + 1, mean_resizing=False)
        self.model.requires_grad_(False)
        weight = self.model.get_input_embeddings().weight
        weight.data[NEW] = self.start[0]
        weight.requires_grad_(True)
        self.optimizer = torch.optim.AdamW([weight], lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.scheduler = get_scheduler(
            settings.lr_schedule,
            self.optimizer,
            num_warmup_steps=settings.warmup_steps,
            num_training_steps=10,
        )

    @property
    def table(self) -> torch.Tensor:
        return self.model.get_input_embeddings().weight.detach()

    def step(self, target: torch.Tensor) -> torch.Tensor:
        output = self.model(self.ids).last_hidden_state
        (output - target).square().mean().backward()
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        self.table[:NEW] = self.originals
        return output.detach()


def words(settings: EmbeddingSettings, text: Any) -> Embeddings:
    return Embeddings(text, (settings,), {}, seed=0)


@pytest.mark.parametrize("pull", [0.0, 0.25, 1.0])
def test_lengths_are_pulled_to_the_tables_median(pull: float) -> None:
    """OneTrainer's preserve_embedding_norm at 1: every vector as long as the table's median; at 0 nothing is done."""
    settings = replace(WORD, num_vectors=3, init="noise", norm_pull=pull)
    with private_text(tiny_clip("sdxl")) as text:
        embeddings = words(settings, text)
        for encoder, value in embeddings.vectors["prtkl"].items():
            value.data *= torch.tensor([[0.3], [1.0], [40.0]])
            before = value.detach().clone()
            embeddings.pull("prtkl")
            median = text.table(encoder).norm(dim=-1).median()
            lengths = before.norm(dim=-1)
            assert torch.allclose(value.norm(dim=-1), lengths ** (1 - pull) * median**pull, rtol=1e-5)
            assert torch.allclose(value / value.norm(dim=-1, keepdim=True), before / lengths[:, None], atol=1e-6)
            assert torch.equal(value, before) == (pull == 0)


def test_words_start_where_their_settings_say() -> None:
    with private_text(tiny_clip("sdxl")) as text:
        for encoder in text.encoders:
            table, ids = text.table(encoder), text.token_ids(encoder, "glitch art")
            assert len(ids) == 2

            def start(**changes: Any) -> torch.Tensor:
                settings = replace(WORD, init_text="glitch art", num_vectors=3, **changes)
                return words(settings, text).vectors["prtkl"][encoder]  # noqa: B023

            assert torch.equal(start(), table[[ids[0], ids[1], ids[0]]])
            assert torch.allclose(start(init="mean of words"), table[ids].mean(0).expand(3, -1))
            noise = words(replace(WORD, init="noise", num_vectors=16), text).vectors["prtkl"][encoder]
            assert float(noise.detach().std() / table.std()) == pytest.approx(1.0, abs=4 / math.sqrt(2 * noise.numel()))
            other = words(replace(WORD, token="other", init="noise", num_vectors=16), text).vectors["other"][encoder]
            assert not torch.equal(noise, other)
        given = {"prtkl": {encoder: torch.ones(1, text.table(encoder).shape[1]) for encoder in text.encoders}}
        from_file = Embeddings(text, (replace(WORD, init="file", init_file="x.pt"),), given, seed=0)
        assert all(torch.equal(v, given["prtkl"][k]) for k, v in from_file.vectors["prtkl"].items())
        from_file.vectors["prtkl"]["clip_l"].data += 1
        assert given["prtkl"]["clip_l"].max() == 1, "what is given in stays as it is"


def test_one_encoder_can_be_trained_alone() -> None:
    with private_text(tiny_clip("sdxl")) as text:
        embeddings = words(replace(WORD, encoders="clip_g"), text)
        assert list(embeddings.parameters("prtkl")) == ["embedding.prtkl.clip_g"]
        assert set(embeddings.exported()["prtkl"]) == {"clip_l", "clip_g"}, "the other's start is part of the word"
        with pytest.raises(ValueError, match=r"'t5xxl', allowed for this model \['all', 'clip_l', 'clip_g'\]"):
            words(replace(WORD, encoders="t5xxl"), text)


def test_starts_that_do_not_fit_are_refused() -> None:
    with private_text(tiny_clip("sd15")) as text:
        for vectors, told in (
            ({"clip_l": torch.ones(2, 64)}, r"\[2, 64\] numbers for clip_l, allowed 1 vectors of 64"),
            ({"clip_g": torch.ones(1, 64)}, "no vectors for clip_l"),
            ({"clip_l": torch.full((1, 64), math.inf)}, "not finite for clip_l"),
        ):
            settings = replace(WORD, init="file", init_file="x.pt")
            with pytest.raises(ValueError, match=told):
                Embeddings(text, (settings,), {"prtkl": vectors}, seed=0)


SENSELESS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"train_network": False}, "nothing else to train"),
    ({"train_network": False, "embeddings": (replace(WORD, ti_frac=0.5),)}, "stops at 0.5"),
    ({"train_network": False, "network_start_frac": 0.5, "embeddings": (WORD,)}, "start without the LoRA"),
    ({"network_start_frac": 0.5}, "stops at 0 of the steps"),
    ({"network_start_frac": 0.5, "embeddings": (replace(WORD, ti_frac=0.3),)}, "stops at 0.3 of the steps"),
    ({"network_start_frac": 1.0, "embeddings": (WORD,)}, "network_start_frac: got 1.0"),
    ({"embeddings": (WORD, replace(WORD, token="PRTKL"))}, "more than once"),
    ({"embeddings": (replace(WORD, token="a b"),)}, "token of embedding 'a b': got 'a b'"),
    ({"embeddings": (replace(WORD, token="7up"),)}, "token"),
    ({"embeddings": (replace(WORD, token="NaN"),)}, "not nan or inf"),
    ({"embeddings": (replace(WORD, num_vectors=17),)}, "num_vectors"),
    ({"embeddings": (replace(WORD, ti_frac=0.0),)}, "ti_frac"),
    ({"embeddings": (replace(WORD, norm_pull=1.5),)}, "norm_pull"),
    ({"embeddings": (replace(WORD, init_text=" "),)}, "init_text"),
    ({"embeddings": (replace(WORD, init="file"),)}, "init_file"),
)


@pytest.mark.parametrize(("settings", "told"), SENSELESS)
def test_recipes_that_make_no_sense_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Recipe(**settings)


def test_a_recipe_with_words_survives_json() -> None:
    wanted = recipe(embeddings=(WORD, replace(WORD, token="b", ti_frac=0.5)), network_start_frac=0.25)
    assert Recipe.from_json(wanted.to_json()) == wanted
