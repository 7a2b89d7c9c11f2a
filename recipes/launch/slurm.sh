#!/bin/bash
# One run on several machines under Slurm: sbatch recipes/launch/slurm.sh recipes/custom.py --config CONFIG ...
#
# Two minutes before its time is up, or when it is preempted, Slurm signals the run: it saves a checkpoint and ends,
# this script puts the job back into the queue, and the next start goes on from that checkpoint. The repository, its
# .venv, the data and the run folder must lie on a file system that all machines share.
#SBATCH --job-name=bert-recipes
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -euo pipefail

cd "${SLURM_SUBMIT_DIR:?start this with sbatch}"
gpus=${SLURM_GPUS_ON_NODE:?ask for GPUs with --gpus-per-node}
hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
main=${hosts%%$'\n'*}
port=$((29500 + SLURM_JOB_ID % 1000)) # two jobs may share a machine

stopped=0
trap 'stopped=1; scancel --signal=TERM "$SLURM_JOB_ID.0"' TERM
# The step runs in the background, so that bash can take the signal while it waits, and pass it on.
# shellcheck disable=SC2016 # each machine puts in its own SLURM_NODEID
srun --kill-on-bad-exit=1 bash -c '
  exec .venv/bin/python -m bert_recipes.cli.launch --config_file recipes/launch/multi_node.yaml \
    --num_machines "$SLURM_NNODES" --machine_rank "$SLURM_NODEID" --num_processes "$1" \
    --main_process_ip "$2" --main_process_port "$3" "${@:4}"
' bash "$((SLURM_NNODES * gpus))" "$main" "$port" "$@" &
step=$!
# A signal ends the first wait; the second one waits for the checkpoint.
wait "$step" && status=0 || status=$?
if [ "$stopped" = 1 ]; then
  wait "$step" && status=0 || status=$?
  if [ "$status" != 0 ]; then
    echo "stopped with a checkpoint: job $SLURM_JOB_ID goes back into the queue."
    scontrol requeue "$SLURM_JOB_ID"
  fi
fi
exit "$status"
