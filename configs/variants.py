"""What several jobs change alike: ImageNet and photos, :small and :tiny."""

from ml_collections import ConfigDict

from selfie_jax import errors


def check_variant(variant: str, *valid: str) -> None:
  """Refuses a variant that a job does not have; '' is always there."""
  if variant and variant not in valid:
    raise errors.UserError(
      f"no variant {variant!r}; this config has none (the paper's setting) "
      f'and {", ".join(":" + name for name in valid)}'
    )


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


def use_photos(config: ConfigDict, variant: str) -> None:
  """Your own photos at 224x224, or 64x64 for CPUs; in 7x7 or 4x4 patches."""
  config.dataset.name = 'folder'
  _use_224_pixels(config, batch_size=256)
  if variant == 'small':
    make_small(config, stem='patch4')
    config.image_size = 64
    config.patch_size = 16
  elif variant == 'tiny':
    make_tiny(config)
    config.image_size = 32
    config.patch_size = 8


def make_small(config: ConfigDict, stem: str) -> None:
  """The network and batch of :small, chosen on CIFAR-10 (docs/results.md).

  The stem is to leave a patch 4x4 pixels, so that block 2 sees 2x2.
  """
  shrink_network(config, width=24, stem=stem)
  config.model.depths = (2, 2, 2, 2)
  config.model.closing_norm = False
  config.model.attention.dropout = 0.0
  config.batch_size = 128
  if config.mode == 'pretrain':
    config.model.logit_scale = 'inverse_sqrt'


def make_tiny(config: ConfigDict) -> None:
  """A run of seconds, to see that everything turns."""
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
