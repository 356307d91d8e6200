"""Words and LoRAs of a run as files of their own. Oracles: ComfyUI's load_embed, the safetensors library."""

from dataclasses import replace
from pathlib import Path

import comfy.sd1_clip
import folder_paths
import pytest
import torch
from glitch_lora.host.embeddings import embedding_names, embedding_path, is_named_elsewhere
from glitch_lora.host.folders import embeddings_folder, register_embeddings_folder
from glitch_lora.training.lora_file import load_safetensors
from glitch_lora.training.publish import save_lora
from glitch_lora.training.publish_words import save_embeddings
from glitch_lora.training.run import Run, RunWriter, content_key
from glitch_lora.training.words import bundled
from safetensors.torch import load_file

METADATA = {"glitch_lora.trigger": "gl1tch", "modelspec.architecture": "stable-diffusion-xl-v1-base/lora"}
LORA = {"lora_unet_a.lora_down.weight": torch.ones(2, 4), "lora_unet_a.alpha": torch.tensor(2.0)}


def words(step: int) -> dict[str, dict[str, torch.Tensor]]:
    return {
        "prtkl": {"clip_l": torch.full((2, 768), 0.1 * step), "clip_g": torch.full((2, 1280), 0.2 * step)},
        "Moss": {"clip_l": torch.full((1, 768), 0.3 * step)},
    }


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with LoRA and words of steps 10 and 20."""
    writer = RunWriter.create(tmp_path / "runs", content_key("pivotal"), "pivotal", {})
    for step in (10, 20):
        writer.save_checkpoint(step, LORA | bundled(words(step)), METADATA)
    return writer.run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where words are saved, with ComfyUI's folders moved into an empty place."""
    monkeypatch.setattr(folder_paths, "output_directory", str(tmp_path / "output"))
    places = ([str(tmp_path / "models")], folder_paths.supported_pt_extensions)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "embeddings", places)
    (tmp_path / "models").mkdir()
    return tmp_path / "output" / "embeddings"


def test_the_folder_is_registered_once(folder: Path) -> None:
    for _ in range(2):
        register_embeddings_folder()
    assert embeddings_folder() == folder
    assert folder_paths.get_folder_paths("embeddings") == [str(folder.parent.parent / "models"), str(folder)]
    assert embedding_names() == []


def test_each_word_becomes_a_file_that_comfyui_finds(run: Run, folder: Path) -> None:
    register_embeddings_folder()
    saved = save_embeddings(run, -1, folder, is_taken=is_named_elsewhere)
    assert [word.prompt_text for word in saved] == ["embedding:Moss", "embedding:prtkl"]
    assert [word.path for word in saved] == [folder / "Moss.safetensors", folder / "prtkl.safetensors"]
    places = folder_paths.get_folder_paths("embeddings")
    for token, parts in words(20).items():
        for encoder, tensor in parts.items():
            theirs = comfy.sd1_clip.load_embed(token, places, tensor.shape[1], encoder)
            assert torch.equal(theirs, tensor)
    assert embedding_names() == ["Moss.safetensors", "prtkl.safetensors"]
    assert embedding_path("prtkl.safetensors") == saved[1].path
    report = saved[1].report()
    assert "Saved prtkl of step 20 as prtkl.safetensors (2 vectors for clip_g and clip_l" in report
    assert report.endswith("Put embedding:prtkl into the prompt.") and "(1 vector for clip_l," in saved[0].report()
    metadata = load_safetensors(saved[1].path)[1]
    assert metadata["modelspec.architecture"] == "stable-diffusion-xl-v1-base/textual-inversion"
    assert (metadata["step"], metadata["name"], metadata["glitch_lora.trigger"]) == ("20", "prtkl", "prtkl")


def test_nothing_is_overwritten_and_the_same_is_kept_once(run: Run, folder: Path) -> None:
    register_embeddings_folder()
    names = []
    for step in (10, 20, 10, 20):
        (saved,) = save_embeddings(run, step, folder, "prtkl", is_taken=is_named_elsewhere)
        names.append(saved.path.name)
    assert names == ["prtkl.safetensors", "prtkl-2.safetensors"] * 2
    assert load_file(folder / "prtkl.safetensors")["clip_l"].unique().item() == pytest.approx(1.0)


@pytest.mark.parametrize("other", ["prtkl", "prtkl.pt", "sub/prtkl.bin", "PRTKL.safetensors"])
def test_a_name_that_another_embedding_has_is_not_used(run: Run, folder: Path, other: str) -> None:
    """ComfyUI would take either."""
    register_embeddings_folder()
    taken = folder.parent.parent / "models" / other
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(b"x")
    (saved,) = save_embeddings(run, 10, folder, "prtkl", is_taken=is_named_elsewhere)
    assert saved.prompt_text == "embedding:prtkl-2"
    (again,) = save_embeddings(run, 10, folder, "prtkl", is_taken=is_named_elsewhere)
    assert again == saved


def test_embeddings_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="embedding: got 'a.pt', allowed are files in .* hold none yet, copy one"):
        embedding_path("a.pt")
    (folder.parent.parent / "models" / "b.pt").write_bytes(b"x")
    (folder.parent.parent / "models" / "notes.ckpt").write_bytes(b"x")
    with pytest.raises(ValueError, match="embedding: got '../b.pt', allowed are names such as b.pt, refresh"):
        embedding_path("../b.pt")


@pytest.mark.parametrize("token", ["Moss", "moss", "embedding:Moss", "<moss>", " Moss "])
def test_one_word_is_named_as_prompts_write_it(run: Run, folder: Path, token: str) -> None:
    (saved,) = save_embeddings(run, 10, folder, token)
    assert saved.token == "Moss"


def test_names_and_formats(run: Run, folder: Path) -> None:
    both = save_embeddings(run, 10, folder, name="my (word)", dtype="fp16")
    assert [saved.prompt_text for saved in both] == ["embedding:my-word-Moss", "embedding:my-word-prtkl"]
    assert load_file(both[0].path)["emb_params"].dtype == torch.float16
    (one,) = save_embeddings(run, 10, folder, "prtkl", name="my, word.safetensors")
    assert one.prompt_text == "embedding:my-word"
    assert {tensor.dtype for tensor in load_file(one.path).values()} == {torch.float32}


def test_what_is_not_there_is_named(run: Run, folder: Path) -> None:
    for arguments, message in [
        ({"token": "rust"}, r"token: got 'rust', allowed \['Moss', 'prtkl'\], or leave it empty for all"),
        ({"step": 15}, r"step: got 15, allowed .* \[10, 20\]"),
        ({"dtype": "fp8"}, "dtype: got 'fp8', allowed"),
    ]:
        with pytest.raises(ValueError, match=message):
            save_embeddings(run, **({"step": 10, "folder": folder} | arguments))
    writer = RunWriter.create(run.folder.parent, content_key("plain"), "plain", {})
    writer.save_checkpoint(10, LORA, METADATA)
    with pytest.raises(ValueError, match="run: got 'plain-.*', which trained no words, allowed runs with textual"):
        save_embeddings(writer.run, 10, folder)
    assert not folder.exists()


# The LoRA of a run that trained words


def test_a_saved_lora_leaves_the_words_out_unless_asked(run: Run, tmp_path: Path) -> None:
    plain = save_lora(run, 20, tmp_path / "loras")
    tensors = load_file(plain.path)
    assert set(tensors) == set(LORA) and all(torch.equal(tensors[name], LORA[name]) for name in LORA)
    assert "It was trained with embedding:Moss, embedding:prtkl: save those with Save Embedding" in plain.report()
    with_words = save_lora(run, 20, tmp_path / "loras", words="bundle")
    assert with_words.path.read_bytes() == run.checkpoint(20).path.read_bytes()
    assert with_words.path != plain.path and "carries them too" in with_words.report()
    assert "Its trigger is gl1tch." in plain.report() and "carries" not in plain.report()
    assert "Its trigger is embedding:prtkl man." in replace(plain, trigger="PRTKL man").report()
    assert "Its trigger" not in replace(plain, trigger="moss").report()
    half = load_file(save_lora(run, 20, tmp_path / "loras", "half", "fp16", "bundle").path)
    assert half["lora_unet_a.lora_down.weight"].dtype == torch.float16
    assert all(torch.equal(half[name], tensor) for name, tensor in bundled(words(20)).items())
    with pytest.raises(ValueError, match="embeddings: got 'yes', allowed"):
        save_lora(run, 20, tmp_path / "loras", words="yes")


def test_a_run_of_words_alone_has_no_lora(run: Run, tmp_path: Path) -> None:
    writer = RunWriter.create(run.folder.parent, content_key("inversion"), "inversion", {})
    writer.save_checkpoint(10, bundled(words(10)), METADATA)
    for choice in ("leave out", "bundle"):
        with pytest.raises(ValueError, match="run: got 'inversion-.*', which trained only Moss, prtkl and no LoRA"):
            save_lora(writer.run, 10, tmp_path / "loras", words=choice)
    assert len(save_embeddings(writer.run, 10, tmp_path / "words")) == 2


def test_a_lora_without_words_is_copied_as_it_is(run: Run, tmp_path: Path) -> None:
    writer = RunWriter.create(run.folder.parent, content_key("plain"), "plain", {})
    writer.save_checkpoint(10, LORA, METADATA)
    for choice in ("leave out", "bundle"):
        saved = save_lora(writer.run, 10, tmp_path / "loras", words=choice)
        assert saved.path.read_bytes() == writer.run.checkpoint(10).path.read_bytes()
        assert saved.report().endswith("Put gl1tch into the prompt.")
