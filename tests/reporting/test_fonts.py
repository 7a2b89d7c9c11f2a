"""Labels are drawn in fonts that have their letters."""

import pytest
from support.reported import binary, run_folder

from bert_recipes.reporting import fonts, plots, run_page

HANGUL = frozenset("긍정부")


@pytest.fixture
def charmaps(monkeypatch):
    """Give this machine the fonts that a test names, whatever it has."""

    def set_to(known, installed_since=()):
        entries = [fonts.font_manager.FontEntry(fname=name, name=name, weight=400) for name in (fonts.BASE, *known)]
        monkeypatch.setattr(fonts.font_manager.fontManager, "ttflist", entries)
        monkeypatch.setattr(fonts.font_manager, "findfont", lambda name: name)
        monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: list(installed_since))
        monkeypatch.setattr(
            fonts.font_manager.fontManager,
            "addfont",
            lambda path: entries.append(fonts.font_manager.FontEntry(fname=path, name=path, weight=400)),
        )
        has = {fonts.BASE: frozenset("abc"), **known, **dict(installed_since)}
        monkeypatch.setattr(fonts, "_characters", has.__getitem__)

    return set_to


def test_a_font_is_sought_only_where_the_first_has_not_all(charmaps):
    charmaps({"NanumGothic": HANGUL})
    assert fonts.families_for(["abc"]) == ([fonts.BASE], set())
    assert fonts.families_for(["abc 긍정"]) == ([fonts.BASE, "NanumGothic"], set())


def test_of_several_the_one_made_for_reading_korean_is_taken(charmaps):
    charmaps({"Any Font": HANGUL, "NanumGothic": HANGUL})
    assert fonts.families_for(["긍정"])[0] == [fonts.BASE, "NanumGothic"]


def test_a_font_installed_since_matplotlib_listed_them_is_found(charmaps):
    charmaps({}, {"NanumGothic": HANGUL})
    assert fonts.families_for(["긍정"]) == ([fonts.BASE, "NanumGothic"], set())


def test_the_last_resort_is_no_font(charmaps):
    charmaps({"Last Resort High-Efficiency": HANGUL})
    assert fonts.families_for(["긍정"]) == ([fonts.BASE], {"긍", "정"})


@pytest.mark.filterwarnings("error")
def test_without_a_font_the_page_has_the_letters_and_says_what_the_pictures_lack(tmp_path, monkeypatch):
    monkeypatch.setattr(fonts, "families_for", lambda texts: ([fonts.BASE], set("".join(texts)) & HANGUL))
    rows = binary(60, names=("긍정 ⠁", "부정"))
    said = run_page.write_report(tmp_path, run_folder(tmp_path, rows), list)
    assert "“긍”, “부”, “정”" in said[-1]
    assert "fonts-nanum" in said[-1]
    page = (tmp_path / run_page.PAGE).read_text(encoding="utf-8")
    assert said[-1].split(":")[0] in page
    for name in ("confusion", "roc"):
        svg = (tmp_path / f"plots/{name}.svg").read_text(encoding="utf-8")
        assert "부정" in svg
        assert set(plots.STAND_INS) & set(svg) <= {"⠁"}
    assert "긍정 ⠁" in (tmp_path / "plots/confusion.svg").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("error")
def test_labels_of_any_script_are_drawn_without_a_warning(tmp_path):
    rows = binary(60, names=("긍정", "\ue123 한국어"))
    run_page.write_report(tmp_path, run_folder(tmp_path, rows), list)
    assert "한국어" in (tmp_path / "plots/confusion.svg").read_text(encoding="utf-8")


def test_there_are_stand_ins_for_all_letters_of_a_large_matrix():
    assert set(plots.STAND_INS) <= fonts._characters(fonts.font_manager.findfont(fonts.BASE))
    assert len(set(plots.STAND_INS)) == len(plots.STAND_INS) >= 18 * plots.MOST_CLASSES
