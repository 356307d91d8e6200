"""The shipped demo model draws what it is asked for, and a LoRA learns from it what a dataset shows.

Oracles: the analytic judges and style measures, which `test_judges.py` and `test_demo_styles.py` hold to drawings and
to noise. `benchmarks/demo_model.py` and `benchmarks/demo_studies.py` ask the same of more pictures.
"""

import socket
from collections.abc import Callable

import numpy as np
import pytest
from demo_pictures import pictures
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.dataset.kept_folder import kept_dataset
from glitch_lora.demo.datasets import draw_dataset
from glitch_lora.demo.judges import judge
from glitch_lora.demo.questions import Question, single_questions
from glitch_lora.demo.scenes import HELD_OUT_PAIRS
from glitch_lora.demo.styles import STYLES
from glitch_lora.host.demo_model import load_demo_model
from glitch_lora.host.graph import ComfyGraph
from glitch_lora.host.lora_keys import apply_lora
from glitch_lora.training.session import train
from training_scene import Events, recipe, request

ASKED = single_questions()[:40]


@pytest.fixture(scope="module")
def parts():
    return load_demo_model()


@pytest.fixture(scope="module")
def answers(parts):
    """What the judges see in the model's pictures of the first questions, half of them for held-out pairs."""
    drawn = pictures(parts, [question.prompt for question in ASKED], [question.seed for question in ASKED])
    return [judge(picture) for picture in drawn]


def share(right: Callable[[Question, object], bool], answers: list) -> float:
    return sum(right(question, seen) for question, seen in zip(ASKED, answers, strict=True)) / len(ASKED)


@pytest.mark.slow
def test_colours_and_shapes_are_right(answers):
    """Bars over all 200 questions: colour 90 %, shape 80 %; chance is 1 in 7."""
    assert share(lambda question, seen: question.colour == seen.colour, answers) >= 0.9
    assert share(lambda question, seen: question.shape == seen.shape, answers) >= 0.8


def test_nothing_is_downloaded(monkeypatch):
    def refused(*_: object) -> None:
        raise AssertionError("the demo model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    model, clip, vae = load_demo_model()
    (picture,) = pictures((model, clip, vae), ["a red circle"], [0], steps=2)
    assert picture.shape == (64, 64, 3)


@pytest.mark.slow
def test_a_seed_is_a_picture_and_a_prompt_steers_it(parts):
    prompts = ["a red circle on a white background"] * 2 + ["a blue square on a black background"]
    first, other_seed, other_prompt = pictures(parts, prompts, [1, 2, 1], steps=10)
    (again,) = pictures(parts, prompts[:1], [1], steps=10)
    assert np.abs(first.astype(int) - again.astype(int)).max() <= 1, "a batch holds what single pictures would show"
    assert (first != other_seed).any() and (first != other_prompt).any()


@pytest.mark.slow
def test_a_lora_learns_a_style_and_keeps_the_content(parts, tmp_path):
    """A short training; `benchmarks/demo_studies.py` asks for 80 % of the way within two minutes."""
    style = STYLES["vhs"]
    drawn = draw_dataset("vhs", 16)
    dataset = kept_dataset(tmp_path, "vhs", [one.pixels for one in drawn], [one.caption for one in drawn])
    settings = recipe(
        steps=100,
        checkpoint_every=0,
        batch_size=4,
        rank=16,
        alpha=16.0,
        target_modules="all-linear+conv",
        gradient_checkpointing=False,
    )
    dataset = dataset.with_step(TriggerWord(style.trigger))
    outcome = train(ComfyGraph(*parts), dataset, settings, request(tmp_path), Events())
    model, clip = apply_lora(parts[0], parts[1], outcome.lora(), 1.0, 1.0)
    pairs = sorted(HELD_OUT_PAIRS)
    prompts = [f"{style.trigger}, a {colour} {shape} on a white background" for colour, shape in pairs]
    seeds = list(range(len(prompts)))
    base, learned = pictures(parts, prompts, seeds), pictures((model, clip, parts[2]), prompts, seeds)
    before, after, goal = (
        np.mean([style.measure(picture) for picture in group])
        for group in (base, learned, [one.pixels for one in drawn])
    )
    assert (after - before) / (goal - before) > 0.5
    colours = [judge(picture).colour == colour for picture, (colour, _) in zip(learned, pairs, strict=True)]
    assert sum(colours) >= len(pairs) - 1
