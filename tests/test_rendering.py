"""One picture of the pack is the stock graph's picture.

Oracle: ComfyUI's own node classes (LoraLoader, CLIPTextEncode, EmptyLatentImage, KSampler, VAEDecode), run in process.
Bar: 1e-5 on float pixels, before they become bytes.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from glitch_lora.host.rendering import (
    empty_latent,
    encode_prompt,
    render,
    sampler_names,
    scheduler_names,
    text_encoder_changed,
    with_clip_layer,
)
from glitch_lora.sampling.lora_renderer import LoraRenderer
from glitch_lora.sampling.plan import BASE, Cell
from sweep_scene import FAMILIES, family, stock_picture, weights_hash, write_run

CELL = Cell(10, 0.8, "a (red:1.3) cat, rocket", "blurry", 11, 3, 4.5, (64, 96), "euler", "normal")
BASE_CELL = replace(CELL, checkpoint=BASE, strength=0.0)


def our_picture(run, parts, cell):
    files = {checkpoint.step: checkpoint.path for checkpoint in run.checkpoints()}
    model, clip, vae = parts
    renderer = LoraRenderer(model, with_clip_layer(clip, run.clip_skip), vae, files)
    with torch.inference_mode():
        prepared = renderer.prepare(*cell.state)
        return torch.from_numpy(
            prepared.render(cell, prepared.encode(cell.prompt), prepared.encode(cell.negative)).copy()
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_a_cell_is_the_stock_graphs_picture(name, tmp_path):
    parts = family(name)
    run = write_run(tmp_path, name, parts[0], text_encoder=name == "sd15")
    stock = stock_picture(*parts, run.checkpoint(10).path, CELL)[0]
    ours = our_picture(run, parts, CELL)
    base = our_picture(run, parts, BASE_CELL)
    assert ours.shape == (96, 64, 3) == stock.shape
    assert (ours - stock).abs().max() <= 1e-5
    assert (ours - base).abs().max() > 0.01, "the LoRA changed nothing: the comparison proves nothing"
    assert stock.std() > 0.01


@pytest.mark.parametrize(
    "sampler", ["euler_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde_gpu", "uni_pc", "ddim", "lcm", "er_sde"]
)
def test_samplers_with_noise_of_their_own_give_the_stock_picture(sampler, tmp_path):
    parts = family("sd15")
    run = write_run(tmp_path, "sd15", parts[0])
    cell = replace(CELL, sampler=sampler, scheduler="karras")
    # KSampler seeds the global generator itself: where it stood before must not matter.
    torch.manual_seed(1)
    stock = stock_picture(*parts, run.checkpoint(10).path, cell)[0]
    torch.manual_seed(2)
    assert (our_picture(run, parts, cell) - stock).abs().max() <= 1e-5


def test_clip_skip_is_that_of_the_stock_node(tmp_path):
    import nodes as stock

    model, clip, vae = family("sd15")
    run = write_run(tmp_path, "sd15", model, clip_skip=-2)
    skipped = stock.CLIPSetLastLayer().set_last_layer(clip, -2)[0]
    expected = stock_picture(model, skipped, vae, None, BASE_CELL)[0]
    plain = stock_picture(model, clip, vae, None, BASE_CELL)[0]
    ours = our_picture(run, (model, clip, vae), BASE_CELL)
    assert (ours - expected).abs().max() <= 1e-5
    assert (ours - plain).abs().max() > 1e-3
    assert clip.layer_idx is None
    assert with_clip_layer(clip, None) is clip
    # a run at the encoder's own layer is that run, whatever the wire brings
    assert with_clip_layer(skipped, None).layer_idx is None and skipped.layer_idx == -2


@pytest.mark.parametrize("name", FAMILIES)
def test_model_clip_and_vae_come_out_as_they_went_in(name, tmp_path):
    parts = model, clip, vae = family(name)
    run = write_run(tmp_path, name, model, text_encoder=name == "sd15")
    before = weights_hash(model.model, clip.cond_stage_model, vae.first_stage_model)
    plain = our_picture(run, parts, BASE_CELL)
    our_picture(run, parts, CELL)
    again = our_picture(run, parts, BASE_CELL)
    assert torch.equal(plain, again)
    assert before == weights_hash(model.model, clip.cond_stage_model, vae.first_stage_model)
    assert not model.patches and not clip.patcher.patches


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_sde"])
def test_global_generators_are_left_as_found(sampler, tmp_path, unchanged_random_state):
    parts = family("sd15")
    run = write_run(tmp_path, "sd15", parts[0])
    torch_before = torch.get_rng_state()
    numpy_before, python_before = np.random.get_state()[1].copy(), random.getstate()
    our_picture(run, parts, replace(CELL, sampler=sampler))
    assert torch.equal(torch_before, torch.get_rng_state())
    assert (numpy_before == np.random.get_state()[1]).all() and python_before == random.getstate()


def test_an_interrupt_stops_between_two_steps_and_restores_the_generators():
    import comfy.model_management as management
    from glitch_lora.host.progress import Interrupted

    model, clip, vae = family("sd15")
    state = torch.get_rng_state()
    conditioning = encode_prompt(clip, "a cat")
    calls = []

    def interrupting(apply, args):
        calls.append(1)
        if len(calls) == 2:
            management.interrupt_current_processing(True)
        return apply(args["input"], args["timestep"], **args["c"])

    model = model.clone()
    model.set_model_unet_function_wrapper(interrupting)
    with pytest.raises(Interrupted):
        render(
            model,
            vae,
            conditioning,
            conditioning,
            width=64,
            height=64,
            seed=0,
            steps=20,
            cfg=1.0,
            sampler="euler",
            scheduler="normal",
        )
    assert len(calls) < 4
    assert torch.equal(state, torch.get_rng_state())


def test_latents_get_the_models_channels():
    assert empty_latent(family("flux")[0], 64, 128).shape == (1, 16, 16, 8)
    assert empty_latent(family("sd15")[0], 70, 128).shape == (1, 4, 16, 8)


def test_a_checkpoint_without_text_encoder_or_vae_is_named_by_training_and_sweep(tmp_path):
    """Load Checkpoint gives None for a missing text encoder and a VAE without a model for a missing VAE."""
    from comfy.sd import VAE
    from glitch_lora.host.graph import ComfyGraph
    from glitch_lora.sampling.lora_renderer import sweep_checkpoints
    from glitch_lora.training.run import Run

    model, clip, vae = family("sd15")
    empty = VAE(sd={}) if getattr(VAE(sd={}), "first_stage_model", None) is None else None
    for parts, message in (((None, vae), "clip: got nothing"), ((clip, empty), "vae: got nothing")):
        with pytest.raises(ValueError, match=message):
            ComfyGraph(model, *parts)
        with pytest.raises(ValueError, match=message):
            sweep_checkpoints(Run(tmp_path), None, model, *parts, None, lambda: None, {})


def test_names_are_ksamplers():
    assert "euler" in sampler_names() and "karras" in scheduler_names()


def test_patches_on_a_text_encoder_are_noticed(tmp_path):
    from glitch_lora.host.lora_keys import apply_lora
    from sweep_scene import lora_tensors

    model, clip, _ = family("sd15")
    for text_encoder in (False, True):
        tensors = lora_tensors("sd15", model, 1, text_encoder)
        assert text_encoder_changed(clip, apply_lora(model, clip, tensors, 1.0, 1.0)[1]) is text_encoder
