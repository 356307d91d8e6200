"""Three hundred words that every picture model knows, to measure against what a text encoder makes of another."""

_ANIMALS = (
    "dog cat horse cow sheep pig bird fish bear wolf lion tiger fox rabbit mouse deer elephant monkey snake frog "
    "spider butterfly bee eagle owl duck chicken shark whale dragon"
)
_PEOPLE = (
    "man woman boy girl child baby king queen soldier dancer doctor nurse police robot zombie angel witch ghost hero "
    "clown face hand eye hair mouth body heart"
)
_THINGS = (
    "car truck bus train plane boat ship bike wheel engine camera phone laptop screen book paper letter pen clock lamp "
    "candle chair table bed door window mirror box bag bottle cup plate knife sword gun key ring crown mask hat shirt "
    "dress shoe coat umbrella guitar piano drum ball flag coin map toy balloon"
)
_PLACES = (
    "house home castle tower church temple bridge street road city village market kitchen bedroom office school "
    "hospital prison garden park forest jungle desert beach island mountain hill valley cave river lake sea ocean "
    "waterfall sky space moon sun star planet earth"
)
_NATURE = (
    "tree flower rose leaf grass wood stone rock sand snow ice water fire smoke cloud rain storm lightning fog wind "
    "shadow light night day sunset winter summer spring autumn"
)
_FOOD = "apple orange lemon banana bread cake cheese egg meat pizza coffee tea wine beer chocolate"
_STUFF = (
    "gold silver copper iron steel metal glass plastic leather silk cotton fur bone blood skin dust mud oil paint ink "
    "neon"
)
_COLOURS = "red blue green yellow purple pink brown black white grey teal dark bright"
_SHAPES = "circle square triangle cross diamond line dot spiral stripe grid pattern texture"
_PICTURES = (
    "photo painting drawing sketch portrait landscape cartoon anime comic poster logo sculpture mosaic graffiti film "
    "video pixel glitch noise static vintage retro modern abstract"
)
_LOOKS = (
    "old young big small large tall tiny round sharp soft blurry striped broken burning frozen wet dirty clean "
    "beautiful ugly happy sad angry scary funny"
)
_DEEDS = "run walk dance jump fly swim sleep sit stand fight kiss smile cry eat drink read write play"

# Each is one token of CLIP's vocabulary, so its meaning is one that the model was trained on as a whole.
PROBE_WORDS: tuple[str, ...] = tuple(
    word
    for words in (_ANIMALS, _PEOPLE, _THINGS, _PLACES, _NATURE, _FOOD, _STUFF)
    + (_COLOURS, _SHAPES, _PICTURES, _LOOKS, _DEEDS)
    for word in words.split()
)
