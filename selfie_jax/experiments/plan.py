"""The paper's experiments as data: which jobs of main.py make up each.

The stages follow each other: 'pretrain', 'tune' (learning rates, where asked
for) and 'cell', whose test accuracies are the result.
"""

import dataclasses

from selfie_jax import errors
from selfie_jax.experiments import recipes

STAGES = ('pretrain', 'tune', 'cell')
TUNING_SEED = 1000  # the first; no seed of a report, so no run is both

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
}

# What the experiment itself sets in its cells.
_OWN = ('mode', 'seed', 'init_from', 'label_fraction', 'model.name')


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Two arms or two networks, compared at some fractions of the labels."""

  data: str  # its jobs are configs/{data}_pretrain.py and _finetune.py
  fractions: tuple[float, ...]
  groups: dict[tuple[str, str], str]  # {(arm, network): name}, baseline first
  # What the paper has for each group: mean and standard deviation of five runs
  # at each of the fractions, in percent.
  paper: tuple[str, ...] = ()
  ablates: bool = False  # tries the CHOICES, each in a pretraining of its own

  @property
  def published(self) -> dict[tuple[str, str, float], tuple[float, float]]:
    """{(arm, network, fraction): (mean, standard deviation)}."""
    return {
      (*group, fraction): tuple(map(float, text.split(' ± ')))
      for group, row in zip(self.groups, self.paper, strict=False)
      for fraction, text in zip(self.fractions, row.split(', '), strict=True)
    }


_RESNET50 = ('selfie', 'resnet50')
_RESNET36 = ('selfie', 'resnet36_attention')
_ARMS = {('supervised', 'resnet50'): 'supervised', _RESNET50: 'Selfie'}
_NETWORKS = {_RESNET50: 'ResNet-50', _RESNET36: 'ResNet-36 + attention'}
_FRACTIONS = (0.05, 0.1, 0.2, 1.0)
# Table 1, with figure 4, and table 2, which has 61.8 where table 1 has 61.9.
EXPERIMENTS = {
  'cifar_labels': Experiment(
    *('cifar', (0.05, 0.08, 0.2, 1.0), _ARMS),
    (
      '75.9 ± 0.7, 79.3 ± 1.0, 88.3 ± 0.3, 95.5 ± 0.2',
      '75.9 ± 0.4, 80.3 ± 0.3, 89.1 ± 0.5, 95.7 ± 0.1',
    ),
  ),
  'imagenet32_labels': Experiment(
    *('imagenet32', _FRACTIONS, _ARMS),
    (
      '13.1 ± 0.8, 25.9 ± 0.5, 32.7 ± 0.4, 55.7 ± 0.6',
      '18.3 ± 0.1, 30.2 ± 0.5, 33.5 ± 0.2, 56.4 ± 0.6',
    ),
  ),
  'imagenet_labels': Experiment(
    *('imagenet', _FRACTIONS, _ARMS),
    (
      '35.6 ± 0.7, 59.6 ± 0.2, 65.7 ± 0.2, 76.9 ± 0.2',
      '46.7 ± 0.4, 61.9 ± 0.2, 67.1 ± 0.2, 77.0 ± 0.1',
    ),
  ),
  'cifar_attention': Experiment(
    *('cifar', (0.08, 1.0), _NETWORKS),
    ('80.3 ± 0.3, 95.7 ± 0.1', '81.3 ± 0.1, 95.4 ± 0.2'),
  ),
  # What of table 2 is the network alone; the paper does not say.
  'cifar_attention_labels': Experiment(
    *('cifar', (0.05, 0.08, 0.2, 1.0)),
    {('supervised', 'resnet36_attention'): 'supervised', _RESNET36: 'Selfie'},
  ),
  'imagenet_attention': Experiment(
    *('imagenet', (0.1, 1.0), _NETWORKS),
    ('61.8 ± 0.2, 77.0 ± 0.1', '62.1 ± 0.2, 77.5 ± 0.1'),
  ),
  'cifar_ablations': Experiment(
    'cifar', (0.08,), {_RESNET50: 'default'}, ablates=True
  ),
}


@dataclasses.dataclass(frozen=True)
class Job:
  """One run of main.py; a pretraining has no arm, network and rate."""

  name: str  # unique within a plan
  stage: str
  folder: str
  config: str  # what --config gets: 'configs/cifar_finetune.py:small'
  fields: recipes.Fields  # of --config.FIELD=VALUE
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
  fields: recipes.Fields = ()
  pretrain_fields: recipes.Fields = ()
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

  def pretrainings(self) -> list[Job]:
    """The default; in an ablation also each choice that it does not have."""
    config, fields = self.config('pretrain'), self.pretrain_fields
    folder = self.pretrained or f'{self.workdir}/pretrain'
    jobs = [Job('pretrain', 'pretrain', folder, config, fields)]
    default = recipes.fields_of(config, fields)
    for field, values in CHOICES.items() if self.spec.ablates else ():
      for value in values:
        if value != default[field]:
          name = f'pretrain_{field.split(".")[-1]}-{value}'.lower()
          folder, own = f'{self.workdir}/{name}', (field, str(value))
          changed, choice = (*fields, own), '='.join(own)
          jobs.append(Job(name, 'pretrain', folder, config, changed, choice))
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
    rates, starts = rates or {}, self.pretrainings()
    return [
      self._finetuning(
        *(start, 'cell', *group, fraction, seed, rates.get((*group, fraction)))
      )
      for seed in range(max(self.seeds))  # one whole table after the other
      for start in starts
      for fraction, seeds in zip(self.fractions, self.seeds, strict=True)
      for group in self.spec.groups
      if seed < seeds
    ]

  def _finetuning(
    self, start, stage, arm, network, fraction, seed, rate
  ) -> Job:
    name = f'{arm}_{network}_{100 * fraction:g}pct_seed{seed}'
    name += start.name.removeprefix('pretrain')  # the choice of an ablation
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
    return Job(
      name,
      stage,
      f'{self.workdir}/{name}',
      self.config('finetune'),
      tuple(fields),
      start.choice,
      start if arm == 'selfie' else None,
      *(arm, network, fraction, seed, rate),
      waits=bool(self.grid) and rate is None,
    )
