"""The texts that the tour tries a tokenizer with, in the script that its vocabulary is written in."""

import unicodedata
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Probe:
    """Texts in one script: the one to look at, one beside it in the batch, one for a pair, an unknown word."""

    text: str
    second: str
    pair: str
    word: str


# Of a script that is not here the tour takes the Latin texts, and no word.
PROBES = {
    "LATIN": Probe(
        "Forest fire near La Ronge Sask. Canada",
        "Residents were asked to leave, and shelters are open in the next town.",
        "Where is it?",
        "tsunamigram",
    ),
    "HANGUL": Probe(
        "강원도 고성에서 산불이 나 주민들이 대피했다.",
        "이웃 마을 체육관에 대피소가 열렸고 도로 두 곳이 통제되고 있다.",
        "어디인가요?",
        "쓰나미그램집",
    ),
}


def script_of(vocabulary: dict[str, int]) -> str:
    """Return the script that most entries of a vocabulary begin in, as Unicode names it: LATIN, HANGUL, CJK, …"""
    letters = (token.lstrip("#▁Ġ")[:1] for token in vocabulary)
    scripts = Counter(unicodedata.name(letter, "").partition(" ")[0] for letter in letters if letter.isalpha())
    return scripts.most_common(1)[0][0] if scripts else "LATIN"
