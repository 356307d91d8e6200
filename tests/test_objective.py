"""The loss is on the network's own target.

Oracles: diffusers' DDPMScheduler for noise and velocity targets, the definition of rectified flow, and ComfyUI's
wrapper classes themselves: undoing `calculate_denoised` must give back the very output that went in.
"""

from typing import Any

import comfy.model_sampling
import pytest
import torch
from glitch_lora.host.models import prediction_of
from glitch_lora.training.objective import loss_per_sample, min_snr_weight, network_output
from tiny_models import tiny_flux, tiny_sd15

X0 = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
NOISE = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
OUTPUT = torch.randn((3, 4, 8, 8), generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def samplings() -> dict[str, Any]:
    return {
        "epsilon": tiny_sd15().get_model_object("model_sampling"),
        "v_prediction": tiny_sd15(v_prediction=True).get_model_object("model_sampling"),
        "flow": tiny_flux().get_model_object("model_sampling"),
    }


@pytest.mark.parametrize("name", ["epsilon", "v_prediction", "flow"])
def test_undoing_the_hosts_wrapper_gives_the_networks_output(name: str) -> None:
    sampling = samplings()[name]
    assert prediction_of(sampling) == name
    sigma = sampling.sigmas[torch.tensor([5, 500, 990])].double()
    x_t = sampling.noise_scaling(sigma, NOISE, X0)
    denoised = sampling.calculate_denoised(sigma, OUTPUT, x_t)
    assert (network_output(name, x_t, sigma, denoised) - OUTPUT).abs().max() < 1e-9


def test_targets_of_discrete_models_are_diffusers() -> None:
    from diffusers import DDPMScheduler

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    steps = torch.tensor([5, 500, 990])
    for name in ("epsilon", "v_prediction"):
        sampling = samplings()[name]
        sigma = sampling.sigmas[steps].double()
        x_t = sampling.noise_scaling(sigma, NOISE, X0)
        expected = NOISE if name == "epsilon" else scheduler.get_velocity(X0, NOISE, steps)
        assert (network_output(name, x_t, sigma, X0) - expected).abs().max() < 1e-4  # the schedules are fp32


def test_the_flow_target_is_noise_minus_data() -> None:
    sampling = samplings()["flow"]
    sigma = sampling.sigmas[torch.tensor([100, 5000, 9900])].double()
    x_t = sampling.noise_scaling(sigma, NOISE, X0)
    assert (network_output("flow", x_t, sigma, X0) - (NOISE - X0)).abs().max() < 1e-9


def test_the_loss_is_not_the_hosts_unweighted_x0_error() -> None:
    """For epsilon models the error of `denoised` is sigma squared times ours: from 0.0009 to 213 on SD1.5."""
    sampling = samplings()["epsilon"]
    sigma = sampling.sigmas[torch.tensor([0, 500, 999])].double()
    x_t = sampling.noise_scaling(sigma, NOISE, X0)
    denoised = sampling.calculate_denoised(sigma, OUTPUT, x_t)
    ours = loss_per_sample("epsilon", x_t, sigma, denoised, X0)
    assert torch.allclose(ours, (OUTPUT - NOISE).square().mean((1, 2, 3)))
    assert torch.allclose((denoised - X0).square().mean((1, 2, 3)), ours * sigma**2)


def test_half_precision_errors_are_summed_in_fp32() -> None:
    big = torch.full((1, 4, 64, 64), 200.0, dtype=torch.bfloat16)
    loss = loss_per_sample("epsilon", big, torch.ones(1), torch.zeros_like(big), big)
    assert loss.dtype == torch.float32 and loss.item() == 40000.0


def test_host_samplings_keep_their_meaning() -> None:
    """The wrapper classes we tell apart by type; a new base class of the host must not slip through."""
    assert issubclass(comfy.model_sampling.V_PREDICTION, comfy.model_sampling.EPS)
    assert not issubclass(comfy.model_sampling.CONST, comfy.model_sampling.EPS)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_weights_are_diffusers(prediction: str) -> None:
    """diffusers' scripts: min(SNR, gamma) / SNR, over SNR + 1 for velocity, SNR by `compute_snr`."""
    from diffusers import DDPMScheduler
    from diffusers.training_utils import compute_snr

    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    steps = torch.tensor([5, 100, 300, 500, 990])
    snr = compute_snr(scheduler, steps).double()
    expected = snr.clamp(max=5.0) / (snr if prediction == "epsilon" else snr + 1)
    sigma = samplings()[prediction].sigmas[steps]
    assert torch.allclose(min_snr_weight(prediction, sigma, 5.0).double(), expected, rtol=1e-3)


def test_min_snr_weights_the_clean_pictures_error_on_flow_models() -> None:
    """By the paper's definition: min(SNR, gamma) times the squared error of x0."""
    sampling = samplings()["flow"]
    sigma = sampling.sigmas[torch.tensor([1000, 5000, 9000])].double()
    x_t = sampling.noise_scaling(sigma, NOISE, X0)
    denoised = sampling.calculate_denoised(sigma, OUTPUT, x_t)
    weighted = loss_per_sample("flow", x_t, sigma, denoised, X0) * min_snr_weight("flow", sigma, 5.0)
    snr = ((1 - sigma) / sigma) ** 2
    expected = snr.clamp(max=5.0) * (denoised - X0).square().flatten(1).mean(1)
    assert torch.allclose(weighted.double(), expected, rtol=1e-5)
