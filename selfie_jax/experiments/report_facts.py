"""What a report is about: the plan, its outcomes, and means over seeds."""

import dataclasses

from selfie_jax.experiments import plan as plan_lib
from selfie_jax.experiments import results as results_lib
from selfie_jax.experiments import statistics

NETWORK_NAMES = {
  'resnet50': 'ResNet-50',
  'resnet36_attention': 'ResNet-36 + attention',
}

Key = tuple[str, str, float]  # Job.key: arm, network, label fraction


@dataclasses.dataclass(frozen=True)
class Facts:
  """Attributes:

  plan: what was asked for.
  outcomes: of every job whose flags are known.
  untuned: cells whose learning rate is not chosen yet.
  rates: learning rate of each key; None where nothing is tuned.
  tried: validation accuracy of each key and learning rate of the grid.
  commands: of all jobs in `outcomes`.
  """

  plan: plan_lib.Plan
  outcomes: dict[plan_lib.Job, results_lib.Outcome]
  untuned: list[plan_lib.Job]
  rates: dict[Key, float] | None
  tried: dict[Key, dict[float, float | None]]
  commands: list[str]

  def jobs(self, stage: str) -> list[plan_lib.Job]:
    return [job for job in self.outcomes if job.stage == stage]

  def cells(self, key: Key, choice: str = '') -> list[plan_lib.Job]:
    """The finished cells of a key, seed by seed."""
    return [
      job
      for job in self.jobs('cell')
      if (job.key, job.choice) == (key, choice) and self.outcomes[job].results
    ]

  def accuracies(self, key: Key, choice: str = '') -> list[float]:
    """Their test accuracies in percent."""
    return [
      100 * self.outcomes[job].results['metrics']['test_accuracy']
      for job in self.cells(key, choice)
    ]

  def difference(
    self, key: Key, other: Key, choice: str = ''
  ) -> tuple[float, tuple[float, float] | None] | None:
    """Points that `key` (of a choice) is ahead of `other` (of the default).

    Returns:
      (difference of the means, Welch's 95 % interval or None); None where one
      of them has no finished cell.
    """
    ours, others = self.accuracies(key, choice), self.accuracies(other)
    if not ours or not others:
      return None
    means = [statistics.mean_std(values)[0] for values in (ours, others)]
    return means[0] - means[1], statistics.welch_interval(ours, others)


def group_name(plan: plan_lib.Plan, group: tuple[str, str]) -> str:
  """'Selfie', or the network's name where networks are compared."""
  arm, network = group
  arms = {arm for arm, _ in plan.spec.groups}
  if len(arms) > 1:
    return {'selfie': 'Selfie'}.get(arm, arm)
  return NETWORK_NAMES[network]
