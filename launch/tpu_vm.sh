#!/usr/bin/env bash
# Runs main.py on Cloud TPU VMs, single ones and pod slices; see docs/tpu.md.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=launch/options.sh
source "$root/launch/options.sh"
# shellcheck source=launch/cloud.sh
source "$root/launch/cloud.sh"

# The code is not replaced under a running job.
readonly UNPACK='mkdir -p selfie && flock -n selfie/lock rm -rf selfie/code && mkdir selfie/code && tar -xzf selfie.tar.gz -C selfie/code'
readonly MAX_SILENT=10 # looks in vain before watch gives up

main() {
  exec 3>&1 # commands of a dry run, also from within $(...)
  case ${1-} in
    create | setup | run | status | logs | stop | resume | watch | delete) ;;
    -h | --help | help) echo "$USAGE" && exit ;;
    *) mistake "no such command: '${1-}'; type tpu_vm.sh --help" ;;
  esac
  local command=$1
  shift
  parse "$@"
  check "$command"
  where=(--project="$project" --zone="$zone")
  commit=
  scratch=$(mktemp -d)
  trap 'rm -r "$scratch"' EXIT
  assumed_tpu=READY assumed_job=idle # what a dry run is told
  "do_$command"
}

do_create() {
  request || return
  until_ready create
}

do_setup() {
  local archive=$scratch/selfie.tar.gz
  choose_commit
  git -C "$root" diff --quiet HEAD || note 'changes that are not committed are left out'
  act git -C "$root" archive --format=tar.gz -o "$archive" "$commit" &&
    act gcloud compute tpus tpu-vm scp "$archive" "$name:selfie.tar.gz" \
      --worker=all "${where[@]}" &&
    on_workers "$UNPACK && $WORKER install"
}

do_run() {
  local job
  job=$(job_state)
  case $job in
    running*) mistake "a job is running on $name ($job); wait for its end, stop it, or type resume instead of run" ;;
    bare) mistake "$name has no code yet; type setup first" ;;
    unreachable) fail "$name cannot be reached; type status" ;;
  esac
  start
}

do_status() {
  local state
  state=$(tpu_state)
  echo "$name: $state"
  if [ "$state" = READY ]; then echo "job: $(job_state)"; fi
}

do_logs() {
  local tail='tail -n 100'
  [ -z "$follow" ] || tail='tail -n 100 -F'
  act gcloud compute tpus tpu-vm ssh "$name" --worker="$worker" "${where[@]}" \
    --command="$tail selfie/log"
}

do_stop() {
  on_workers "$WORKER stop $grace"
}

do_resume() {
  assumed_tpu=NOT_FOUND
  until_ready || fail "no TPU to run on; type status"
  start_again
}

# Once: does what is needed to have the job run. Then looks again and again.
do_watch() {
  local state job said='' faults=0 silent=0
  trap 'note "no longer watching; the job itself goes on"; exit 130' INT
  choose_commit
  assumed_tpu=NOT_FOUND
  state=$(tpu_state)
  [ "$state" != UNKNOWN ] || fail "cannot ask for $name: $(cat "$scratch/stderr")"
  if [ "$state" = READY ]; then
    job=$(job_state)
    case $job in
      "running $(quote "${command_line[@]}")") note 'this job is running already' ;;
      running*) mistake "another job is running on $name ($job); stop it first" ;;
      *) start_again || faults=1 ;;
    esac
  fi
  while :; do
    state=$(tpu_state) job=-
    [ "$state" != READY ] || job=$(job_state)
    [ "$said" = "$state $job" ] || note "TPU $state, job $job"
    [ "$state" != UNKNOWN ] || tail -n 1 "$scratch/stderr" >&2
    said="$state $job"
    case $state/$job in
      READY/unreachable | UNKNOWN/*)
        silent=$((silent + 1))
        [ "$silent" -lt "$MAX_SILENT" ] || ended 1 "$name cannot be reached"
        sleep "$poll"
        continue
        ;;
      READY/running*) [ -z "$dry_run" ] || return 0 ;;
      READY/'exit 0') ended 0 'the job is finished' ;;
      READY/'exit 2') ended 2 'a mistake that starting again cannot mend' ;;
      READY/stopped | READY/'exit 130') ended 130 'the job was stopped by hand' ;;
      READY/'exit 143') start_again || faults=$((faults + 1)) ;;
      READY/*)
        faults=$((faults + 1))
        [ "$faults" -gt "$max_faults" ] || start_again || true
        ;;
      STOPPED/* | STOPPING/*) ended 1 "$name was stopped by hand" ;;
      *)
        if until_ready; then
          start_again || faults=$((faults + 1))
        else
          note "no TPU yet; next try in $poll s"
        fi
        ;;
    esac
    [ "$faults" -le "$max_faults" ] || ended 1 "$faults faults"
    silent=0
    [ -n "$dry_run" ] || sleep "$poll"
  done
}

do_delete() {
  case $(tpu_state) in
    NOT_FOUND) note "there is no $name" ;;
    READY)
      do_stop || note 'the job could not be told to save its state'
      delete_tpu || return
      ;;
    *) delete_tpu || return ;;
  esac
  release
}

# The end of watch: its exit code and why.
ended() {
  [ "$1" = 0 ] || worker_log || true
  note "$2"
  if [ -n "$delete_when_done" ]; then
    do_delete
  else
    note "$name is still there and costs money: type tpu_vm.sh delete"
  fi
  exit "$1"
}

# Once, so that a TPU made anew gets the code that the first one had.
choose_commit() {
  [ -z "$commit" ] || return 0
  commit=$(git -C "$root" rev-parse HEAD) || mistake "$root is no git repository; setup copies a commit: git clone the project and type it there"
}

start_again() {
  case $(job_state) in
    bare) do_setup || return ;;
    running* | lost | unreachable) do_stop || return ;;
  esac
  start
}

start() {
  claim || return
  assumed_job=running
  on_workers "$WORKER start $(quote "${command_line[@]}")"
}

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  fail "bash $BASH_VERSION is too old; version 4.4 or newer is needed"
fi
main "$@"
