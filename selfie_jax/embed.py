"""Writes one vector for every image file below a folder.

python -m selfie_jax.embed --checkpoint=runs/cifar_pretrain --images=DIR \
    --out=embeddings.npz
"""

from collections.abc import Iterator
from concurrent import futures
import os
import pathlib
import sys
from typing import Any

import numpy as np
import tqdm

from selfie_jax import command_line
from selfie_jax import errors
from selfie_jax.inference import columns as columns_lib

NAMED = 3  # so many of the files that cannot be read are named


def main() -> None:
  parser = command_line.Parser(
    prog='python -m selfie_jax.embed', description=__doc__.splitlines()[0]
  )
  add = parser.add_argument
  add('--checkpoint', required=True, metavar='RUN', help="a run's folder")
  add('--images', required=True, metavar='DIR', help='folder, at any depth')
  add('--out', required=True, metavar='FILE', help='FILE.npz or FILE.parquet')
  add(
    '--layer',
    help='patches (default of pretraining runs), block3 (of finetuned ones), '
    'attention or block4',
  )
  add('--batch_size', type=int, default=64, help='images at a time')
  add(
    '--predict',
    action='store_true',
    help='write the predicted classes too (finetuned runs)',
  )
  command_line.silence_libraries()
  with command_line.one_line():
    args = parser.parse_args()
    command_line.check_devices()
    written, skipped, layer = embed_folder(**vars(args))
    print(f'{args.out}: {written} images, layer {layer}{_describe(skipped)}')


def embed_folder(
  checkpoint: str,
  images: str,
  out: str,
  layer: str | None = None,
  batch_size: int = 64,
  predict: bool = False,
) -> tuple[int, list[str], str]:
  """Embeds the image files of a folder; reads a few batches ahead.

  Args:
    checkpoint: the run's folder.
    images: the folder.
    out: FILE.npz or FILE.parquet; it is whole or not there.
    layer: see model_lib.Model.embed.
    batch_size: images that go through the network at a time.
    predict: whether to write predictions too.

  Returns:
    The number of images written, the files that could not be read, and the
    layer.

  Raises:
    UserError: an argument is not valid, no file can be read or `out` cannot be
      written.
  """
  columns_lib.check(out)
  # JAX and TensorFlow take seconds to load.
  from selfie_jax.data.photos import images as images_lib
  from selfie_jax.inference import model as model_lib
  from selfie_jax.inference import samples

  files = images_lib.find(images)
  model = model_lib.load(checkpoint, batch_size)
  names = [model.check_layer(layer)]
  if predict:
    model.check_predicts()
    names.append('probabilities')
  labels = samples.folder_labels(files)

  def read(file: str) -> np.ndarray | None:
    return images_lib.read_or_none(pathlib.Path(images, file), model.config)

  skipped: list[str] = []
  written = 0
  bar = tqdm.tqdm(
    total=len(files),
    unit='image',
    dynamic_ncols=True,
    disable=not sys.stderr.isatty(),
  )
  with bar, columns_lib.writer(out, {'layer': names[0]}) as write:
    for part, decoded in _read_ahead(read, files, model.batch_size):
      readable = {
        file: image
        for file, image in zip(part, decoded, strict=True)
        if image is not None
      }
      skipped += [file for file in part if file not in readable]
      if readable:
        found = model.compute_batch(list(readable.values()), names)
        columns: dict[str, Any] = {
          'files': list(readable),
          'vectors': found[names[0]],
        }
        if labels:
          columns['labels'] = [labels[file] for file in readable]
        if predict:
          best = found['probabilities'].argmax(axis=-1)
          columns['predictions'] = [model.class_names[i] for i in best]
          columns['probabilities'] = found['probabilities']
        write(columns)
        written += len(readable)
      bar.update(len(part))
    if not written:
      raise errors.UserError(
        f'not one of the {len(files)} image files in {images} can be read'
      )
  return written, skipped, names[0]


def _describe(skipped: list[str]) -> str:
  if not skipped:
    return ''
  named = ', '.join(skipped[:NAMED]) + (' ...' if skipped[NAMED:] else '')
  return f'; {len(skipped)} left out that cannot be read: {named}'


def _read_ahead(
  read, files: list[str], size: int
) -> Iterator[tuple[list[str], list[np.ndarray | None]]]:
  """Batches of files and their images, decoded on threads one batch ahead."""
  with futures.ThreadPoolExecutor(os.cpu_count(), 'decode') as pool:
    pending = None
    for start in range(0, len(files), size):
      part = files[start : start + size]
      following = part, [pool.submit(read, file) for file in part]
      if pending:
        yield pending[0], [future.result() for future in pending[1]]
      pending = following
    if pending:
      yield pending[0], [future.result() for future in pending[1]]


if __name__ == '__main__':
  main()
