"""Jobs that need no training, for the runner and the command."""

import pytest

from selfie_jax.experiments import recipes


@pytest.fixture
def in_place_of_main(monkeypatch):
  """(program) -> it is run with a job's folder, in place of main.py."""
  return lambda program: monkeypatch.setattr(
    recipes, 'arguments', lambda config, fields, folder: ['-c', program, folder]
  )
