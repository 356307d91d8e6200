"""transformers' text models with the weights of ComfyUI's, for tests that need a second opinion."""

from typing import Any

import torch

_ACTIVATIONS = {"clip_l": "quick_gelu", "clip_g": "gelu"}


def transformers_twin(clip: Any, encoder: str) -> Any:
    """Return transformers' CLIP text model with the weights of one encoder of a tiny CLIP; each must find its place."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    weights = getattr(clip.cond_stage_model, encoder).transformer.state_dict()
    width = weights["text_projection.weight"].shape[0]
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=128,
        projection_dim=width,
        num_attention_heads=4,
        num_hidden_layers=3,
        hidden_act=_ACTIVATIONS[encoder],
    )
    model = (CLIPTextModel if encoder == "clip_l" else CLIPTextModelWithProjection)(config)
    found = {name: weights[name if name in weights else f"text_model.{name}"] for name in model.state_dict()}
    model.load_state_dict(found)
    return model.eval()


def token_ids(clip: Any, encoder: str, text: str) -> torch.Tensor:
    """Return the ids [1, 77] that ComfyUI gives this encoder for a text of one window."""
    (window,) = clip.tokenize(text)[encoder.removeprefix("clip_")]
    return torch.tensor([[token for token, _ in window]])
