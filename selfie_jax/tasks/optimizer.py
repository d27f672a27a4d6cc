"""SGD with Nesterov momentum, warm-up + cosine, L2 decay."""

import functools

import jax
import jax.numpy as jnp
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
  finite are left out as `optimizer.skip_nonfinite` says, see `_if_finite`.
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
  return _if_finite(sgd, config.optimizer.skip_nonfinite)


def _if_finite(
  inner: optax.GradientTransformation, most_in_a_row: int
) -> optax.GradientTransformation:
  """optax.apply_if_finite, with its state, by selection.

  That one branches, and on the TPU weights and momentum then go through memory
  once more (docs/performance.md). A gradient counts as finite if its norm is,
  which is computed anyway.
  """

  def init(params):
    return optax.apply_if_finite(inner, most_in_a_row).init(params)

  def update(updates, state, params=None):
    finite = jnp.isfinite(optax.tree.norm(updates))
    in_a_row = jnp.where(finite, 0, state.notfinite_count + 1)
    pick = functools.partial(jnp.where, finite | (in_a_row > most_in_a_row))
    updates, inner_state = inner.update(updates, state.inner_state, params)
    return jax.tree.map(
      lambda update: pick(update, jnp.zeros_like(update)), updates
    ), optax.ApplyIfFiniteState(
      notfinite_count=in_a_row,
      last_finite=finite,
      total_notfinite=state.total_notfinite + ~finite,
      inner_state=jax.tree.map(pick, inner_state, state.inner_state),
    )

  return optax.GradientTransformation(init, update)
