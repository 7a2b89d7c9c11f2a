"""What is said of the data."""

from support.reading import read

from bert_recipes.data.summary import show_data


def test_labels_and_names_are_shown_and_not_carried_out(folder, capsys):
    rows = "".join(f"text {i},{chr(27)}[31m{'ab'[i % 2]}[bold]\n" for i in range(20))
    (folder / "train.csv").write_text(f"te{chr(8)}xt,label\n{rows}")
    data = read(folder, text_column="te\x08xt")
    show_data(data, data.splits)
    out = capsys.readouterr().out
    assert "\\x1b[31ma[bold] 50%, \\x1b[31mb[bold] 50%" in out
    assert "'te\\x08xt'" in out
    assert not {"\x1b", "\x08"} & set(out)
