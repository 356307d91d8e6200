"""Gradients of every family we claim, against finite differences: the condition for claiming it.

Oracle: central differences of the loss itself along the gradient, weights and adapters in fp64. ComfyUI casts the
network's output to fp32 in every family, which leaves an error of up to 1e-5 in the difference.
Bar: relative error of the directional derivative below 2e-5; checkpointed and plain gradients equal to 1e-9.
"""

from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from glitch_lora.host.demo_model import load_demo_model
from glitch_lora.host.encoding import encode_text
from glitch_lora.host.models import private_model
from glitch_lora.training.adapters import LoraAdapters
from glitch_lora.training.conditioning import SizeConditioning
from glitch_lora.training.objective import loss_per_sample
from tiny_models import random_demo_weights, tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl

FAMILIES = {
    "sd15": (tiny_sd15, {}),
    "sd15 v-prediction": (tiny_sd15, {"v_prediction": True}),
    "sdxl": (tiny_sdxl, {}),
    "flux": (tiny_flux, {}),
}
CHANNELS = {"sd15": 4, "sdxl": 4, "flux": 16, "glitch-demo": 48}


class Case:
    """One batch of two on a private fp64 copy with non-zero adapters on all linear and conv layers."""

    def __init__(self, model: Any, family: str, clip: Any = None) -> None:
        self.model = model
        torch_seed = torch.Generator().manual_seed(1)
        layers = model.layers("all-linear+conv" if family != "flux" else "all-linear")
        self.adapters = LoraAdapters(model.network, layers, rank=2, alpha=2.0, dropout=0.0, seed=0)
        self.parameters = list(self.adapters.named_parameters().values())
        for parameter in self.parameters:
            values = torch.randn(parameter.shape, generator=torch_seed, dtype=torch.float64) * 0.05
            parameter.data = values
        model.load()
        shape = (2, CHANNELS[family], 8, 8)
        self.x0 = torch.randn(shape, generator=torch_seed, dtype=torch.float64)
        noise = torch.randn(shape, generator=torch_seed, dtype=torch.float64)
        self.sigma = model.sigma_at(torch.tensor([0.3, 0.7], dtype=torch.float64)).double()
        self.x_t = model.add_noise(self.x0, noise, self.sigma)
        clip = clip or tiny_clip(family)
        texts = [encode_text(clip, "a red cube"), encode_text(clip, "a photograph, coffee, " * 30)]
        size = SizeConditioning((512, 384), (3, 5), (64, 64))
        self.conditions = [model.conditions(text, self.x0[:1], size) for text in texts]

    def loss(self) -> torch.Tensor:
        denoised = self.model.denoise(self.x_t, self.sigma, self.conditions)
        return loss_per_sample(self.model.prediction, self.x_t, self.sigma, denoised, self.x0).mean()

    def gradients(self, checkpointing: bool) -> list[torch.Tensor]:
        for parameter in self.parameters:
            parameter.grad = None
        with self.model.training(checkpointing):
            self.loss().backward()
        return [parameter.grad.clone() for parameter in self.parameters]

    def along(self, direction: list[torch.Tensor], step: float) -> float:
        """Central difference of the loss along `direction`."""
        values = []
        for sign in (1, -1):
            for parameter, part in zip(self.parameters, direction, strict=True):
                parameter.data += sign * step * part
            with torch.no_grad(), self.model.training(False):
                values.append(float(self.loss()))
            for parameter, part in zip(self.parameters, direction, strict=True):
                parameter.data -= sign * step * part
        return (values[0] - values[1]) / (2 * step)


@pytest.mark.parametrize("name", FAMILIES)
def test_plain_checkpointed_and_finite_difference_gradients_agree(name: str) -> None:
    build, options = FAMILIES[name]
    family = name.split()[0]
    agree(build(dtype=torch.float64, **options), family)


def test_gradients_of_the_demo_model_agree(tmp_path: Path) -> None:
    demo, clip, _ = load_demo_model(random_demo_weights(tmp_path / "demo.safetensors"))
    agree(demo, "glitch-demo", clip)


def agree(base: Any, family: str, clip: Any = None) -> None:
    with private_model(base, "fp64") as model:
        assert model.family.name == family
        case = Case(model, family, clip)
        plain = case.gradients(checkpointing=False)
        checkpointed = case.gradients(checkpointing=True)
        norm = torch.sqrt(sum(g.square().sum() for g in plain))
        assert norm > 1e-4, "a gradient of nothing proves nothing"
        assert all(g.abs().max() > 0 for g in plain), "every adapter must take part"
        for ours, again in zip(plain, checkpointed, strict=True):
            assert (ours - again).abs().max() <= 1e-9 * norm
        direction = [g / norm for g in plain]
        numeric = case.along(direction, 2e-3)
        assert abs(numeric - float(norm)) <= 2e-5 * float(norm), (numeric, float(norm))


def test_uncorrected_flux_blocks_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """The correction is needed: without it plain backward raises, as the host's blocks add residuals in place."""
    with private_model(tiny_flux(dtype=torch.float64), "fp64") as model:
        case = Case(model, "flux")
        monkeypatch.setattr(comfy.model_management, "in_training", True)
        with pytest.raises(RuntimeError, match="inplace"):
            case.loss().backward()
