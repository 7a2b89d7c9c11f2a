"""What was measured goes between the marks of its command, and nothing else of the document changes."""

import pytest

from bert_recipes.errors import UserError
from bert_recipes.reporting.documents import between_marks, markdown_table, put_between_marks


def test_only_what_stands_between_the_marks_is_replaced(tmp_path):
    document = tmp_path / "a.md"
    document.write_text("before\n<!-- make x: begin -->\nold\n<!-- make x: end -->\nafter ü\n", encoding="utf-8")
    for text in ("new\nlines", "newer"):
        put_between_marks(document, "x", text)
        assert between_marks(document, "x") == text
    assert document.read_text(encoding="utf-8") == (
        "before\n<!-- make x: begin -->\nnewer\n<!-- make x: end -->\nafter ü\n"
    )


def test_a_document_without_marks_is_left_alone(tmp_path):
    document = tmp_path / "a.md"
    document.write_text("nothing")
    with pytest.raises(UserError, match=r"a\.md has no place for the table: write <!-- make x: begin --> and"):
        put_between_marks(document, "x", "text")
    assert document.read_text() == "nothing"


def test_a_table_has_a_line_for_each_row_and_a_cell_for_each_column():
    assert markdown_table(["name", "F1"], [["a", "0.5"], ["b|c\nd", ""]], "lr") == (
        "| name | F1 |\n|---|--:|\n| a | 0.5 |\n| b\\|c d |  |"
    )
    assert markdown_table(["", ""], []) == "|  |  |\n|---|---|"
