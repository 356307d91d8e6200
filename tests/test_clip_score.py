"""CLIPScore with encoders made here: halves that belong together score, others are refused.

Real CLIP weights are not at hand; ComfyUI's own classes stand in with random ones, and simple halves with known ones.
"""

import pytest
import torch
from glitch_lora.host.clip_score import ClipScorer, clip_scores
from tiny_models import tiny_clip

WORDS = {
    "red": (1.0, 0.0, 0.0),
    "green": (0.0, 1.0, 0.0),
    "blue": (0.0, 0.0, 1.0),
    "yellow": (1.0, 1.0, 0.0),
    "black": (0.0, 0.0, 0.0),
    "white": (1.0, 1.0, 1.0),
}


def embedded(colour: torch.Tensor) -> torch.Tensor:
    """Return a vector [1, 4] that is nearest to that of the same colour."""
    return torch.cat([colour - 0.5, torch.tensor([0.1])])[None]


class Words:
    """A text encoder that knows the names of colours."""

    def __init__(self, names=WORDS, gain=1.0):
        self.names, self.gain, self.asked = names, gain, []

    def tokenize(self, text):
        return text

    def encode_from_tokens(self, tokens, return_pooled):
        self.asked.append(tokens)
        found = [colour for name, colour in self.names.items() if name in tokens.split()]
        return None, self.gain * embedded(torch.tensor(found[0] if found else (0.6, 0.55, 0.5)))


class Eyes:
    """A vision encoder that sees the mean colour."""

    def encode_image(self, image):
        return {"image_embeds": embedded(image.mean((0, 1, 2)))}


def plain(*colour):
    return torch.tensor(colour, dtype=torch.float32).expand(1, 30, 20, 3)


def test_halves_of_one_clip_score_what_fits_higher():
    scorer = ClipScorer(Words(), Eyes())
    red, blue = plain(1, 0, 0), plain(0, 0, 1)
    fitting, wrong = scorer.scores([red, red], ["a red hat", "a blue hat"])
    assert fitting == pytest.approx(2.5) and wrong == 0
    cosine = torch.nn.functional.cosine_similarity(
        embedded(torch.tensor([1.0, 1, 0])), embedded(torch.tensor([0.0, 0, 1]))
    )
    assert scorer.scores([blue], ["a yellow hat"]) == [pytest.approx(2.5 * max(0.0, float(cosine)))]
    assert scorer.scores([], []) == []


def test_length_of_a_vector_does_not_count():
    pictures, texts = [plain(1, 0.2, 0)], ["a red hat"]
    loud = ClipScorer(Words(gain=40.0), Eyes()).scores(pictures, texts)
    assert loud == pytest.approx(ClipScorer(Words(), Eyes()).scores(pictures, texts))


def test_a_text_is_encoded_once():
    words = Words()
    scorer = ClipScorer(words, Eyes())
    words.asked.clear()
    scorer.scores([plain(1, 0, 0)] * 5, ["a red hat"] * 5)
    assert words.asked == ["a red hat"]


def test_an_encoder_of_another_clip_is_refused():
    turned = dict(zip(WORDS, [*list(WORDS.values())[1:], WORDS["red"]], strict=True))
    with pytest.raises(ValueError, match="clip_vision: got 0 of 6 plain colours right, allowed 5 or more"):
        ClipScorer(Words(turned), Eyes())


def test_a_missing_projection_is_refused():
    """ComfyUI leaves the weights of a missing projection as they are: zeros, or anything at all."""
    for gain in (0.0, float("nan")):
        with pytest.raises(ValueError, match="lacks the text projection"):
            ClipScorer(Words(gain=gain), Eyes())


class Wide(Eyes):
    def encode_image(self, image):
        return {"image_embeds": torch.ones(1, 9)}


def test_encoders_of_other_widths_and_no_clip_are_refused():
    with pytest.raises(ValueError, match="a vision model of width 9 for a text encoder of width 4"):
        ClipScorer(Words(), Wide())

    class NoClip(Words):
        def encode_from_tokens(self, tokens, return_pooled):
            return torch.ones(1, 3, 8), None

    with pytest.raises(ValueError, match="clip: got a text encoder that is no CLIP"):
        ClipScorer(NoClip(), Eyes())


def test_texts_and_pictures_are_counted():
    with pytest.raises(ValueError, match="texts: got 1 for 2 pictures"):
        ClipScorer(Words(), Eyes()).scores([plain(1, 0, 0)] * 2, ["red"])


def test_batches_are_scored_with_one_text_or_with_their_own():
    batch = torch.cat([plain(1, 0, 0), plain(0, 0, 1)])
    first, second = clip_scores([batch], [Words()], [Eyes()], ["a red hat"])
    assert first == pytest.approx(2.5) and second == 0
    assert clip_scores([batch], [Words()], [Eyes()], ["red", "blue"]) == pytest.approx([2.5, 2.5])
    assert clip_scores([batch], None, None, None) == []
    with pytest.raises(ValueError, match="CLIPScore: got no clip_vision and no texts, allowed all three or none"):
        clip_scores([batch], [Words()], None, None)


def test_cancel_is_seen_at_every_picture():
    class Cancelled(BaseException):
        pass

    checks = []

    def check():
        checks.append(1)
        if len(checks) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        clip_scores([torch.cat([plain(1, 0, 0)] * 5)], [Words()], [Eyes()], ["red"], check)


def test_comfyuis_own_encoders_with_random_weights_are_refused():
    """Through ComfyUI's CLIP and CLIP Vision classes, so that their calls are those the scorer makes."""
    from comfy.clip_vision import ClipVisionModel

    clip = tiny_clip("sd15")
    width = clip.encode_from_tokens(clip.tokenize("a cat"), return_pooled=True)[1].shape[1]
    config = {
        "model_type": "clip_vision_model",
        "hidden_size": 32,
        "projection_dim": width,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "hidden_act": "quick_gelu",
        "image_size": 32,
        "patch_size": 16,
        "num_channels": 3,
        "layer_norm_eps": 1e-5,
    }
    vision = ClipVisionModel(config)
    source = torch.Generator().manual_seed(0)
    for parameter in vision.model.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=source).to(parameter.dtype)
    with torch.inference_mode(), pytest.raises(ValueError, match="plain colours right"):
        ClipScorer(clip, vision)
