"""Which of this machine's fonts draw a text: labels are Korean as often as English."""

import functools
from collections.abc import Iterable

import bert_recipes.reporting.backend  # noqa: F401

# isort: split
from matplotlib import font_manager

BASE = "DejaVu Sans"  # comes with matplotlib
# Those with Korean in them come first, by what Linux, Colab, macOS and Windows call them; then any other.
PREFERRED = (
    *("NanumGothic", "Nanum Gothic", "NanumBarunGothic", "Noto Sans KR", "Noto Sans CJK KR", "Noto Sans CJK JP"),
    *("Apple SD Gothic Neo", "AppleGothic", "Malgun Gothic", "Pretendard", "Arial Unicode MS"),
)
# Covers all of Unicode with boxes.
LAST_RESORT = "Last Resort"
REGULAR = (400, "normal", "regular", "book")


def families_for(texts: Iterable[str]) -> tuple[list[str], set[str]]:
    """Return the font families that draw these texts, and the characters that no font of this machine has.

    Args:
        texts: as they will be drawn.
    """
    families, left = [BASE], _wanted(texts) - _characters(font_manager.findfont(BASE))
    if not left:
        return families, left
    found, left = _covering(left)
    if left:
        _know_new_fonts()
        more, left = _covering(left)
        found += more
    return families + found, left


def _wanted(texts: Iterable[str]) -> set[str]:
    return {character for text in texts for character in text if not character.isspace()}


def _covering(left: set[str]) -> tuple[list[str], set[str]]:
    """Return the families that together have as many of the characters as any have, and those that none has."""
    rank = {name: i for i, name in enumerate(PREFERRED)}
    regular = [
        font
        for font in font_manager.fontManager.ttflist
        if font.style == "normal" and font.weight in REGULAR and not font.name.startswith(LAST_RESORT)
    ]
    families = []
    for font in sorted(regular, key=lambda font: rank.get(font.name, len(rank))):
        if not left:
            break
        if had := left & _characters(font.fname):
            families.append(font.name)
            left = left - had
    return families, left


def _know_new_fonts() -> None:
    """Tell matplotlib of the fonts that were installed after it wrote its list of them."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            try:
                font_manager.fontManager.addfont(path)
            except (OSError, RuntimeError, NotImplementedError):
                continue  # not a font that FreeType can scale, as bitmap fonts


@functools.cache
def _characters(path: str) -> frozenset[str]:
    return frozenset(map(chr, font_manager.get_font(path).get_charmap()))
