"""The demo model: a small text-to-image model as real ComfyUI MODEL, CLIP and VAE objects.

Its parts are ComfyUI's own classes at a small size: the UNet and the CLIP text encoder of Stable Diffusion 1.5 with
the real CLIP vocabulary, trained by flow matching (Lipman et al. 2022, in the form of Esser et al. 2024). Its latents
are not learned: 4x4 blocks of pixels in an orthonormal basis, so that the VAE loses nothing and what is measured on a
picture is the diffusion model's doing.

The weights lie in the repository in fp16 and are computed in fp32 on every device: so small a model gains nothing from
less, and its pictures are the same to the eye everywhere.
"""

import json
import math
from pathlib import Path
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.ops
import comfy.sd
import comfy.supported_models
import folder_paths
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn

from .identity import hash_tensors
from .version import MisfitError, fitting_comfyui

BLOCK = 4
LATENT_CHANNELS = 3 * BLOCK * BLOCK
SHIFT = 3.0
TIMESTEPS = 1000
SMALLEST_SIGMA = 0.05  # below it a picture is as good as clean, and the velocity would be all rounding
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
        # ComfyUI's own layers: they follow its casts between devices and its loading of weights on demand.
        operations = comfy.ops.manual_cast
        self.encoder = operations.Conv2d(3, LATENT_CHANNELS, BLOCK, stride=BLOCK, bias=False)
        self.decoder = operations.ConvTranspose2d(LATENT_CHANNELS, 3, BLOCK, stride=BLOCK, bias=False)
        for layer in (self.encoder, self.decoder):
            layer.weight = nn.Parameter(block_basis(), requires_grad=False)

    def encode(self, pixels: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return each block's coordinates in the basis."""
        return self.encoder(pixels)

    def decode(self, latents: Tensor, *_args: Any, **_kwargs: Any) -> Tensor:
        """Return the blocks put together again."""
        return self.decoder(latents)


class BlockLatent(comfy.latent_formats.LatentFormat):
    """Latents of `BlockAutoencoder`; the colour channels of each block's mean are their preview."""

    scale_factor = 1.0
    latent_channels = LATENT_CHANNELS
    spacial_downscale_ratio = BLOCK

    def __init__(self) -> None:
        means = block_basis()[:, :, 0, 0] * (torch.arange(LATENT_CHANNELS) < 3)[:, None]
        self.latent_rgb_factors = means.tolist()
        self.latent_rgb_factors_bias = [0.0, 0.0, 0.0]


class PictureUNet(UNetModel):  # type: ignore[misc]
    """ComfyUI's UNet, whose layers give the clean latent and whose output is the velocity noise - x0 that follows.

    A narrow network can tell what a picture is, but not pass on the noise of 48 channels: Li and He 2025, "Back to
    Basics: Let Denoising Generative Models Denoise" (x-prediction, v-loss). From outside it is any flow model.
    """

    def _forward(self, x: Tensor, timesteps: Tensor, context: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        # ComfyUI gives both the dtype it computes in; the demo model's own training keeps the latent in fp32.
        x0 = super()._forward(x.to(context.dtype), timesteps, context, *args, **kwargs)
        x = x.to(torch.promote_types(x0.dtype, torch.float32))
        sigma = (timesteps / TIMESTEPS).to(x).clamp(min=SMALLEST_SIGMA).view(-1, 1, 1, 1)
        return (x - x0.to(x)) / sigma


class GlitchDemo(comfy.supported_models.SD15):
    """Stable Diffusion 1.5's classes, small, with block latents and flow matching."""

    unet_extra_config = {"num_heads": 4, "num_head_channels": -1}
    latent_format = BlockLatent
    sampling_settings = {"shift": SHIFT, "multiplier": TIMESTEPS}

    def model_type(self, state_dict: dict[str, Tensor], prefix: str = "") -> Any:
        """Return flow matching."""
        return comfy.model_base.ModelType.FLOW

    def get_model(self, state_dict: dict[str, Tensor], prefix: str = "", device: Any = None) -> Any:
        """Return the network in ComfyUI's BaseModel."""
        kind = self.model_type(state_dict, prefix)
        return comfy.model_base.BaseModel(self, model_type=kind, device=device, unet_model=PictureUNet)


def build_network(dtype: torch.dtype = torch.float32) -> Any:
    """Return the model of ComfyUI's BaseModel class with unset weights."""
    config = GlitchDemo(_UNET)
    config.set_inference_dtype(dtype, None)
    return config.get_model({}, "")


def build_clip(weights: dict[str, Tensor] | None = None, disable_dynamic: bool = False) -> comfy.sd.CLIP:
    """Return a CLIP of ComfyUI's SD1 class with the real tokenizer and `weights` by parameter name, unset without."""
    return comfy.sd.CLIP(
        GlitchDemo(_UNET).clip_target(state_dict={}),
        embedding_directory=folder_paths.get_folder_paths("embeddings"),
        state_dict={f"clip_l.transformer.{name}": value for name, value in (weights or {}).items()},
        # ComfyUI writes the settings into the dictionary it gets.
        model_options={"clip_l_model_config": dict(_CLIP), "dtype": torch.float32},
        disable_dynamic=disable_dynamic,
    )


def build_vae(disable_dynamic: bool = False) -> comfy.sd.VAE:
    """Return the VAE of 4x4 blocks: ComfyUI's pixel-space VAE with another network inside."""
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    vae.first_stage_model = BlockAutoencoder().eval()
    vae.patcher = _patcher_class(disable_dynamic)(
        vae.first_stage_model, load_device=vae.device, offload_device=vae.patcher.offload_device
    )
    vae.downscale_ratio = vae.upscale_ratio = BLOCK
    vae.latent_channels = LATENT_CHANNELS
    vae.memory_used_encode = vae.memory_used_decode = _vae_memory
    vae.disable_offload = False
    vae.size = None
    vae.model_size()
    return vae


def _vae_memory(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    """Return the bytes one picture takes: what goes in, what comes out, and as much again."""
    return 4 * math.prod(shape[1:]) * comfy.model_management.dtype_size(dtype)


def _patcher_class(disable_dynamic: bool) -> Any:
    return comfy.model_patcher.ModelPatcher if disable_dynamic else comfy.model_patcher.CoreModelPatcher


def load_demo_model(path: Path = WEIGHTS) -> tuple[Any, comfy.sd.CLIP, comfy.sd.VAE]:
    """Return (MODEL, CLIP, VAE) with the weights of `path`; nothing is downloaded.

    Raises ValueError in one sentence for a file that is missing, damaged or something else, and for a ComfyUI whose
    classes do not take these weights any more.
    """
    weights = _read(path)
    with fitting_comfyui("demo model"):
        if "_forward" not in UNetModel.__dict__:  # ours would not be called, and pictures taken for velocities
            raise MisfitError("its UNet has no _forward any more")
        clip = _clip(path, weights)
        vae = build_vae()
        vae.patcher.cached_patcher_init = (_vae_patcher, ())
        return _model(path, weights), clip, vae


def _model(path: Path, weights: dict[str, Tensor], disable_dynamic: bool = False) -> Any:
    network = build_network()
    patcher = _patcher_class(disable_dynamic)(
        network,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )
    wanted = _part(weights, "unet.")
    network.diffusion_model.load_state_dict(wanted, strict=False, assign=patcher.is_dynamic())
    _require_same(network.diffusion_model, wanted)
    patcher.cached_patcher_init = (_model_patcher, (str(path),))
    return patcher


def _clip(path: Path, weights: dict[str, Tensor], disable_dynamic: bool = False) -> comfy.sd.CLIP:
    wanted = _part(weights, "clip.")
    clip = build_clip(wanted, disable_dynamic)
    _require_same(clip.cond_stage_model.clip_l.transformer, wanted)
    clip.patcher.cached_patcher_init = (_clip_patcher, (str(path),))
    return clip


# How ComfyUI makes a second copy of each part, for a private copy or another device.


def _model_patcher(path: str, disable_dynamic: bool = False) -> Any:
    return _model(Path(path), _read(Path(path)), disable_dynamic)


def _clip_patcher(path: str, disable_dynamic: bool = False) -> Any:
    return _clip(Path(path), _read(Path(path)), disable_dynamic).patcher


def _vae_patcher(disable_dynamic: bool = False) -> Any:
    return build_vae(disable_dynamic).patcher


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}


def _require_same(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Raise MisfitError when the module's parameters are not those of the file, which has been checked before."""
    here, there = (
        {(name, tuple(value.shape)) for name, value in found} for found in (module.named_parameters(), weights.items())
    )
    if here != there:
        name, shape = min(here ^ there)
        owner = "only ComfyUI" if (name, shape) in here else "only the file"
        raise MisfitError(f"{owner} has {name} of shape {list(shape)}")


def save_weights(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Write the weights (fp16, names begin with `clip.` and `unet.`) with `facts` about their training as metadata.

    A sum over names, shapes and values is written too: `load_demo_model` takes no file without it.
    """
    from safetensors.torch import save_file

    from ..training.atomic import write_file

    tensors = {name: tensors[name].contiguous() for name in sorted(tensors)}
    size = sum(tensor.nbytes for tensor in tensors.values())
    notes = {"training": json.dumps(facts), "sha256": hash_tensors(tensors)}
    write_file(path, lambda temporary: save_file(tensors, temporary, notes), size)


def _read(path: Path) -> dict[str, Tensor]:
    """Return the weights of a file in fp32. Raises ValueError for one that is not as `save_weights` wrote it."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"demo model: got no file {path}, {_ALLOWED}")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}
            wanted = (file.metadata() or {}).get("sha256", "")
        found = hash_tensors(weights)
    except (SafetensorError, OSError, ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        raise ValueError(_damaged(path, f"cannot be read: {' '.join(str(error).split())}")) from error
    if found != wanted:
        raise ValueError(
            _damaged(path, "does not hold what was written" if wanted else "has no checksum of its weights")
        )
    if not all(torch.isfinite(value).all() for value in weights.values()):
        raise ValueError(_damaged(path, "holds numbers that are not finite"))
    return {name: value.float() for name, value in weights.items()}


_ALLOWED = (
    "allowed is the one that comes with Glitch LoRA, bring it back with git checkout -- demo/model, by installing the "
    "pack again, or by training it anew with python3 scripts/train_demo_model.py"
)


def _damaged(path: Path, why: str) -> str:
    return f"demo model: got {path}, which {why}, {_ALLOWED}"
