"""A checkpoint is sound or it is not used."""

import json

import pytest

from bert_recipes.training.checkpoints import half_removed, last_sound, remove, seal, what_is_wrong

FILES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth")


def make(folder, step, best=None, sealed=True):
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    for name in FILES:
        (checkpoint / name).write_bytes(f"{name} {step}".encode() * 100)
    best = None if best is None else f"elsewhere/checkpoint-{best}"
    (checkpoint / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": best}))
    if sealed:
        seal(checkpoint)
    return checkpoint


def test_the_last_sealed_one_is_taken_by_number(tmp_path):
    make(tmp_path, 9)
    newest = make(tmp_path, 10)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_sound(tmp_path) == (newest, {})
    assert last_sound(tmp_path / "none") == (None, {})


def test_one_that_was_not_finished_is_passed_over(tmp_path):
    sound, partial = make(tmp_path, 5), make(tmp_path, 10, sealed=False)
    assert last_sound(tmp_path) == (sound, {partial: "it was not finished"})


@pytest.mark.parametrize("name", [*FILES, "trainer_state.json", "sealed.json"])
@pytest.mark.parametrize("damage", ["truncated", "changed", "missing"])
def test_damage_is_found_and_named(name, damage, tmp_path):
    sound, damaged = make(tmp_path, 5), make(tmp_path, 10)
    content = (damaged / name).read_bytes()
    if damage == "missing":
        (damaged / name).unlink()
    else:
        (damaged / name).write_bytes(content[: len(content) // 2] if damage == "truncated" else b"x" + content[1:])
    found, unsound = last_sound(tmp_path)
    assert found == sound
    assert name in unsound[damaged] or unsound[damaged] == "it was not finished"


def test_one_whose_best_checkpoint_is_damaged_is_passed_over(tmp_path):
    first, best, last = make(tmp_path, 5), make(tmp_path, 10), make(tmp_path, 15, best=10)
    assert what_is_wrong(last) is None
    (best / "model.safetensors").write_bytes(b"")
    found, unsound = last_sound(tmp_path)
    assert found == first
    assert "checkpoint-10" in unsound[last]


def test_removing_takes_the_seal_first(tmp_path, monkeypatch):
    checkpoint = make(tmp_path, 5)

    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove(checkpoint)
    assert what_is_wrong(checkpoint) == "it was not finished"


def test_a_checkpoint_whose_removal_was_killed_is_told_from_a_whole_one(tmp_path):
    for step in (1, 2, 3, 4):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        for name in ("trainer_state.json", "model.safetensors"):
            (folder / name).write_text("{}")
        seal(folder)
    (tmp_path / "checkpoint-1/model.safetensors").unlink()
    (tmp_path / "checkpoint-2/sealed.json").unlink()
    (tmp_path / "checkpoint-3/sealed.json").write_text("[")
    assert [path.name for path in half_removed(tmp_path)] == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
