"""Traces of some steps, for TensorBoard's profiler."""

from collections.abc import Callable
from typing import Any

from etils import epath
import ml_collections

BEFORE = 10  # steps from a start to the first that is traced


def create(
  config: ml_collections.ConfigDict, first_step: int, workdir: epath.Path
) -> Callable[[int], Any]:
  """What is to be called after each step: it traces config.profile_steps."""
  begin = first_step + BEFORE
  if not config.profile_steps or (
    begin + config.profile_steps > config.total_steps
  ):
    return lambda step: None
  from clu import periodic_actions  # loads TensorFlow

  return periodic_actions.Profile(
    logdir=workdir,
    num_profile_steps=config.profile_steps,
    profile_duration_ms=None,
    first_profile=begin,
    every_secs=None,
  )
