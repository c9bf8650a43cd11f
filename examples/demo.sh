#!/usr/bin/env bash
# The demo: simulate a cohort whose truth is known, ingest it, scan six traits, compare the top hits with the truth.
# Usage: examples/demo.sh [FOLDER]. `make demo` runs it in an environment of its own.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-demo}

if [[ -e $folder ]]; then
    if [[ ! -e $folder/simulation.json ]]; then
        echo "error: $folder exists and is not the folder of an earlier demo; name another one" >&2
        exit 2
    fi
    rm -rf "$folder"
fi

step() { printf '\n$ %s\n' "$*"; "$@"; }

step allscan simulate "$folder" --samples 3000 --variants 25000 --traits 6 --seed 7
step allscan ingest "$folder/genotypes.pgen" "$folder/genotypes.zarr"
step allscan run "$folder/job.yaml"
step allscan export "$folder/runs/simulated" --trait trait_1 --format regenie --out "$folder/trait_1.regenie.gz"
step allscan run "$folder/ancestry_job.yaml"
printf '\n'
python "$here/compare_with_truth.py" "$folder"
