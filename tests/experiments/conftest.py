"""Jobs that need no training, for the runner and the command."""

import pytest

from selfie_jax.experiments import job as job_lib


@pytest.fixture
def in_place_of_main(monkeypatch):
  """(program) -> it is run with a job's folder, in place of main.py."""
  return lambda program: monkeypatch.setattr(
    job_lib.Job, 'arguments', lambda job: ['-c', program, job.folder]
  )
