"""Images as patches, and the split of a patch set into context and targets.

Pure functions. Patches are numbered row by row from the top left. A *target*
is a masked patch, one of the holes of the puzzle; the *context* is the rest.
"""

import jax
import jax.numpy as jnp
import numpy as np

from selfie_jax import errors

_LUMINANCE = (0.299, 0.587, 0.114)  # of red, green, blue: ITU-R BT.601


def grid_size(image_size: int, patch_size: int) -> int:
  """Patches along one side of a square image; UserError if they do not fit."""
  if patch_size < 1 or image_size % patch_size:
    fits = [p for p in range(2, image_size // 2 + 1) if image_size % p == 0]
    raise errors.UserError(
      f'image_size={image_size} is not divisible by patch_size={patch_size};'
      f' patch sizes that fit: {", ".join(map(str, fits))}'
    )
  return image_size // patch_size


def num_targets(num_patches: int, masked_fraction: float) -> int:
  """Masked patches of an image: 4 of 16 and 12 of 49 at a fraction of 0.25.

  Raises:
    UserError: there are fewer than three patches, fewer than two would be
      masked (nothing to choose from), or none would be left to look at.
  """
  if num_patches < 3:
    raise errors.UserError(
      f'{num_patches} patches of an image are too few to mask two of them and '
      'look at the rest; give a smaller --config.patch_size'
    )
  count = round(num_patches * masked_fraction)
  if not 2 <= count < num_patches:
    raise errors.UserError(
      f'masked_fraction={masked_fraction} masks {count} of {num_patches} '
      f'patches; valid: 2 to {num_patches - 1} patches, fractions from '
      f'{2 / num_patches:.3g} to {(num_patches - 1) / num_patches:.3g}'
    )
  return count


def extract(images: jax.Array, patch_size: int) -> jax.Array:
  """Cuts [batch, h, w, c] images into [batch, patches, size, size, c]."""
  b, h, w, c = images.shape
  rows, columns = h // patch_size, w // patch_size
  x = images.reshape(b, rows, patch_size, columns, patch_size, c)
  x = x.swapaxes(2, 3)  # [batch, rows, columns, size, size, c]
  return x.reshape(b, rows * columns, patch_size, patch_size, c)


def extract_overlapping(images: jax.Array, patch_size: int) -> jax.Array:
  """Cuts square images into patches that are half a patch apart.

  Args:
    images: [batch, s, s, c], of g x g patches side by side.
    patch_size: pixels; where it is odd, half a patch is rounded.

  Returns:
    [batch, n, n, size, size, c] with n = 2 * g - 1.
  """
  side = images.shape[1]
  count = 2 * (side // patch_size) - 1
  starts = np.linspace(0, side - patch_size, count).round().astype(int)
  places = starts[:, None] + np.arange(patch_size)
  # [batch, rows, size, columns, size, c]
  return images[:, places][:, :, :, places].swapaxes(2, 3)


def recolour(
  images: jax.Array,
  keys: jax.Array,
  patch_size: int,
  factor: float,
  shift: float,
  greyscale: float,
) -> jax.Array:
  """Changes the colours of each patch by itself, where it is in the image.

  Args:
    images: of values 0 to 255 [batch, s, s, 3].
    keys: [batch].
    patch_size: side of a patch, pixels.
    factor: each channel is multiplied by a number in [1 - factor, 1 + factor],
    shift: then moved by one in [-255 * shift, 255 * shift], then clipped.
    greyscale: share of the patches that become grey after that.

  Returns:
    float32, of the same shape and range.
  """
  b, side = images.shape[:2]
  grid = side // patch_size

  def draw(key):
    of_factor, of_shift, of_grey = jax.random.split(key, 3)
    shape = (grid, 1, grid, 1, 3)
    return (
      1 + factor * jax.random.uniform(of_factor, shape, minval=-1),
      255 * shift * jax.random.uniform(of_shift, shape, minval=-1),
      jax.random.bernoulli(of_grey, greyscale, (grid, 1, grid, 1, 1)),
    )

  factors, shifts, are_grey = jax.vmap(draw)(keys)
  x = images.reshape(b, grid, patch_size, grid, patch_size, 3)
  x = jnp.clip(x * factors + shifts, 0, 255)
  grey = (x * jnp.array(_LUMINANCE)).sum(axis=-1, keepdims=True)
  return jnp.where(are_grey, grey, x).reshape(images.shape)


def separate(
  patches: jax.Array, gap: int, keys: jax.Array | None = None
) -> jax.Array:
  """Cuts each patch smaller and fills it up again by reflection.

  So neighbours do not touch, while P sees pixels at the scale of whole images,
  in patches of one size, with no more of a border than before: what it learns
  fits the patches of evaluation, and whole images.

  Args:
    patches: [batch, patches, size, size, c].
    gap: pixels less in height and width, up to size / 2.
    keys: [batch], to draw the place of each patch; None for the middle.
  """
  count, size = patches.shape[1], patches.shape[2] - gap
  before = gap // 2
  if keys is None:
    offsets = jnp.full((1, count, 2), before)
  else:
    offsets = jax.vmap(
      lambda key: jax.random.randint(key, (count, 2), 0, gap + 1)
    )(keys)
  for axis in (2, 3):
    # A choice among a few windows; a TPU gathers slowly.
    offset = offsets[:, :, axis - 2, None, None, None]
    patches = jnp.select(
      [offset == i for i in range(gap + 1)],
      [
        jax.lax.slice_in_dim(patches, i, i + size, axis=axis)
        for i in range(gap + 1)
      ],
    )
  edges = (before, gap - before)
  widths = ((0, 0), (0, 0), edges, edges, (0, 0))
  return jnp.pad(patches, widths, mode='reflect')


def assemble(patches: jax.Array) -> jax.Array:
  """Puts [batch, patches, size, size, c] of a square grid together again."""
  b, n, size, _, c = patches.shape
  grid = round(n**0.5)
  x = patches.reshape(b, grid, grid, size, size, c)
  return x.swapaxes(2, 3).reshape(b, grid * size, grid * size, c)


def split(
  key: jax.Array, num_patches: int, num_targets: int
) -> tuple[jax.Array, jax.Array]:
  """Draws the context and the targets of one image.

  Args:
    key: a key of this image's own (vmap over keys for a batch: one split for a
      whole batch is a known mistake, the paper draws one for every image).
    num_patches: patches of the image.
    num_targets: how many of them are masked.

  Returns:
    Patch numbers, int32: the context [patches - targets], the targets
    [targets]. Together they are every patch once.
  """
  order = jax.random.permutation(key, num_patches).astype(jnp.int32)
  return order[num_targets:], order[:num_targets]
