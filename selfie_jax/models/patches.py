"""Images as patches, and the split of a patch set into context and targets.

Pure functions. Patches are numbered row by row from the top left. A *target*
is a masked patch; the *context* is the rest.
"""

import jax
import jax.numpy as jnp
import numpy as np

from selfie_jax import errors


def grid_size(image_size: int, patch_size: int) -> int:
  """Patches along one side of a square image; UserError if they do not fit."""
  if patch_size < 1 or image_size % patch_size:
    fits = [p for p in range(2, image_size // 2 + 1) if image_size % p == 0]
    raise errors.UserError(
      f'image_size={image_size} is not divisible by patch_size={patch_size}; '
      + (
        f'patch sizes that fit: {", ".join(map(str, fits))}'
        if fits
        else 'no patch size fits a prime number: type another '
        '--config.image_size, such as 32'
      )
    )
  return image_size // patch_size


def num_targets(num_patches: int, masked_fraction: float) -> int:
  """Masked patches of an image: 4 of 16 and 12 of 49 at a fraction of 0.25.

  Rounded, halves to even.

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
