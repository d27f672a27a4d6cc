"""The pretraining task: solve the patch puzzle of every image.

Paper, section 3: (1) cut the image into patches, (2) split them into context
and targets, (3) embed all with P, (4) sum the context up with A, (5) add the
position of each hole, (6) pick the target that fits by cross-entropy.
"""

import functools

import jax
import jax.numpy as jnp
import ml_collections
import optax

from selfie_jax.models import build
from selfie_jax.models import patches
from selfie_jax.tasks import train_state

# Of an example's keys; 0 and 1 are those that a split in two would give.
_COLOUR, _PLACE = 2, 3


def create_state(
  config: ml_collections.ConfigDict,
  num_classes: int,
  pretrained: None = None,
) -> train_state.TrainState:
  """A fresh state; neither classes nor weights from elsewhere play a part."""
  del num_classes, pretrained
  n, m = _counts(config)
  size = config.patch_size
  return train_state.initialise(
    config,
    build.selfie(config),
    jnp.zeros((1, n, size, size, 3)),
    jnp.zeros((1, n - m), jnp.int32),
    jnp.zeros((1, m), jnp.int32),
  )


def train_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
):
  """One step; see train_state.update. Masks and dropout are per image."""
  keys = train_state.example_keys(config.seed, state.step, batch['index'])
  mask_keys, dropout_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
  puzzle = _puzzle(config, batch['image'], mask_keys, keys)

  def loss_fn(params):
    logits, updates = state.apply_fn(
      {'params': params, 'batch_stats': state.batch_stats},
      *puzzle,
      train=True,
      dropout_keys=dropout_keys,
      group=config.puzzle.group,
      mutable=['batch_stats'],
    )
    metrics = {k: v.mean() for k, v in _score(logits).items()}
    return metrics['loss'], (metrics, updates['batch_stats'])

  return train_state.update(state, config, loss_fn)


def eval_step(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  *,
  config: ml_collections.ConfigDict,
) -> dict[str, jax.Array]:
  """Sums over the batch; each image has one puzzle, whenever it is asked."""
  logits = solve(state, batch, config)[0]
  return train_state.totals(batch, _score(logits))


def summary(
  config: ml_collections.ConfigDict,
  state: train_state.TrainState,
  evaluations: dict[str, dict[str, float]],
  batch: dict[str, jax.Array],
):
  """The run's metrics, and some test puzzles as the model solves them.

  Args:
    config: the job.
    state: the state that was evaluated.
    evaluations: means of eval_step's values, by part of the data ('test').
    batch: some test examples.

  Returns:
    metrics for results.json, arguments of figures.patch_puzzle.
  """
  logits, _, targets = jax.jit(functools.partial(solve, config=config))(
    state, batch
  )
  test = evaluations['test']
  return (
    {k: test[k] for k in ('loss', 'patch_accuracy', 'chance')},
    {
      'images': batch['image'],
      'targets': targets,
      'answers': logits.argmax(axis=-1),
      'patch_size': config.patch_size,
    },
  )


def solve(
  state: train_state.TrainState,
  batch: dict[str, jax.Array],
  config: ml_collections.ConfigDict,
):
  """The fixed puzzles of a batch: (logits, context, targets), see Selfie."""
  keys = train_state.example_keys(
    train_state.EVALUATION_SEED, 0, batch['index']
  )
  puzzle = _puzzle(config, batch['image'], keys)
  logits = state.apply_fn(
    state.variables,
    *puzzle,
    train=False,
  )
  return (logits,) + puzzle[1:]


def _counts(config: ml_collections.ConfigDict) -> tuple[int, int]:
  """Patches and targets of an image."""
  n = patches.grid_size(config.image_size, config.patch_size) ** 2
  return n, patches.num_targets(n, config.masked_fraction)


def _puzzle(
  config: ml_collections.ConfigDict,
  images: jax.Array,
  keys: jax.Array,
  training_keys: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Patches, context and targets of images, a split for each of `keys`.

  With `training_keys` the patches are changed as config.puzzle says.
  """
  n, m = _counts(config)
  context, targets = jax.vmap(lambda key: patches.split(key, n, m))(keys)
  gap, factor, shift, greyscale = (
    config.puzzle[name]
    for name in ('gap', 'colour_factor', 'colour_shift', 'greyscale')
  )

  def keys_of(number: int) -> jax.Array | None:
    if training_keys is None:
      return None
    return jax.vmap(lambda key: jax.random.fold_in(key, number))(training_keys)

  if training_keys is not None and (factor or shift or greyscale):
    images = patches.recolour(
      images, keys_of(_COLOUR), config.patch_size, factor, shift, greyscale
    )
  x = patches.extract(build.normalise(images, config), config.patch_size)
  if gap:
    x = patches.separate(x, gap, keys_of(_PLACE))
  return x, context, targets


def _score(logits: jax.Array) -> dict[str, jax.Array]:
  """Per-image values [batch] of logits [batch, targets, targets]."""
  right = jnp.arange(logits.shape[-1])  # target i belongs into hole i
  losses = optax.softmax_cross_entropy_with_integer_labels(
    logits, jnp.broadcast_to(right, logits.shape[:-1])
  )
  hits = logits.argmax(axis=-1) == right
  return {
    'loss': losses.mean(axis=-1),
    'patch_accuracy': hits.mean(axis=-1),
    'chance': jnp.full(logits.shape[:1], 1 / logits.shape[-1]),
  }
