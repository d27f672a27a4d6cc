# What tpu_vm.sh is told: its options, and what is said about mistakes in them.
# shellcheck shell=bash disable=SC2034 # read by tpu_vm.sh and cloud.sh

readonly USAGE='tpu_vm.sh COMMAND [OPTIONS] [-- FLAGS OF main.py]

commands:
  create   make the TPU and wait until it is ready
  setup    copy the checked-out commit to all workers and install it
  run      start main.py on all workers, detached
  status   say how the TPU and the job are
  logs     print the end of a worker'\''s log (--follow, --worker)
  stop     end the job; it saves its state first
  resume   stop what runs and start again, on a new TPU if the old one is gone
  watch    all of the above until the job is finished: after a preemption or a
           fault it starts again, after a mistake (exit code 2) it ends
  delete   end the job and delete the TPU; the workdir stays

options (or SELFIE_NAME, SELFIE_ACCELERATOR_TYPE and so on):
  --name=NAME --project=PROJECT --zone=ZONE   the TPU; for all commands
  --accelerator-type=TYPE    such as v5litepod-8 or v4-32
  --runtime-version=VERSION  by default the one for the accelerator type
  --workdir=gs://BUCKET/RUN  where the run lives
  --data-dir=gs://BUCKET/DIR prepared tfds data; else each worker downloads it
  --spot                     cheaper, and may be taken away at any time
  --queued                   wait in the queue of TPU requests
  --create-flag=FLAG         one more flag for gcloud ... create; may be repeated
  --grace=300                seconds that a job has to save and end
  --poll=60                  seconds between two looks
  --max-faults=3             restarts after faults before watch gives up
  --delete-when-done         watch deletes the TPU when it ends
  --follow, --worker=0       for logs
  --dry-run                  print the commands, run none'

name=${SELFIE_NAME-}
project=${SELFIE_PROJECT-}
zone=${SELFIE_ZONE-}
accelerator_type=${SELFIE_ACCELERATOR_TYPE-}
runtime_version=${SELFIE_RUNTIME_VERSION-}
workdir=${SELFIE_WORKDIR-}
data_dir=${SELFIE_DATA_DIR-}
spot=${SELFIE_SPOT-}
queued=${SELFIE_QUEUED-}
grace=${SELFIE_GRACE-300}
poll=${SELFIE_POLL-60}
max_faults=${SELFIE_MAX_FAULTS-3}
delete_when_done=
follow=
worker=0
dry_run=
create_flags=()
job_flags=()

parse() {
  local option value
  while [ $# -gt 0 ]; do
    case $1 in
      --) shift && job_flags=("$@") && return ;;
      --spot) spot=1 && shift && continue ;;
      --queued) queued=1 && shift && continue ;;
      --delete-when-done) delete_when_done=1 && shift && continue ;;
      --follow) follow=1 && shift && continue ;;
      --dry-run) dry_run=1 && shift && continue ;;
      --*=*) option=${1%%=*} value=${1#*=} && shift ;;
      --*)
        [ $# -gt 1 ] || mistake "$1 is no option, or lacks its value; type $1=VALUE or see tpu_vm.sh --help"
        option=$1 value=$2 && shift 2
        ;;
      *) mistake "'$1' is no option; main.py's flags go after --" ;;
    esac
    case $option in
      --name) name=$value ;;
      --project) project=$value ;;
      --zone) zone=$value ;;
      --accelerator-type) accelerator_type=$value ;;
      --runtime-version) runtime_version=$value ;;
      --workdir) workdir=$value ;;
      --data-dir) data_dir=$value ;;
      --create-flag) create_flags+=("$value") ;;
      --grace) grace=$value ;;
      --poll) poll=$value ;;
      --max-faults) max_faults=$value ;;
      --worker) worker=$value ;;
      *) mistake "no such option: $option; main.py's flags go after --, the options are in tpu_vm.sh --help" ;;
    esac
  done
}

check() {
  local option
  workdir=${workdir%/}
  for option in name project zone; do
    [ -n "${!option}" ] || mistake "which TPU? type --$option=... or set SELFIE_${option^^}"
  done
  for option in grace poll max_faults; do
    [[ ${!option} =~ ^[0-9]+$ ]] || mistake "--${option//_/-}=${!option} is no whole number"
  done
  case $1 in create | resume | watch) check_type ;; esac
  case $1 in run | resume | watch) check_job ;; esac
}

check_type() {
  [ -n "$accelerator_type" ] || mistake 'which kind of TPU? type --accelerator-type=v5litepod-8 or another that gcloud compute tpus accelerator-types list shows'
  [ -z "$runtime_version" ] || return 0
  case $accelerator_type in
    v6e-*) runtime_version=v2-alpha-tpuv6e ;;
    v5p-*) runtime_version=v2-alpha-tpuv5 ;;
    v5litepod-*) runtime_version=v2-alpha-tpuv5-lite ;;
    v[234]-*) runtime_version=tpu-ubuntu2204-base ;;
    *) mistake "which software for $accelerator_type? type --runtime-version=...; https://docs.cloud.google.com/tpu/docs/runtimes lists them" ;;
  esac
}

check_job() {
  [[ $workdir == gs://?* ]] || mistake "the workdir must outlive the TPU: type --workdir=gs://BUCKET/RUN (given: '$workdir')"
  local flag has_config=
  for flag in "${job_flags[@]}"; do
    case $flag in
      --workdir | --workdir=*) mistake '--workdir goes before --, so that one job at a time runs in it' ;;
      --config | --config=*) has_config=1 ;;
    esac
  done
  [ -n "$has_config" ] || mistake "no job given: end with -- --config=configs/FILE.py and main.py's other flags"
  command_line=(--workdir="$workdir")
  [ -z "$data_dir" ] || command_line+=(--config.dataset.data_dir="$data_dir")
  command_line+=("${job_flags[@]}")
}

mistake() {
  echo "error: $*" >&2
  exit 2
}
