"""What several jobs change alike: ImageNet and photos, :small and :tiny."""

from typing import Any

from ml_collections import ConfigDict

from selfie_jax import errors


def choose(
  config: ConfigDict,
  variant: str,
  small: dict[str, Any] | None = None,
  tiny: dict[str, Any] | None = None,
) -> ConfigDict:
  """Changes a job to one of its variants and returns it.

  Args:
    config: the job without a variant, '' (the paper's setting).
    variant: '', 'small' or 'tiny'.
    small: fields that :small changes beside those of `make_small`; without
      them :small is the same as no variant.
    tiny: likewise for :tiny and `make_tiny`.

  Raises:
    UserError: there is no such variant.
  """
  if variant not in ('', 'small', 'tiny'):
    raise errors.UserError(
      f"no variant {variant!r}; this config has none (the paper's setting) "
      'and :small, :tiny'
    )
  if variant == 'small' and small:
    make_small(config)
    config.update_from_flattened_dict(small)
  if variant == 'tiny':
    if config.mode != 'probe':
      make_tiny(config)
    config.update_from_flattened_dict(tiny or {})
  return config


def use_imagenet32(config: ConfigDict) -> None:
  """ImageNet at 32x32 (paper, section 4.1)."""
  config.dataset.name = 'imagenet_resized/32x32'
  config.dataset.test_split = 'validation'
  config.batch_size = 1024


def use_imagenet(config: ConfigDict) -> None:
  """ImageNet at 224x224 with 7x7 patches (paper, section 4.1)."""
  config.dataset.name = 'imagenet2012'
  config.dataset.test_split = 'validation'
  _use_224_pixels(config, batch_size=1024)


def use_photos(config: ConfigDict) -> None:
  """Your own photos at 224x224 in 7x7 patches."""
  config.dataset.name = 'folder'
  _use_224_pixels(config, batch_size=256)


def make_small(config: ConfigDict) -> None:
  """The network and batch of :small, chosen on CIFAR-10 (docs/results.md).

  The stem is to leave a patch 4x4 pixels, so that block 2 sees 2x2.
  """
  shrink_network(config, width=24, stem='patch2')
  config.model.depths = (2, 2, 2, 2)
  config.model.closing_norm = False
  config.model.attention.dropout = 0.0
  config.batch_size = 128
  if config.mode == 'pretrain':
    config.model.logit_scale = 'inverse_sqrt'


def make_tiny(config: ConfigDict) -> None:
  """A smoke test of seconds."""
  shrink_network(config, width=4, stem='patch4')
  config.model.depths = (1, 1, 1, 1)
  config.model.attention.num_layers = 1
  config.model.attention.num_heads = 2
  config.batch_size = 32
  config.eval_batch_size = 128
  config.total_steps = 12
  config.optimizer.warmup_steps = 2
  config.log_every = 3
  config.eval_every = 6
  config.checkpoint_every = 6


def shrink_network(config: ConfigDict, width: int, stem: str) -> None:
  """A narrower network with a cheaper stem, for CPUs; the same code."""
  config.dtype = 'float32'
  config.model.width = width
  config.model.stem = stem
  config.model.attention.num_layers = 2
  config.model.attention.num_heads = 8
  config.model.attention.hidden = 10 * width  # the paper's proportion


def _use_224_pixels(config: ConfigDict, batch_size: int) -> None:
  config.image_size = 224
  config.patch_size = 32
  config.batch_size = batch_size
  config.eval_batch_size = batch_size
  config.model.stem = 'conv7_pool'
  config.model.positions = 'row_column'
