"""Traces of some steps."""

import small_jobs

from selfie_jax.training import profiling
from selfie_jax.training import train


def test_asked_for_steps_are_traced_and_change_no_number(
  finished, tmp_path, monkeypatch
):
  monkeypatch.setattr(profiling, 'BEFORE', 2)
  config = small_jobs.small_job('pretrain')
  config.profile_steps = 2
  train.train_and_evaluate(config, tmp_path)
  # Where TensorBoard's profiler looks for a trace.
  (trace,) = tmp_path.glob('plugins/profile/*/*.xplane.pb')
  assert trace.stat().st_size > 1000
  small_jobs.same_end(finished('pretrain'), tmp_path)


def test_no_trace_is_begun_that_could_not_be_ended(tmp_path):
  config = small_jobs.small_job('pretrain')
  config.profile_steps = config.total_steps
  profile = profiling.create(config, 0, tmp_path)
  for step in range(1, config.total_steps + 1):
    profile(step)
  assert not (tmp_path / 'plugins').exists()
