"""The content key of a training: equal keys train to equal tensors."""

from typing import Any

from ..dataset.dataset import Dataset
from .recipe import Recipe
from .run import content_key
from .schedule import depends_on_length

# Raised only when the same input would train differently.
NUMERICS_VERSION = 1

# These do not change the trained tensors: previews only look, the cache keeps what it is given, and the length is
# put in again where it counts.
_OUTSIDE = ("samples", "cache_in", "steps", "epochs")
# A recipe that leaves these alone keeps the key it had before they existed.
_LATER = (
    *("lr_cycles", "lr_spike_every", "lr_spike_factor", "noise_offset", "multires_noise_iterations"),
    *("multires_noise_discount", "frozen_noises", "min_snr_gamma", "min_timestep", "max_timestep"),
    *("train_network", "network_start_frac", "text_encoder", "embeddings"),
)
# Of the network's LoRA, and of LoRA files: they say nothing where there is none.
_NETWORK = (
    *("learning_rate", "lr_schedule", "warmup_steps", "weight_decay", "rank", "alpha", "target_modules", "lr_cycles"),
    *("lr_spike_every", "lr_spike_factor"),
)
_LORA = ("lora_dropout", "save_dtype")


def length_matters(recipe: Recipe) -> bool:
    """Say whether a longer training of `recipe` would have gone another way, so that it cannot simply be continued."""
    schedules = [word.lr_schedule for word in recipe.embeddings]
    if recipe.train_network:
        schedules.append(recipe.lr_schedule)
    fractions = [1.0 - recipe.network_start_frac, *(word.ti_frac for word in recipe.embeddings)]
    if recipe.text_encoder:
        schedules.append(recipe.text_encoder.lr_schedule)
        fractions.append(recipe.text_encoder.text_encoder_frac)
    return any(map(depends_on_length, schedules)) or min(fractions) < 1


def run_key(identities: dict[str, Any], dataset: Dataset, recipe: Recipe, total_steps: int) -> str:
    """Return the key (hex) of training `recipe` on `dataset` with the models named by `identities`.

    total_steps: the length asked for, whether as steps or as epochs. It stays out while no schedule depends on it:
    more steps then continue the run.
    """
    settings = decisive_settings(recipe)
    if length_matters(recipe):
        settings["steps"] = total_steps
    return content_key(
        {
            "numerics_version": NUMERICS_VERSION,
            "models": identities,
            "dataset": dataset.fingerprint,
            "trigger": dataset.trigger,
            "recipe": settings,
        }
    )


def decisive_settings(recipe: Recipe) -> dict[str, Any]:
    """Return the settings that decide what is trained, as JSON values, without the length."""
    usual = Recipe().to_json()
    outside = (*_OUTSIDE, *(() if recipe.train_network else _NETWORK), *(() if recipe.trains_lora else _LORA))
    settings = {
        name: value
        for name, value in recipe.to_json().items()
        if name not in outside and not (name in _LATER and value == usual[name])
    }
    if recipe.embeddings:
        settings["embeddings"] = [_decisive_of_word(word) for word in settings["embeddings"]]
    return settings


def _decisive_of_word(word: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a word without those that its start passes over; of a file the contents count."""
    unread = ("init_file", "init_text") if word["init"] in ("noise", "file") else ("init_file", "init_hash")
    return {name: value for name, value in word.items() if name not in unread}
