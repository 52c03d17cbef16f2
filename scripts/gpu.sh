#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under nine minutes and without a network: builds the
# package, holds every CUDA kernel to its definition, times the kernels, writes the figures.
#
#   scripts/gpu.sh [FOLDER]     figures go to FOLDER/<gpu>.json (default: bench/results)
#
# Needs: a GPU, nvcc 13, python with jax[cuda13], numpy, nanobind, scikit-build-core, cmake, ninja.
# Uses pytest and optax if they are there. Every stage says how long it took; the exit status is
# that of the worst stage.
set -uo pipefail
cd "$(dirname "$0")/.."

readonly PYTHON=${PYTHON:-python3} RESULTS=$(realpath -m "${1:-bench/results}")
readonly DEADLINE=$((SECONDS + 530))
WORK=$(mktemp -d "${TMPDIR:-/tmp}/spikexla-gpu.XXXXXX")
readonly WORK SITE="$WORK/site"
trap 'rm -rf "$WORK"' EXIT
export PYTHONUNBUFFERED=1 XLA_PYTHON_CLIENT_PREALLOCATE=false PIP_DISABLE_PIP_VERSION_CHECK=1
failures=() report=()

# stage NAME MOST-SECONDS COMMAND...
stage() {
  local name=$1 limit=$2 start=$SECONDS status=0
  shift 2
  if ((DEADLINE - SECONDS < limit)); then limit=$((DEADLINE - SECONDS)); fi
  echo "=== $name"
  if ((limit < 5)); then
    echo "no time is left for $name"
    status=124
  else
    timeout -k 5 "$limit" "$@" || status=$?
    if ((status == 124)); then echo "$name was stopped after $limit s"; fi
  fi
  report+=("$(printf '%-16s %-10s %4d s' "$name" "$([[ $status -eq 0 ]] && echo ok || echo "FAILED $status")" $((SECONDS - start)))")
  [[ $status -eq 0 ]] || failures+=("$name")
  return $status
}

finish() {
  echo "=== time"
  printf '%s\n' "${report[@]}"
  if ((${#failures[@]})); then echo "FAILED: ${failures[*]}" && exit 1; fi
  echo "all stages passed"
  exit 0
}

have() { "$PYTHON" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)"; }

machine() {
  nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total --format=csv,noheader || {
    echo "nvidia-smi finds no GPU: this script is for machines that have one"
    return 1
  }
  nvcc --version | tail -2
  "$PYTHON" -c "import sys, jax, jaxlib; print('python', sys.version.split()[0], 'jax', jax.__version__, 'jaxlib', jaxlib.__version__)"
}

build() {
  local cap
  cap=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -1 | tr -d .)
  SPIKEXLA_CUDA=ON SPIKEXLA_CUDA_ARCHS=${SPIKEXLA_CUDA_ARCHS:-$cap-real} \
    "$PYTHON" -m pip install -q --no-index --no-deps --no-build-isolation --target "$SITE" .
}

in_site() { PYTHONPATH="$SITE${PYTHONPATH:+:$PYTHONPATH}" "$@"; }

smoke() { in_site "$PYTHON" scripts/gpu_smoke.py; }

workbench() {
  set -o pipefail
  nvcc -std=c++17 -O3 -arch=native --fmad=false -ftz=true -Xcompiler -ffp-contract=off \
    -I csrc -I cuda cuda/workbench/lif_scan.cu -o "$WORK/lif_scan" &&
    "$WORK/lif_scan" | tee "$WORK/workbench.txt"
}

bench() {
  local suite=$1
  shift
  in_site "$PYTHON" -m spikexla.cli bench "$suite" --json "$WORK/$suite.json" "$@"
}

# The cortical microcircuit in full size: rates and real-time factor.
microcircuit() {
  set -o pipefail
  in_site "$PYTHON" -m spikexla.cli simulate microcircuit --warmup 100ms --duration 1s --json "$@" |
    tee "$WORK/microcircuit.json"
}

# The tests of the kernels, on the GPU. Left out: what a single GPU cannot show (shards), and what is
# promised on the CPU alone (the order of additions, threads, no copy in a loop).
tests() {
  if ! have pytest; then
    echo "pytest is not installed: scripts/gpu_smoke.py was the test"
    return 0
  fi
  local parallel=()
  if have xdist; then parallel=(-n 6); fi
  in_site "$PYTHON" -m pytest -q -p no:cacheprovider "${parallel[@]}" \
    -k "not (order_of_the_contract or number_of_threads or shard or not_copied)" \
    tests/test_cuda_lowering.py tests/test_library.py tests/test_network_delays.py \
    tests/test_neuron_kernels.py tests/test_spike_matvec.py
}

collect() {
  mkdir -p "$RESULTS"
  "$PYTHON" - "$WORK" "$RESULTS" <<'PYTHON_END'
import json, pathlib, subprocess, sys

work, results = map(pathlib.Path, sys.argv[1:])
query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
name, driver = (x.strip() for x in subprocess.check_output(query, text=True).splitlines()[0].split(","))
suites = {path.stem: json.loads(path.read_text()) for path in sorted(work.glob("*.json"))}
text = work / "workbench.txt"
lines = text.read_text().splitlines() if text.exists() else []
path = results / (name.lower().replace(" ", "-") + ".json")
path.write_text(json.dumps({"gpu": name, "driver": driver, "suites": suites, "workbench": lines}, indent=1) + "\n")
print(f"wrote {path}: {', '.join(suites) or 'no suites'}")
PYTHON_END
}

export -f machine build in_site smoke workbench bench microcircuit tests have collect
export PYTHON RESULTS WORK SITE

stage machine 60 bash -c machine || finish
stage build 170 bash -c build || finish
stage smoke 170 bash -c smoke
stage workbench 60 bash -c workbench
stage "bench step" 60 bash -c 'bench step --sizes 1e5 1e6 1e7'
stage "bench scan" 60 bash -c 'bench scan'
stage "bench grad" 60 bash -c 'bench grad'
stage "bench reset" 45 bash -c 'bench reset'
stage "bench matvec" 75 bash -c 'bench matvec --sizes 4000 400000'
stage "bench network" 75 bash -c 'bench network --quick --sizes 4000 40000 400000'
stage microcircuit 75 bash -c microcircuit
stage collect 20 bash -c collect
stage tests 240 bash -c tests
finish
