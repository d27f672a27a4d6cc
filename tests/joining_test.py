"""How the processes of a job find each other, and what devices they have."""

from unittest import mock

import jax
import pytest

from selfie_jax import distributed
from selfie_jax import errors


@pytest.fixture
def joined(monkeypatch):
  """Stands for jax's own joining, which needs the other machines."""
  joining = mock.Mock()
  monkeypatch.setattr(jax.distributed, 'initialize', joining)
  return joining


def test_jax_finds_the_processes_of_a_pod_only(joined):
  for automatic in (None, False):
    distributed.initialize(None, None, None, automatic, 60)
  joined.assert_not_called()
  before = jax.config.jax_platforms
  jax.config.update('jax_platforms', 'tpu,cpu')  # as where there are TPUs
  try:
    for automatic in (None, True):
      distributed.initialize(None, None, None, automatic, 60)
  finally:
    jax.config.update('jax_platforms', before)
  found = mock.call(None, None, None, heartbeat_timeout_seconds=60)
  assert joined.call_args_list == [found, found]


def test_the_environment_says_where_the_others_are(joined, monkeypatch):
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', 'host:1234')
  monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
  monkeypatch.setenv('JAX_PROCESS_ID', '0')
  distributed.initialize(None, None, 1, None, 60)
  assert joined.call_args.args == ('host:1234', 2, 1)
  joined.side_effect = RuntimeError('deadline exceeded')
  with pytest.raises(errors.UserError, match='deadline exceeded.*all process'):
    distributed.initialize(None, None, None, None, 60)
  monkeypatch.setenv('JAX_NUM_PROCESSES', 'abc')
  with pytest.raises(errors.UserError, match='JAX_NUM_PROCESSES=abc is not'):
    distributed.initialize(None, None, 1, None, 60)
  monkeypatch.delenv('JAX_PROCESS_ID')
  with pytest.raises(errors.UserError, match='--process_id=I'):  # is missing
    distributed.initialize('host:1234', 2, None, False, 60)


def test_fallen_back_to_cpu_is_said_loudly(log_messages):
  asked = jax.config.jax_platforms
  jax.config.update('jax_platforms', None)
  try:
    distributed.log_devices()
  finally:
    jax.config.update('jax_platforms', asked)
  assert 'RUNNING ON THE CPU' in log_messages.text
