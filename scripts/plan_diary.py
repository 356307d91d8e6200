"""The workflow that teaches a style and its word together, as a maker's diary tells it: 06-pivotal-diary."""

from typing import Any

from plan_demo import SIDE
from plans import NARROW, WIDE, Group, Plan, node, note

WORD = "prtkl"
ADVANCED = "(right-click the node, *Show Advanced*)"
CHOSEN = "1-4, 6-12, 14-20, 22-23, 25-28"
STEPS, EVERY, LIKED, LAST = 400, 100, 300, -1

START = """## A word of its own

Press **Run**. Nothing is downloaded, nothing has to be chosen; it takes a few minutes without a graphics card.

Somebody wanted pictures made of *particles*, on one word. Prompts alone gave other pictures each time. A LoRA on a \
rare word was better, but the word kept the meaning of its pieces. What worked in the end:

1. **Choose** the tasteful pictures.
2. A **word** that means nothing yet, in every caption.
3. **Plain pictures** beside them, without the word.
4. **Pivotal tuning**: word and LoRA learn together, then the word is frozen and the LoRA goes on.
5. **Look** at every checkpoint: the loss does not tell which is best.
6. **Use** the one you like."""

CHOOSING = """**29 drawn, 24 kept**: yellow on white is hard to see, so these five go (*numbers*, as on the contact \
sheet). The numbers belong to *particles*, seed 0: with another style or seed, look at the sheet and write your own.

**Your own**: Load Dataset instead, 30 to 50 pictures of one style, then Frame Dataset."""

NAMING = f"""**{WORD}** is no word of the model: its text encoder cuts it into pieces it knows. **Inspect Trigger** \
says which, how common they are and what is heard in them, and suggests freer ones.

**Trigger Word** puts it into every caption. The demo's pictures have theirs already, each style its own: **prtkl** \
particles, **hlftn** halftone, **cllg** collage, **vhstp** vhs.

**Another style**: write its word in **Inspect Trigger**, **Trigger Word**, **Recipe Embedding** and the prompt of 6; \
Prompt Set takes it from the dataset, and prompts of your own in Sweep Checkpoints need it. Any other word would come \
beside the style's own, as a second one. With your own pictures you are free."""

CONTRAST = """**Without these the word means nothing**: if every picture has the style and the word, nothing says that \
they belong together, and the style comes without the word too. As many plain pictures as others are enough."""

TRAINING = f"""**Recipe Embedding** gives **{WORD}** two vectors of its own, from noise: no old meaning to fight. Up \
to *ti_frac* 0.5, step {STEPS // 2}, word and LoRA learn together; from there the word does not change by a bit.

| | demo | SD1.5 | SDXL |
|---|---|---|---|
| word's *learning_rate* | 0.02 | 5e-4 to 1e-3 | 2e-4 to 3e-4 |
| LoRA's *learning_rate* | 0.001 | 1e-4 | 7e-5 to 1e-4 |
| *ti_frac* | 0.5 | 0.3 to 0.5 | 0.3 to 0.5 |
| *steps* | {STEPS} | 1000 to 2000 | 1000 to 2200 |
| *rank* | 16 | 16 to 32 | 16 to 32 |

The demo's word needs larger steps: the numbers in its token table are about 70 times as large (1.0 against 0.014).

**What to expect**: on the demo model a LoRA on the bare word does about as well, and textual inversion alone shows \
nothing, since a word can only call what a model can draw already (docs/word-studies.md). On a large model the pieces \
of a made-up word mean something.

**Other ways**: *train_network* off with *ti_frac* 1 is textual inversion, the word alone. *network_start_frac* 0.5 \
{ADVANCED}: first the word, then the LoRA. **Recipe Text Encoder** in this row trains the text encoder as well."""

CURVES = """The dashed line is the pivot. The loss goes on jumping, and says nothing about the pictures."""

LOOKING = f"""**Rows**: prompts that no caption has, with **{WORD}** and without. **Columns**: checkpoints, each with \
its word as it was then.

With the word the dots come, without it the shapes stay whole. From step {LIKED} little changes. Below the last one is \
taken (-1); we liked {LIKED}: write it in Apply Checkpoint, Save Embedding and Save LoRA. With *lr_schedule* constant \
the dots get clearer still while shapes go astray: then the last is not the best."""

USING = f"""**Apply Checkpoint** puts LoRA and word of one step on MODEL and CLIP. Then ComfyUI's own nodes draw.

**Save Embedding** writes the word as a file of a few kilobytes, **Save LoRA** its LoRA, for any other graph. The two \
have grown together: save both from the **same step**. -1 is the last.

**Spelling**: the bare word and \\<{WORD}\\> are the word only behind Apply Checkpoint and in sweeps. Everywhere else \
only *embedding:{WORD}* finds it, with the file's name as the report tells it; that works here too."""

OWN = f"""1. **Load Checkpoint** in place of Load Demo Model: its MODEL, CLIP and VAE to the same inputs.
2. **Load Dataset** twice, in place of the two Demo Datasets. One with your pictures. One with *plain* ones: the same \
kinds of things without the style, captioned the same way, without the word. Write in *numbers* which of yours you keep.
3. **Frame Dataset** behind Merge Datasets.
4. **512x512** (SD1.5) or **1024x1024** (SDXL) in Frame Dataset, Sweep Checkpoints and Empty Latent Image.
5. **Recipe**: the rates of the table in 4, *steps* 1000 or more, *checkpoint_every* 100 to 250, *batch_size* 1 if \
memory is short; *precision* bf16 and *gradient_checkpointing* on {ADVANCED}. **Recipe Embedding**: the word's rate.
6. **CFG 7, 20 to 30 steps** in Sweep Checkpoints and KSampler.
7. **Your own things** in Prompt Set, in the prompt at the end and in Text Drift's *probes*."""

MOVED = f"""**What the words mean now**: with the text encoder left alone, plain words stay where they were. Only \
**{WORD}** is somewhere else; its vectors move up to the pivot and stand still from there.

With **Recipe Text Encoder** the others move too: semantic drift."""

PROBES = """# colours
red
green
purple
# shapes
star
ring
circle
# prompts
a red star on a white background
a green ring on a black background"""

PROMPTS = """a red star on a white background
a green ring on a white background
a purple circle on a white background"""

# Heights leave room for the newer, taller design of nodes ("Nodes 2.0") and for the pictures that nodes show.
NODES: dict[str, dict[str, Any]] = {
    "start": note("Start here", START, WIDE, 520),
    "model": node("GlitchLoadDemoModel", height=110),
    "drawn": node("GlitchDemoDataset", height=200, values={"style": "particles", "pictures": 29}),
    "choose": node("GlitchSelectItems", WIDE, 400, values={"numbers": CHOSEN}),
    "choosing": note("Choose", CHOOSING, WIDE, 220),
    "sheet": node(
        "GlitchPreviewDataset",
        470,
        520,
        title="What there is to choose from",
        values={"columns": 6, "cell": 96, "limit": 29},
    ),
    "inspect": node("GlitchInspectTrigger", 740, 600, values={"word": WORD, "suggestions": 3, "neighbours": 3}),
    "trigger": node("GlitchTriggerWord", height=260, values={"trigger": WORD}),
    "naming": note("The word", NAMING, NARROW, 330),
    "plain": node("GlitchDemoDataset", height=200, title="Plain pictures", values={"style": "plain", "pictures": 24}),
    "merge": node("GlitchMergeDatasets", height=240),
    "contrast": note("Beside them", CONTRAST, NARROW, 190),
    "preview": node(
        "GlitchPreviewDataset", 470, 520, title="What is trained on", values={"columns": 6, "cell": 96, "limit": 48}
    ),
    "recipe": node(
        "GlitchRecipe",
        WIDE,
        540,
        values={
            "steps": STEPS,
            "batch_size": 4,
            "learning_rate": 0.001,
            "lr_schedule": "cosine",
            "precision": "fp32",  # the model is small: on a graphics card bf16 would only blur it
            "rank": 16,
            "alpha": 16,
            "target_modules": "all-linear+conv",
            "caption_dropout": 0.1,
            "checkpoint_every": EVERY,
            "gradient_checkpointing": False,
            "sample_width": SIDE,
            "sample_height": SIDE,
            "sample_cfg": 4.0,
            "sample_scheduler": "simple",
        },
    ),
    "word": node(
        "GlitchRecipeEmbedding",
        WIDE,
        400,
        values={"token": WORD, "num_vectors": 2, "init": "noise", "learning_rate": 0.02, "ti_frac": 0.5},
    ),
    "training": note("Pivotal tuning", TRAINING, 470, 560),
    "train": node("GlitchTrain", height=400, values={"name": "diary"}),
    "done": node("PreviewAny", height=300, title="What was done"),
    "plot": node("GlitchPlotTraining", 520, 540),
    "curves": note("Curves", CURVES, 520, 90),
    "prompts": node("GlitchPromptSet", height=340, values={"text": PROMPTS, "trigger": "with and without"}),
    "sweep": node(
        "GlitchSweep",
        WIDE,
        600,
        values={
            "seeds": "0",
            "sizes": f"{SIDE}x{SIDE}",
            "steps": "20",
            "cfg": "4",
            "samplers": "euler",
            "schedulers": "simple",
        },
    ),
    "looking": note("The grid", LOOKING, 640, 190),
    "grid": node("GlitchGrid", 640, 720),
    "apply": node("GlitchApplyCheckpoint", height=240, values={"step": LAST}),
    "using": note("Use it", USING, WIDE, 260),
    "lora": node("GlitchSaveLora", WIDE, 280, values={"step": LAST}),
    "save": node("GlitchSaveEmbedding", height=300, values={"step": LAST}),
    "paste": node("PreviewAny", height=160, title="What to write in a prompt"),
    "asked": node("CLIPTextEncode", NARROW, 150, values={"text": f"<{WORD}>, a red star on a white background"}),
    "negative": node("CLIPTextEncode", NARROW, 120, values={"text": ""}),
    "latent": node("EmptyLatentImage", NARROW, 160, values={"width": SIDE, "height": SIDE}),
    "sampler": node(
        "KSampler",
        NARROW,
        320,
        values={
            "seed": 0,
            "control_after_generate": "fixed",
            "steps": 20,
            "cfg": 4.0,
            "sampler_name": "euler",
            "scheduler": "simple",
        },
    ),
    "decode": node("VAEDecode", NARROW, 80),
    "picture": node("PreviewImage", NARROW, 400),
    "drift": node("GlitchTextDrift", 640, 720, values={"probes": PROBES, "neighbours": 3}),
    "moved": note("Words", MOVED, NARROW, 230),
    "figures": node("PreviewAny", NARROW, 420, title="How far they moved"),
    "own": note("With your own model", OWN, 520, 360),
}

ROWS: list[list[Group]] = [
    [
        ("1  Choose the pictures", "#3f789e", [["start"], ["model", "drawn"], ["choose", "choosing"], ["sheet"]]),
        ("2  A word that means nothing yet", "#88A", [["inspect"], ["trigger", "naming"]]),
        ("3  Plain pictures beside them", "#8A8", [["plain", "merge", "contrast"], ["preview"]]),
    ],
    [
        (
            "4  Word and LoRA together, then the LoRA alone",
            "#b06634",
            [["recipe"], ["word"], ["training"], ["train", "done"], ["plot", "curves"]],
        ),
        ("5  Look, and choose a checkpoint", "#a1309b", [["prompts"], ["sweep"], ["grid", "looking"]]),
    ],
    [
        (
            "6  Use it",
            "#3f789e",
            [
                ["using", "lora"],
                ["apply", "save"],
                ["asked", "negative", "paste"],
                ["latent", "sampler"],
                ["decode", "picture"],
            ],
        ),
        ("What became of the words", "#88A", [["drift"], ["moved", "figures"]]),
        ("With your own model", "#8A8", [["own"]]),
    ],
]

LINKS: list[tuple[str, str, str, str]] = [
    ("drawn", "dataset", "sheet", "dataset"),
    ("drawn", "dataset", "choose", "dataset"),
    ("choose", "selected", "trigger", "dataset"),
    ("model", "clip", "inspect", "clip"),
    ("choose", "selected", "inspect", "dataset"),
    ("trigger", "dataset", "merge", "dataset"),
    ("plain", "dataset", "merge", "others.other0"),
    ("merge", "dataset", "preview", "dataset"),
    ("merge", "dataset", "train", "dataset"),
    ("recipe", "recipe", "word", "recipe"),
    ("word", "recipe", "train", "recipe"),
    ("model", "model", "train", "model"),
    ("model", "clip", "train", "clip"),
    ("model", "vae", "train", "vae"),
    ("train", "report", "done", "source"),
    ("train", "run", "plot", "run"),
    ("merge", "dataset", "prompts", "dataset"),
    ("prompts", "text", "sweep", "prompts"),
    ("train", "run", "sweep", "run"),
    ("model", "model", "sweep", "model"),
    ("model", "clip", "sweep", "clip"),
    ("model", "vae", "sweep", "vae"),
    ("sweep", "sweep", "grid", "sweep"),
    ("train", "run", "apply", "run"),
    ("model", "model", "apply", "model"),
    ("model", "clip", "apply", "clip"),
    ("train", "run", "save", "run"),
    ("save", "report", "paste", "source"),
    ("train", "run", "lora", "run"),
    ("apply", "CLIP", "asked", "clip"),
    ("apply", "CLIP", "negative", "clip"),
    ("apply", "MODEL", "sampler", "model"),
    ("asked", "CONDITIONING", "sampler", "positive"),
    ("negative", "CONDITIONING", "sampler", "negative"),
    ("latent", "LATENT", "sampler", "latent_image"),
    ("sampler", "LATENT", "decode", "samples"),
    ("model", "vae", "decode", "vae"),
    ("decode", "IMAGE", "picture", "images"),
    ("train", "run", "drift", "run"),
    ("model", "clip", "drift", "clip"),
    ("drift", "report", "figures", "source"),
]

DIARY = Plan("06-pivotal-diary", NODES, ROWS, LINKS)
