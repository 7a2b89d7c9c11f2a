"""Which of several processes this one is, as its launcher says in the environment."""

import os
from dataclasses import dataclass

from bert_recipes.errors import UserError

# Rank, number of processes and rank on this machine, as `accelerate launch` and torchrun name them, and srun. A batch
# script without srun is one process, with a SLURM_PROCID of 0 and the SLURM_NTASKS that the job could start.
LAUNCHERS = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))


@dataclass(frozen=True)
class Process:
    """One of the processes of a launch.

    Attributes:
        rank: its number among those of all machines, from 0.
        count: how many these are.
        local_rank: its number among those of its machine, from 0.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0


def this_process() -> Process:
    """Return which process this is; without a launcher it is the only one.

    Raises:
        UserError: the environment holds something else than numbers.
    """
    for rank, count, local_rank in LAUNCHERS:
        if rank in os.environ and count in os.environ:
            return Process(_number(rank), _number(count), _number(local_rank))
    return Process()


def all_are_here() -> bool:
    """Whether all processes of a launch are on this machine; without a launcher, whether this one is alone."""
    return os.environ.get("LOCAL_WORLD_SIZE") == os.environ.get("WORLD_SIZE")


def leave_group() -> None:
    """Make the libraries of this process take it for the only one, so that none waits for another over the network.

    RANK stays, by which one process alone says what all have to say.
    """
    # A process group is set up by these (accelerate's PartialState), and by what MPI says, which srun may imitate.
    for name in ("WORLD_SIZE", "LOCAL_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        os.environ.pop(name, None)


def _number(name: str) -> int:
    value = os.environ.get(name, "0")
    if not value.isdecimal():
        raise UserError(f"{name} is '{value}' in the environment, where a launcher puts a number: unset it.")
    return int(value)
