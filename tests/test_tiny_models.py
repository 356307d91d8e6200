"""The tiny models go through ComfyUI's stock paths, and the random checkpoint loads with its stock loader."""

import comfy.sample
import comfy.sd
import numpy as np
import pytest
import torch
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl, tiny_vae, write_random_checkpoint

MODELS = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}


def _sample(model, clip, channels: int, steps: int = 3) -> torch.Tensor:
    def conditioning(text: str) -> list:
        return clip.encode_from_tokens_scheduled(clip.tokenize(text))

    latent = torch.zeros(1, channels, 8, 8)
    noise = comfy.sample.prepare_noise(latent, 7)
    return comfy.sample.sample(
        model, noise, steps, 4.0, "euler", "normal", conditioning("a cat"), conditioning(""), latent, disable_pbar=True
    )


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_stock_sampling_is_finite_and_repeatable(family):
    channels = 16 if family == "flux" else 4
    first = _sample(MODELS[family](), tiny_clip(family), channels)
    again = _sample(MODELS[family](), tiny_clip(family), channels)
    assert first.shape == (1, channels, 8, 8)
    assert torch.isfinite(first).all()
    assert first.std() > 1e-3
    assert torch.equal(first, again)


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_caption_and_every_layer_matter(family):
    """Gradients reach every weight of the network, so no layer is dead because the architecture starts it at zero."""
    patcher = MODELS[family]()
    model, clip = patcher.model, tiny_clip(family)
    conditioning, values = clip.encode_from_tokens_scheduled(clip.tokenize("a red cat"))[0]
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    model.diffusion_model.requires_grad_(True)
    conditions = model.extra_conds(cross_attn=conditioning, noise=noise, device=noise.device, **values)
    weights = {name: condition.cond for name, condition in conditions.items()}
    out = model.apply_model(noise, torch.tensor([0.5]), **weights)
    names, parameters = zip(*model.diffusion_model.named_parameters(), strict=True)
    gradients = torch.autograd.grad(out.square().sum(), parameters, allow_unused=True)
    dead = [
        name for name, gradient in zip(names, gradients, strict=True) if gradient is None or not gradient.abs().any()
    ]
    assert not dead


@pytest.mark.parametrize("family", ["sd15", "sdxl"])
def test_v_prediction_differs_from_eps(family):
    eps = _sample(MODELS[family](), tiny_clip(family), 4)
    v = _sample(MODELS[family](v_prediction=True), tiny_clip(family), 4)
    assert not torch.allclose(eps, v)


def test_double_precision_forward():
    model = tiny_sd15(torch.float64).model
    x = torch.randn(1, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    context = torch.randn(1, 77, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    out = model.diffusion_model(x, torch.tensor([10.0], dtype=torch.float64), context=context)
    assert out.dtype == torch.float64
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("family", ["sd15", "sdxl", "flux"])
def test_private_copy_has_equal_weights(family):
    model = MODELS[family]()
    copy = model.clone(disable_dynamic=True, force_deepcopy=True)
    assert copy.model is not model.model
    for (name, mine), theirs in zip(model.model.state_dict().items(), copy.model.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


@pytest.mark.parametrize(("channels", "scale", "shift"), [(4, 0.18215, 0.0), (16, 0.3611, 0.1159)])
def test_vae_keeps_a_blurred_picture(channels, scale, shift):
    """Oracle: a real photograph, averaged over 8x8 blocks."""
    from skimage.data import astronaut

    picture = torch.from_numpy(astronaut()[:256, :256].astype(np.float32) / 255).unsqueeze(0)
    vae = tiny_vae(channels)
    latent = vae.encode(picture)
    assert latent.shape == (1, channels, 32, 32)
    assert 0.3 < ((latent - shift) * scale).std() < 2
    decoded = vae.decode(latent)
    assert decoded.shape == picture.shape
    blocks = [torch.nn.functional.avg_pool2d(image.movedim(-1, 1), 8).flatten() for image in (picture, decoded)]
    assert torch.corrcoef(torch.stack(blocks))[0, 1] > 0.9


@pytest.mark.slow
def test_small_random_checkpoint_loads_as_sd15_and_paints(tmp_path, caplog):
    path = write_random_checkpoint(tmp_path / "with space" / "random.safetensors", "small")
    assert [entry.name for entry in path.parent.iterdir()] == ["random.safetensors"]
    with caplog.at_level("WARNING"):
        model, clip, vae, _ = comfy.sd.load_checkpoint_guess_config(str(path))
    assert "issing" not in caplog.text
    assert type(model.model.model_config).__name__ == "SD15"
    latent = _sample(model, clip, 4, steps=8)
    picture = vae.decode(latent)
    assert picture.shape == (1, 64, 64, 3)
    assert 0.05 < picture.std() < 0.4
