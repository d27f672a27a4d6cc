"""From a data set's name to a prepared tfds builder."""

import contextlib
import io

from absl import logging
from etils import epath
import numpy as np
import tensorflow_datasets as tfds

from selfie_jax import cache
from selfie_jax import data as data_lib
from selfie_jax import errors
from selfie_jax.data import digits
from selfie_jax.data import retry
from selfie_jax.data import tf

tfds.disable_progress_bar()

_RUNS_AT_ONCE = '`python main.py --config=configs/digits_pretrain.py`'


def open_builder(dataset) -> tfds.core.DatasetBuilder:
  """Opens a data set by name, preparing it first if it is not on the disk.

  Args:
    dataset: the config's `dataset`: `name` is 'digits' or any tfds name
      ('cifar10', 'imagenet_resized/32x32'), also of a set that is only there
      as a prepared folder; `data_dir` is where it lives ('': tfds's default;
      for digits the cache folder); `download` says whether to fetch it.

  Returns:
    A prepared builder with an 'image' and a 'label' feature.

  Raises:
    UserError: no such set, it lacks image or label, or it is neither on the
      disk nor to be had.
  """
  with quiet():
    if dataset.name == 'digits':
      builder = _open_digits(dataset.data_dir)
    else:
      builder = _find(dataset.name, dataset.data_dir)
      _check_features(builder)
      if not _is_prepared(builder):
        builder = _prepare(builder, dataset)
    _check_files(builder)
    return builder


def open_split(builder: tfds.core.DatasetBuilder, name: str):
  """Returns tfds's split info of a split, or of a part such as 'train[:10%]'.

  Raises:
    UserError: there is no such split, or the part is empty.
  """
  try:
    split = builder.info.splits[name]
    if split.num_examples > 0:
      return split
    reason = 'is empty'
  except (KeyError, ValueError):
    reason = 'does not exist'
  known = ', '.join(
    f"'{split.name}' ({split.num_examples:,} images)"
    for split in builder.info.splits.values()
  )
  raise errors.UserError(
    f"Split '{name}' of '{builder.info.full_name}' {reason}; there are {known},"
    f" and parts of them such as '{next(iter(builder.info.splits))}[:10%]'."
  )


@contextlib.contextmanager
def quiet():
  """Keeps tfds's informational log lines off the terminal meanwhile."""
  verbosity = logging.get_verbosity()
  logging.set_verbosity(min(verbosity, logging.WARNING))
  try:
    yield
  finally:
    logging.set_verbosity(verbosity)


def _open_digits(data_dir: str) -> tfds.core.DatasetBuilder:
  folder = data_dir or str(cache.folder() / 'tfds')

  def open_or_prepare() -> tfds.core.DatasetBuilder:
    builder = digits.Digits(data_dir=folder)
    if not _is_prepared(builder):
      data_lib.load_tensorflow()  # or tfds loads all of it
      with contextlib.redirect_stdout(io.StringIO()):  # tfds's greeting
        builder.download_and_prepare()
    return builder

  try:
    # tfds prepares beside the final folder and renames at the end, which fails
    # for the second of two processes; then the first one's files are there.
    return retry.with_retries(folder, open_or_prepare)
  except Exception as error:
    raise errors.kind(error)(
      f"Data set 'digits' cannot be prepared in {folder}"
      f' ({retry.reason(error.__cause__ or error)}); name a folder that can be'
      ' written with --config.dataset.data_dir=DIR.'
    ) from error


def _find(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
  """The builder of a set, prepared or not."""
  folder = data_dir or None
  try:
    builder = _load_builder(name, folder)
    if not _is_prepared(builder) and ':' not in name:
      # Any other prepared version is as good as the code's newest.
      builder = _load_builder(f'{name}:*.*.*', folder)
    return builder
  except tfds.core.DatasetNotFoundError as error:
    # tfds says it with all its names; those in a folder are not among them.
    raise errors.UserError(
      f"There is no data set '{name}' in tfds or in"
      f' {folder or tfds.core.constants.DATA_DIR}; type'
      " --config.dataset.name=NAME: 'digits', 'folder' (your own images at"
      ' --config.dataset.path) or an image set of'
      ' https://www.tensorflow.org/datasets/catalog'
    ) from error
  # A version that is not there is an AssertionError, an option a TypeError.
  # A file system that is not known is a RuntimeError.
  except (
    AssertionError, ImportError, RuntimeError, TypeError, ValueError,
  ) as error:  # fmt: skip
    _, _, why = retry.reason(error, 1000).rpartition('}": ')  # arguments
    raise errors.kind(error)(
      f"Data set '{name}' cannot be opened ({why[:300]}); type a tfds name such"
      " as 'cifar10' or 'imagenet_resized/32x32', or 'digits'."
    ) from error


def _load_builder(name: str, folder: str | None) -> tfds.core.DatasetBuilder:
  return retry.with_retries(
    f"data set '{name}'", lambda: tfds.builder(name, data_dir=folder)
  )


def _is_prepared(builder: tfds.core.DatasetBuilder) -> bool:
  def look() -> bool:
    try:
      builder.data_path.stat()
      return True
    except (FileNotFoundError, NotADirectoryError):
      return False
    except tf.errors.NotFoundError:  # a bucket's
      return False

  return retry.with_retries(str(builder.data_path), look)


def _check_files(builder: tfds.core.DatasetBuilder) -> None:
  """In a bucket a folder is renamed file by file, and may be half there."""
  path = builder.data_path
  there = retry.with_retries(
    str(path), lambda: {x.name for x in path.iterdir()}
  )
  splits = builder.info.splits.values()
  if not splits or {x for split in splits for x in split.filenames} - there:
    raise errors.UserError(
      f'{path} lacks files of the data set, as if its preparation had been'
      ' stopped halfway; delete that folder and type the same command again'
    )


def _check_features(builder: tfds.core.DatasetBuilder) -> None:
  features = dict((builder.info.features or {}).items())
  image, label = features.get('image'), features.get('label')
  if (
    isinstance(image, tfds.features.Image)
    and image.np_dtype == np.uint8
    and isinstance(label, tfds.features.ClassLabel)
  ):
    return
  listed = ', '.join(
    f'{name} ({type(feature).__name__})' for name, feature in features.items()
  )
  raise errors.UserError(
    f"Data set '{builder.info.full_name}' has the features {listed or 'none'};"
    " a set needs 'image' (Image, uint8) and 'label' (ClassLabel), as cifar10"
    ' has.'
  )


def _prepare(
  builder: tfds.core.DatasetBuilder, dataset
) -> tfds.core.DatasetBuilder:
  """Downloads and prepares a set, or says what to do instead."""
  if not dataset.download:
    raise _absent(builder, dataset.name, 'dataset.download is False')
  by_hand = builder.MANUAL_DOWNLOAD_INSTRUCTIONS
  downloads = epath.Path(builder.data_dir_root) / 'downloads' / 'manual'
  if by_hand and not (downloads.exists() and any(downloads.iterdir())):
    raise _absent(
      builder,
      dataset.name,
      f'has to be downloaded by hand into {downloads}:'
      f' {" ".join(by_hand.split()).rstrip(".")}',
    )
  data_lib.load_tensorflow()  # or tfds loads all of it
  tfds.enable_progress_bar()
  try:
    builder.download_and_prepare()
    return builder
  except Exception as error:
    if _is_prepared(builder):  # by another process meanwhile
      return _find(dataset.name, dataset.data_dir)
    reason = f'getting it failed ({retry.reason(error, 1000)})'
    raise _absent(builder, dataset.name, reason, error) from error
  finally:
    tfds.disable_progress_bar()


def _absent(
  builder: tfds.core.DatasetBuilder,
  name: str,
  reason: str,
  error: Exception | None = None,
) -> errors.UserError:
  kind = errors.kind(error) if error else errors.UserError
  return kind(
    f"Data set '{name}' is not in {builder.data_path} and {reason}."
    ' Prepare it where it can be had with `python -c "import'
    f" tensorflow_datasets as tfds; tfds.builder('{name}',"
    " data_dir='DIR').download_and_prepare()\"` and type"
    f' --config.dataset.data_dir=DIR; {_RUNS_AT_ONCE} runs at once.'
  )
