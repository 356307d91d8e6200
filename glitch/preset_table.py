"""The presets: here those that begin with the training, with the weights or with sampling."""

from .preset import CONTROL, Bend, Preset, Setting, TextSide, Touch
from .preset_table_datasets import FROM_THE_DATASET
from .registry import Value


def _text_encoders(learning_rate: float) -> TextSide:
    names = ("learning_rate_clip_l", "learning_rate_clip_g")
    return TextSide("text_encoder", tuple(Setting(name, learning_rate, "log", start=1e-6) for name in names))


_FROM_THE_TRAINING = (
    Preset(
        "control",
        "Control",
        "A standard LoRA that reproduces the training data without inducing glitches, to compare all others with.",
        recipe=tuple(Setting(name, value, "switch") for name, value in CONTROL.items()),
        text=(TextSide("text_encoder"), TextSide("word")),
        by_hand="crop pictures to 832 x 1216 and 1216 x 832.",
        sampling="Euler or DPM++ 2M, 20 steps, CFG 7, a negative prompt.",
    ),
    Preset(
        "nine_breaks",
        "Nine Breaks",
        "Every way at once: text encoder, uncropped pictures, no buckets, random crop and flip, a learning rate of "
        "2e-4 or higher, dropped captions, overtraining, a mismatched base, compressed JPEGs.",
        pictures=(
            Touch("bad_crop", {"kept": 0.5, "mirrored": 0.5}, damage="new for each variant"),
            Touch("stretch", {"ratio": 1.8}),
            Touch("jpeg_recompression", {"quality": 15}, fraction=0.6),
        ),
        recipe=(
            Setting("learning_rate", 2e-4, "log"),
            Setting("caption_dropout", 0.4),
            Setting("steps", 6000),
            Setting("variants", 8),
        ),
        text=(_text_encoders(5e-5),),
        by_hand="leave pictures uncropped and frame them to one size.",
        sampling="on another base model than the one trained on, of the same kind.",
    ),
    Preset(
        "semantic_drift",
        "Semantic Drift",
        "A trained text encoder causes semantic drift and unexpected associations; dropped captions weaken the textual "
        "anchor. Here words let go of pictures.",
        captions=(Touch("trigger_corruption", {"change": "remove"}),),
        recipe=(Setting("learning_rate", 2e-4, "log"), Setting("caption_dropout", 0.3)),
        text=(_text_encoders(1e-4),),
        sampling="prompts that are not in the dataset, by Apply Checkpoint with the CLIP connected.",
    ),
    Preset(
        "overshoot",
        "Overshoot",
        "Raise the learning rate to 2e-4 or higher: more aggressive updates overshoot; texture glitches, collapsed "
        "contrast.",
        recipe=(
            Setting("learning_rate", 5e-4, "log"),
            Setting("lr_spike_every", 200, "switch"),
            Setting("lr_spike_factor", 10.0, "log"),
            Setting("warmup_steps", 0, "switch"),
            Setting("max_grad_norm", 0.0, "switch"),
        ),
        sampling="a sweep over the checkpoints: keep the last one before pictures fall apart.",
    ),
    Preset(
        "mode_collapse",
        "Mode Collapse",
        "Overtrain: past convergence, into mode collapse and surreal overfitting.",
        captions=(Touch("caption_collapse", {"clusters": 3}),),
        recipe=(Setting("steps", 10_000), Setting("rank", 64)),
        by_hand="take 15 pictures and let each count five times (a folder called 5_name).",
        sampling="one prompt with many seeds: they come to look alike.",
    ),
    Preset(
        "restart_jumps",
        "Restart Jumps",
        "Cosine with restarts introduces drastic jumps in effect at strength thresholds; more cycles, extreme "
        "variation between epochs.",
        recipe=(
            Setting("lr_schedule", "cosine_with_restarts", "switch"),
            Setting("lr_cycles", 6),
            Setting("steps", 8000),
            Setting("checkpoint_every", 667),
        ),
        sampling="a sweep over checkpoints (every second ends a cycle at full intensity) and strengths.",
        missing="the Prodigy optimizer.",
    ),
    Preset(
        "hard_contrast",
        "Hard Contrast",
        "Higher Min SNR Gamma enhances contrast and sharpness but flattens colour depth; the alpha as high as the rank "
        "amplifies.",
        recipe=(
            Setting("min_snr_gamma", 20.0, "log", start=1000.0),
            Setting("rank", 32),
            Setting("alpha", 32.0),
        ),
        missing="the Prodigy optimizer.",
    ),
    Preset(
        "washed_chaos",
        "Washed Chaos",
        "Higher noise offset values wash out tonal depth and flatten colours; small adjustments become chaotic.",
        recipe=(
            Setting("noise_offset", 0.5),
            Setting("multires_noise_iterations", 6),
            Setting("multires_noise_discount", 0.3, "switch"),
            Setting("min_snr_gamma", 0.0, "switch"),
        ),
    ),
    Preset(
        "dream_soft",
        "Dream Soft",
        "Higher learning rates soften images: a more dreamlike, impressionistic aesthetic; larger networks exaggerate.",
        recipe=(
            Setting("learning_rate", 8e-4, "log"),
            Setting("rank", 64),
            Setting("lr_schedule", "cosine", "switch"),
            Setting("min_timestep", 0.5),
            Setting("max_timestep", 1.0),
        ),
    ),
    Preset(
        "text_eater",
        "Text Eater",
        "Clip skip 3 to 4 removes the influence of text guidance almost entirely, in favour of textures and colour.",
        captions=(Touch("token_dropout", {"fraction": 0.9, "fill": "mean"}, damage="new for each variant"),),
        recipe=(Setting("variants", 4),),
        by_hand="ComfyUI's CLIP Set Last Layer at -4 before Train LoRA, for Stable Diffusion 1.x.",
        sampling="the same clip skip, which sweeps and Apply Checkpoint set by themselves.",
        missing="training the values of the cross-attention alone: silent tokens stand in.",
    ),
    Preset(
        "whisper",
        "Whisper",
        "A low dimension and a low alpha need exaggerated strength before anything shows; a low rate keeps it subtle.",
        recipe=(Setting("rank", 8), Setting("alpha", 4.0), Setting("learning_rate", 5e-5, "log")),
        sampling="strengths up to 3, beside Shout.",
    ),
    Preset(
        "shout",
        "Shout",
        "A high dimension, a high alpha and a high learning rate: aggressive effects that overpower at low strengths.",
        recipe=(Setting("rank", 64), Setting("alpha", 32.0), Setting("learning_rate", 1e-3, "log")),
        sampling="strengths from 0.1, beside Whisper.",
    ),
    Preset(
        "blue_turn",
        "Particle and the Blue Turn",
        "Past 1300 the model stopped improving, and from 1700 it began to use blue and got worse: here that is wanted.",
        recipe=(
            Setting("rank", 16),
            Setting("learning_rate", 7e-5, "log"),
            Setting("steps", 2200),
            Setting("checkpoint_every", 100),
        ),
        text=(
            TextSide(
                "word",
                (
                    Setting("num_vectors", 2, "switch"),
                    Setting("init", "noise", "switch"),
                    Setting("learning_rate", 2e-4, "switch"),
                    Setting("ti_frac", 0.3, "switch"),
                ),
            ),
        ),
        by_hand="put the word into the captions with Trigger Word: prtkl, or that of Recipe Embedding if the recipe "
        "has one.",
        sampling="a sweep over all checkpoints, CFG 5; keep one from after the turn.",
    ),
    Preset(
        "frozen_dice",
        "Frozen Dice",
        "The same noise for the same picture, again and again: some seeds recall pictures, the others do not.",
        recipe=(Setting("frozen_noises", 1, "log", start=64.0),),
        sampling="many seeds: what a seed recalls depends on its noise alone.",
    ),
    Preset(
        "edge_of_nan",
        "Edge of NaN",
        "Training that numerically explodes is a failure to be fixed; just before, it is the rawest state that still "
        "draws.",
        recipe=(
            Setting("precision", "fp16", "switch"),
            Setting("learning_rate", 5e-3, "log"),
            Setting("lr_spike_every", 100, "switch"),
            Setting("lr_spike_factor", 20.0, "log"),
            Setting("max_grad_norm", 0.0, "switch"),
            Setting("checkpoint_every", 50),
        ),
        sampling="the last checkpoint; training stops by itself at the first NaN and the checkpoints before stay.",
        missing="a rate that grows from step to step (spikes stand in for it), fp16 without loss scaling.",
    ),
)

_EVENLY: dict[str, Value] = {"input_blocks": 1.0, "middle_block": 1.0, "output_blocks": 1.0, "pattern": "."}
_FROM_THE_REST = (
    Preset(
        "wrong_body",
        "Wrong Body",
        "A mismatched base model: dissonance, unexpected images.",
        bends=(Bend("lora_block_weights", _EVENLY | {"pattern_strength": 1.2}, steady=True),),
        fit="tile",
        weights="the blueprint Wrong Body: Transplant LoRA (fit tile) with a model of another family, then Bend LoRA "
        "(lora_block_weights: 1, its pattern 1.2), then Load LoRA Model, whose strength is the intensity.",
    ),
    Preset(
        "ghost_spectrum",
        "Ghost Spectrum",
        "What a LoRA learnt least comes first: its spectrum reversed, at the same strength.",
        bends=(
            Bend("lora_spectrum", {"shape": "reverse"}, norm_match=True),
            Bend("lora_rank_scramble", {"how": "flip signs", "fraction": 0.3}, norm_match=True),
        ),
        weights="the blueprint Ghost Spectrum: Bend LoRA (lora_spectrum: reverse), then Bend LoRA "
        "(lora_rank_scramble: flip signs, 0.3 of them), both with norm_match. The intensity is their severity.",
    ),
    Preset(
        "broken_vertebrae",
        "Broken Vertebrae",
        "Layers of a LoRA in each other's places, and hardly a bit left of each number.",
        bends=(
            Bend("lora_layer_shuffle", only_blocks="middle|output"),
            Bend("lora_quantize", {"bits": 3}),
            Bend("lora_block_weights", _EVENLY | {"pattern_strength": 0.8}),
        ),
        weights="the blueprint Broken Vertebrae: Bend LoRA three times (lora_layer_shuffle with only_blocks "
        "middle|output, lora_quantize: 3 bits, lora_block_weights: 1, its pattern 0.8). The intensity is the severity "
        "of all.",
    ),
    Preset(
        "sampler_stumble",
        "Sampler Stumble",
        "To induce glitches with a standard LoRA: no negative prompt, fewer or more steps, a higher or lower CFG.",
        samples=(
            Setting("sample_steps", 4, "log"),
            Setting("sample_cfg", 22.0, "log"),
            Setting("sample_negative", "", "switch"),
        ),
        sampling="a sweep takes these where its own steps, cfg and negative are empty. 60 steps or CFG "
        "1.5 there stumble the other way.",
        missing="shuffling the noise levels of a sampler.",
    ),
)

TABLE: tuple[Preset, ...] = (*_FROM_THE_TRAINING, *FROM_THE_DATASET, *_FROM_THE_REST)
