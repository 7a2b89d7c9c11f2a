"""Which process this is, by what launchers say."""

import os

import pytest
from support import forked

from bert_recipes.errors import UserError
from bert_recipes.processes import Process, leave_group, this_process


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*forked.TORCHRUN, *forked.SRUN):
        monkeypatch.delenv(name, raising=False)


def test_the_launcher_says_which_process_this_is(monkeypatch):
    assert this_process() == Process(0, 1, 0)
    for name, value in {"SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)  # of a batch script without srun
    assert this_process() == Process(0, 1, 0)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "5")
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert this_process() == Process(5, 8, 2)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")  # a launcher that srun has started
    assert this_process() == Process(3, 4, 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert this_process() == Process(3, 4, 1)


@pytest.mark.parametrize("value", ["first", "-1", ""])
def test_what_is_no_number_is_a_sentence(value, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", value)
    with pytest.raises(UserError, match=f"RANK is '{value}' in the environment"):
        this_process()


def test_a_process_that_has_left_is_the_only_one_but_keeps_its_rank(monkeypatch):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1"), ("PMI_SIZE", "2")):
        monkeypatch.setenv(name, value)
    leave_group()
    assert not {"WORLD_SIZE", "LOCAL_RANK", "PMI_SIZE"} & set(os.environ)
    assert os.environ["RANK"] == "1"
    assert this_process() == Process(0, 1, 0)
