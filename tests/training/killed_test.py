"""Many runs are killed at random moments, and end as if they had not been."""

import collections
import functools
import itertools
import time

import numpy as np
import pytest
import small_jobs

FIELDS = {
  'total_steps': 400,
  'log_every': 5,
  'eval_every': 20,
  'checkpoint_every': 10,
}
KILLS = 6  # of each run; four runs
ROWS = 12  # of a training between two kills, at most; it has 80


def count_rows(process, part):
  return process.printed.count(f' {part}: ')


def is_past(moment):
  return time.monotonic() > moment


def moments(process, workdir, draw):
  """When to kill a process that trains: names, and whether it is time."""
  checkpoints = workdir / 'checkpoints'
  rows = count_rows(process, 'train')
  delay = time.monotonic() + draw.uniform(0, 2)
  later = rows + int(draw.integers(1, 9))

  def evaluates():
    *_, last = process.printed.splitlines()
    return (
      count_rows(process, 'train') >= later
      and ' train: ' in last
      and int(last.split('step ')[1].split()[0]) % FIELDS['eval_every'] == 0
    )

  def saves():
    return count_rows(process, 'train') >= later and any(
      'tmp' in path.name for path in checkpoints.iterdir()
    )

  return [
    ('at any moment', lambda: time.monotonic() > delay),
    ('while a checkpoint was written', saves),
    ('before or in an evaluation', evaluates),
  ]


@pytest.mark.slow
def test_runs_killed_at_random_end_with_the_bits_of_one_never_killed(tmp_path):
  draw = np.random.default_rng(0)
  survived = collections.Counter()
  for mode, seed in itertools.product(('pretrain', 'finetune'), (0, 1)):
    whole, parts = (tmp_path / f'{mode}{seed}{name}' for name in 'ab')
    fields, log = FIELDS | {'seed': seed}, tmp_path / 'log'
    with small_jobs.Process(mode, whole, fields, log) as process:
      process.ends_well()
    for kill in range(KILLS):
      with small_jobs.Process(mode, parts, fields, log) as process:
        rows = functools.partial(count_rows, process, 'train')
        if kill == 0:
          name, end = 'at the start', time.monotonic() + draw.uniform(0, 5)
          has_come = functools.partial(is_past, end)
        else:
          assert process.wait_for(rows), process.printed
          name, has_come = moments(process, parts, draw)[kill % 3]
        last = rows() + ROWS  # a busy machine may not see the moment
        process.kill_when(
          lambda come=has_come, rows=rows, last=last: come() or rows() > last
        )
        if kill and rows() > last:
          name = 'at any moment'
        survived[name] += 1
    with small_jobs.Process(mode, parts, fields, log) as process:
      assert 'Continuing from step' in process.ends_well().printed
    small_jobs.same_end(whole, parts)
  assert survived.total() == 4 * KILLS and len(survived) == 4, survived
