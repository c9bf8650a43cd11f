#!/usr/bin/env bash
# A Ray cluster inside one Slurm job, which runs one allscan job and ends:
#
#     sbatch --nodes=8 --cpus-per-task=32 slurm.sh pheno.yaml
#
# `allscan` must be on the PATH of every node (a virtual environment on the shared file system), and the job's files and
# output folder must be seen from all of them. A requeued job (a node died, or its time was up) goes on where it was.
# Options of `allscan run` may follow the job file.

#SBATCH --job-name=allscan
#SBATCH --output=allscan-%j.log
#SBATCH --open-mode=append
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --mem-per-cpu=3G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --no-kill
#SBATCH --signal=B:USR1@120
# One kind of CPU computes the same bytes everywhere; name a feature of your cluster's nodes:
##SBATCH --constraint=icelake

set -euo pipefail

if (($# < 1)); then
    echo "usage: sbatch [options of sbatch] slurm.sh JOB.yaml [options of allscan run]" >&2
    exit 2
fi
if [[ -z ${SLURM_JOB_ID:-} ]]; then
    echo "error: this script runs inside a Slurm job: sbatch slurm.sh $1" >&2
    exit 2
fi
for program in allscan ray; do
    if ! command -v "$program" >/dev/null; then
        echo "error: $program is not on the PATH: activate the environment with allscan[ray] before sbatch" >&2
        exit 2
    fi
done

cpus=${SLURM_CPUS_PER_TASK:-1}
if [[ -n ${SLURM_MEM_PER_NODE:-} ]]; then
    memory_mib=$SLURM_MEM_PER_NODE
else
    memory_mib=$((${SLURM_MEM_PER_CPU:-3072} * cpus))
fi
# Ray looks at the memory of the machine, not of the job. A quarter is for inputs that the workers share; a tenth is
# left for Ray itself.
shared_bytes=$((memory_mib * 1024 * 1024 / 4))
worker_bytes=$((memory_mib * 1024 * 1024 * 65 / 100))

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
# Ten ports for each job, so that jobs may share a node: above Ray's own defaults, below the system's ephemeral ones.
port=$((20000 + SLURM_JOB_ID % 1200 * 10))
scratch=/tmp/allscan-$SLURM_JOB_ID # short: Ray's sockets lie below it, and their names may have 107 characters
token=${SLURM_SUBMIT_DIR:-$PWD}/.allscan-$SLURM_JOB_ID.token
messages=${SLURM_SUBMIT_DIR:-$PWD}/allscan-$SLURM_JOB_ID.ray.log

export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_USAGE_STATS_ENABLED=0
# Slurm counts the CPUs of a step itself.
export SRUN_CPUS_PER_TASK=$cpus
unset RAY_ADDRESS RAY_AUTH_TOKEN

steps=()
driver=
requeue=false

running() { [[ -n ${1:-} ]] && kill -0 "$1" 2>/dev/null; }

finish() {
    status=$?
    trap - EXIT
    trap '' TERM INT USR1
    rm -f "$token"
    for one in "$driver" ${steps[@]+"${steps[@]}"}; do
        running "$one" && kill -TERM "$one"
    done
    # A cancelled job has half a minute before Slurm kills what is left of it, this script too.
    for _ in {1..40}; do
        alive=
        for one in "$driver" ${steps[@]+"${steps[@]}"}; do
            running "$one" && alive=$one
        done
        [[ -n $alive ]] || break
        sleep 0.5
    done
    timeout 5 srun --overlap --nodes="${#nodes[@]}" --ntasks-per-node=1 rm -rf "$scratch" 2>/dev/null || true
    rm -rf "$scratch"
    if $requeue; then
        echo "allscan: the time of this job is nearly up; it is queued again and goes on where it was"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
# Slurm sends this two minutes before the end of the job's time.
trap 'requeue=true; exit 0' USR1

(umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$token")

# srun's name of a node may lead to a network of its own; Ray needs an address that the other nodes reach.
address=$(getent ahostsv4 "$head" | awk '$1 !~ /^127\./ {print $1; exit}' || true)
if [[ -z $address ]]; then
    address=$(hostname -I | awk '{print $1}')
fi

# Ports that are 0 are chosen by the system.
node=(
    --block
    --disable-usage-stats
    --log-style=record
    --log-color=false
    --num-cpus="$cpus"
    --memory="$worker_bytes"
    --object-store-memory="$shared_bytes"
    --dashboard-agent-listen-port=0
    --min-worker-port=0
    --max-worker-port=0
    --temp-dir="$scratch"
)

echo "allscan: Ray's head on $head ($address:$port), ${#nodes[@]} nodes of $cpus CPUs"
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$address" --port="$port" --ray-client-server-port="$((port + 1))" \
    --include-dashboard=false "${node[@]}" >>"$messages" 2>&1 &
steps+=($!)

up() { (exec 3<>"/dev/tcp/$address/$port") 2>/dev/null; }
for _ in {1..240}; do
    up && break
    if ! running "${steps[0]}"; then
        echo "error: Ray's head ended: see $messages" >&2
        exit 1
    fi
    sleep 0.5
done
if ! up; then
    echo "error: Ray's head does not answer on $address:$port: see $messages" >&2
    exit 1
fi

if ((${#nodes[@]} > 1)); then
    others=$((${#nodes[@]} - 1))
    names=$(IFS=, && echo "${nodes[*]:1}")
    # One dead node is no reason to stop: its tasks are done by the others.
    srun --overlap --nodes="$others" --ntasks="$others" --ntasks-per-node=1 --nodelist="$names" \
        --no-kill --kill-on-bad-exit=0 --wait=0 \
        ray start --address="$address:$port" "${node[@]}" >>"$messages" 2>&1 &
    steps+=($!)
fi

# In the background: a shell acts on signals between commands only. Workers that join later get tasks too.
allscan run "$@" --executor ray --address "$address:$port" &
driver=$!
wait "$driver"
