"""Write an SD1.5 checkpoint of random weights, so that the whole pack can run where no model can be downloaded.

Run by the environment's Python with ComfyUI's tree on the path:
``python scripts/random_checkpoint.py FILE [small|full]``.

The network is random but not senseless: its main path predicts as noise what a picture of white noise would
contain, so sampling ends in colours of ordinary contrast. The small checkpoint's VAE keeps a blurred picture.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Literal

import torch

Size = Literal["small", "full"]

_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_heads": 8,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "context_dim": 768,
    "use_linear_in_transformer": False,
    "legacy": False,
}
_UNET_OF_SIZE: dict[Size, dict[str, list[int] | int]] = {
    "small": {
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 1],
        "transformer_depth": [0, 1],
        "transformer_depth_output": [0, 0, 1, 1],
        "transformer_depth_middle": 1,
    },
    "full": {
        "num_res_blocks": [2, 2, 2, 2],
        "channel_mult": [1, 2, 4, 4],
        "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
        "transformer_depth_output": [1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        "transformer_depth_middle": 1,
    },
}
_KL_VAE = {
    "double_z": True,
    "z_channels": 4,
    "resolution": 256,
    "in_channels": 3,
    "out_ch": 3,
    "ch": 128,
    "ch_mult": [1, 2, 4, 4],
    "num_res_blocks": 2,
    "attn_resolutions": [],
    "dropout": 0.0,
}
_LATENT_GAIN = 3.0


def random_weights(module: torch.nn.Module, seed: int, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """Return seeded random values for every entry of the module's state dict (which may be on the meta device).

    Matrices and convolutions keep the variance of their input, norms stay near 1, biases near 0; layers that the
    architecture starts at zero get values too. `dtype` converts the floating-point entries.
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: _random_entry(name, value, generator, dtype) for name, value in module.state_dict().items()}


def _random_entry(name: str, like: torch.Tensor, generator: torch.Generator, dtype: torch.dtype | None) -> torch.Tensor:
    if not like.is_floating_point():
        return torch.arange(like.shape[-1]).expand(like.shape).contiguous()
    if like.ndim == 0:
        return torch.ones((), dtype=dtype or like.dtype)
    noise = torch.randn(like.shape, generator=generator)
    if "embedding" in name or name.startswith("t5xxl.transformer.shared"):
        value = noise * 0.3
    elif like.ndim > 1:
        value = noise / like[0].numel() ** 0.5
    elif name.endswith("bias"):
        value = noise * 0.02
    else:
        value = 1 + noise * 0.05
    return value.to(dtype or like.dtype)


def blurring_taesd(
    latent_channels: int, scale: float = 1.0, shift: float = 0.0, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Return a TAESD state dict that keeps the mean colour of each 8x8 block, plus a little seeded noise.

    scale, shift: the latent format's scale_factor and shift_factor, so that processed latents have a variance near 1.
    """
    from comfy.taesd.taesd import TAESD

    weights = random_weights(TAESD(latent_channels=latent_channels), seed)
    weights = {name: value * 0.1 for name, value in weights.items()}
    _pass_colours_down(weights, latent_channels)
    _pass_colours_up(weights)
    weights["vae_scale"], weights["vae_shift"] = torch.tensor(scale), torch.tensor(shift)
    return weights


def _pass_colours_down(weights: dict[str, torch.Tensor], latent_channels: int) -> None:
    """Encoder: channels 0-2 carry red, green and blue (not negative, so ReLU lets them through), halved three times."""
    for colour in range(3):
        weights["taesd_encoder.0.weight"][colour, colour, 1, 1] += 1.0
        for layer in (2, 6, 10):
            weights[f"taesd_encoder.{layer}.weight"][colour, colour, 1:, 1:] += 0.25
    for latent in range(latent_channels):
        colours = torch.full((3,), 1 / 3) if latent % 4 == 3 else torch.eye(3)[latent % 4]
        weights["taesd_encoder.14.weight"][latent, :3, 1, 1] += _LATENT_GAIN * colours
        weights["taesd_encoder.14.bias"][latent] -= _LATENT_GAIN * 0.5


def _pass_colours_up(weights: dict[str, torch.Tensor]) -> None:
    """Decoder: channels 0-2 carry what is above mid-grey and 3-5 what is below, doubled and smoothed three times."""
    smooth = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])) / 16
    for colour in range(3):
        for channel, sign in ((colour, 1.0), (colour + 3, -1.0)):
            weights["taesd_decoder.1.weight"][channel, colour, 1, 1] += sign
            for layer in (7, 12, 17):
                weights[f"taesd_decoder.{layer}.weight"][channel, channel] += smooth
            weights["taesd_decoder.19.weight"][colour, channel, 1, 1] += sign / _LATENT_GAIN
        weights["taesd_decoder.19.bias"][colour] += 0.5


def white_noise_denoiser(weights: dict[str, torch.Tensor], head: str = "") -> None:
    """Let a random UNet predict mostly its own input, normalised: the right answer for pictures of white noise.

    The latent's four channels and their negatives travel in the first group of the network's channels from the first
    convolution over the last skip connection to the output, where silu(a) - silu(-a) = a undoes the nonlinearity.
    """
    channels = weights[f"{head}input_blocks.0.0.weight"].shape[0]
    group = channels // 32
    last = max(int(name[len(head) :].split(".")[1]) for name in weights if name.startswith(f"{head}output_blocks."))
    # 0.8: sampling with few, large steps would otherwise shrink the noise to a grey picture
    first, block = weights[f"{head}input_blocks.0.0.weight"], f"{head}output_blocks.{last}."
    skip = weights[f"{block}0.skip_connection.weight"]
    for rows in (first, skip, weights[f"{head}input_blocks.0.0.bias"], weights[f"{block}0.skip_connection.bias"]):
        rows[:group] = 0
    for name in (f"{block}0.out_layers.3.", f"{block}1.proj_out."):
        for part in ("weight", "bias"):
            if name + part in weights:
                weights[name + part][:group] *= 0.05
    weights[f"{head}out.0.weight"][:group], weights[f"{head}out.0.bias"][:group] = 1, 0
    out = weights[f"{head}out.2.weight"]
    out *= 0.1
    for latent in range(4):
        for channel, sign in ((latent, 1.0), (latent + 4, -1.0)):
            first[channel, latent, 1, 1] = sign
            skip[channel, skip.shape[1] - channels + channel] = 1.0
            out[latent, channel, 1, 1] += 0.8 * sign * (8 / group) ** 0.5


def _unet(size: Size) -> dict[str, torch.Tensor]:
    from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel

    shapes = UNetModel(**_UNET, **_UNET_OF_SIZE[size], device="meta")
    weights = random_weights(shapes, seed=1)
    white_noise_denoiser(weights)
    return {f"model.diffusion_model.{name}": value.half() for name, value in weights.items()}


def _text_encoder() -> dict[str, torch.Tensor]:
    from comfy.sd1_clip import SD1ClipModel

    weights = random_weights(SD1ClipModel(device="meta", dtype=torch.float16), seed=2)
    unused = ("logit_scale", "text_projection.weight")
    return {
        name.replace("clip_l.", "cond_stage_model.", 1): value
        for name, value in weights.items()
        if not name.endswith(unused)
    }


def _vae(size: Size) -> dict[str, torch.Tensor]:
    if size == "small":
        weights = blurring_taesd(4, scale=0.18215, seed=3)
    else:
        from comfy.ldm.models.autoencoder import AutoencoderKL

        with torch.device("meta"):
            shapes = AutoencoderKL(ddconfig=_KL_VAE, embed_dim=4)
        weights = random_weights(shapes, seed=3)
        weights["decoder.conv_out.weight"] *= 0.3
    return {f"first_stage_model.{name}": value.half() for name, value in weights.items()}


def write_random_checkpoint(path: str | Path, size: Size = "small") -> Path:
    """Write the checkpoint and return its path; an existing file is replaced only by a complete one.

    small: two resolutions, a TAESD as VAE, about 0.4 GB. full: the complete SD1.5 architecture, about 2.1 GB.
    Both carry a full CLIP-L, are fp16, and are read by ComfyUI's Load Checkpoint as SD1.5.
    """
    from safetensors.torch import save_file

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with torch.no_grad():
            save_file(
                _unet(size) | _text_encoder() | _vae(size), unfinished, metadata={"title": f"random {size} SD1.5"}
            )
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _main() -> None:
    parser = argparse.ArgumentParser(description="Write an SD1.5 checkpoint of random weights.")
    parser.add_argument("file", type=Path)
    parser.add_argument("size", choices=["small", "full"], nargs="?", default="small")
    arguments = parser.parse_args()
    sys.path.insert(0, os.environ["COMFYUI_PATH"])
    import comfy.cli_args

    comfy.cli_args.args.cpu = True
    print(write_random_checkpoint(arguments.file, arguments.size))


if __name__ == "__main__":
    _main()
