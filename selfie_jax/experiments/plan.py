"""The paper's experiments as data: which jobs of main.py make up each.

A job is a name, which is its run's folder, and the flags of main.py. The
stages follow each other: 'pretrain', 'tune' (learning rates, where asked for)
and 'cell', whose test accuracies are the result.
"""

import dataclasses

from selfie_jax import errors
from selfie_jax.experiments import recipes

Fields = tuple[tuple[str, str], ...]

STAGES = ('pretrain', 'tune', 'cell')
TUNING_SEED = 1000  # the first; no seed of a report, so no run is both
PRETRAIN = 'pretrain'  # the name of the default pretraining

# Choices that the paper leaves open ([O] and [R] in configs/common.py). Those
# values that the recipe does not have are the variants of the ablation.
CHOICES = {
  'augment.border': ('zero', 'reflect'),
  'augment.flip': (True, False),
  'masked_fraction': (0.125, 0.25, 0.375, 0.5),
  'model.context_positions': (False, True),
  'model.logit_scale': ('none', 'inverse_sqrt'),
  'model.closing_norm': (True, False),
  'model.attention.num_layers': (1, 2, 3, 4),
  # Beyond the paper.
  'puzzle.gap': (0, 2),
  'puzzle.colour_factor': (0.0, 0.4),
  'puzzle.colour_shift': (0.0, 0.2),
  'puzzle.greyscale': (0.0, 0.5),
  'puzzle.group': (1, 4),
}

# What the experiment itself sets in its cells.
_OWN = ('mode', 'seed', 'init_from', 'label_fraction', 'model.name')


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Two arms or two networks, compared at some fractions of the labels."""

  data: str  # its jobs are configs/{data}_pretrain.py and _finetune.py
  fractions: tuple[float, ...]
  groups: dict[tuple[str, str], str]  # {(arm, network): name}, baseline first
  ablates: bool = False  # tries the CHOICES, each in a pretraining of its own


_RESNET50 = ('selfie', 'resnet50')
_ARMS = {('supervised', 'resnet50'): 'supervised', _RESNET50: 'Selfie'}
_NETWORKS = {
  _RESNET50: 'ResNet-50',
  ('selfie', 'resnet36_attention'): 'ResNet-36 + attention',
}
_ONE = {_RESNET50: 'default'}
EXPERIMENTS = {
  'cifar_labels': Experiment('cifar', (0.05, 0.08, 0.2, 1.0), _ARMS),
  'cifar_attention': Experiment('cifar', (0.08, 1.0), _NETWORKS),
  'cifar_ablations': Experiment('cifar', (0.08,), _ONE, ablates=True),
  'imagenet32_labels': Experiment('imagenet32', (0.05, 0.1, 0.2, 1.0), _ARMS),
  'imagenet_labels': Experiment('imagenet', (0.05, 0.1, 0.2, 1.0), _ARMS),
  'imagenet_attention': Experiment('imagenet', (0.1, 1.0), _NETWORKS),
}


@dataclasses.dataclass(frozen=True)
class Job:
  """One run of main.py; a pretraining has no arm, network and rate."""

  name: str  # unique within a plan
  stage: str
  folder: str
  config: str  # what --config gets: 'configs/cifar_finetune.py:small'
  fields: Fields  # of --config.FIELD=VALUE
  choice: str = ''  # FIELD=VALUE of an ablation
  start: 'Job | None' = None  # the pretraining that it starts from
  arm: str = ''
  network: str = ''
  fraction: float = 1.0
  seed: int = 0
  rate: float | None = None  # None leaves it to the config
  waits: bool = False  # for a learning rate that is not chosen yet


@dataclasses.dataclass(frozen=True)
class Plan:
  """All that was asked for: what the flags of reproduce.py say.

  `seeds` and `tune_seeds` are counts, one for each of `fractions`; an empty
  `grid` leaves the config's learning rate to both arms. `fields` are (field,
  value) for all finetuning jobs, `pretrain_fields` for the pretraining.
  """

  experiment: str
  variant: str
  fractions: tuple[float, ...]
  seeds: tuple[int, ...]
  tune_seeds: tuple[int, ...] = ()
  grid: tuple[float, ...] = ()
  fields: Fields = ()
  pretrain_fields: Fields = ()
  workdir: str = ''
  pretrained: str = ''

  def __post_init__(self):
    own = _OWN + (('optimizer.learning_rate',) if self.grid else ())
    if mine := [field for field, _ in self.fields if field in own]:
      raise errors.UserError(
        f'{mine[0]} is what the experiment sets in its cells; --set is for '
        'other fields (seeds: --seeds=5, fractions: --fractions=0.05,0.08, '
        'learning rates: --grid=0.03,0.1 with --tune)'
      )
    # Also says at once if a field or value of these is wrong.
    made = recipes.fields_of(self.config('finetune'), self.fields)
    if self.grid and not made['validation_fraction']:
      raise errors.UserError(
        '--tune chooses on the validation part, and there is none with '
        '--set validation_fraction=0; type a share above 0, such as 0.1'
      )

  @property
  def spec(self) -> Experiment:
    return EXPERIMENTS[self.experiment]

  @property
  def title(self) -> str:
    return f'{self.experiment}_{self.variant}'.rstrip('_')

  def config(self, mode: str) -> str:
    return f'configs/{self.spec.data}_{mode}.py:{self.variant}'.rstrip(':')

  def choices(self) -> list[str]:
    """'', the default, and 'FIELD=VALUE' of each variant of the ablation."""
    default = recipes.fields_of(self.config('pretrain'), self.pretrain_fields)
    return [''] + [
      f'{field}={value}'
      for field, values in (CHOICES if self.spec.ablates else {}).items()
      for value in values
      if value != default[field]
    ]

  def pretrainings(self) -> list[Job]:
    """One for each choice, the default first."""
    config, jobs = self.config('pretrain'), []
    for choice in self.choices():
      name, fields = PRETRAIN + _suffix(choice), self.pretrain_fields
      folder = f'{self.workdir}/{name}'
      if choice:
        field, _, value = choice.partition('=')
        fields += ((field, value),)
      elif self.pretrained:
        folder = self.pretrained
      jobs.append(Job(name, 'pretrain', folder, config, fields, choice))
    return jobs

  def tunings(self) -> list[Job]:
    """Runs for each learning rate of each group and fraction."""
    default, *_ = self.pretrainings()
    return [
      self._finetuning(default, 'tune', *group, fraction, seed, rate)
      for fraction, count in zip(self.fractions, self.tune_seeds, strict=False)
      for group in self.spec.groups
      for rate in self.grid
      for seed in range(TUNING_SEED, TUNING_SEED + count)
    ]

  def cells(
    self, rates: dict[tuple[str, str, float], float] | None = None
  ) -> list[Job]:
    """The runs of the report; `rates` are those that are chosen already."""
    starts = self.pretrainings()
    return [
      self._finetuning(start, 'cell', *group, fraction, seed, rate)
      for seed in range(max(self.seeds))  # one whole table after the other
      for start in starts
      for fraction, seeds in zip(self.fractions, self.seeds, strict=True)
      for group in self.spec.groups
      if seed < seeds
      for rate in [(rates or {}).get((*group, fraction))]
    ]

  def _finetuning(
    self, start, stage, arm, network, fraction, seed, rate
  ) -> Job:
    name = f'{arm}_{network}_{100 * fraction:g}pct_seed{seed}'
    name += _suffix(start.choice)
    if stage == 'tune':
      name = f'tune_{name}_rate{rate:g}'
    fields = [
      *self.fields,
      ('model.name', network),
      ('label_fraction', f'{fraction:g}'),
      ('seed', str(seed)),
    ]
    if rate is not None:
      fields.append(('optimizer.learning_rate', f'{rate:g}'))
    if arm == 'selfie':
      fields.append(('init_from', start.folder))
    folder, config = f'{self.workdir}/{name}', self.config('finetune')
    return Job(
      *(name, stage, folder, config, tuple(fields), start.choice),
      *(start if arm == 'selfie' else None, arm, network, fraction, seed),
      *(rate, bool(self.grid) and rate is None),
    )


def _suffix(choice: str) -> str:
  """augment.border=zero -> _border-zero."""
  field, _, value = choice.partition('=')
  return choice and f'_{field.split(".")[-1]}-{value.lower()}'
