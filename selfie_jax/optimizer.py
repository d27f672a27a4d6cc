"""SGD with Nesterov momentum, warm-up + cosine, L2 decay."""

import jax
import ml_collections
import optax


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

  `optimizer.decay_norms_and_biases` says whether the vectors (norms, biases,
  u0) decay too; kernels and position tables always do. Gradients that are not
  finite are left out as `optimizer.skip_nonfinite` says; the state is optax's
  ApplyIfFiniteState in any case, so that a run can change its mind.
  """

  def decayed(params):
    everything = config.optimizer.decay_norms_and_biases
    return jax.tree.map(lambda x: everything or x.ndim > 1, params)

  sgd = optax.chain(
    optax.add_decayed_weights(config.optimizer.weight_decay, mask=decayed),
    optax.sgd(
      schedule(config),
      momentum=config.optimizer.momentum,
      nesterov=config.optimizer.nesterov,
    ),
  )
  return optax.apply_if_finite(sgd, config.optimizer.skip_nonfinite)
