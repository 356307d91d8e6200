"""Links in the chain of a recipe for the text side: LoRA on the text encoders, and new words."""

from typing import Any, get_args

from comfy_api.latest import io

from ..training.schedule import LearningRateSchedule
from ..training.text_settings import (
    ALL_ENCODERS,
    FIRST_WORD,
    MAX_VECTORS,
    EmbeddingSettings,
    Init,
    TextEncoderSettings,
    TextTargets,
    WordCaptions,
)
from .inputs import combo
from .sockets import RecipeSocket

CATEGORY = "Glitch LoRA/training"
ENCODERS = (ALL_ENCODERS, "clip_l", "clip_g", "t5xxl")
NO_FILE = "(none)"
TEXT = TextEncoderSettings()
WORD = EmbeddingSettings("word")
_GENTLE = "5e-5 goes with a LoRA of 1e-4, 2e-4 makes words drift, 0 leaves it alone."


class GlitchRecipeTextEncoder(io.ComfyNode):
    """Adds LoRA on the text encoders to a recipe."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchRecipeTextEncoder",
            display_name="Recipe Text Encoder",
            category=CATEGORY,
            description="Trains a LoRA on the text encoders too, in the same file: words come to mean something else. "
            "Gently it binds a trigger; at high rates it drives the encoder off course (semantic drift).",
            search_aliases=["train text encoder", "clip lora", "semantic drift", "te lr", "text encoder learning rate"],
            inputs=[
                RecipeSocket.Input("recipe", tooltip="The recipe to add to."),
                _rate(
                    "learning_rate_clip_l",
                    TEXT.learning_rate_clip_l,
                    f"CLIP-L (SD1.5's only one, SDXL's and FLUX.1's first). {_GENTLE}",
                ),
                _rate("learning_rate_clip_g", TEXT.learning_rate_clip_g, f"CLIP-G (SDXL's second). {_GENTLE}"),
                _rate(
                    "learning_rate_t5xxl",
                    TEXT.learning_rate_t5xxl,
                    "T5 (FLUX.1's second). 0 leaves it alone, as is usual.",
                    advanced=True,
                ),
                io.Float.Input(
                    "text_encoder_frac",
                    default=TEXT.text_encoder_frac,
                    min=0.01,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Part of the training's steps after which the encoders stay as they are. 1 trains to the "
                    "end.",
                ),
                io.Int.Input(
                    "rank", default=TEXT.rank, min=1, max=4096, tooltip="Size of the encoders' adapters, 4 to 32."
                ),
                io.Float.Input(
                    "alpha",
                    default=TEXT.alpha,
                    min=0.0,
                    max=1e6,
                    step=1.0,
                    advanced=True,
                    tooltip="The adapters are scaled by alpha / rank.",
                ),
                combo(
                    "target_modules",
                    TextTargets,
                    "Which of the encoders' layers get an adapter: attention, or the feed-forward layers too.",
                ),
                *_schedule(TEXT, "of the encoders' rates, up to where their training stops"),
                _train_network(),
            ],
            outputs=[RecipeSocket.Output(display_name="recipe", tooltip="The recipe, for Train LoRA.")],
        )

    @classmethod
    def execute(cls, recipe: Any, train_network: bool, **settings: Any) -> io.NodeOutput:
        """Return the recipe with LoRA on its text encoders."""
        text_encoder = TextEncoderSettings(**settings)
        both = recipe.train_network and train_network
        return io.NodeOutput(recipe.changed(text_encoder=text_encoder, train_network=both))


class GlitchRecipeEmbedding(io.ComfyNode):
    """Adds a new word to a recipe."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        from ..host.embeddings import embedding_names

        return io.Schema(
            node_id="GlitchRecipeEmbedding",
            display_name="Recipe Embedding",
            category=CATEGORY,
            description="Teaches the model a new word. With the LoRA it is pivotal tuning: both grow together, then "
            "the word is frozen and the LoRA goes on. Without it is textual inversion: only the word is learnt. "
            "Chain several of these nodes for several words.",
            search_aliases=["textual inversion", "pivotal tuning", "embedding", "new token", "trigger word", "ti"],
            inputs=[
                RecipeSocket.Input("recipe", tooltip="The recipe to add to."),
                io.String.Input(
                    "token",
                    default=FIRST_WORD,
                    tooltip="The word, as captions write it (Trigger Word puts it there): letters, digits, - and _. "
                    "Prompts behind Apply Checkpoint and in sweeps write it, <word> or embedding:word; in any other "
                    "graph only embedding:word is known.",
                ),
                io.Int.Input(
                    "num_vectors",
                    default=WORD.num_vectors,
                    min=1,
                    max=MAX_VECTORS,
                    tooltip="How many token embeddings the word stands for. More can hold more, and is heard less of "
                    "the rest of the prompt.",
                ),
                combo(
                    "init",
                    Init,
                    "Where the vectors start: at the tokens of init_text one after the other, all at their mean, at "
                    "random (no old meaning), or at a file's.",
                ),
                io.String.Input(
                    "init_text",
                    default=WORD.init_text,
                    tooltip="Words to start from, such as style or particle drawing. Not used by noise and file.",
                ),
                io.Combo.Input(
                    "init_file",
                    options=[NO_FILE, *embedding_names()],
                    default=NO_FILE,
                    advanced=True,
                    tooltip="Embedding file to go on from, for init file: of A1111, kohya, diffusers, OneTrainer or "
                    "this pack.",
                ),
                _rate(
                    "learning_rate",
                    WORD.learning_rate,
                    "the word. Beside a LoRA 2e-4 to 1e-3, alone 1e-3 to 5e-3; on the demo model 2e-2.",
                ),
                io.Float.Input(
                    "ti_frac",
                    default=0.5,
                    min=0.01,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="The pivot: part of the training's steps after which the word is frozen, bit for bit. 1 "
                    "trains it to the end, as textual inversion alone must.",
                ),
                _train_network(),
                io.Float.Input(
                    "network_start_frac",
                    default=0.0,
                    min=0.0,
                    max=0.95,
                    step=0.05,
                    round=0.001,
                    advanced=True,
                    tooltip="Part of the steps that the word is learnt alone before the LoRA joins. 0: together from "
                    "the start.",
                ),
                io.Float.Input(
                    "norm_pull",
                    default=WORD.norm_pull,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    advanced=True,
                    tooltip="Pulls the vectors' lengths to that of usual words after each step: 0 free, 0.1 gently, 1 "
                    "held there. Keeps the word from shouting.",
                ),
                combo(
                    "encoders",
                    ENCODERS,
                    "Whose vectors are trained; the other encoder's stay where they start.",
                    advanced=True,
                ),
                combo(
                    "captions",
                    WordCaptions,
                    "Learn from the pictures' own captions, or from set phrases around the word: for a thing, or for a "
                    "style.",
                    advanced=True,
                ),
                *_schedule(WORD, "of the word's rate, up to the pivot"),
            ],
            outputs=[RecipeSocket.Output(display_name="recipe", tooltip="The recipe, for Train LoRA.")],
        )

    @classmethod
    def fingerprint_inputs(cls, init: str = "", init_file: str = NO_FILE, **_: Any) -> Any:
        return _file_hash(init, init_file)

    @classmethod
    def execute(
        cls, recipe: Any, train_network: bool, network_start_frac: float, init_file: str, **settings: Any
    ) -> io.NodeOutput:
        """Return the recipe with one more word."""
        file = "" if init_file == NO_FILE or settings["init"] != "file" else init_file
        word = EmbeddingSettings(**settings, init_file=file, init_hash=_file_hash(settings["init"], init_file))
        return io.NodeOutput(
            recipe.changed(
                embeddings=(*recipe.embeddings, word),
                train_network=recipe.train_network and train_network,
                network_start_frac=max(recipe.network_start_frac, network_start_frac),
            )
        )


def _file_hash(init: str, init_file: str) -> str:
    from ..host.embeddings import embedding_path
    from ..training.embedding_start import start_hash

    return start_hash(embedding_path(init_file)) if init == "file" and init_file != NO_FILE else ""


def _rate(name: str, default: float, whose: str, **settings: Any) -> io.Float.Input:
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=1e3,
        step=1e-6,
        round=1e-9,
        tooltip=f"Learning rate of {whose}",
        **settings,
    )


def _schedule(default: TextEncoderSettings | EmbeddingSettings, what: str) -> list[io.Input]:
    return [
        io.Combo.Input(
            "lr_schedule",
            options=list(get_args(LearningRateSchedule)),
            default=default.lr_schedule,
            advanced=True,
            tooltip=f"Course {what}.",
        ),
        io.Int.Input(
            "warmup_steps",
            default=default.warmup_steps,
            min=0,
            max=10_000_000,
            advanced=True,
            tooltip="Steps over which the rate rises from zero.",
        ),
        io.Float.Input(
            "weight_decay",
            default=default.weight_decay,
            min=0.0,
            max=100.0,
            step=0.001,
            round=1e-6,
            advanced=True,
            tooltip="AdamW's pull of these values towards zero.",
        ),
    ]


def _train_network() -> io.Boolean.Input:
    return io.Boolean.Input(
        "train_network",
        default=True,
        tooltip="Train the diffusion model's LoRA too. Off in one node of the chain is off: then the text side alone "
        "learns, and some of it to the end (ti_frac or text_encoder_frac 1).",
    )


NODES: list[type[io.ComfyNode]] = [GlitchRecipeTextEncoder, GlitchRecipeEmbedding]
