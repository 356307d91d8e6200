"""A run's LoRA and words together, wherever its checkpoints go: sweep cells, Apply Checkpoint, samples while training.

Oracle: ComfyUI's own nodes (LoraLoader, CLIPTextEncode with ``embedding:``, KSampler, VAEDecode) with the published
files. Bar: 1e-5 on float pixels; one grey level where a sample was saved as 8 bits.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from glitch_lora.dataset.captions import TriggerWord
from glitch_lora.host.graph import ComfyGraph
from glitch_lora.host.identity import clip_identity
from glitch_lora.nodes.runs import GlitchApplyCheckpoint
from glitch_lora.sampling.lora_renderer import LoraRenderer, sweep_checkpoints
from glitch_lora.sampling.plan import BASE, Cell, SweepPlan
from glitch_lora.sampling.request import SweepTexts, plan_from_texts
from glitch_lora.training.recipe import SampleSettings
from glitch_lora.training.session import Outcome, train
from glitch_lora.training.text_settings import EmbeddingSettings, TextEncoderSettings
from PIL import Image
from sweep_scene import family, stock_picture
from training_scene import Events, photographs, recipe, request

SPELLINGS = ("a prtkl cat", "a <prtkl> cat", "a embedding:prtkl cat", "a PRTKL cat")
CELL = Cell(4, 1.0, SPELLINGS[0], "blurry", 11, 3, 4.5, (64, 96), "euler", "normal")
FAST = {"learning_rate": 0.5, "num_vectors": 2}  # so that the word is heard after a few steps
SAMPLES = SampleSettings(4, SPELLINGS[:1], "blurry", (11,), 64, 96, 3, 4.5)


def trained(name: str, folder: Path) -> tuple[Outcome, Any]:
    """Return a pivotal run with LoRA on the text encoders, published below `folder`, and what it was trained on."""
    parts = family(name)
    _search_embeddings_in(parts[1], folder / "embeddings")
    settings = recipe(
        embeddings=(EmbeddingSettings("prtkl", ti_frac=0.5, init="noise", **FAST),),
        text_encoder=TextEncoderSettings(1e-3, 1e-3, rank=4, alpha=4.0),
        caption_dropout=0.0,
        samples=SAMPLES,
    )
    place = replace(request(folder), embeddings_folder=folder / "embeddings")
    dataset = photographs(folder / "pictures").with_step(TriggerWord("prtkl"))
    return train(ComfyGraph(*parts), dataset, settings, place, Events()), parts


def _search_embeddings_in(clip: Any, folder: Path) -> None:
    for part in vars(clip.tokenizer).values():
        if hasattr(part, "embedding_key"):
            part.embedding_directory = [str(folder)]


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Any]:
    return trained(request.param, tmp_path_factory.mktemp(request.param))


def stock(outcome: Outcome, parts: Any, prompt: str) -> torch.Tensor:
    """Return what the stock nodes draw with the published files."""
    assert outcome.published is not None
    return stock_picture(*parts, outcome.published, replace(CELL, prompt=prompt))[0]


def ours(outcome: Outcome, parts: Any, cell: Cell) -> torch.Tensor:
    files = {checkpoint.step: checkpoint.path for checkpoint in outcome.run.checkpoints()}
    renderer = LoraRenderer(*parts, files, outcome.run.tokens)
    with torch.inference_mode():
        prepared = renderer.prepare(*cell.state)
        picture = prepared.render(cell, prepared.encode(cell.prompt), prepared.encode(cell.negative))
        return torch.from_numpy(picture.copy())


@pytest.mark.parametrize("prompt", SPELLINGS)
def test_a_cell_is_the_stock_graphs_picture_however_the_prompt_writes_the_word(run: Any, prompt: str) -> None:
    outcome, parts = run
    expected = stock(outcome, parts, "a embedding:prtkl cat")
    assert [word.path.stem for word in outcome.words] == ["prtkl"]
    assert (ours(outcome, parts, replace(CELL, prompt=prompt)) - expected).abs().max() <= 1e-5
    assert (stock(outcome, parts, "a prtkl cat") - expected).abs().max() > 1e-3, "the word is not heard at all"


@pytest.mark.parametrize("prompt", SPELLINGS[:3])
def test_the_base_reads_the_word_as_ordinary_text(run: Any, prompt: str) -> None:
    outcome, parts = run
    expected = stock_picture(*parts, None, replace(CELL, prompt="a prtkl cat"))[0]
    base = replace(CELL, checkpoint=BASE, strength=0.0, prompt=prompt)
    assert (ours(outcome, parts, base) - expected).abs().max() <= 1e-5


def test_each_step_has_its_own_word(run: Any) -> None:
    outcome, parts = run
    early, late = (ours(outcome, parts, replace(CELL, checkpoint=step, strength=0.0)) for step in (2, 4))
    assert torch.equal(early, late), "after the pivot the word is frozen"
    vectors = [outcome.run.words(step)["prtkl"] for step in (2, 4)]
    assert all(torch.equal(vectors[0][encoder], vectors[1][encoder]) for encoder in vectors[0])


def test_a_sample_is_what_the_stock_nodes_draw_with_the_published_files(run: Any) -> None:
    outcome, parts = run
    sample = outcome.run.sample_images()[-1]
    saved = np.asarray(Image.open(sample.path)).astype(np.float32) / 255
    expected = stock(outcome, parts, "a embedding:prtkl cat").clamp(0, 1).numpy()
    assert sample.step == 4
    assert np.abs(saved - expected).max() <= 1.5 / 255  # as 8 bits


def test_apply_checkpoint_gives_the_conditioning_of_the_files(run: Any) -> None:
    import comfy.sd
    import comfy.utils

    import nodes as stock_nodes

    outcome, (model, clip, _) = run
    before = clip_identity(clip)
    with torch.inference_mode():
        applied = GlitchApplyCheckpoint.execute(outcome.run, model, -1, 0.7, True, clip).args[1]
        lora = comfy.utils.load_torch_file(str(outcome.published))
        loaded = comfy.sd.load_lora_for_models(model, clip, lora, 0.7, 0.7)[1]
        found, _ = stock_nodes.CLIPTextEncode().encode(applied, "(prtkl:1.3), dog")[0][0]
        expected, _ = stock_nodes.CLIPTextEncode().encode(loaded, "(embedding:prtkl:1.3), dog")[0][0]
    assert (found - expected).abs().max() <= 1e-5
    assert clip_identity(clip) == before != clip_identity(applied)


def test_the_published_lora_has_no_words_and_the_output_neither(run: Any) -> None:
    from safetensors.torch import load_file

    outcome, _ = run
    published = load_file(outcome.published)
    assert published and not [name for name in published if name.startswith("bundle_emb")]
    assert set(outcome.lora()) == set(published)


def test_a_sweep_knows_the_runs_words_and_is_kept(run: Any) -> None:
    class Silent:
        def update(self, value: int, preview: Any = None) -> None: ...
        def text(self, line: str) -> None: ...

    outcome, parts = run
    texts = SweepTexts(prompts="\n".join(SPELLINGS[:3]), checkpoints="last", seeds="11", sizes="64x96", steps="3")
    plan: SweepPlan = plan_from_texts(texts, outcome.run, ("euler",), ("normal",), 100)
    with torch.inference_mode():
        sweep, report = sweep_checkpoints(outcome.run, plan, *parts, Silent(), lambda: None, {})
        again = sweep_checkpoints(outcome.run, plan, *parts, Silent(), lambda: None, {})[1]
    pictures = {cell: Image.open(path).tobytes() for cell, path in sweep.cells().items()}
    for step in (BASE, 4):
        assert len({picture for cell, picture in pictures.items() if cell.checkpoint == step}) == 1
    assert len(set(pictures.values())) == 2
    assert "nothing to render" in again and "Rendered 6" in report


def test_textual_inversion_alone_gives_a_word_and_no_lora(tmp_path: Path) -> None:
    parts = family("sd15")
    _search_embeddings_in(parts[1], tmp_path / "embeddings")
    settings = recipe(
        steps=2, train_network=False, embeddings=(EmbeddingSettings("zxq", captions="object templates", **FAST),)
    )
    place = replace(request(tmp_path), embeddings_folder=tmp_path / "embeddings")
    outcome = train(ComfyGraph(*parts), photographs(tmp_path / "pictures"), settings, place, Events())
    assert outcome.published is None and outcome.lora() == {}
    assert "embedding:zxq" in outcome.report and "LoRA file" not in outcome.report
    expected = stock_picture(*parts, None, replace(CELL, prompt="a embedding:zxq cat"))[0]
    cell = replace(CELL, checkpoint=2, prompt="a zxq cat")
    assert (ours(outcome, parts, cell) - expected).abs().max() <= 1e-5
    with pytest.raises(ValueError, match="clip: got none for a run that trained text alone"):
        GlitchApplyCheckpoint.execute(outcome.run, parts[0], -1, 1.0)


def test_a_run_on_another_clip_is_refused(run: Any) -> None:
    outcome, _ = run
    wrong = family("sdxl" if "clip_g" not in outcome.run.words(-1)["prtkl"] else "sd15")
    with pytest.raises(ValueError, match="allowed"):
        GlitchApplyCheckpoint.execute(outcome.run, wrong[0], -1, 1.0, True, wrong[1])
