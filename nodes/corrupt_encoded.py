"""Nodes that damage what encoders made: latents, conditioning, and pictures that go through a VAE again and again."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from comfy_api.latest import io

from ..glitch.batch import KeyedBy
from ..glitch.encoded_batch import corrupted_latents, corrupted_words
from ..glitch.registry import all_operations, find_operation
from ..host.encoded import changed_conditioning, changed_latent, conditioning_items, latent_items
from ..host.progress import Progress, check_interrupt
from ..host.vae_loss import Pairing, VaeLoss
from .corruption import chosen_operation
from .inputs import combo, operation_input, seed_input, severity_input

CATEGORY = "Glitch LoRA/glitch"


def _keyed_by_input(what: str) -> io.Combo.Input:
    return combo(
        "keyed_by",
        KeyedBy,
        f"content: equal {what} get equal damage, wherever they stand. number: each place has damage of its own.",
        advanced=True,
    )


class GlitchCorruptLatent(io.ComfyNode):
    """Damages latents of any graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchCorruptLatent",
            display_name="Corrupt Latent",
            category=CATEGORY,
            description="Damages latents: noise, channels, blocks, spectrum, wrong scale. What decodes or samples them "
            "makes pictures of the damage that no filter on pixels can. Each latent of a batch gets its own.",
            search_aliases=["glitch latent", "latent noise", "latent shuffle", "databending", "datamosh", "bit crush"],
            inputs=[
                io.Latent.Input("latent", tooltip="The latents to damage."),
                operation_input(all_operations("latents")),
                severity_input(),
                seed_input("Of everything the damage draws."),
                _keyed_by_input("latents"),
                io.Latent.Input(
                    "others",
                    optional=True,
                    tooltip="What latent_mixup takes the other from; without it, from the batch.",
                ),
            ],
            outputs=[io.Latent.Output("latent", display_name="latent", tooltip="The damaged latents, masks kept.")],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        latent: Any,
        severity: float,
        seed: int,
        keyed_by: Any,
        others: Any = None,
        operation: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        name, values = chosen_operation(operation, all_operations("latents"), cls.hidden.prompt)
        strangers = latent_items(others) if others and find_operation(name).wants_context else []

        def change(items: Sequence[Any]) -> Iterator[Any]:
            return _watched(corrupted_latents(items, name, values, severity, seed, keyed_by, strangers), len(items))

        return io.NodeOutput(changed_latent(latent, change))


class GlitchCorruptConditioning(io.ComfyNode):
    """Damages conditioning of any graph."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchCorruptConditioning",
            display_name="Corrupt Conditioning",
            category=CATEGORY,
            description="Damages what the text encoder made of a prompt: noise, words in the wrong places or missing, "
            "a drift towards another prompt, the vector of one with the words of another.",
            search_aliases=["glitch prompt", "conditioning noise", "prompt drift", "token shuffle", "pooled swap"],
            inputs=[
                io.Conditioning.Input("conditioning", tooltip="The prompt to damage."),
                operation_input(all_operations("conditioning")),
                severity_input(),
                seed_input("Of everything the damage draws."),
                _keyed_by_input("prompts"),
                io.Conditioning.Input(
                    "others",
                    optional=True,
                    tooltip="The prompts that conditioning_drift and pooled_swap choose the other from; without it, "
                    "the other entries of the conditioning, if there are any.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(
                    "conditioning", display_name="conditioning", tooltip="The damaged prompt, areas and masks kept."
                )
            ],
            hidden=[io.Hidden.prompt],
        )

    @classmethod
    def execute(
        cls,
        conditioning: Any,
        severity: float,
        seed: int,
        keyed_by: Any,
        others: Any = None,
        operation: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        name, values = chosen_operation(operation, all_operations("conditioning"), cls.hidden.prompt)
        strangers = conditioning_items(others) if others and find_operation(name).wants_context else []

        def change(items: Sequence[Any]) -> Iterator[Any]:
            return _watched(corrupted_words(items, name, values, severity, seed, keyed_by, strangers), len(items))

        return io.NodeOutput(changed_conditioning(conditioning, change))


class GlitchVaeLoss(io.ComfyNode):
    """Wears images down by encoding and decoding them again and again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GlitchVaeLoss",
            display_name="VAE Generation Loss",
            category=CATEGORY,
            description="Encodes and decodes images again and again: colours creep, a fine grid grows, and in the end "
            "the VAE's own taste is all that is left. With a second VAE, latents are read by the wrong one.",
            search_aliases=[
                "vae loss",
                "generation loss",
                "wrong vae",
                "vae round trip",
                "re-encode",
                "copy of a copy",
            ],
            inputs=[
                io.Image.Input("images", tooltip="The images to wear down."),
                io.Vae.Input("vae", tooltip="The VAE that encodes and decodes."),
                io.Int.Input("generations", default=10, min=1, max=50, tooltip="How often."),
                io.Int.Input(
                    "shift",
                    default=3,
                    min=0,
                    max=7,
                    tooltip="Each generation moves the picture against the VAE's grid by up to so many pixels, and "
                    "back after. 0 leaves it, and the loss slows down soon.",
                ),
                seed_input("Of the shifts."),
                combo(
                    "pairing",
                    Pairing,
                    "What a second VAE does. take turns: every other generation. first encodes, second decodes: it "
                    "reads the other's latents, which must have as many channels.",
                    advanced=True,
                ),
                io.Vae.Input("second_vae", optional=True, tooltip="Another VAE, such as that of another family."),
            ],
            outputs=[io.Image.Output("images", display_name="images", tooltip="The worn images, of the same size.")],
        )

    @classmethod
    def execute(
        cls, images: Any, vae: Any, generations: int, shift: int, seed: int, pairing: Any, second_vae: Any = None
    ) -> io.NodeOutput:
        bar = _bar(len(images) * generations)
        return io.NodeOutput(VaeLoss(generations, shift, pairing, seed).apply(images, vae, second_vae, bar))


def _bar(total: int) -> Callable[[int], None]:
    """Return a callback (done) that moves the node's bar and sees Cancel."""
    progress = Progress(total)

    def move(done: int) -> None:
        check_interrupt()
        progress.update(done)

    return move


def _watched(items: Iterator[Any], total: int) -> Iterator[Any]:
    move = _bar(total)
    for done, item in enumerate(items, start=1):
        move(done)
        yield item


NODES: list[type[io.ComfyNode]] = [GlitchCorruptLatent, GlitchCorruptConditioning, GlitchVaeLoss]
