#!/usr/bin/env bash
# One worker of a TPU: installs the code, runs one job at a time, says how it is.
# tpu_vm.sh copies it to ~/selfie/code of every worker and calls it over ssh:
#
#   worker.sh install          an environment for the code, in ~/selfie/venv
#   worker.sh start FLAGS...   main.py FLAGS, detached; refused while one runs
#   worker.sh stop SECONDS     SIGTERM, and SIGKILL after so many seconds
#   worker.sh state            a line "selfie: STATE"; see `state` for which
#
# The job and its main.py hold ~/selfie/lock open and locked, so whether one
# runs is the operating system's word, however it ended.
set -euo pipefail
cd "$(dirname "$0")/../.."

# The runtimes' own Python is older than the 3.11 that is needed; uv brings it.
install() {
  python3 -m pip install --user --quiet 'uv>=0.9,<1'
  PATH="$HOME/.local/bin:$PATH"
  uv venv --quiet --allow-existing --python 3.11 venv
  uv pip install --quiet --python venv/bin/python -r code/requirements-tpu.txt
  touch venv/installed
}

start() {
  exec 9>>lock
  if ! flock -w 1 9; then
    echo "error: a job is running on $(hostname)" >&2
    exit 1
  fi
  rm -f exit_code group pid
  printf '%q ' "$@" >flags
  setsid bash code/launch/worker.sh job "$@" </dev/null >>log 2>&1 &
  for _ in {1..100}; do
    if [ -e pid ]; then return; fi
    sleep 0.05
  done
  echo "error: the job did not start: $(tail -n 1 log)" >&2
  exit 1
}

# What `start` leaves behind: main.py, and this to write down its exit code.
job() {
  local code=0
  echo "$$" >group
  echo "=== $(date -u '+%Y-%m-%d %H:%M:%S') UTC: main.py $(cat flags)"
  cd code
  ../venv/bin/python -u main.py "$@" &
  echo "$!" >../pid
  wait "$!" || code=$?
  echo "=== exit code $code"
  echo "exit $code" >../exit_code.tmp
  mv ../exit_code.tmp ../exit_code
}

stop() {
  if is_free; then return; fi
  kill -TERM "$(cat pid)" || true
  if ! flock -w "$1" lock true; then
    echo "main.py did not end within $1 s: killed" | tee -a log >&2
    kill -KILL -- "-$(cat group)"
    flock -w 30 lock true
  fi
  echo stopped >exit_code
}

# bare: not installed; idle: nothing started yet; running FLAGS; exit CODE;
# stopped: by `stop`; lost: it ended without a word, as when the machine restarts
state() {
  local state=idle
  if [ ! -e venv/installed ]; then
    state=bare
  elif ! is_free; then
    state="running $(cat flags)"
  elif [ -e exit_code ]; then
    state=$(cat exit_code)
  elif [ -e pid ]; then
    state=lost
  fi
  echo "selfie: $state"
}

is_free() { flock --shared -n lock true; }

"$@"
