"""SGD with Nesterov momentum, warm-up + cosine, L2 decay."""

import jax
import ml_collections
import optax

DECAYED = ('kernel', 'places', 'rows', 'columns')  # names of parameters


def schedule(config: ml_collections.ConfigDict) -> optax.Schedule:
  """Linear warm-up from 0 to the peak, then cosine decay to 0 at total_steps.

  Loshchilov & Hutter (2017), without restarts; the rate of step s is
  schedule(s), s counted from 0.
  """
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=config.optimizer.learning_rate,
    warmup_steps=config.optimizer.warmup_steps,
    decay_steps=config.total_steps,
  )


def create(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
  """The paper's optimiser; the decay joins the gradient before the momentum.

  Kernels and position tables decay; norms, biases and u0 do so only with
  `optimizer.decay_norms_and_biases`.
  """

  def decayed(params):
    everything = config.optimizer.decay_norms_and_biases
    # By name, for the biases of query, key and value are matrices.
    return jax.tree_util.tree_map_with_path(
      lambda path, _: everything or path[-1].key in DECAYED, params
    )

  return optax.chain(
    optax.add_decayed_weights(config.optimizer.weight_decay, mask=decayed),
    optax.sgd(
      schedule(config),
      momentum=config.optimizer.momentum,
      nesterov=config.optimizer.nesterov,
    ),
  )
