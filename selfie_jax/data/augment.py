"""Stateless image operations: what is random is drawn outside and passed in.

`crop_and_flip` works on whole batches in numpy; the others on one image, most
of them an encoded one, in a TensorFlow graph.
"""

from __future__ import annotations

import numpy as np

from selfie_jax.data import tf

# The usual ImageNet choices: crops are about as wide as they are high, and a
# test image is shown without the eighth of it that training crops rarely see.
_ASPECT_RATIOS = (3 / 4, 4 / 3)
CENTRAL_SHARE = 0.875
_JPEG = 'INTEGER_ACCURATE'  # as Pillow; TensorFlow's default is 1 of 255 darker
_PIXEL = np.dtype('V3')


def crop_and_flip(
  images: np.ndarray,
  chosen: np.ndarray,
  offsets: np.ndarray,
  flips: np.ndarray,
  padding: int,
  border: str,
) -> np.ndarray:
  """Pads images, crops them back to their size, and mirrors some.

  One gather does it all, which is several times faster than padded copies.

  Args:
    images: uint8, [size, s, s, 3], C-contiguous.
    chosen: positions in `images`, integers, [batch].
    offsets: top and left edge of the crop in the padded image, integers in
      [0, 2 * padding], [batch, 2].
    flips: whether to mirror left to right, bool, [batch].
    padding: width of the border, pixels; for 'reflect' less than s.
    border: 'zero', or 'reflect' (without repeating the edge).

  Returns:
    uint8, [batch, s, s, 3].
  """
  side = images.shape[1]
  places = np.arange(side)
  rows = offsets[:, :1] - padding + places  # [batch, s]
  columns = offsets[:, 1:] - padding + places  # [batch, s]
  columns = np.where(flips[:, None], columns[:, ::-1], columns)
  pixels = images.view(_PIXEL).reshape(-1)
  gather = (chosen[:, None] * side + _inside(rows, side, border))[
    :, :, None
  ] * side + _inside(columns, side, border)[:, None, :]  # [batch, s, s]
  out = pixels.take(gather)
  if border == 'zero' and padding:
    is_row, is_column = _is_inside(rows, side), _is_inside(columns, side)
    out[~(is_row[:, :, None] & is_column[:, None, :])] = np.zeros((), _PIXEL)
  return out.view(np.uint8).reshape(-1, side, side, 3)


def decode_eval(encoded: tf.Tensor, size: int, crop: str) -> tf.Tensor:
  """Decodes an image as evaluation shows it: uint8 [size, size, 3].

  Args:
    encoded: the file's bytes, a string scalar.
    size: side of the result, pixels.
    crop: the config's augment.crop. 'random_resized' shows the central square,
      87.5 % of the shorter side; the others show all of it, whatever its shape.
  """
  if crop == 'random_resized':
    return _resize(_decode_box(encoded, central_box(_shape(encoded))), size)
  return _resize(_decode(encoded), size)


def resize_eval(image: tf.Tensor, size: int, crop: str) -> tf.Tensor:
  """What decode_eval does to a decoded image: uint8 [h, w, 3]."""
  if crop == 'random_resized':
    box = central_box(tf.shape(image))
    image = tf.image.crop_to_bounding_box(image, *tf.unstack(box))
  return _resize(image, size)


def decode_padded_crop(
  encoded: tf.Tensor,
  offset: tf.Tensor,
  flip: tf.Tensor,
  size: int,
  padding: int,
  border: str,
) -> tf.Tensor:
  """Decodes and resizes an image, then does to it what crop_and_flip does.

  In the graph, where all cores share the work. Rows are gathered and columns
  sliced; tf.pad takes several times as long.

  Args:
    encoded: the file's bytes, a string scalar.
    offset: top and left edge of the crop in the padded image, int64, [2].
    flip: whether to mirror left to right, bool scalar.
    size: side of the result, pixels.
    padding: width of the border, pixels; for 'reflect' less than `size`.
    border: 'zero' or 'reflect'.

  Returns:
    uint8, [size, size, 3].
  """
  image = _resize(_decode(encoded), size)
  if padding:
    rows = offset[0] - padding + tf.range(size, dtype=tf.int64)
    image = tf.gather(image, _inside(rows, size, border))
    if border == 'zero':
      image *= tf.cast(_is_inside(rows, size), tf.uint8)[:, None, None]
    image = _shift_columns(image, offset[1] - padding, border)
  image = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)
  return tf.ensure_shape(image, [size, size, 3])


def brightest(encoded: tf.Tensor) -> tf.Tensor:
  """The largest number in an image: uint8, scalar."""
  return tf.reduce_max(_decode(encoded))


def decode_random_crop(
  encoded: tf.Tensor,
  seed: tf.Tensor,
  flip: tf.Tensor,
  size: int,
  min_area: float,
) -> tf.Tensor:
  """Decodes a random box of an image, resizes it and maybe mirrors it.

  A JPEG is decoded only there. Resized without antialiasing, as is usual for
  such crops: they shrink little, and it would take a third of the speed.

  Args:
    encoded: the file's bytes, a string scalar: JPEG, PNG, BMP or GIF.
    seed: see random_box.
    flip: whether to mirror left to right, bool scalar.
    size: side of the result, pixels.
    min_area: see random_box.

  Returns:
    uint8, [size, size, 3].
  """
  image = _decode_box(encoded, random_box(_shape(encoded), seed, min_area))
  image = tf.cond(flip, lambda: tf.reverse(image, [1]), lambda: image)
  return _resize(image, size, antialias=False)


def random_box(shape: tf.Tensor, seed: tf.Tensor, min_area: float) -> tf.Tensor:
  """A box as TensorFlow draws it for Inception: between `min_area` and all.

  Its aspect ratio, from 3/4 to 4/3, and its height are even: small areas are
  likelier than in Szegedy et al. (2015). All of the image where no box fits.

  Args:
    shape: height, width and channels of the image, int32, [3].
    seed: the box follows from it, int32, [2].
    min_area: in (0, 1].

  Returns:
    Top, left, height, width in pixels: int32, [4].
  """
  begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
    shape,
    tf.zeros([1, 0, 4]),
    seed,
    min_object_covered=0.0,
    aspect_ratio_range=_ASPECT_RATIOS,
    area_range=(min_area, 1.0),
    use_image_if_no_bounding_boxes=True,
  )
  return tf.concat([begin[:2], extent[:2]], 0)


def central_box(shape: tf.Tensor) -> tf.Tensor:
  """Top, left, height, width of the central square of an image: int32, [4].

  Its side is 87.5 % of the shorter one; `shape` is height, width and channels.
  """
  height, width = tf.unstack(shape[:2])
  shorter = tf.cast(tf.minimum(height, width), tf.float32)
  side = tf.maximum(tf.cast(tf.round(CENTRAL_SHARE * shorter), tf.int32), 1)
  return tf.stack([(height - side) // 2, (width - side) // 2, side, side])


def _inside(places, side: int, border: str):
  """Moves places outside 0..side-1 (numpy's, TensorFlow's) to pixels there."""
  if border == 'reflect':
    return side - 1 - abs(side - 1 - abs(places))
  clip = np.clip if isinstance(places, np.ndarray) else tf.clip_by_value
  return clip(places, 0, side - 1)


def _is_inside(places: np.ndarray, side: int) -> np.ndarray:
  return (places >= 0) & (places < side)


def _shift_columns(image: tf.Tensor, left: tf.Tensor, border: str) -> tf.Tensor:
  """The columns left..left + size - 1 of an image and its border."""
  size = tf.shape(image, tf.int64)[1]
  before, behind = tf.maximum(-left, 0), tf.maximum(left, 0)
  if border == 'zero':
    first, last = (tf.zeros([size, n, 3], tf.uint8) for n in (before, behind))
  else:
    first = tf.reverse(image[:, 1 : before + 1], [1])
    last = tf.reverse(image[:, size - 1 - behind : size - 1], [1])
  middle = image[:, behind : tf.maximum(size - before, 0)]
  return tf.concat([first, middle, last], 1)[:, :size]


def _shape(encoded: tf.Tensor) -> tf.Tensor:
  """Height, width and channels without decoding a JPEG: int32, [3]."""
  return tf.cond(
    tf.image.is_jpeg(encoded),
    lambda: tf.io.extract_jpeg_shape(encoded),
    lambda: tf.shape(_decode(encoded)),
  )


def _decode(encoded: tf.Tensor) -> tf.Tensor:
  """Grey becomes RGB: uint8, [height, width, 3]."""
  return tf.cond(
    tf.image.is_jpeg(encoded),
    lambda: tf.io.decode_jpeg(encoded, 3, dct_method=_JPEG),
    lambda: tf.io.decode_image(encoded, 3, expand_animations=False),
  )


def _decode_box(encoded: tf.Tensor, box: tf.Tensor) -> tf.Tensor:
  """The pixels of a box (top, left, height, width), int32, [4]."""
  return tf.cond(
    tf.image.is_jpeg(encoded),
    lambda: tf.image.decode_and_crop_jpeg(encoded, box, 3, dct_method=_JPEG),
    lambda: tf.image.crop_to_bounding_box(_decode(encoded), *tf.unstack(box)),
  )


def _resize(image: tf.Tensor, size: int, antialias: bool = True) -> tf.Tensor:
  """Bilinear and rounded: uint8, [size, size, 3]."""

  def resize():
    resized = tf.image.resize(image, [size, size], antialias=antialias)
    return tf.cast(resized + 0.5, tf.uint8)

  is_right = tf.reduce_all(tf.shape(image)[:2] == size)
  image = tf.cond(is_right, lambda: image, resize)
  return tf.ensure_shape(image, [size, size, 3])
