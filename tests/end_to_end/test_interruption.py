"""A run that is killed or stopped, and started again, ends as one left alone: the same weights, bit for bit."""

import json
import os
import random
import signal
import time

import pytest
from support.interrupted import command, wait_for
from support.paths import KILLED
from support.started import Started, run


def end(folder):
    """Return what a run came to: weights, predictions, losses."""
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    losses = {e["step"]: e["loss"] for e in log if "loss" in e}
    return (folder / "model/model.safetensors").read_bytes(), (folder / "predictions.csv").read_bytes(), losses


@pytest.fixture(scope="module", params=["stock", "custom"])
def undisturbed(request, competition, tiny_bert, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    run(command(request.param, folder, competition, tiny_bert), check=True)
    return request.param, end(folder)


def kill_at(moment, folder, process, draw):
    wait_for(folder / f"checkpoints/checkpoint-{moment}", process)
    time.sleep(draw.random() * 0.05)
    process.kill()
    process.communicate()


def test_killed_twice_with_a_damaged_checkpoint_it_ends_the_same(undisturbed, competition, tiny_bert, tmp_path):
    name, expected = undisturbed
    interrupted, draw = command(name, tmp_path / "run", competition, tiny_bert), random.Random(1)
    kill_at(15, tmp_path / "run", Started(interrupted), draw)
    kill_at(25, tmp_path / "run", Started(interrupted), draw)
    newest = max((tmp_path / "run/checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    with (newest / "model.safetensors").open("ab") as file:
        file.truncate(1000)
    done = run(interrupted)
    assert done.returncode == 0, done.stderr
    assert f"warning: {newest.name} cannot be used" in done.stdout
    assert "Going on from step" in done.stdout
    assert end(tmp_path / "run") == expected


MOMENTS = {
    "training": 7,
    "evaluating": 10,
    "writing the weights": 10,
    "writing the optimizer": 15,
    "writing the state": 20,
    "sealing": 25,
    "removing": 30,
}
FEW = ("evaluating", "writing the optimizer", "sealing")


@pytest.mark.parametrize(
    ("undisturbed", "moments"),
    [
        pytest.param("custom", FEW, id="custom-few"),
        pytest.param("custom", tuple(MOMENTS), id="custom-all", marks=pytest.mark.slow),
        pytest.param("stock", tuple(MOMENTS), id="stock-all", marks=pytest.mark.slow),
    ],
    indirect=["undisturbed"],
)
def test_killed_at_every_kind_of_moment_it_ends_the_same(undisturbed, moments, competition, tiny_bert, tmp_path):
    name, expected = undisturbed
    interrupted = command(name, tmp_path / "run", competition, tiny_bert)
    for moment in moments:
        step = MOMENTS[moment]
        killed = run([interrupted[0], KILLED, moment, step, *interrupted[1:]])
        assert killed.returncode == -signal.SIGKILL, (moment, killed.stderr)
        assert not (tmp_path / "run/metrics.json").exists()
    done = run(interrupted)
    assert done.returncode == 0, done.stderr
    assert end(tmp_path / "run") == expected


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_first_and_says_how_to_go_on(number, undisturbed, competition, tiny_bert, tmp_path):
    name, expected = undisturbed
    interrupted = command(name, tmp_path / "run", competition, tiny_bert)
    process = Started(interrupted)
    wait_for(tmp_path / "run/checkpoints/checkpoint-10", process)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number, error
    assert "the same command goes on from there" in error
    assert error.count("\n") == 1
    run(interrupted, check=True)
    assert end(tmp_path / "run")[:2] == expected[:2]


@pytest.mark.slow
def test_twenty_kills_twenty_identical_ends(undisturbed, competition, tiny_bert, tmp_path):
    name, expected = undisturbed
    draw = random.Random(int(os.environ.get("SEED", "0")))
    for i in range(20):
        interrupted = command(name, tmp_path / str(i), competition, tiny_bert)
        process = Started(interrupted)
        wait_for(tmp_path / str(i) / "checkpoints", process)
        time.sleep(draw.random() * 2)
        process.kill()
        process.communicate()
        if not (tmp_path / str(i) / "metrics.json").exists():
            run(interrupted, check=True)
        assert end(tmp_path / str(i)) == expected
