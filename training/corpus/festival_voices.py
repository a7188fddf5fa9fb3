"""The festival voices of Debian main: how to ask for them, and what their phones are called here.

Every voice names phones its own way (SAMPA, WorldBet, home-made); the tables give names that
``training.corpus.phones`` knows. English voices use the ARPAbet-like set and need no table.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FestivalVoice:
    """One voice.

    Args:
        function: festival's ``voice_NAME``.
        package: Debian package that holds it.
        language: code used in ``sentences.FOREIGN``, or ``en``.
        encoding: of the text that festival reads.
        phones: this voice's phone name -> ours; absent names are kept.
    """

    function: str
    package: str
    language: str = "en"
    encoding: str = "latin-1"
    phones: dict[str, str] = field(default_factory=dict)


_PAUSES = {"#": "pau", "##": "pau", "_": "pau"}
_ITALIAN = {
    **_PAUSES, "E": "ɛ", "O": "ɔ", "S": "ʃ", "Z": "ʒ", "tS": "tʃ", "dZ": "dʒ", "J": "ɲ",
    "nf": "ɱ", "L": "ʎ", "i": "i", "e": "e", "a": "a", "o": "o", "u": "u",
}  # fmt: skip
_CZECH = {
    **_PAUSES, "c": "ts", "c~": "tʃ", "ch": "x", "d~": "ɟ", "t~": "c", "dz~": "dʒ", "h": "ɦ",
    "j": "j", "n*": "ŋ", "n~": "ɲ", "r": "r", "r~": "ʒ", "r~*": "ʃ", "s~": "ʃ", "z~": "ʒ",
}  # fmt: skip
_FINNISH = {
    **_PAUSES, "y": "ʏ", "@": "æ", "7": "ø", "&": "ə", "T": "θ", "D": "ð", "S": "ʃ", "Z": "ʒ",
    "N": "ŋ", "L": "ʎ", "j": "j",
}  # fmt: skip
_RUSSIAN = {
    "aa": "a", "ee": "e", "ii": "i", "oo": "o", "uu": "u", "yy": "ɨ", "y": "ɨ", "ay": "ə",
    "ae": "ɪ", "ur": "ʊ", "bb": "b", "pp": "p", "mm": "m", "ff": "f", "vv": "v", "tt": "t",
    "dd": "d", "nn": "n", "ll": "l", "rr": "r", "ss": "s", "zz": "z", "kk": "k", "gg": "ɡ",
    "h": "x", "hh": "x", "c": "ts", "ch": "tʃ", "sch": "ʃ", "j": "j",
}  # fmt: skip
_CATALAN = {
    **_PAUSES, "E": "ɛ", "O": "ɔ", "S": "ʃ", "Z": "ʒ", "J": "ɲ", "L": "ʎ", "rr": "r", "j": "j",
}  # fmt: skip
_INDIC = {
    "a": "ə", "aa": "a", "ih": "ɪ", "iy": "i", "uh": "ʊ", "uw": "u", "eh": "e", "ee": "e",
    "ay": "ɛ", "oh": "o", "oo": "o", "aw": "ɔ", "@": "ə", "T": "ʈ", "D": "ɖ", "N": "ɳ", "th": "t",
    "dh": "d", "td": "t", "tth": "ʈ", "ddh": "ɖ", "L": "l", "R": "ɽ", "y": "j", "j": "dʒ",
    "bh": "b", "kh": "k", "gh": "ɡ", "ksh": "kʃ", "sri": "ʃr", "v": "ʋ", "ch": "tʃ", "h": "ɦ",
}  # fmt: skip

VOICES: dict[str, FestivalVoice] = {
    "slt-hts": FestivalVoice("cmu_us_slt_arctic_hts", "festvox-us-slt-hts"),
    "kal": FestivalVoice("kal_diphone", "festvox-kallpc16k"),
    "ked": FestivalVoice("ked_diphone", "festvox-kdlpc16k"),
    "it-lp": FestivalVoice("lp_diphone", "festvox-italp16k", "it", phones=_ITALIAN),
    "it-pc": FestivalVoice("pc_diphone", "festvox-itapc16k", "it", phones=_ITALIAN),
    "cs-dita": FestivalVoice("czech_dita", "festvox-czech-dita", "cs", "iso8859-2", _CZECH),
    "cs-krb": FestivalVoice("czech_krb", "festvox-czech-krb", "cs", "iso8859-2", _CZECH),
    "cs-machac": FestivalVoice("czech_machac", "festvox-czech-machac", "cs", "iso8859-2", _CZECH),
    "cs-ph": FestivalVoice("czech_ph", "festvox-czech-ph", "cs", "iso8859-2", _CZECH),
    "fi-mv": FestivalVoice("hy_fi_mv_diphone", "festvox-suopuhe-mv", "fi", phones=_FINNISH),
    "fi-lj": FestivalVoice("suo_fi_lj_diphone", "festvox-suopuhe-lj", "fi", phones=_FINNISH),
    "ru-nsh": FestivalVoice("msu_ru_nsh_clunits", "festvox-ru", "ru", "utf-8", _RUSSIAN),
    "ca-ona": FestivalVoice("upc_ca_ona_hts", "festvox-ca-ona-hts", "ca", "latin-1", _CATALAN),
    "hi-nsk": FestivalVoice("hindi_NSK_diphone", "festvox-hi-nsk", "hi", "utf-8", _INDIC),
    "mr-nsk": FestivalVoice("marathi_NSK_diphone", "festvox-mr-nsk", "mr", "utf-8", _INDIC),
    "te-nsk": FestivalVoice("telugu_NSK_diphone", "festvox-te-nsk", "te", "utf-8", _INDIC),
}
"""By the name after ``festival:``."""


def rename(voice: FestivalVoice, phone: str) -> str:
    """Return our name of a phone: length and stress marks go, the table decides the rest."""
    bare = phone.rstrip(":")
    if voice.phones and len(bare) > 1 and bare[-1].isdigit():
        bare = bare[:-1]
    return voice.phones.get(bare, bare)
