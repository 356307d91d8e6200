"""What the sweep tests share: tiny families, a run folder with LoRA files, and the same picture by the stock nodes."""

import hashlib
from pathlib import Path
from typing import Any

import torch
from adapters_for_tests import random_adapters
from glitch_lora.host.lora_keys import lora_names
from glitch_lora.sampling.plan import Cell
from glitch_lora.training.lora_file import FAMILY_WORDS, lora_state_dict
from glitch_lora.training.recipe import Recipe, SampleSettings
from glitch_lora.training.run import Run, RunWriter
from tiny_models import tiny_clip, tiny_flux, tiny_sd15, tiny_sdxl, tiny_vae

FAMILIES = ("sd15", "sdxl", "flux")
_MODELS = {"sd15": tiny_sd15, "sdxl": tiny_sdxl, "flux": tiny_flux}


def family(name: str) -> tuple[Any, Any, Any]:
    """Return (MODEL, CLIP, VAE) of a tiny family."""
    return _MODELS[name](), tiny_clip(name), tiny_vae(16 if name == "flux" else 4)


def lora_tensors(name: str, model: Any, seed: int, text_encoder: bool = False) -> dict[str, torch.Tensor]:
    """Return a LoRA file's tensors on some layers of the network, and of the text encoder's first layer if asked."""
    names = lora_names(model)
    layers = sorted(layer for layer in names if "emb" not in layer)[::3]
    tensors = lora_state_dict(
        random_adapters(model, layers, 4, 4.0, seed), names, FAMILY_WORDS[name].style, torch.float32
    )
    if text_encoder:
        source = torch.Generator().manual_seed(seed)
        prefix = "lora_te_text_model_encoder_layers_0_self_attn_q_proj"
        tensors |= {
            f"{prefix}.lora_down.weight": torch.randn(4, 64, generator=source),
            f"{prefix}.lora_up.weight": torch.randn(64, 4, generator=source),
            f"{prefix}.alpha": torch.tensor(4.0),
        }
    return tensors


def write_run(
    root: Path, name: str, model: Any, steps: tuple[int, ...] = (5, 10), text_encoder: bool = False, **config: Any
) -> Run:
    """Return a run folder with a different LoRA file for each step."""
    samples = SampleSettings(prompts=("a cat",), width=64, height=64, steps=2, cfg=3.0, seeds=(4,))
    settings = {"recipe": Recipe(samples=samples).to_json(), "trigger": "qzx", "clip_skip": None} | config
    writer = RunWriter.create(root, hashlib.sha256(name.encode()).hexdigest(), name, settings)
    for step in steps:
        writer.save_checkpoint(step, lora_tensors(name, model, step, text_encoder), {})
    return writer.run


def stock_picture(model: Any, clip: Any, vae: Any, lora: Path | None, cell: Cell) -> torch.Tensor:
    """Return the picture that Load LoRA, CLIP Text Encode, Empty Latent, KSampler and VAE Decode give, in process."""
    import folder_paths

    import nodes as stock

    with torch.inference_mode():  # as ComfyUI's executor does
        if lora is not None:
            # In front: another test's file may have the same name.
            folder_paths.add_model_folder_path("loras", str(lora.parent), is_default=True)
            model, clip = stock.LoraLoader().load_lora(model, clip, lora.name, cell.strength, cell.strength)
        positive, negative = (stock.CLIPTextEncode().encode(clip, text)[0] for text in (cell.prompt, cell.negative))
        latent = stock.EmptyLatentImage().generate(*cell.size)[0]
        sampled = stock.KSampler().sample(
            model, cell.seed, cell.steps, cell.cfg, cell.sampler, cell.scheduler, positive, negative, latent
        )[0]
        return stock.VAEDecode().decode(vae, sampled)[0]


def weights_hash(*modules: torch.nn.Module) -> str:
    """Return a hash of every parameter and buffer."""
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            content = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
            digest.update(name.encode() + content.numpy().tobytes())
    return digest.hexdigest()
