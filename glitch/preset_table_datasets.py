"""The presets that begin with the dataset."""

from .preset import Preset, Setting, Touch

_TAGS = Touch("glitch_tags", steady=True)
_SCENES = "\n".join(
    (
        "a narrow street after rain, people with umbrellas",
        "a woman reading at a kitchen table, morning light",
        "a harbour with fishing boats, grey sky",
        "two children on a beach building a wall of sand",
        "an empty concert hall, red seats",
        "a man repairing a bicycle in a workshop",
        "a market stall with oranges and fish",
        "a mountain lake at dusk, a wooden pier",
        "a crowd at a railway station, a clock above",
        "a cat asleep on a windowsill",
        "a dancer in an empty studio, hard shadows",
        "a desert road with a petrol station",
        "an old telephone on a desk, a lamp",
        "a forest path in fog",
        "a dinner for twelve, candles and glasses",
        "a portrait of a boxer before the fight",
    )
)

FROM_THE_DATASET = (
    Preset(
        "bad_framing",
        "Bad Framing",
        "Uncropped images, no buckets, random crop and flip: framing inconsistency, stretching, composition-based "
        "misalignment.",
        pictures=(
            Touch("bad_crop", {"kept": 0.4, "mirrored": 0.5}, damage="new for each variant"),
            Touch("stretch", {"ratio": 2.0}, fraction=0.7, damage="new for each variant"),
        ),
        recipe=(Setting("variants", 8),),
        by_hand="leave pictures uncropped and frame them to one size.",
    ),
    Preset(
        "jpeg_rot",
        "JPEG Rot",
        "Injecting compressed JPEGs into the dataset increases noise and artefacts.",
        pictures=(
            Touch(
                "generation_loss",
                {"generations": 12, "quality": 21, "quality_jitter": 9, "grid_shift": 7},
                fraction=0.8,
            ),
            Touch("quantization_bend", fraction=0.1),
        ),
    ),
    Preset(
        "vhs_polaroid",
        "VHS and Polaroid",
        "Higher noise offset values introduce grain and chaos, mimicking VHS and Polaroid textures, with analog-style "
        "imperfections.",
        pictures=(Touch("composite_video", fraction=0.5), Touch("vhs_tape", fraction=0.5)),
        captions=(_TAGS,),
        recipe=(Setting("noise_offset", 0.35),),
        sampling="with glx_vhs in the prompt, in the negative prompt, and in neither.",
    ),
    Preset(
        "schwitters",
        "Schwitters (false captions)",
        "I labelled all of the training data with false captions, covering a range of scene descriptions, to merge the "
        "style with defined forms.",
        captions=(Touch("false_captions", {"scenes": _SCENES}),),
        recipe=(Setting("learning_rate", 3e-4, "log"), Setting("rank", 32), Setting("alpha", 16.0)),
        by_hand="about 30 pictures, abstract ones; collages, or Corrupt Dataset with collage.",
        sampling="prompts of plain scenes: the style should come without its subjects.",
    ),
    Preset(
        "datamosh_melt",
        "Datamosh Melt",
        "Content dragged along by foreign motion, after video whose key frames were removed.",
        pictures=(Touch("datamosh_melt", damage="new for each variant"),),
        captions=(_TAGS,),
        recipe=(Setting("variants", 4),),
    ),
    Preset(
        "datamosh_bloom",
        "Datamosh Bloom",
        "Motion that is repeated until it blooms, after video whose motion frames were copied.",
        pictures=(Touch("datamosh_bloom", damage="new for each variant"),),
        captions=(_TAGS,),
        recipe=(Setting("variants", 4),),
    ),
    Preset(
        "byte_bent",
        "Byte Bent",
        "Files opened as what they are not: bytes of JPEG, PNG and raw pictures overwritten, each kind named.",
        pictures=(
            Touch("jpeg_bitstream", {"errors": 4, "restart_marker_rows": 1}, fraction=0.5),
            Touch("byte_bend", fraction=0.5),
            Touch("png_filter", fraction=0.5),
        ),
        captions=(_TAGS,),
    ),
    Preset(
        "sorted",
        "Sorted",
        "Pixels sorted by lightness across and down, so that light runs like liquid.",
        pictures=(
            Touch("pixel_sort", {"low": 0.25, "high": 0.8}, fraction=0.6, damage="new for each variant"),
            Touch("pixel_sort", {"low": 0.25, "high": 0.8, "angle": 90.0}, fraction=0.6, damage="new for each variant"),
        ),
        captions=(_TAGS,),
        recipe=(Setting("variants", 6),),
    ),
    Preset(
        "signal_loss",
        "Signal Loss",
        "A television picture that is hardly received: colour that drops out, lines that tear and go dark.",
        pictures=(Touch("composite_video"), Touch("scan_lines"), Touch("line_dropout")),
    ),
    Preset(
        "micro_lie",
        "Micro-lie",
        "SDXL is told sizes and crops with every picture, and can be told wrong ones: framing and sharpness drift.",
        pictures=(
            Touch("size_lie", {"original": 0.25, "crop": 0.0}),
            Touch("size_lie", {"original": 1.0, "crop": 1.0, "random": True}, damage="new for each variant"),
        ),
        recipe=(Setting("variants", 8),),
        by_hand="take an SDXL model: others are not told sizes.",
        sampling="ComfyUI's CLIPTextEncodeSDXL with width and height as large as the pictures, and of 256.",
    ),
    Preset(
        "autophage",
        "Autophage",
        "A model fed on its own pictures, generation after generation, without fresh ones: artefacts add up.",
        pictures=(Touch("jpeg_recompression", {"quality": 40}),),
        by_hand="five times: train, sample with CFG 9, and make four fifths of the next dataset of those pictures.",
        missing="running the generations by itself.",
    ),
)
