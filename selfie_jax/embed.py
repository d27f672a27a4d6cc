"""Writes one vector for every image file below a folder.

python -m selfie_jax.embed --checkpoint=runs/cifar_pretrain --images=DIR \
    --out=embeddings.npz
"""

import numpy as np
import tqdm

from selfie_jax import command_line


def main() -> None:
  parser = command_line.Parser('embed', __doc__)
  add = parser.add_argument
  parser.add_path('--checkpoint', 'RUN', "a run's folder")
  parser.add_path('--images', 'DIR', 'folder, at any depth')
  parser.add_path('--out', 'FILE', 'FILE.npz or FILE.parquet')
  add(
    '--layer',
    help='quadrants (default of pretraining runs), patches, block3 (default of '
    'finetuned ones), attention or block4',
  )
  add('--batch_size', type=int, default=64, help='images at a time')
  add(
    '--predict',
    action='store_true',
    help='write the predicted classes too (finetuned runs)',
  )
  command_line.silence_libraries()
  with command_line.exit_cleanly():
    args = parser.parse_args()
    command_line.start_jax()
    written, skipped, layer = embed_folder(**vars(args))
    from selfie_jax.inference import samples  # takes seconds to load

    more = f'; {samples.describe(skipped)}' if skipped else ''
    print(f'{args.out}: {written} images, layer {layer}{more}')


def embed_folder(
  checkpoint: str,
  images: str,
  out: str,
  layer: str | None = None,
  batch_size: int = 64,
  predict: bool = False,
) -> tuple[int, list[str], str]:
  """Embeds the image files of a folder; the file is whole or not there.

  Args:
    checkpoint: the run's folder.
    images: the folder.
    out: FILE.npz or FILE.parquet.
    layer: see model_lib.Model.embed.
    batch_size: images that go through the network at a time.
    predict: whether to write predictions too.

  Returns:
    The number of images written, the unreadable files, and the layer.

  Raises:
    UserError: an argument is not valid, no file can be read or `out` cannot be
      written.
  """
  # JAX, TensorFlow and scikit-learn take seconds to load.
  from selfie_jax.inference import images as images_lib
  from selfie_jax.inference import model as model_lib
  from selfie_jax.inference import samples
  from selfie_jax.inference import vectors as vectors_lib

  command_line.check_output('--out', out, vectors_lib.SUFFIXES)
  vectors_lib.check_path(out)
  files = images_lib.find(images)
  model = model_lib.load(checkpoint, batch_size)
  layer = model.check_layer(layer)
  names = [layer]
  if predict:
    model.check_predicts()
    names.append('probabilities')
  embedded, skipped, outputs = [], [], []
  with tqdm.tqdm(
    total=len(files), unit='image', dynamic_ncols=True, disable=None
  ) as bar:
    for readable, others in samples.read_batches(
      images, files, model.config, model.batch_size
    ):
      if readable:
        outputs.append(model.compute_batch(list(readable.values()), names))
      embedded += readable
      skipped += others
      bar.update(len(readable) + len(others))
  columns: vectors_lib.Columns = {'files': embedded}
  labels = samples.folder_labels(files, model.config)
  if any(labels.values()):
    columns['labels'] = [labels[file] for file in embedded]
  columns['vectors'] = np.concatenate([batch[layer] for batch in outputs])
  if predict:
    shares = np.concatenate([batch['probabilities'] for batch in outputs])
    best = shares.argmax(axis=-1)
    columns['predictions'] = [model.class_names[i] for i in best]
    columns['probabilities'] = shares
  vectors_lib.write(out, columns, layer)
  return len(embedded), skipped, layer


if __name__ == '__main__':
  main()
