"""The paper's experiments as data, and the jobs that each consists of."""

import dataclasses
import pathlib

from selfie_jax import errors
from selfie_jax import job_flags

ROOT = job_flags.ROOT
# In this order; 'cell' are the runs whose test accuracies are the result.
STAGES = ('pretrain', 'tune', 'cell')
TUNING_SEED = 1000  # the first; seeds of the report are smaller

# Choices that the paper leaves open ([O] and [R] in configs/common.py). The
# ablation tries each value that is not the default.
CHOICES = {
  'augment.border': ('zero', 'reflect'),
  'augment.flip': (True, False),
  'masked_fraction': (0.125, 0.25, 0.375, 0.5),
  'model.context_positions': (False, True),
  'model.logit_scale': ('none', 'inverse_sqrt'),
  'model.closing_norm': (True, False),
  'model.attention.num_layers': (1, 2, 3, 4),
}

Fields = tuple[tuple[str, str], ...]  # --config.FIELD=VALUE


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A comparison of two groups of runs at some fractions of the labels."""

  data: str  # the jobs are configs/{data}_pretrain.py and _finetune.py
  fractions: tuple[float, ...]
  # {(arm, network): name}, the baseline first.
  groups: dict[tuple[str, str], str]
  # The paper's numbers, a row for each group: mean and standard deviation of
  # five runs at each of the fractions, in percent.
  paper: tuple[str, ...] = ()
  is_ablation: bool = False  # one pretraining for each of the CHOICES

  @property
  def published(self) -> dict[tuple[str, str, float], tuple[float, float]]:
    """{(arm, network, fraction): (mean, standard deviation)}."""
    return {
      (*group, fraction): tuple(map(float, text.split(' ± ')))
      for group, row in zip(self.groups, self.paper, strict=False)
      for fraction, text in zip(self.fractions, row.split(', '), strict=True)
    }


_SELFIE = ('selfie', 'resnet50')
_ATTENTION = ('selfie', 'resnet36_attention')
_ARMS = {('supervised', 'resnet50'): 'supervised', _SELFIE: 'Selfie'}
_RANDOM_36 = ('supervised', 'resnet36_attention')
_ARMS_36 = {_RANDOM_36: 'supervised', _ATTENTION: 'Selfie'}
_NETWORKS = {_SELFIE: 'ResNet-50', _ATTENTION: 'ResNet-36 + attention'}
_CIFAR = (0.05, 0.08, 0.2, 1.0)
_IMAGENET = (0.05, 0.1, 0.2, 1.0)
# Table 1, with figure 4, and table 2, which has 61.8 where table 1 has 61.9.
EXPERIMENTS = {
  'cifar_labels': Experiment('cifar', _CIFAR, _ARMS, (
    '75.9 ± 0.7, 79.3 ± 1.0, 88.3 ± 0.3, 95.5 ± 0.2',
    '75.9 ± 0.4, 80.3 ± 0.3, 89.1 ± 0.5, 95.7 ± 0.1',
  )),
  'imagenet32_labels': Experiment('imagenet32', _IMAGENET, _ARMS, (
    '13.1 ± 0.8, 25.9 ± 0.5, 32.7 ± 0.4, 55.7 ± 0.6',
    '18.3 ± 0.1, 30.2 ± 0.5, 33.5 ± 0.2, 56.4 ± 0.6',
  )),
  'imagenet_labels': Experiment('imagenet', _IMAGENET, _ARMS, (
    '35.6 ± 0.7, 59.6 ± 0.2, 65.7 ± 0.2, 76.9 ± 0.2',
    '46.7 ± 0.4, 61.9 ± 0.2, 67.1 ± 0.2, 77.0 ± 0.1',
  )),
  'cifar_attention': Experiment('cifar', (0.08, 1.0), _NETWORKS, (
    '80.3 ± 0.3, 95.7 ± 0.1', '81.3 ± 0.1, 95.4 ± 0.2',
  )),
  # How much of table 2 is the network alone; the paper does not say.
  'cifar_attention_labels': Experiment('cifar', _CIFAR, _ARMS_36),
  'imagenet32_attention_labels': Experiment('imagenet32', _IMAGENET, _ARMS_36),
  'imagenet_attention': Experiment('imagenet', (0.1, 1.0), _NETWORKS, (
    '61.8 ± 0.2, 77.0 ± 0.1', '62.1 ± 0.2, 77.5 ± 0.1',
  )),
  'photos_labels': Experiment('photos', (1.0,), _ARMS),
  'cifar_ablations': Experiment(
    'cifar', (0.08,), {_SELFIE: 'default'}, is_ablation=True
  ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Job:
  """A run of main.py; a pretraining has no arm and no network."""

  name: str  # unique within a plan
  stage: str
  folder: str
  file: str  # 'configs/cifar_finetune.py:small'
  fields: Fields
  choice: str = ''  # FIELD=VALUE of an ablation
  start: 'Job | None' = None  # the pretraining that it starts from
  arm: str = ''  # 'supervised' or 'selfie'
  network: str = ''
  fraction: float = 1.0
  seed: int = 0
  rate: float | None = None  # None: the config's learning rate
  needs_rate: bool = False  # the learning rate is not chosen yet

  def arguments(self) -> list[str]:
    """What follows `python`; without paths in the project's folder."""
    prefix = '' if pathlib.Path.cwd() == ROOT else f'{ROOT}/'
    return [
      f'{prefix}main.py',
      f'--config={prefix}{self.file}',
      f'--workdir={self.folder}',
      *(f'--config.{field}={value}' for field, value in self.fields),
    ]


@dataclasses.dataclass(frozen=True)
class Plan:
  """What the flags of reproduce.py ask for.

  `seeds` and `tune_seeds` are numbers of runs, one for each of `fractions`; an
  empty `grid` leaves all runs the config's learning rate. `fields` are those of
  all finetuning jobs, `pretrain_fields` those of the pretrainings, as many as
  `pretrain_seeds`; `pretrained` is the first of them.

  Raises:
    UserError: a field may not be set, or a field or its value is not valid.
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
  pretrain_seeds: int = 1

  def __post_init__(self):
    own = {'mode', 'seed', 'init_from', 'label_fraction', 'model.name'}
    own |= {'optimizer.learning_rate'} if self.grid else set()
    if wrong := [field for field, _ in self.fields if field in own]:
      raise errors.UserError(
        f'{wrong[0]} is what the experiment sets in its cells; --set is for '
        'other fields (seeds: --seeds=5, fractions: --fractions=0.05,0.08, '
        'learning rates: --grid=0.03,0.1 with --tune)'
      )
    if self.pretrain_seeds > 1 and self.spec.is_ablation:
      raise errors.UserError(
        '--pretrain_seeds is not for an ablation, which has one pretraining '
        'for each choice; leave it out'
      )
    config = job_flags.read_flat(self._file('finetune'), self.fields)
    if self.grid and not config['validation_fraction']:
      raise errors.UserError(
        '--tune chooses on the validation split, and there is none with '
        '--set validation_fraction=0; type a share above 0, such as 0.1'
      )

  @property
  def spec(self) -> Experiment:
    return EXPERIMENTS[self.experiment]

  @property
  def title(self) -> str:
    return f'{self.experiment}_{self.variant}'.rstrip('_')

  def pretrainings(self) -> list[Job]:
    """One a seed; in an ablation also one for each other choice."""
    folder = self.pretrained or f'{self.workdir}/pretrain'
    file, fields = self._file('pretrain'), self.pretrain_fields
    jobs = [Job('pretrain', 'pretrain', folder, file, fields)]

    def add(name: str, field: str, value: object, choice: str = '') -> None:
      folder, changed = f'{self.workdir}/{name}', (*fields, (field, str(value)))
      jobs.append(Job(name, 'pretrain', folder, file, changed, choice))

    for seed in range(1, self.pretrain_seeds):
      add(f'pretrain_start{seed}', 'seed', seed)
    config = job_flags.read_flat(file, fields)
    for field, values in CHOICES.items() if self.spec.is_ablation else ():
      for value in values:
        if value != config[field]:
          name = f'pretrain_{field.split(".")[-1]}-{value}'.lower()
          add(name, field, value, f'{field}={value}')
    return jobs

  def tunings(self) -> list[Job]:
    """Runs for each learning rate of each group and fraction."""
    start = self.pretrainings()[0]
    return [
      self._finetuning('tune', start, group, fraction, seed, rate)
      for fraction, count in zip(self.fractions, self.tune_seeds, strict=False)
      for group in self.spec.groups
      for rate in self.grid
      for seed in range(TUNING_SEED, TUNING_SEED + count)
    ]

  def cells(
    self, rates: dict[tuple[str, str, float], float] | None = None
  ) -> list[Job]:
    """The runs of the report, seed by seed; `rates` are those chosen so far."""
    rates, starts = rates or {}, self.pretrainings()
    return [
      self._finetuning(
        'cell', start, group, fraction, seed, rates.get((*group, fraction))
      )
      for seed in range(max(self.seeds))
      for start in starts
      for fraction, seeds in zip(self.fractions, self.seeds, strict=True)
      for group in self.spec.groups
      # What starts from random weights has no pretraining.
      if seed < seeds and (start is starts[0] or group[0] == 'selfie')
    ]

  def _file(self, mode: str) -> str:
    return f'configs/{self.spec.data}_{mode}.py:{self.variant}'.rstrip(':')

  def _finetuning(self, stage, start, group, fraction, seed, rate) -> Job:
    arm, network = group
    suffix = start.name.removeprefix('pretrain')  # its seed or choice
    name = f'{arm}_{network}_{100 * fraction:g}pct_seed{seed}{suffix}'
    if stage == 'tune':
      name = f'tune_{name}_rate{rate:g}'
    fields = dict(self.fields) | {'model.name': network, 'seed': str(seed)}
    fields['label_fraction'] = f'{fraction:g}'
    if rate is not None:
      fields['optimizer.learning_rate'] = f'{rate:g}'
    if arm == 'selfie':
      fields['init_from'] = start.folder
    return Job(
      name,
      stage,
      folder=f'{self.workdir}/{name}',
      file=self._file('finetune'),
      fields=tuple(fields.items()),
      choice=start.choice,
      start=start if arm == 'selfie' else None,
      arm=arm,
      network=network,
      fraction=fraction,
      seed=seed,
      rate=rate,
      needs_rate=bool(self.grid) and rate is None,
    )
