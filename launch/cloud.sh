# What tpu_vm.sh says to the cloud: gcloud's commands, and what they answer.
# shellcheck shell=bash disable=SC2154 # set by options.sh and tpu_vm.sh

readonly WORKER='bash selfie/code/launch/worker.sh'

request() {
  local flags=(${spot:+--spot} "${create_flags[@]}" "${where[@]}")
  assumed_tpu=READY assumed_job=bare
  if [ -n "$queued" ]; then
    act gcloud compute tpus queued-resources create "$name" --node-id="$name" \
      --accelerator-type="$accelerator_type" \
      --runtime-version="$runtime_version" "${flags[@]}"
  else
    act gcloud compute tpus tpu-vm create "$name" \
      --accelerator-type="$accelerator_type" \
      --version="$runtime_version" "${flags[@]}"
  fi
}

# Waits for the TPU; with no argument also replaces one that is gone. A name is
# there once in a zone, so the old job and the new one cannot run side by side.
until_ready() {
  local state
  while :; do
    state=$(tpu_state)
    case $state in
      READY) return ;;
      UNKNOWN | STOPPED | STOPPING) return 1 ;;
      NOT_FOUND | PREEMPTED | TERMINATED | FAILED | SUSPENDED)
        [ $# -eq 0 ] || fail "$name is $state"
        [ "$state" = NOT_FOUND ] || delete_tpu || return
        request || return
        ;;
      *) note "$name is $state" && sleep "$poll" ;;
    esac
  done
}

delete_tpu() {
  if [ -n "$queued" ]; then
    act gcloud compute tpus queued-resources delete "$name" --force --quiet "${where[@]}"
  else
    act gcloud compute tpus tpu-vm delete "$name" --quiet "${where[@]}"
  fi
}

# A bucket has no locks, but an object that must not be there yet when it is
# written: it says whose the workdir is, also while that TPU is being replaced.
claim() {
  local holder owner=$project/$zone/$name
  holder=$(query '' gcloud storage cat "$workdir/launched_by") || holder=''
  [ "$holder" != "$owner" ] || return 0
  [ -z "$holder" ] || mistake "$workdir belongs to the TPU $holder; delete that one with tpu_vm.sh, or, if it is gone, type gcloud storage rm $workdir/launched_by"
  echo "$owner" >"$scratch/launched_by"
  act gcloud storage cp "$scratch/launched_by" "$workdir/launched_by" \
    --if-generation-match=0 && return
  note "error: $workdir cannot be claimed: no access, or another TPU was faster"
  return 1
}

release() {
  local owner=$project/$zone/$name
  [ -n "$workdir" ] || return 0
  [ "$(query "$owner" gcloud storage cat "$workdir/launched_by")" != "$owner" ] ||
    act gcloud storage rm "$workdir/launched_by"
}

# READY, NOT_FOUND and so on; UNKNOWN if there was no answer, with the reason
# in $scratch/stderr. Not to be told is not the same as not to be there.
tpu_state() {
  local state node
  node=(gcloud compute tpus tpu-vm describe "$name" '--format=value(state)' "${where[@]}")
  if [ -n "$queued" ]; then
    state=$(described gcloud compute tpus queued-resources describe "$name" \
      '--format=value(state.state)' "${where[@]}")
    case $state in
      ACTIVE | READY) state=$(described "${node[@]}") ;;
    esac
  else
    state=$(described "${node[@]}")
  fi
  echo "$state"
}

described() {
  local state
  if state=$(query "$assumed_tpu" "$@") && [ -n "$state" ]; then
    echo "$state"
  elif grep -q NOT_FOUND "$scratch/stderr"; then
    echo NOT_FOUND
  else
    echo UNKNOWN
  fi
}

# What all workers together are: see worker.sh.
job_state() {
  local lines
  lines=$(query "selfie: $assumed_job" gcloud compute tpus tpu-vm ssh "$name" \
    --worker=all "${where[@]}" \
    --command="$WORKER state || echo 'selfie: bare'") || {
    echo unreachable
    return
  }
  lines=$(sed -n 's/[[:space:]]*$//; s/^selfie: //p' <<<"$lines")
  local first
  for first in running bare stopped 'exit 2$' 'exit 130$' lost idle 'exit [^0]' 'exit 0'; do
    if grep -m 1 "^$first" <<<"$lines"; then return; fi
  done
  echo unreachable
}

worker_log() {
  query '' gcloud compute tpus tpu-vm ssh "$name" --worker=0 "${where[@]}" \
    --command='tail -n 20 selfie/log' >&2
}

on_workers() {
  act gcloud compute tpus tpu-vm ssh "$name" --worker=all "${where[@]}" \
    --command="$1" </dev/null
}

# Runs what changes something; a dry run only prints it.
act() {
  if [ -n "$dry_run" ]; then
    show "$@" >&3
    return
  fi
  note "$(show "$@")"
  "$@"
}

# Runs what only asks; a dry run prints it and answers with the first argument.
query() {
  local answer=$1
  shift
  if [ -n "$dry_run" ]; then
    show "$@" >&3
    echo "$answer"
  else
    "$@" </dev/null 2>"$scratch/stderr"
  fi
}

quote() {
  local text
  printf -v text '%q ' "$@"
  echo "${text% }"
}

# As `quote`, but easy to read.
show() {
  local word
  local -a text=()
  for word; do
    [[ $word =~ ^[A-Za-z0-9_./:=@%+,-]+$ ]] || word=${word@Q}
    text+=("$word")
  done
  echo "${text[*]}"
}

note() { echo "$(date '+%H:%M:%S') $*" >&2; }

fail() {
  echo "error: $*" >&2
  exit 1
}
