"""Writes one vector for every image file below a folder.

python -m selfie_jax.embed --checkpoint=runs/cifar_pretrain --images=DIR \
    --out=embeddings.npz
"""

import tqdm

from selfie_jax import command_line
from selfie_jax.inference import columns as columns_lib


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
  from selfie_jax.inference import images as images_lib
  from selfie_jax.inference import model as model_lib
  from selfie_jax.inference import samples

  files = images_lib.find(images)
  model = model_lib.load(checkpoint, batch_size)
  names = [model.check_layer(layer)]
  if predict:
    model.check_predicts()
    names.append('probabilities')
  labels = samples.folder_labels(files)
  skipped: list[str] = []
  bar = tqdm.tqdm(
    total=len(files), unit='image', dynamic_ncols=True, disable=None
  )
  with bar, columns_lib.writer(out, {'layer': names[0]}) as write:
    for readable, others in samples.read_batches(
      images, files, model.config, model.batch_size
    ):
      skipped += others
      if readable:
        outputs = model.compute_batch(list(readable.values()), names)
        columns: columns_lib.Columns = {
          'files': list(readable),
          'vectors': outputs[names[0]],
        }
        if labels:
          columns['labels'] = [labels[file] for file in readable]
        if predict:
          best = outputs['probabilities'].argmax(axis=-1)
          columns['predictions'] = [model.class_names[i] for i in best]
          columns['probabilities'] = outputs['probabilities']
        write(columns)
      bar.update(len(readable) + len(others))
  return len(files) - len(skipped), skipped, names[0]


if __name__ == '__main__':
  main()
