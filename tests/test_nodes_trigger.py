"""Inspect Trigger in a real ComfyUI server, on the demo model. Oracle: transformers' tokenizer."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import comfy.sd1_clip
import pytest
import torch
from comfy_server import ComfyServer, PromptError
from safetensors.torch import save_file
from transformers import CLIPTokenizer

pytestmark = pytest.mark.xdist_group("server")

INSPECT = {"word": "prtkq, star", "neighbours": 3, "suggestions": 4, "kind": "nonce words", "seed": 0}


def node(kind: str, inputs: dict[str, Any] | None = None, **links: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": (inputs or {}) | links}


MODEL = {"model": node("GlitchLoadDemoModel")}


def inspected(server: ComfyServer, nodes: dict[str, Any] | None = None, **changes: Any) -> dict[str, list[str]]:
    """Return what each output shows in ComfyUI's text preview, and what the node itself shows."""
    prompt = MODEL | (nodes or {}) | {"inspect": node("GlitchInspectTrigger", INSPECT | changes, clip=["model", 1])}
    names = ("report", "best", "words", "table")
    views = {name: node("PreviewAny", source=["inspect", place]) for place, name in enumerate(names)}
    outputs = server.queue(prompt | views)["outputs"]
    return {name: outputs[name]["text"] for name in names if name in outputs} | {"shown": outputs["inspect"]["text"]}


def test_a_word_and_suggestions(server: ComfyServer) -> None:
    found = inspected(server)
    (report,) = found["report"]
    assert found["shown"] == [report]
    assert report.startswith("prtkq: free, but its piece 'pr' is in very many words.\n  clip_l: nearest in meaning ")
    assert "\nstar: known. To clip_l it is one token with a meaning" in report
    assert len(found["words"]) == 4 and found["best"] == found["words"][:1]
    rows = list(csv.DictReader(io.StringIO(found["table"][0])))
    tokenizer = CLIPTokenizer.from_pretrained(Path(comfy.sd1_clip.__file__).parent / "sd1_tokenizer")
    for word in ("prtkq", "star", *found["words"]):
        ids = tokenizer(word)["input_ids"][1:-1]
        pieces = [int(row["id"]) for row in rows if row["word"] == word and row["part"] == "piece"]
        assert list(dict.fromkeys(pieces)) == ids and len(pieces) == 3 * len(ids)
        assert word in ("prtkq", "star") or 2 <= len(ids) <= 4
    assert {row["role"] for row in rows} == {"asked", "nonce"}


def test_the_seed_and_the_kind_change_the_suggestions(server: ComfyServer) -> None:
    words = inspected(server)["words"]
    assert not set(inspected(server, seed=1)["words"]) & set(words)
    both = inspected(server, kind="both")
    assert both["words"][:4] == words and all(re.fullmatch("[a-z]{2,3}", word) for word in both["words"][4:])
    assert "Rare tokens, the freest first. One may carry an old meaning" in both["report"][0]


def test_captions_and_files_are_taken_into_account(server: ComfyServer) -> None:
    first, second = inspected(server)["words"][:2]
    folder = server.base / "models" / "embeddings"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": torch.zeros(1, 64)}, folder / f"{second}.safetensors")
    trigger = {"trigger": first, "position": "prefix", "separator": ", ", "placeholder": "[trigger]"}
    nodes = {
        "data": node("GlitchDemoDataset", {"style": "vhs", "pictures": 3, "seed": 0}),
        "trigger": node("GlitchTriggerWord", trigger, dataset=["data", 0]),
    }
    found = inspected(server, nodes, word=f"{first}\n{second}", dataset=["trigger", 0])
    assert f"{first}: free" in found["report"][0] and "  In 3 of 3 captions." in found["report"][0]
    assert f"{second}: taken. An embedding file has this name ({second}.safetensors)" in found["report"][0]
    assert "  In 0 of 3 captions." in found["report"][0]
    assert len(found["words"]) == 4 and not {first, second} & set(found["words"])
    (folder / f"{second}.safetensors").unlink()


def test_a_word_without_suggestions(server: ComfyServer) -> None:
    found = inspected(server, suggestions=0, neighbours=0)
    assert found["best"] == ["prtkq"] and found["words"] == ["prtkq", "star"]
    assert "near" not in found["report"][0].split("Nearest in meaning:")[0].replace("nearest", "")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"word": " ", "suggestions": 0}, "word: got none and no suggestions, allowed is one word or more, type one"),
        ({"word": "zq" * 100}, r"word: got 'zqzq.*', \d+ tokens in clip_l, allowed 1 to 75, type another word"),
    ],
)
def test_what_cannot_be_is_named(server: ComfyServer, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(PromptError, match=words):
        inspected(server, **changes)
