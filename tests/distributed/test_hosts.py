"""Two machines for real: two network namespaces with addresses of their own, joined by a cable and by nothing else."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
import yaml
from support.cases import KINDS, assert_same_steps, uncut
from support.cuts import train
from support.paths import CUTS, ROOT

from bert_recipes.training.checkpoints import last_sound

PORT = 29500


class Host:
    """A network namespace, and the processes started in it."""

    def __init__(self, rank):
        self.rank = rank
        self.name = f"bert-{os.getpid()}-{rank}"
        self.address = f"10.77.0.{rank + 1}"
        # Interface names have at most 15 letters.
        self.interface = f"b{os.getpid()}v{rank}"
        self.started = []

    def launch(self, *script):
        """Start this machine's half of a run of one process per machine."""
        command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file"]
        command += [str(ROOT / "recipes/launch/multi_node.yaml"), "--num_machines", "2", "--num_processes", "2"]
        command += ["--machine_rank", str(self.rank), "--main_process_ip", "10.77.0.1"]
        command += ["--main_process_port", str(PORT), *map(str, script)]
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command],
            env=os.environ | {"GLOO_SOCKET_IFNAME": self.interface},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def clear(self):
        """End what still runs here, and remove the namespace with its end of the cable."""
        for process in self.started:
            if process.poll() is None:
                for worker in psutil.Process(process.pid).children(recursive=True):
                    worker.kill()
                process.kill()
            process.communicate()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts():
    if os.geteuid():
        pytest.skip("making network namespaces needs root")
    pair = Host(0), Host(1)
    try:
        try:
            for host in pair:
                ip("netns", "add", host.name)
            here, there = ([host.interface, "netns", host.name] for host in pair)
            ip("link", "add", *here, "type", "veth", "peer", "name", *there)
            for host in pair:
                ip("-n", host.name, "address", "add", f"{host.address}/24", "dev", host.interface)
                ip("-n", host.name, "link", "set", host.interface, "up")
                ip("-n", host.name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces can be made here: {getattr(error, 'stderr', None) or error}")
        yield pair
    finally:
        for host in pair:
            host.clear()


def test_two_machines_take_the_steps_of_one_process(hosts, tiny_bert, tmp_path):
    cases = [{**kind, "batch": 3, "accumulation": 2, "rows": 31} for kind in KINDS[::7]]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    halves = [host.launch(CUTS, tmp_path / "cases.json", tmp_path / "out.json", tiny_bert) for host in hosts]
    for half in halves:
        _, error = half.communicate(timeout=300)
        assert half.returncode == 0, error[-4000:]
    for case, cut in zip(cases, json.loads((tmp_path / "out.json").read_text()), strict=True):
        assert_same_steps(cut, train(uncut(case, 2), tiny_bert, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_process_is_killed_the_other_ends_in_a_sentence_and_a_restart_goes_on(
    killed, hosts, competition, without_dropout, tmp_path
):
    def recipe(folder, batch):
        flags = {
            "dataset": competition,
            "model": without_dropout,
            "output_dir": folder,
            "max_length": 32,
            "max_steps": 60,
            "bf16": "false",
            "per_device_train_batch_size": batch,
            "eval_strategy": "steps",
            "eval_steps": 5,
            "save_strategy": "steps",
            "save_steps": 5,
            "learning_rate": 1e-3,
        }
        return [ROOT / "recipes/custom.py", *(str(word) for k, v in flags.items() for word in (f"--{k}", v))]

    run = tmp_path / "run"
    halves = [host.launch(*recipe(run, 4)) for host in hosts]
    while not (run / "checkpoints/checkpoint-10").exists():
        assert all(half.poll() is None for half in halves), [half.communicate() for half in halves]
        time.sleep(0.01)
    psutil.Process(halves[killed].pid).children()[0].kill()
    start = time.monotonic()
    _, error = halves[1 - killed].communicate(timeout=60)
    assert time.monotonic() - start < 60
    assert f"error: process {1 - killed} has lost another process of this run" in error
    assert "the same command goes on from the last checkpoint" in error
    halves[killed].communicate(timeout=60)
    assert all(half.returncode for half in halves)
    assert yaml.safe_load((run / "run.yaml").read_text())["recipe"] == "custom"
    assert not (run / "metrics.json").exists()
    sound, _ = last_sound(run / "checkpoints")
    assert sound is not None

    halves = [host.launch(*recipe(run, 4)) for host in hosts]
    for half in halves:
        out, error = half.communicate(timeout=300)
        assert half.returncode == 0, error
        assert ("Going on from step" in out) == (half is halves[0])
    subprocess.run([sys.executable, *recipe(tmp_path / "whole", 8)], check=True, capture_output=True)
    ours, whole = (
        [e["loss"] for e in json.loads((folder / "trainer_state.json").read_text())["log_history"] if "loss" in e]
        for folder in (run, tmp_path / "whole")
    )
    np.testing.assert_allclose(ours, whole, rtol=1e-4)
