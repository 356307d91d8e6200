"""Trainings of the text side from beginning to end: odd lengths, memory, files, what is told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import training_scene as scene
from glitch_lora.dataset.dataset import Dataset
from glitch_lora.training.loop import Training
from glitch_lora.training.session import Outcome, train
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from glitch_lora.training.text_side import TextSide

WORD = EmbeddingSettings("zxq", captions="style templates")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scene.photographs(tmp_path_factory.mktemp("pictures"), count=2)


def run(dataset: Dataset, folder: Path, **settings: Any) -> Outcome:
    recipe = scene.recipe(**{"embeddings": (WORD,), "steps": 2} | settings)
    place = replace(scene.request(folder), embeddings_folder=folder / "embeddings")
    return train(scene.graph("sd15"), dataset, recipe, place, scene.Events())


def test_a_late_lora_still_learns_in_a_short_training(dataset: Dataset, tmp_path: Path) -> None:
    """0.9 of two steps is two, after which nothing would be left for the LoRA."""
    lora = run(dataset, tmp_path, network_start_frac=0.9).lora()
    ups = [tensor for name, tensor in lora.items() if name.endswith("lora_up.weight")]
    assert ups and all(up.abs().max() > 0 for up in ups)


@pytest.mark.parametrize(
    ("settings", "each"), [({}, False), ({"lora_dropout": 0.5}, True), ({"cache_in": "disk"}, True)]
)
def test_captions_are_kept_once_nothing_of_the_text_changes_them(
    settings: dict[str, Any], each: bool, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Oracle: the training that encodes every caption anew in every step, bit for bit."""
    encoded: list[str] = []

    def encode(self: TextSide, caption: str, step: int | None = None) -> Any:
        encoded.append(caption)
        return self._text.encode(caption, self.embeddings.vectors, False)

    word, frac = replace(WORD, captions="captions", token="photograph", ti_frac=0.25), 0.25
    side = {"embeddings": (word,), "text_encoder": TextEncoderSettings(1e-3, rank=2, text_encoder_frac=frac)}
    everything = {"steps": 8, "batch_size": 2, "caption_dropout": 0.0, **side, **settings}
    monkeypatch.setattr(TextSide, "encode", encode)
    kept = run(dataset, tmp_path / "kept", **everything)
    few = len(encoded)
    encoded.clear()
    monkeypatch.setattr(TextSide, "heard", encode)
    anew = run(dataset, tmp_path / "anew", **everything)
    assert few == (len(encoded) if each else 1 + 2 * 2 + 2), "probe, two steps with two captions, then each once"
    assert kept.run.losses() == anew.run.losses()
    assert kept.run.checkpoint(8).path.read_bytes() == anew.run.checkpoint(8).path.read_bytes()


def test_words_with_a_meaning_and_words_that_few_captions_have_are_told(dataset: Dataset, tmp_path: Path) -> None:
    """Of the two pictures one is captioned "a photograph, astronaut"; zxqvb is no token of CLIP's vocabulary."""
    words = (replace(WORD, token="Astronaut", captions="captions"), replace(WORD, token="zxqvb"))
    outcome = run(dataset, tmp_path, steps=1, embeddings=words)
    told = [line for line in outcome.report.splitlines() if "text encoder knows" in line or " of 2 captions" in line]
    assert [line.split(".")[0] for line in told] == [
        "Warning: Astronaut is a word that the text encoder knows",
        "Astronaut is in 1 of 2 captions; the other one shows what pictures are without it",
    ]


def test_a_word_that_no_caption_has_leaves_no_run_behind(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="token: got 'zxq', which no caption of the dataset has"):
        run(dataset, tmp_path, embeddings=(replace(WORD, captions="captions"),))
    assert not (tmp_path / "runs").exists()


def test_the_trial_step_takes_in_a_lora_that_joins_later(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is told of memory must hold for the whole training, not only for its beginning."""
    tried: list[set[str]] = []
    probe = Training.probe

    def watched(self: Training) -> None:
        forget = self._forget_gradients
        monkeypatch.setattr(
            self, "_forget_gradients", lambda: (tried.append({p.name for p in self._parts if p.has_gradient}), forget())
        )
        probe(self)

    monkeypatch.setattr(Training, "probe", watched)
    run(dataset, tmp_path, network_start_frac=0.5, caption_dropout=0.0)
    assert tried[0] == {"network", "embedding.zxq"}
