"""The node that looks a trigger word up before anything is trained, in the menu folder Glitch LoRA/training."""

from typing import Any

from comfy_api.latest import io, ui

from ..dataset.trigger_choice import SuggestionKind, choose_trigger, split_words
from ..dataset.trigger_inspection import inspection_report, inspection_table
from ..host.embeddings import embedding_files
from ..host.trigger_inspection import Inspector
from .inputs import combo, seed_input
from .sockets import DatasetSocket


class GlitchInspectTrigger(io.ComfyNode):
    """Tells what the text encoders make of a word, and suggests free ones."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's inputs and outputs."""
        return io.Schema(
            node_id="GlitchInspectTrigger",
            display_name="Inspect Trigger",
            category="Glitch LoRA/training",
            description="Tells what a model's text encoders already hear in a word before you train it as a trigger: "
            "its tokens, how common they are, the words it is near to. Suggests words that mean nothing yet.",
            search_aliases=["trigger word", "tokenizer", "tokens", "rare token", "activation word", "nearest words"],
            is_output_node=True,
            inputs=[
                io.Clip.Input("clip", tooltip="The text encoders of the model you will train, as they are now."),
                io.String.Input(
                    "word",
                    default="prtkl",
                    tooltip="A word, or several separated by commas. Empty: only suggestions.",
                ),
                DatasetSocket.Input(
                    "dataset",
                    optional=True,
                    tooltip="Tells in how many captions each word stands; no suggestion stands in one.",
                ),
                io.Int.Input("neighbours", default=4, min=0, max=50, tooltip="How many nearest words are listed."),
                io.Int.Input("suggestions", default=6, min=0, max=32, tooltip="How many words are suggested; 0 none."),
                combo(
                    "kind",
                    SuggestionKind,
                    "nonce words: made up, cut into pieces that are rare. rare tokens: one rare token of two or three "
                    "letters each, as in DreamBooth. both: as many of each.",
                ),
                seed_input("Another seed suggests other words."),
            ],
            outputs=[
                io.String.Output("report", display_name="report", tooltip="What was found, as on the node."),
                io.String.Output("best", display_name="best", tooltip="The first of words."),
                io.String.Output(
                    "words",
                    display_name="words",
                    is_output_list=True,
                    tooltip="The suggestions as a list, the freest first; the words themselves if there are none.",
                ),
                io.String.Output(
                    "table", display_name="table", tooltip="All figures as CSV, one row for each nearest word."
                ),
            ],
        )

    @classmethod
    def execute(
        cls, clip: Any, word: str, neighbours: int, suggestions: int, kind: Any, seed: int, dataset: Any = None
    ) -> io.NodeOutput:
        """Look the words up; return the report, the suggestions and the figures, and show the report."""
        captions = [] if dataset is None else [dataset.caption(index) for index in range(len(dataset))]
        asked = split_words(word)
        choice = choose_trigger(
            Inspector(clip), asked, captions, embedding_files,
            neighbours=neighbours, suggestions=suggestions, kind=kind, seed=seed,
        )  # fmt: skip
        report, words = inspection_report(choice), list(choice.suggested or asked)
        return io.NodeOutput(report, words[0], words, inspection_table(choice), ui=ui.PreviewText(report))


NODES: list[type[io.ComfyNode]] = [GlitchInspectTrigger]
