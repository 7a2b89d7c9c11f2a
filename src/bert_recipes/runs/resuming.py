"""Where an interrupted run goes on: from its last sound checkpoint, or from the one that was asked for."""

from pathlib import Path

from bert_recipes import terminal
from bert_recipes.config.saved import RUN_FILE, processes_of
from bert_recipes.errors import UserError, some
from bert_recipes.training.checkpoints import half_removed, last_sound, numbered, remove, what_is_wrong


def chosen_checkpoint(name: str, checkpoints: Path) -> Path:
    """Return the checkpoint that `--resume_from_checkpoint name` speaks of.

    Args:
        name: its path.
        checkpoints: the folder of the checkpoints of the run in `--output_dir`.

    Raises:
        UserError: there is none, it is another run's, or it is damaged.
    """
    path = Path(name).expanduser()
    there = numbered(checkpoints)
    others = f"it has {some([path.name for path in reversed(there.values())])}" if there else "it has none"
    if path.resolve().parent != checkpoints.resolve():
        run = path.resolve().parent.parent
        whose = f", but of the run in {run}" if (run / RUN_FILE).is_file() else ""
        raise UserError(
            f"--resume_from_checkpoint {name} is not a checkpoint of the run in --output_dir {checkpoints.parent}"
            f"{whose}: {others}."
        )
    if path.resolve() not in [found.resolve() for found in there.values()]:
        raise UserError(f"--resume_from_checkpoint {name}: the run has no such checkpoint: {others}.")
    if wrong := what_is_wrong(path):
        raise UserError(f"--resume_from_checkpoint {name} cannot be used ({wrong}): name another one, {others}.")
    return path


def go_on_from(checkpoints: Path, processes: int, chosen: Path | None = None) -> str | None:
    """Return the checkpoint to go on from, if there is one.

    Unsound ones are removed; so are those after a chosen one, from which the run would go on the next time.

    Args:
        checkpoints: the folder of a run's checkpoints.
        processes: how many the run has.
        chosen: what `chosen_checkpoint` returned.
    """
    found = chosen or _last_sound(checkpoints)
    if chosen:
        _remove_later(checkpoints, chosen)
    for checkpoint in half_removed(checkpoints):
        remove(checkpoint)
    if found is None:
        return None
    before = processes_of(found)
    if processes != before:
        terminal.warn(
            f"{found.name} was left by {before} processes, and this run has {processes}: it goes on, though not "
            "as if it had never stopped."
        )
    return str(found)


def _last_sound(checkpoints: Path) -> Path | None:
    sound, unsound = last_sound(checkpoints)
    start = sound.name if sound else "the start"
    for checkpoint, wrong in unsound.items():
        terminal.warn(f"{checkpoint.name} cannot be used ({wrong}): going on from {start}.")
        remove(checkpoint)
    return sound


def _remove_later(checkpoints: Path, chosen: Path) -> None:
    steps = {path.name: step for step, path in numbered(checkpoints).items()}
    later = [path for step, path in numbered(checkpoints).items() if step > steps[chosen.name]]
    if later:
        terminal.say(
            f"Going on from {chosen.name}; what comes after it is removed: {some([path.name for path in later])}."
        )
    for path in later:  # the last one first: whatever comes in between, none is left that another rests on
        remove(path)
