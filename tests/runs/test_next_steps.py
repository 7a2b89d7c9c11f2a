"""The commands that a finished run proposes work where they are read."""

from support.scripts import in_a_line, recipe


def test_the_other_recipe_gets_a_folder_that_is_free(competition, tiny_bert, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("MAKELEVEL", raising=False)
    monkeypatch.chdir(tmp_path)
    flags = ["--max_steps", "1"]
    recipe("custom", "runs/mine", competition, tiny_bert, *flags)
    assert "--output_dir" not in capsys.readouterr().out.partition("Next:")[2]
    (tmp_path / "runs/stock").mkdir()
    recipe("custom", "runs/other", competition, tiny_bert, *flags)
    assert "--output_dir runs/other-stock, the other side" in in_a_line(capsys.readouterr().out)
    (tmp_path / "runs/other-stock").mkdir()
    recipe("custom", "runs/other", competition, tiny_bert, *flags, "--overwrite")
    assert "--output_dir runs/other-stock-2, the other side" in in_a_line(capsys.readouterr().out)
    recipe("custom", "runs/on", competition, "runs/mine", *flags)
    assert "Next:" not in capsys.readouterr().out


def test_a_training_that_stopped_early_says_so(competition, tiny_bert, tmp_path, capsys):
    flags = ["--max_steps", "20", "--eval_strategy", "steps", "--eval_steps", "1", "--save_strategy", "steps"]
    flags += ["--save_steps", "1", "--early_stopping_patience", "1", "--early_stopping_threshold", "1"]
    recipe("stock", tmp_path / "run", competition, tiny_bert, *flags)
    assert "The training stopped early, after step 2 of 20." in in_a_line(capsys.readouterr().out)
