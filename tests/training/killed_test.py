"""Many runs are killed at random moments, and end as if they had not been."""

import collections
import functools
import signal
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


def count_rows(process, part):
  return process.printed.count(f' {part}: ')


def moments(process, workdir, draw):
  """name -> whether the moment to kill has come, since the process trains."""
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

  return {
    'at any moment': lambda: time.monotonic() > delay,
    'while a checkpoint was written': saves,
    'before or in an evaluation': evaluates,
  }


@pytest.mark.slow
def test_runs_killed_at_random_end_with_the_bits_of_one_never_killed(tmp_path):
  draw = np.random.default_rng(0)
  survived = collections.Counter()
  for mode in ('pretrain', 'finetune'):
    for seed in (0, 1):
      fields = FIELDS | {'seed': seed}
      whole, parts = (tmp_path / f'{mode}{seed}{name}' for name in 'ab')
      log = tmp_path / 'log'
      with small_jobs.Process(mode, whole, fields, log) as process:
        assert process.wait() == 0, process.printed
      for kill in range(KILLS):
        with small_jobs.Process(mode, parts, fields, log) as process:
          if kill == 0:
            name, end = 'at the start', time.monotonic() + draw.uniform(0, 15)
            process.wait_for(lambda end=end: time.monotonic() > end)
          else:
            rows = functools.partial(count_rows, process, 'train')
            assert process.wait_for(rows), process.printed
            named = list(moments(process, parts, draw).items())
            name, has_come = named[kill % 3]
            assert process.wait_for(has_come), process.printed
          process.send(signal.SIGKILL)
          assert process.wait() == -signal.SIGKILL
          survived[name] += 1
      with small_jobs.Process(mode, parts, fields, log) as process:
        assert process.wait() == 0, process.printed
        assert 'Continuing from step' in process.printed
      small_jobs.same_end(whole, parts)
  assert survived.total() == 4 * KILLS and len(survived) == 4, survived
