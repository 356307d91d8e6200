"""Gradients through every text encoder we claim, from the loss back to adapters and to the vectors of new words.

Oracle: central differences of the loss itself along the gradient. ComfyUI's encoders ask for fp32 by name, too coarse
for a difference, so its own code runs with every fp32 read as fp64 (`InDouble`): bar 1e-6 of the directional
derivative. The chain in fp32, as it trains, must then give the same gradient within 1e-4 of its norm.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import comfy.model_management
import pytest
import torch
from glitch_lora.host.blocks import checkpointed, out_of_place
from glitch_lora.host.demo_model import load_demo_model
from glitch_lora.host.models import private_model
from glitch_lora.host.text_model import private_text
from glitch_lora.training.adapters import LoraAdapters
from glitch_lora.training.conditioning import SizeConditioning, TextConditioning
from glitch_lora.training.objective import loss_per_sample
from tiny_models import random_demo_weights, tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl
from torch.overrides import TorchFunctionMode

from nodes import CLIPTextEncode

FAMILIES = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}
ENCODERS = {"sd15": ("clip_l",), "sdxl": ("clip_l", "clip_g"), "flux": ("clip_l", "t5xxl"), "glitch-demo": ("clip_l",)}
CHANNELS = {"sd15": 4, "sdxl": 4, "flux": 16, "glitch-demo": 48}
# The second spans several windows and is cut within a word of nine vectors; both read weights.
CAPTIONS = ("a (photograph:1.3) of prtkl", "a painting, very old, " * 14 + "(of <ninefold>:0.8) and ((prtkl))")
COUNTS = {"prtkl": 2, "ninefold": 9}


class InDouble(TorchFunctionMode):
    """While active, whoever asks torch for fp32 gets fp64."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = (_widened(value) for value in (args, kwargs or {}))
        return (torch.Tensor.double if func is torch.Tensor.float else func)(*args, **kwargs)


def _widened(values: Any) -> Any:
    if isinstance(values, dict):
        return {name: torch.float64 if value is torch.float32 else value for name, value in values.items()}
    return tuple(torch.float64 if value is torch.float32 else value for value in values)


class Case:
    """A batch of two captions with new words, adapters that are not zero on all layers of every encoder."""

    def __init__(self, model: Any, text: Any, family: str, dtype: torch.dtype) -> None:
        self.model, self.text, self.dtype = model, text, dtype
        random = torch.Generator().manual_seed(1)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)

        text.network.to(dtype)
        layers = text.layers("attention+ff", text.encoders)
        self.adapters = LoraAdapters(text.network, layers, rank=2, alpha=2.0, dropout=0.0, seed=0)
        for parameter in self.adapters.named_parameters().values():
            parameter.data = normal(*parameter.shape) * 0.05
        widths = {encoder: text.table(encoder).shape[1] for encoder in text.encoders}
        self.words = {
            token: {encoder: torch.nn.Parameter(normal(count, width)) for encoder, width in widths.items()}
            for token, count in COUNTS.items()
        }
        self.parameters = dict(self.adapters.named_parameters())
        for token, parts in self.words.items():
            self.parameters |= {f"embedding.{token}.{encoder}": value for encoder, value in parts.items()}
        self.x0 = normal(2, CHANNELS[family], 8, 8)
        self.sigma = model.sigma_at(torch.tensor([0.3, 0.7], dtype=torch.float64)).to(dtype)
        self.x_t = model.add_noise(self.x0, normal(*self.x0.shape), self.sigma)
        self.held: list[TextConditioning] = []
        model.load()
        text.load()

    @contextmanager
    def ready(self, checkpointing: bool) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(InDouble() if self.dtype is torch.float64 else nullcontext())
            stack.enter_context(self.model.training(checkpointing))
            stack.enter_context(self.text.training(checkpointing))
            yield

    def hold_all_but(self, path: str) -> None:
        """Let the loss see the text through `path` alone: the rest of the conditioning stays as it is now."""
        with torch.no_grad(), self.ready(False):
            self.held = [self.text.encode(caption, self.words, True) for caption in CAPTIONS]
        self.path = path

    def loss(self) -> torch.Tensor:
        texts = [self.text.encode(caption, self.words, True) for caption in CAPTIONS]
        if self.held:
            texts = [_only(self.path, now, held) for now, held in zip(texts, self.held, strict=True)]
        size = SizeConditioning((512, 384), (3, 5), (64, 64))
        conditions = [self.model.conditions(text, self.x0[:1], size) for text in texts]
        denoised = self.model.denoise(self.x_t, self.sigma, conditions)
        return loss_per_sample(self.model.prediction, self.x_t, self.sigma, denoised, self.x0).mean()

    def gradients(self, checkpointing: bool) -> dict[str, torch.Tensor]:
        for parameter in self.parameters.values():
            parameter.grad = None
        with self.ready(checkpointing):
            self.loss().backward()
        return {
            name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            for name, parameter in self.parameters.items()
        }

    def along(self, direction: Mapping[str, torch.Tensor], step: float) -> float:
        """Central difference of the loss along `direction`."""
        values = []
        for sign in (1, -1):
            for name, part in direction.items():
                self.parameters[name].data += sign * step * part
            with torch.no_grad(), self.ready(False):
                values.append(float(self.loss()))
            for name, part in direction.items():
                self.parameters[name].data -= sign * step * part
        return (values[0] - values[1]) / (2 * step)


def _only(path: str, now: TextConditioning, held: TextConditioning) -> TextConditioning:
    if path == "cross attention":
        return TextConditioning(now.cross_attn, held.extras)
    return TextConditioning(held.cross_attn, now.extras)


@contextmanager
def case(family: str, dtype: torch.dtype, folder: Path) -> Iterator[Case]:
    if family == "glitch-demo":
        model, clip, _ = load_demo_model(random_demo_weights(folder / "demo.safetensors"))
    else:
        model, clip = FAMILIES[family](dtype=dtype), tiny_clip(family)
    precision = "fp64" if dtype is torch.float64 else "fp32"
    with private_model(model, precision) as own_model, private_text(clip, (own_model.patcher,)) as text:
        yield Case(own_model, text, family, dtype)


def norm(gradient: Mapping[str, torch.Tensor]) -> float:
    return float(torch.sqrt(sum(part.square().sum() for part in gradient.values())))


def require_derivative(case: Case, gradient: Mapping[str, torch.Tensor], names: list[str]) -> None:
    """Assert that the derivative along the gradient of `names` is its length."""
    own = {name: gradient[name] for name in names}
    length = norm(own)
    assert length > 1e-6, "a gradient of nothing proves nothing"
    numeric = case.along({name: part / length for name, part in own.items()}, 1e-4)
    assert abs(numeric - length) <= 1e-6 * length, (names[0], numeric, length)


@pytest.mark.parametrize("family", ENCODERS)
def test_plain_checkpointed_and_finite_difference_gradients_agree(family: str, tmp_path: Path) -> None:
    with case(family, torch.float64, tmp_path) as scene:
        assert scene.text.encoders == ENCODERS[family]
        plain, checkpointed_ = scene.gradients(False), scene.gradients(True)
        for name, part in plain.items():
            assert (part - checkpointed_[name]).abs().max() <= 1e-9 * norm(plain), name
        for encoder in scene.text.encoders:
            adapted = [name for name in plain if name.startswith(f"{encoder}.")]
            require_derivative(scene, plain, adapted)
            for token in COUNTS:
                if (family, encoder, token) == ("flux", "clip_l", "ninefold"):
                    assert not plain["embedding.ninefold.clip_l"].any(), "FLUX.1 hears CLIP-L's first window alone"
                    continue
                require_derivative(scene, plain, [f"embedding.{token}.{encoder}"])
                assert plain[f"embedding.{token}.{encoder}"].norm(dim=-1).min() > 0, "every vector must take part"
        require_derivative(scene, plain, list(plain))


@pytest.mark.parametrize("path", ["cross attention", "pooled"])
def test_both_ways_of_sdxl_into_the_network_carry_gradients(path: str, tmp_path: Path) -> None:
    """CLIP-G reaches the network through cross-attention and through the pooled vector, CLIP-L through the first."""
    with case("sdxl", torch.float64, tmp_path) as scene:
        scene.hold_all_but(path)
        gradient = scene.gradients(True)
        encoders = scene.text.encoders if path == "cross attention" else ("clip_g",)
        for encoder in encoders:
            require_derivative(scene, gradient, [name for name in gradient if name.startswith(f"{encoder}.")])
            require_derivative(scene, gradient, [f"embedding.prtkl.{encoder}"])
        unheard = [name for name in gradient if "clip_l" in name and path == "pooled"]
        assert all(not gradient[name].any() for name in unheard)


@pytest.mark.parametrize("family", ENCODERS)
def test_the_gradient_in_fp32_is_the_one_in_fp64(family: str, tmp_path: Path) -> None:
    with case(family, torch.float64, tmp_path) as scene:
        exact = scene.gradients(False)
    with case(family, torch.float32, tmp_path) as scene:
        trained = scene.gradients(True)
    assert {part.dtype for part in trained.values()} == {torch.float32}
    for encoder in ENCODERS[family]:
        for names in ([n for n in exact if n.startswith(f"{encoder}.")], [f"embedding.prtkl.{encoder}"]):
            error = norm({name: trained[name].double() - exact[name] for name in names})
            assert error <= 1e-4 * norm({name: exact[name] for name in names}), names[0]


@pytest.mark.parametrize("skip", [None, -1, -2, -3])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_forward_that_trains_is_cliptextencodes(family: str, skip: int | None) -> None:
    clip = tiny_clip(family)
    clip.layer_idx = skip
    with private_text(clip) as text:
        LoraAdapters(text.network, text.layers("attention", text.encoders), rank=2, alpha=2, dropout=0, seed=0)
        for caption in ("", "a (red:1.4) cube", "a photograph, coffee, " * 30):
            ((expected, extras),) = CLIPTextEncode().encode(clip, caption)[0]
            text.load()
            for checkpointing in (False, True):
                with text.training(checkpointing):
                    ours = text.encode(caption, {}, prompt_syntax=True)
                assert ours.cross_attn.requires_grad, "the adapters are in the graph"
                assert _close(ours.cross_attn, expected, family)
                assert _close(ours.extras["pooled_output"], extras["pooled_output"], family)


def _close(ours: torch.Tensor, expected: torch.Tensor, family: str) -> bool:
    bar = 5e-6 if family == "flux" else 1e-6  # T5 adds up large numbers before its norm: fp32 rounds more there
    return bool((ours - expected).abs().max() <= bar * expected.abs().max())


def _clip_layer() -> tuple[Any, torch.Tensor]:
    layer = tiny_clip("sd15").cond_stage_model.clip_l.transformer.text_model.encoder.layers[0]
    return layer, torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(0))


def _gradient(layer: Any, x: torch.Tensor) -> torch.Tensor:
    from comfy.ldm.modules.attention import attention_pytorch

    leaf = x.clone().requires_grad_(True)
    out = layer(x=leaf * 1, optimized_attention=attention_pytorch)
    return torch.autograd.grad(out.square().sum(), leaf)[0]


def test_uncorrected_layers_fail() -> None:
    """The correction is needed: CLIPLayer adds its residuals in place, to what its norms saved for the way back."""
    layer, x = _clip_layer()
    with pytest.raises(RuntimeError, match="inplace"):
        _gradient(layer, x)
    with checkpointed([layer]):
        wrong = _gradient(layer, x)
    with out_of_place([layer]):
        right = _gradient(layer, x)
    with out_of_place([layer]), checkpointed([layer]):
        again = _gradient(layer, x)
    assert torch.allclose(again, right, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(wrong, right, rtol=1e-2), "silently: hence the correction"


def test_flags_and_forwards_are_as_before_after_an_error() -> None:
    with private_text(tiny_clip("sdxl")) as text:
        with pytest.raises(KeyError), text.training(gradient_checkpointing=True):
            assert comfy.model_management.in_training is True
            raise KeyError
        assert comfy.model_management.in_training is False
        assert not any("forward" in module.__dict__ for module in text.network.modules())
