"""Files that prompts name. Oracle: ComfyUI's own tokenizer, which loads them or does not."""

from pathlib import Path

import folder_paths
import pytest
import torch
from glitch_lora.host.embeddings import embedding_files, without_embeddings
from glitch_lora.host.encoding import encode_text
from safetensors.torch import save_file
from tiny_models import tiny_clip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folder_paths, "get_folder_paths", lambda name: [str(tmp_path)])
    (tmp_path / "sub").mkdir()
    return tmp_path


def test_files_are_found_as_the_host_finds_them(folder: Path) -> None:
    for name in ("rust.safetensors", "sub/moss.pt"):
        (folder / name).write_bytes(b"x")
    (folder.parent / "outside.pt").write_bytes(b"x")
    found = embedding_files(["a cat, embedding:rust, (embedding:moss:1.2)", "embedding:none embedding:../outside"])
    assert found == {
        "rust": folder / "rust.safetensors",
        "moss": folder / "sub" / "moss.pt",
        "none": None,
        "../outside": None,
    }
    assert embedding_files(["a plain prompt"]) == {}


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_in_a_caption_the_word_is_text(family: str, folder: Path) -> None:
    clip = tiny_clip(family)
    widths = {}
    for part in vars(clip.tokenizer).values():
        if hasattr(part, "embedding_directory"):
            part.embedding_directory = [str(folder)]
            widths[part.embedding_key] = part.embedding_size
    save_file({key: torch.ones(1, width) for key, width in widths.items()}, folder / "rust.safetensors")
    caption = "a cat, embedding:rust"
    before = clip.tokenizer
    plain = without_embeddings(clip).tokenize(caption, disable_weights=True)
    loaded = clip.tokenize(caption)
    assert any(torch.is_tensor(token) for part in loaded.values() for row in part for token, *_ in row)
    assert not any(torch.is_tensor(token) for part in plain.values() for row in part for token, *_ in row)
    assert clip.tokenizer is before and clip.tokenize(caption).keys() == loaded.keys()
    as_text = encode_text(clip, caption).cross_attn
    as_prompt = encode_text(clip, caption, prompt_syntax=True).cross_attn
    assert as_text.shape != as_prompt.shape or not torch.equal(as_text, as_prompt)
