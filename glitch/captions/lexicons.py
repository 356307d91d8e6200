"""Small English word lists: what captions of pictures commonly name."""

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "colours": tuple(
        (
            "red orange yellow green blue purple violet pink brown black white grey gray beige tan cream ivory gold "
            "golden silver copper bronze crimson scarlet maroon burgundy magenta fuchsia lavender lilac indigo navy "
            "teal turquoise cyan aqua mint olive khaki lime emerald jade amber ochre coral salmon peach charcoal "
            "platinum blonde"
        ).split()
    ),
    "counts": tuple(
        (
            "one two three four five six seven eight nine ten eleven twelve single double triple pair couple dozen "
            "several many few some multiple numerous hundreds thousands"
        ).split()
    ),
    "materials": tuple(
        (
            "wood wooden metal metallic steel iron glass plastic leather fabric cloth cotton silk satin velvet wool "
            "woollen denim lace fur paper cardboard stone marble concrete brick clay ceramic porcelain rubber wax "
            "glossy matte"
        ).split()
    ),
    "lighting": tuple(
        (
            "sunlight sunlit moonlight daylight candlelight backlit spotlight spotlit neon sunny bright dark dim "
            "shadowy shadow shadows glowing lit overcast hazy foggy dusk dawn sunset sunrise twilight night noon"
        ).split()
    ),
}

# Read in both directions.
ANTONYMS: dict[str, str] = {
    **dict(old="young", big="small", large="tiny", tall="short", long="brief", wide="narrow", thick="thin"),
    **dict(heavy="weightless", fast="slow", hot="cold", warm="cool", wet="dry", hard="soft", rough="smooth"),
    **dict(sharp="blurry", clean="dirty", full="empty", open="closed", new="ancient", modern="antique"),
    **dict(bright="dark", light="shadowy", day="night", sunny="rainy", summer="winter", morning="evening"),
    **dict(sunrise="sunset", beautiful="ugly", happy="sad", smiling="frowning", laughing="crying", calm="stormy"),
    **dict(quiet="loud", rich="poor", strong="weak", simple="ornate", natural="artificial", real="fake"),
    **dict(inside="outside", indoors="outdoors", above="below", front="back", left="right", near="far", up="down"),
    **dict(top="bottom", first="last", sitting="standing", walking="lying", asleep="awake", alive="dead"),
    **dict(black="white", red="green", blue="orange", yellow="purple", colourful="monochrome", many="few"),
    **dict(crowded="deserted", straight="crooked", curly="bald", naked="dressed", elegant="clumsy"),
}
CLASSES: dict[str, str] = {
    **dict(cat="dog", cats="dogs", kitten="puppy", bird="fish", birds="fishes", horse="cow", horses="cows"),
    **dict(man="woman", men="women", boy="girl", boys="girls", king="queen", actor="statue", baby="grandmother"),
    **dict(car="boat", cars="boats", bus="aeroplane", bicycle="tractor", train="whale", rocket="teapot"),
    **dict(house="tree", houses="trees", tower="well", city="forest", street="river", room="cave", bridge="tunnel"),
    **dict(mountain="sea", mountains="waves", sky="floor", sun="moon", flower="skull", flowers="bones", rock="cloud"),
    **dict(cup="hat", plate="clock", table="bed", chair="piano", bottle="lamp", apple="brick", bread="shoe"),
    **dict(face="mask", hand="foot", hands="feet", hair="grass", eye="mouth", eyes="teeth", dress="armour"),
}


def both_ways(pairs: dict[str, str]) -> dict[str, str]:
    """Return the pairs with each reversed one too; a pair as written wins."""
    return {other: word for word, other in pairs.items()} | pairs
