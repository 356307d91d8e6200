"""The demo model: a small text-to-image model as real ComfyUI MODEL, CLIP and VAE objects.

Its parts are ComfyUI's own classes at a small size: the UNet and the CLIP text encoder of Stable Diffusion 1.5 with
the real CLIP vocabulary, trained by flow matching (Lipman et al. 2022, in the form of Esser et al. 2024: the network
predicts noise - x0). Its latents are not learned: 4x4 blocks of pixels in an orthonormal basis, so that the VAE loses
nothing and what is measured on a picture is the diffusion model's doing.
"""

import math
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from torch import Tensor, nn

BLOCK = 4
LATENT_CHANNELS = 3 * BLOCK * BLOCK
SHIFT = 3.0
WEIGHTS = Path(__file__).resolve().parent.parent / "demo" / "model" / "glitch-demo.safetensors"

_UNET: dict[str, Any] = {
    "image_size": 32,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "model_channels": 64,
    "num_res_blocks": [1, 1, 1],
    "channel_mult": [1, 2, 2],
    "transformer_depth": [0, 1, 1],
    "transformer_depth_output": [0, 0, 1, 1, 0, 1],
    "transformer_depth_middle": 1,
    "context_dim": 64,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
    "use_temporal_resblock": False,
    "use_checkpoint": False,
    "legacy": False,
}
_CLIP = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 4}


def block_basis() -> Tensor:
    """Return the orthonormal basis [48, 3, 4, 4] of 4x4 blocks of RGB, coarse to fine, three channels a frequency.

    The cosine basis of JPEG (DCT-II) over each block times (R+G+B, R-B, R-2G+B), each of length 1.
    """
    index = torch.arange(BLOCK, dtype=torch.float64)
    wave = torch.cos(math.pi * (index[None, :] + 0.5) * index[:, None] / BLOCK) * math.sqrt(2 / BLOCK)
    wave[0] /= math.sqrt(2)
    colour = torch.tensor([[1, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    colour = colour / colour.norm(dim=1, keepdim=True)
    order = sorted(((v, u) for v in range(BLOCK) for u in range(BLOCK)), key=lambda vu: (sum(vu), vu))
    basis = [torch.einsum("c,y,x->cyx", colour[k], wave[v], wave[u]) for v, u in order for k in range(3)]
    return torch.stack(basis).float()


class BlockAutoencoder(nn.Module):
    """Pixels -1..1 [B, 3, H, W] to latents [B, 48, H/4, W/4] and back, exactly."""

    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Parameter(block_basis(), requires_grad=False)

    def encode(self, pixels: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return each block's coordinates in the basis."""
        return torch.nn.functional.conv2d(pixels, self.basis.to(pixels.dtype), stride=BLOCK)

    def decode(self, latents: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return the blocks put together again."""
        return torch.nn.functional.conv_transpose2d(latents, self.basis.to(latents.dtype), stride=BLOCK)


class BlockLatent(comfy.latent_formats.LatentFormat):
    """Latents of `BlockAutoencoder`; the colour channels of each block's mean are their preview."""

    scale_factor = 1.0
    latent_channels = LATENT_CHANNELS
    spacial_downscale_ratio = BLOCK

    def __init__(self) -> None:
        means = block_basis()[:, :, 0, 0] * (torch.arange(LATENT_CHANNELS) < 3)[:, None]
        self.latent_rgb_factors = means.tolist()
        self.latent_rgb_factors_bias = [0.0, 0.0, 0.0]


class GlitchDemo(comfy.supported_models.SD15):
    """Stable Diffusion 1.5's classes, small, with block latents and flow matching."""

    unet_extra_config = {"num_heads": 4, "num_head_channels": -1}
    latent_format = BlockLatent
    sampling_settings = {"shift": SHIFT, "multiplier": 1000}

    def model_type(self, state_dict: dict[str, Tensor], prefix: str = "") -> Any:
        """Return flow matching."""
        return comfy.model_base.ModelType.FLOW

    def inpaint_model(self) -> bool:
        """Return False: the 48 input channels are the latent's."""
        return False


def build_network(dtype: torch.dtype = torch.float32) -> Any:
    """Return the model of ComfyUI's BaseModel class with unset weights."""
    config = GlitchDemo(_UNET)
    config.set_inference_dtype(dtype, None)
    return config.get_model({}, "")


def build_clip() -> comfy.sd.CLIP:
    """Return a CLIP of ComfyUI's SD1 class with unset weights and the real tokenizer."""
    target = GlitchDemo(_UNET).clip_target(state_dict={})
    return comfy.sd.CLIP(target, model_options={"clip_l_model_config": _CLIP, "dtype": torch.float32})


def build_vae() -> comfy.sd.VAE:
    """Return the VAE of 4x4 blocks."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    vae.first_stage_model = BlockAutoencoder().eval()
    vae.patcher = comfy.model_patcher.CoreModelPatcher(
        vae.first_stage_model, load_device=vae.device, offload_device=vae.patcher.offload_device
    )
    vae.downscale_ratio = vae.upscale_ratio = BLOCK
    vae.latent_channels = LATENT_CHANNELS
    vae.disable_offload = False
    vae.size = None
    vae.model_size()
    return vae


def save_weights(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the weights (names begin with `clip.` and `unet.`) with `facts` about their training as metadata."""
    import json

    from safetensors.torch import save_file

    from ..training.atomic import write_file

    tensors = {name: tensors[name].contiguous() for name in sorted(tensors)}
    size = sum(tensor.nbytes for tensor in tensors.values())
    write_file(path, lambda temporary: save_file(tensors, temporary, {"training": json.dumps(facts)}), size)
