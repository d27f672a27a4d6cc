#!/usr/bin/env bash
# One worker of a TPU; tpu_vm.sh calls it over ssh, sky.yaml only `install`:
#
#   worker.sh install    makes .venv with requirements-tpu.txt
#   worker.sh run FLAGS  starts main.py FLAGS, detached, if no other is running
#   worker.sh stop       SIGTERM, and waits until main.py has saved and ended
#
# Beside the code lie log, pid, and lock, which main.py inherits and holds until
# it ends, however it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# The TPUs' own Python is older than the 3.11 that is needed; uv brings it.
install() {
  PATH="$HOME/.local/bin:$PATH"
  command -v uv >/dev/null || python3 -m pip install --user --quiet 'uv>=0.9,<1'
  uv venv --quiet --allow-existing --python 3.11 .venv
  uv pip install --quiet --python .venv/bin/python -r requirements-tpu.txt
  touch .venv/installed
}

run() {
  [ -e .venv/installed ] || fail "setup did not end: type tpu_vm.sh setup"
  exec 9>>../lock
  flock -n 9 || fail "a job is running on $(hostname): type tpu_vm.sh stop"
  setsid .venv/bin/python -u main.py "$@" </dev/null >>../log 2>&1 &
  echo "$!" >../pid
}

stop() {
  if flock -n ../lock true; then
    echo "no job is running on $(hostname)"
  elif [ ! -e ../pid ]; then
    fail "setup is running on $(hostname)"
  elif ! { kill "$(cat ../pid)" && flock -w 300 ../lock true; }; then
    fail "the job on $(hostname) has not ended in 300 s"
  fi
}

fail() {
  echo "error: $*" >&2
  exit 1
}

"$@"
