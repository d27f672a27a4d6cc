"""Plays gcloud, and the workers of a TPU as folders and real processes.

`install` makes a folder whose bin/gcloud runs this file. The folder holds

  calls.jsonl   every call of gcloud: its arguments, one JSON list a line
  tpu           the TPU's state, such as READY; no file, no TPU
  request       what is still to be said of a queued request, one state a line
  bucket/       the objects of gs://
  worker<i>/    the home of a worker: what comes over ssh runs there
  plan          what main.py does at its first, second ... start: `exit CODE`,
                `wait` for SIGTERM, be `deaf` to it, or `preempt`: the TPU is
                taken away
  starts/       <worker>.<start>: the arguments that main.py got, one a line
  broken        if there, what gcloud says instead of answering
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

PLAYED = {
  'bin/gcloud': f'exec {sys.executable} -I -S {__file__} "$@"',
  'worker_bin/python3': 'exit 0',  # python3 -m pip install uv
  'worker_bin/uv': """
if [ "$1" = venv ]; then
  mkdir -p venv/bin
  cp "$STAND_IN/worker_bin/main" venv/bin/python
fi""",
  'worker_bin/main': """
worker=$(basename "$HOME")
number=1
while [ -e "$STAND_IN/starts/$worker.$number" ]; do
  number=$((number + 1))
done
printf '%s\\n' "$@" >"$STAND_IN/starts/$worker.$number"
echo "this is main.py on $worker"
set -- $(sed -n "${number}p" "$STAND_IN/plan")
case $1 in
  exit) exit "$2" ;;
  preempt) echo PREEMPTED >"$STAND_IN/tpu"; exit 143 ;;
  deaf) trap '' TERM; while :; do sleep 0.02; done ;;
  *) trap 'exit 143' TERM; while :; do sleep 0.02; done ;;
esac""",
}


def install(folder: pathlib.Path) -> None:
  """Makes a cloud without a TPU."""
  for name, text in PLAYED.items():
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/bash\n{text}\n')
    path.chmod(0o755)
  (folder / 'starts').mkdir()
  (folder / 'plan').write_text('')


class Cloud:
  """What the arguments of one call ask for; a method for each command."""

  def __init__(self, folder: pathlib.Path, arguments: list[str]):
    self.folder, self.tpu = folder, folder / 'tpu'
    self.flags = dict(
      argument[2:].partition('=')[::2]
      for argument in arguments
      if argument.startswith('--')
    )
    self.words = [a for a in arguments if not a.startswith('--')]

  def answer(self) -> int:
    """Does it; returns the exit code."""
    known = ('tpu-vm', 'queued-resources', 'storage')
    place = next(i for i, word in enumerate(self.words) if word in known)
    command = '_'.join(self.words[place : place + 2])
    return getattr(self, command.replace('-', '_'))()

  def workers(self) -> list[pathlib.Path]:
    return sorted(self.folder.glob('worker[0-9]'))

  def make_workers(self) -> int:
    if self.tpu.exists():
      return refuse('ALREADY_EXISTS')
    count = int(os.environ.get('STAND_IN_WORKERS', 1))
    for number in range(count):
      (self.folder / f'worker{number}').mkdir()
    self.tpu.write_text('READY\n')
    return 0

  def tpu_vm_create(self) -> int:
    return self.make_workers()

  def tpu_vm_describe(self) -> int:
    if not self.tpu.exists():
      return refuse('NOT_FOUND')
    print(self.tpu.read_text().strip())
    return 0

  def tpu_vm_delete(self) -> int:
    if not self.tpu.exists():
      return refuse('NOT_FOUND')
    for home in self.workers():
      end_job(home)
      shutil.rmtree(home)
    self.tpu.unlink()
    return 0

  def tpu_vm_ssh(self) -> int:
    if self.tpu.read_text() != 'READY\n':
      return refuse('TPU is not READY')
    homes = self.workers()
    if self.flags['worker'] != 'all':
      homes = [homes[int(self.flags['worker'])]]
    path = f'{self.folder}/worker_bin:/usr/bin:/bin'
    processes = [
      subprocess.Popen(
        ['bash', '-c', self.flags['command']],
        cwd=home,
        env={'HOME': home, 'PATH': path, 'STAND_IN': self.folder},
      )
      for home in homes
    ]
    codes = [process.wait() for process in processes]
    return next((code for code in codes if code), 0)

  def tpu_vm_scp(self) -> int:
    source, target = self.words[-2:]
    for home in self.workers():
      shutil.copy(source, home / target.partition(':')[2])
    return 0

  def queued_resources_create(self) -> int:
    states = os.environ.get('STAND_IN_REQUEST', 'WAITING_FOR_RESOURCES ACTIVE')
    (self.folder / 'request').write_text(states)
    return 0

  def queued_resources_describe(self) -> int:
    request = self.folder / 'request'
    if not request.exists():
      return refuse('NOT_FOUND')
    state, _, later = request.read_text().partition(' ')
    if later:
      request.write_text(later)
    if state == 'ACTIVE' and not self.tpu.exists():
      self.make_workers()
    print(state)
    return 0

  def queued_resources_delete(self) -> int:
    (self.folder / 'request').unlink()
    return self.tpu_vm_delete() if 'force' in self.flags else 1

  def object(self, address: str) -> pathlib.Path:
    return self.folder / 'bucket' / address.removeprefix('gs://')

  def storage_cat(self) -> int:
    path = self.object(self.words[-1])
    if not path.exists():
      return refuse('The following URLs matched no objects or files')
    print(path.read_text(), end='')
    return 0

  def storage_cp(self) -> int:
    source, target = self.words[-2:]
    path = self.object(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    if self.flags.get('if-generation-match') == '0' and path.exists():
      return refuse('HTTPError 412: a pre-condition did not hold')
    shutil.copy(source, path)
    return 0

  def storage_rm(self) -> int:
    self.object(self.words[-1]).unlink()
    return 0


def end_job(home: pathlib.Path) -> None:
  """What runs on a worker ends with it."""
  group = home / 'selfie' / 'group'
  if group.exists():
    with contextlib.suppress(ProcessLookupError):
      os.killpg(int(group.read_text()), signal.SIGKILL)


def refuse(message: str) -> int:
  sys.stderr.write(f'ERROR: (gcloud) {message}\n')
  return 1


def main() -> int:
  folder = pathlib.Path(os.environ['STAND_IN'])
  with (folder / 'calls.jsonl').open('a') as calls:
    calls.write(json.dumps(sys.argv[1:]) + '\n')
  broken = folder / 'broken'
  if broken.exists():
    return refuse(broken.read_text())
  return Cloud(folder, sys.argv[1:]).answer()


if __name__ == '__main__':
  sys.exit(main())
