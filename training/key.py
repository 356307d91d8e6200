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


def run_key(identities: dict[str, Any], dataset: Dataset, recipe: Recipe, total_steps: int) -> str:
    """Return the key (hex) of training `recipe` on `dataset` with the models named by `identities`.

    total_steps: the length asked for, whether as steps or as epochs. It stays out while no schedule depends on it:
    more steps then continue the run.
    """
    settings = {name: value for name, value in recipe.to_json().items() if name not in _OUTSIDE}
    if depends_on_length(recipe.lr_schedule):
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
