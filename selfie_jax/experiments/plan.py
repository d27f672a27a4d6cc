"""The paper's experiments as data: which jobs of main.py make up each.

A job is a name, which is its folder, and the flags of main.py. The stages
follow each other: 'pretrain', 'tune' (learning rates, where asked for) and
'cell', whose test accuracies are the result.
"""

import dataclasses

from selfie_jax import errors
from selfie_jax.experiments import recipes

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
}

# What the experiment itself sets in its cells.
_OWN = ('mode', 'seed', 'init_from', 'label_fraction', 'model.name')


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Two arms or two networks, compared at some label fractions.

  Attributes:
    data: its jobs are those of configs/{data}_pretrain.py and _finetune.py.
    fractions: of the labels, in (0, 1].
    groups: (arm, network), the first being what others are compared with.
    ablates: whether the CHOICES are tried, each in a pretraining of its own.
  """

  data: str
  fractions: tuple[float, ...]
  groups: tuple[tuple[str, str], ...]
  ablates: bool = False


_ARMS = (('supervised', 'resnet50'), ('selfie', 'resnet50'))
_NETWORKS = (('selfie', 'resnet50'), ('selfie', 'resnet36_attention'))
EXPERIMENTS = {
  'cifar_labels': Experiment('cifar', (0.05, 0.08, 0.2, 1.0), _ARMS),
  'cifar_attention': Experiment('cifar', (0.08, 1.0), _NETWORKS),
  'cifar_ablations': Experiment('cifar', (0.08,), _NETWORKS[:1], ablates=True),
  'imagenet32_labels': Experiment('imagenet32', (0.05, 0.1, 0.2, 1.0), _ARMS),
  'imagenet_labels': Experiment('imagenet', (0.05, 0.1, 0.2, 1.0), _ARMS),
  'imagenet_attention': Experiment('imagenet', (0.1, 1.0), _NETWORKS),
}


@dataclasses.dataclass(frozen=True)
class Job:
  """One run of main.py.

  Attributes:
    name: its folder, unique within a plan.
    stage: one of STAGES.
    config: what --config gets, such as 'configs/cifar_finetune.py:small'.
    fields: (field, value) of --config.FIELD=VALUE, the later winning.
    start: the name of the pretraining it starts from, or ''.
    arm: 'supervised' or 'selfie'; '' for a pretraining.
    network: config.model.name of a classifier, '' for a pretraining.
    fraction: of the labels.
    seed: config.seed.
    choice: 'FIELD=VALUE' of an ablation, '' for the default.
  """

  name: str
  stage: str
  config: str
  fields: tuple[tuple[str, str], ...]
  start: str = ''
  arm: str = ''
  network: str = ''
  fraction: float = 1.0
  seed: int = 0
  choice: str = ''

  @property
  def key(self) -> tuple[str, str, float]:
    """What has a learning rate of its own, and a row in the paper's tables."""
    return self.arm, self.network, self.fraction


@dataclasses.dataclass(frozen=True)
class Plan:
  """All that was asked for; `jobs` are what is to be run.

  Attributes:
    experiment: a name of EXPERIMENTS.
    variant: of the configs; '' is the paper's setting.
    fractions: of the labels.
    seeds: how many of them, for each of the fractions.
    grid: learning rates to choose from; () leaves the config's to both arms.
    tune_seeds: how many runs try each rate, for each of the fractions; () is
      one each.
    fields: (field, value) for all finetuning jobs, of both arms alike.
    pretrain_fields: likewise for the pretraining jobs.
  """

  experiment: str
  variant: str
  fractions: tuple[float, ...]
  seeds: tuple[int, ...]
  grid: tuple[float, ...] = ()
  fields: tuple[tuple[str, str], ...] = ()
  pretrain_fields: tuple[tuple[str, str], ...] = ()
  tune_seeds: tuple[int, ...] = ()

  def __post_init__(self):
    own = _OWN + (('optimizer.learning_rate',) if self.grid else ())
    for field, _ in self.fields:
      if field in own:
        raise errors.UserError(
          f'{field} is what the experiment sets in its cells; --set is for '
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
    """'cifar_labels_small'; without a variant the experiment's name."""
    return '_'.join(filter(None, (self.experiment, self.variant)))

  def config(self, mode: str) -> str:
    path = f'configs/{self.spec.data}_{mode}.py'
    return f'{path}:{self.variant}' if self.variant else path

  def pretrainings(self) -> list[Job]:
    """The default one first, then one for each variant of an ablation."""
    default = Job(
      PRETRAIN, 'pretrain', self.config('pretrain'), self.pretrain_fields
    )
    return [default] + [
      dataclasses.replace(
        default,
        name=f'{PRETRAIN}_{_slug(choice)}',
        fields=default.fields + (tuple(choice.split('=')),),
        choice=choice,
      )
      for choice in self.choices()
    ]

  def choices(self) -> list[str]:
    """'FIELD=VALUE' of each variant of the ablation: one field is changed."""
    if not self.spec.ablates:
      return []
    default = recipes.fields_of(self.config('pretrain'), self.pretrain_fields)
    return [
      f'{field}={value}'
      for field, values in CHOICES.items()
      for value in values
      if value != default[field]
    ]

  def tunings(self) -> list[Job]:
    """Runs for each learning rate of each group and fraction."""
    counts = self.tune_seeds or (1,) * len(self.fractions)
    return [
      self._finetuning('tune', arm, network, fraction, TUNING_SEED + i, rate)
      for fraction, count in zip(self.fractions, counts, strict=True)
      for arm, network in self.spec.groups
      for rate in self.grid
      for i in range(count)
    ]

  def cells(
    self, rates: dict[tuple[str, str, float], float] | None = None
  ) -> list[Job]:
    """The runs of the report.

    Args:
      rates: the learning rate of each Job.key; None leaves it to the config.
        Where it is not known yet, there is no job.
    """
    return [
      self._finetuning(
        'cell', arm, network, fraction, seed, rates and rates[key], choice
      )
      for seed in range(max(self.seeds))  # one whole table after the other
      for choice in ['', *self.choices()]
      for fraction, seeds in zip(self.fractions, self.seeds, strict=True)
      for arm, network in self.spec.groups
      if seed < seeds
      and (rates is None or (key := (arm, network, fraction)) in rates)
    ]

  def _finetuning(
    self, stage, arm, network, fraction, seed, rate=None, choice=''
  ) -> Job:
    parts = [arm, network, f'{100 * fraction:g}pct', f'seed{seed}']
    if stage == 'tune':
      parts = ['tune', *parts, f'rate{rate:g}']
    elif choice:
      parts.append(_slug(choice))
    fields = [
      *self.fields,
      ('model.name', network),
      ('label_fraction', f'{fraction:g}'),
      ('seed', str(seed)),
    ]
    if rate is not None:
      fields.append(('optimizer.learning_rate', f'{rate:g}'))
    start = f'{PRETRAIN}_{_slug(choice)}' if choice else PRETRAIN
    return Job(
      '_'.join(parts),
      stage,
      self.config('finetune'),
      tuple(fields),
      start if arm == 'selfie' else '',
      arm,
      network,
      fraction,
      seed,
      choice,
    )


def _slug(choice: str) -> str:
  """augment.border=zero -> border-zero."""
  field, value = choice.split('=')
  return f'{field.split(".")[-1]}-{value.lower()}'
