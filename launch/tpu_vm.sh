#!/usr/bin/env bash
# Runs main.py on one Cloud TPU VM or pod slice, over gcloud; see docs/tpu.md.
set -euo pipefail

readonly USAGE='tpu_vm.sh [--dry-run] COMMAND

commands:
  create [FLAGS]  make the TPU; FLAGS go to gcloud, such as --spot
  setup           copy the checked-out commit to all workers and install it
  run FLAGS       start main.py FLAGS on all workers, detached
  logs [WORKER]   follow the log of a worker; 0, the default, reports most
  stop            have the job save and end, and wait for that
  delete          delete the TPU; stop the job first

environment:
  SELFIE_NAME, SELFIE_PROJECT, SELFIE_ZONE   which TPU; for all commands
  SELFIE_ACCELERATOR_TYPE   for create, such as v5litepod-8 or v4-32
  SELFIE_RUNTIME_VERSION    for create; by default the one for the type

--dry-run prints the commands and runs none.'

# The code is not replaced under a running job, which holds the lock.
readonly UNPACK='mkdir -p selfie && exec 9>>selfie/lock && if flock -n 9; then rm -rf selfie/code selfie/pid && mkdir selfie/code && tar -xzf selfie.tar.gz -C selfie/code; else echo "error: a job is running: type tpu_vm.sh stop" >&2; exit 1; fi'
readonly HAS_CODE='if [ ! -e selfie/code ]; then echo "error: no code there: type tpu_vm.sh setup" >&2; exit 1; fi'
readonly WORKER='bash selfie/code/launch/worker.sh'

main() {
  dry_run=
  if [ "${1-}" = --dry-run ]; then dry_run=1 && shift; fi
  case ${1-} in
    create | setup | run | logs | stop | delete) ;;
    -h | --help | help) echo "$USAGE" && exit ;;
    *) mistake "no such command: '${1-}'; type tpu_vm.sh --help" ;;
  esac
  local command=$1 variable
  shift
  case $command/$# in
    create/* | run/* | logs/1 | */0) ;;
    *) mistake "$command takes no '$*'; --dry-run comes before it" ;;
  esac
  for variable in SELFIE_NAME SELFIE_PROJECT SELFIE_ZONE; do
    [ -n "${!variable-}" ] || mistake "which TPU? type export $variable=..."
  done
  where=(--project="$SELFIE_PROJECT" --zone="$SELFIE_ZONE")
  "do_$command" "$@"
}

do_create() {
  local type=${SELFIE_ACCELERATOR_TYPE-} version=${SELFIE_RUNTIME_VERSION-}
  [ -n "$type" ] || mistake 'which kind of TPU? type export SELFIE_ACCELERATOR_TYPE=v5litepod-8 or another that gcloud compute tpus accelerator-types list shows'
  case $version/$type in
    /v6e-*) version=v2-alpha-tpuv6e ;;
    /v5p-*) version=v2-alpha-tpuv5 ;;
    /v5litepod-*) version=v2-alpha-tpuv5-lite ;;
    /v[234]-*) version=tpu-ubuntu2204-base ;;
    /*) mistake "which software for $type? type export SELFIE_RUNTIME_VERSION=...; https://docs.cloud.google.com/tpu/docs/runtimes lists them" ;;
  esac
  act gcloud compute tpus tpu-vm create "$SELFIE_NAME" \
    --accelerator-type="$type" --version="$version" "${where[@]}" "$@"
}

do_setup() {
  local root
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  git -C "$root" rev-parse --verify --quiet HEAD >/dev/null 2>&1 ||
    mistake "$root is no git repository; setup copies a commit: git clone the project and type it there"
  git -C "$root" diff --quiet HEAD ||
    echo 'changes that are not committed are left out' >&2
  scratch=$(mktemp -d)
  trap 'rm -r "$scratch"' EXIT
  act git -C "$root" archive --format=tar.gz -o "$scratch/selfie.tar.gz" HEAD
  act gcloud compute tpus tpu-vm scp "$scratch/selfie.tar.gz" \
    "$SELFIE_NAME:selfie.tar.gz" --worker=all "${where[@]}"
  on_workers all "$UNPACK && $WORKER install"
}

do_run() {
  local flag flags workdir='' config=''
  for flag; do
    case $flag in
      --config=?*) config=1 ;;
      --workdir=gs://?*) workdir=1 ;;
      --workdir=*) workdir= ;;
    esac
  done
  [ -n "$config" ] || mistake 'no job given: type run --config=configs/FILE.py --workdir=gs://BUCKET/RUN'
  [ -n "$workdir" ] || mistake 'the run has to outlive the TPU: type --workdir=gs://BUCKET/RUN'
  printf -v flags ' %q' "$@"
  on_workers all "$HAS_CODE; $WORKER run$flags"
}

do_logs() { on_workers "${1-0}" 'tail -n 100 -F selfie/log'; }

do_stop() { on_workers all "$HAS_CODE; $WORKER stop"; }

do_delete() {
  act gcloud compute tpus tpu-vm delete "$SELFIE_NAME" --quiet "${where[@]}"
}

on_workers() {
  act gcloud compute tpus tpu-vm ssh "$SELFIE_NAME" --worker="$1" \
    "${where[@]}" --command="$2" </dev/null
}

act() {
  if [ -z "$dry_run" ]; then
    "$@"
  else
    printf '%q ' "$@" && echo
  fi
}

mistake() {
  echo "error: $*" >&2
  exit 2
}

main "$@"
