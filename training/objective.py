"""The loss, on what the network itself predicts.

ComfyUI wraps every network as ``denoised = model(x_t, sigma)``. Undoing that wrapper gives the network's own output,
and doing the same to the clean latent gives its target, so one formula serves every family. The plain error of
`denoised`, which weights epsilon models by sigma squared, is never used.
"""

from typing import Literal

import torch
from torch import Tensor


def network_output(
    prediction: Literal["epsilon", "v_prediction", "flow"], x_t: Tensor, sigma: Tensor, denoised: Tensor
) -> Tensor:
    """Return the raw prediction that `denoised` came from; with the clean latent as `denoised`, the target.

    x_t, denoised: [B, C, H, W]; sigma: [B], above 0. epsilon: (x_t - x0) / sigma is the noise (Karras et al. 2022,
    ``to_d``). flow: the same expression is noise - x0. v_prediction: v of Salimans & Ho 2022 in the variance-exploding
    convention (sigma_data = 1).
    """
    sigma = sigma.view(-1, *(1,) * (x_t.ndim - 1))
    if prediction == "v_prediction":
        total = sigma**2 + 1
        return (x_t / total - denoised) * total.sqrt() / sigma
    return (x_t - denoised) / sigma


def loss_per_sample(
    prediction: Literal["epsilon", "v_prediction", "flow"], x_t: Tensor, sigma: Tensor, denoised: Tensor, x0: Tensor
) -> Tensor:
    """Return the mean squared error [B] between the network's prediction and its target, unweighted."""
    error = network_output(prediction, x_t, sigma, denoised) - network_output(prediction, x_t, sigma, x0)
    return error.to(torch.promote_types(error.dtype, torch.float32)).square().flatten(1).mean(1)


def min_snr_weight(prediction: Literal["epsilon", "v_prediction", "flow"], sigma: Tensor, gamma: float) -> Tensor:
    """Return what `loss_per_sample` is multiplied by [B] for min-SNR-gamma (Hang et al. 2023, equation 7), 0..1.

    The paper weights the clean picture's error by min(SNR, gamma). That error is the prediction's times sigma squared
    for epsilon (SNR = 1 / sigma^2, in ComfyUI's scaling) and flow (SNR = ((1 - sigma) / sigma)^2), and the prediction's
    over SNR + 1 for velocity. gamma: above 0; 5 is the paper's, infinity weights by the whole SNR.
    """
    sigma = sigma.float()
    snr = ((1 - sigma) / sigma) ** 2 if prediction == "flow" else sigma**-2
    of_clean = 1 / (snr + 1) if prediction == "v_prediction" else sigma**2
    return snr.clamp(max=gamma) * of_clean
