"""The ComfyUI skin: one file per menu folder; each node declares its schema, converts, makes one call."""

from comfy_api.latest import ComfyExtension, io


class GlitchExtension(ComfyExtension):
    """Lists our nodes for ComfyUI's loader."""

    async def on_load(self) -> None:
        """Register our HTTP routes, and where the embeddings lie that we save."""
        from ..dataset.images import readable_extensions
        from ..host import routes
        from ..host.folders import register_embeddings_folder

        routes.register(readable_extensions)
        register_embeddings_folder()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return every node class of the pack, in menu order."""
        from . import (
            bending,
            captions,
            corrupt_encoded,
            corruption,
            dataset,
            dataset_items,
            demo,
            drift,
            lora_mixing,
            metrics,
            presets,
            recipe_glitches,
            recipe_text,
            runs,
            sampling,
            training,
            trigger,
            weights,
        )

        return [
            *dataset.NODES,
            *dataset_items.NODES,
            *corruption.NODES,
            *corrupt_encoded.NODES,
            *captions.NODES,
            *training.NODES,
            *trigger.NODES,
            *recipe_glitches.NODES,
            *recipe_text.NODES,
            *presets.NODES,
            *runs.NODES,
            *drift.NODES,
            *sampling.NODES,
            *metrics.NODES,
            *weights.NODES,
            *lora_mixing.NODES,
            *bending.NODES,
            *demo.NODES,
        ]
