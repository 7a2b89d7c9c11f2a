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


def test_300_labels_are_shortened(folder, capsys):
    names = [f"label-{i:03}" for i in range(300)]
    rows = [["title", "body", *names], *([f"t{i}", "b", *(int(i % 300 <= c) for c in range(300))] for i in range(40))]
    (folder / "train.csv").write_text("\n".join(",".join(map(str, row)) for row in rows))
    data = read(folder, text_column=["title", "body"], label_column=names)
    show_data(data, data.splits)
    out = " ".join(capsys.readouterr().out.split())
    assert "text in 'title', 'body', label in 'label-000', 'label-001'," in out
    assert "'label-004' and 295 more" in out
    assert "label-005" not in out
