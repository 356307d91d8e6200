"""Pieces of rude and hateful words, so that no suggested trigger sounds like one."""

from codecs import decode

# Letters turned by 13 places, so that nobody who skims or searches the source meets these words. The pieces are short
# on purpose: what goes with them are some made-up words among many thousands.
_TURNED = (
    "nany nahf nefpu nefr onfgne ovgpu oybj obybx obbo ohtre ohgg pyvg pbpx pbx pbba phz phag qntb qvpx qvx qvyqb "
    "qbex qlx snt snc sneg svpx svx shp shx shg tvzc tbx tbbx tbl tlc uvgy ubzb ube uher vqvbg wnc wrex wrj wvfz wvm "
    "xnsve xnx xvx xvxr xxx xabo xbx xhx xhag xhei xhg yrfo znevp zreq zvys zbat zbeba zhs anmv art avt abapr ahq "
    "cnxv cnxl crq craqrw crav cravf crei cvq cvx cvf cvm cbs cbb cbea cevx cho chf chg enc ergne frxf frzra frk fuvg "
    "fxnax fxng fyhg fzhg fcnf fcnm fcrez fcvp fcvx fhx gneq gvg gena gebf gheq gjng int ihyi jnax juber jbt jbc mvq"
)
_PIECES = tuple(decode(_TURNED, "rot13").split())


def is_rude(word: str) -> bool:
    """Say whether a word has a piece of a rude or hateful one in it, in any case of letters."""
    return any(piece in word.lower() for piece in _PIECES)
