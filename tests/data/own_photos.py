"""Own images for tests: files of all kinds, good and bad, and jobs on them."""

import io

import numpy as np
from PIL import Image

from configs import photos_finetune
from configs import photos_pretrain
from selfie_jax.data import batches as batches_lib

JOBS = {'pretrain': photos_pretrain, 'finetune': photos_finetune}


def pixels(height=24, width=36, seed=0):
  """Blocks of random colours, which compression leaves recognisable."""
  colours = np.random.default_rng(seed).integers(0, 256, (3, 3, 3), np.uint8)
  return colours.repeat(height // 3, 0).repeat(width // 3, 1)


def save(path, image=None, seed=0, **settings):
  if image is None:
    image = pixels(seed=seed)
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  path.parent.mkdir(parents=True, exist_ok=True)
  image.save(path, **settings)


def encode(image, form, **settings):
  if isinstance(image, np.ndarray):
    image = Image.fromarray(image)
  out = io.BytesIO()
  image.save(out, form, **settings)
  return out.getvalue()


def make_config(path, mode='pretrain', **fields):
  config = JOBS[mode].get_config('tiny')
  config.dataset.path = str(path)
  config.update_from_flattened_dict(fields)
  return config


def open_sources(path, mode='pretrain', **fields):
  """Sources of the training and the test split."""
  return batches_lib.open_sources(make_config(path, mode, **fields))


def sizes(path, **fields):
  return [source.size for source in open_sources(path, **fields)]


def decoded(source):
  (found,) = source.eval_images(iter([np.arange(source.size)]))
  return found


def table(path, *lines):
  path.write_text('\n'.join(lines) + '\n', errors='surrogateescape')
  return path


RGB = Image.fromarray(pixels())
TRANSPARENT = RGB.copy()
TRANSPARENT.putalpha(Image.fromarray(pixels(seed=1)[..., 0]))
EXACT = {  # all formats, and what becomes RGB
  'rgb.png': encode(RGB, 'PNG'),
  'grey.png': encode(RGB.convert('L'), 'PNG'),
  'palette.png': encode(RGB.convert('P'), 'PNG'),
  'transparent.png': encode(TRANSPARENT, 'PNG'),
  'rgb.webp': encode(RGB, 'WEBP', lossless=True),
  'rgb.bmp': encode(RGB, 'BMP'),
  'palette.bmp': encode(RGB.convert('P'), 'BMP'),
  'rgb.tiff': encode(RGB, 'TIFF', compression='tiff_lzw'),
  'cmyk.tiff': encode(RGB.convert('CMYK'), 'TIFF'),
  'rgb.avif': encode(RGB, 'AVIF'),
  'rgb.gif': encode(RGB, 'GIF'),
  'animated.gif': encode(
    RGB, 'GIF', save_all=True, append_images=[RGB.rotate(180)]
  ),
  'animated.webp': encode(
    RGB, 'WEBP', save_all=True, append_images=[RGB.rotate(180)], lossless=True
  ),
  '1x1.png': encode(np.full((1, 1, 3), 7, np.uint8), 'PNG'),
  'wide.png': encode(np.full((2, 20_000, 3), 9, np.uint8), 'PNG'),
}  # fmt: skip


def bad_files(path):
  save(path / 'good.jpg')
  jpeg, png = (path / 'good.jpg').read_bytes(), EXACT['rgb.png']
  bad = {
    'empty.jpg': b'',
    'text.jpg': b'This is no image.',
    'truncated.jpg': jpeg[: len(jpeg) // 2],
    'truncated.png': png[:-40],
    'truncated.webp': EXACT['rgb.webp'][:40],
    'truncated.tiff': EXACT['cmyk.tiff'][:200],
    'bomb.gif': b'GIF89a' + b'\xff\xff\xff\xff' + b'\0' * 20,
  }  # fmt: skip
  for name, content in bad.items():
    (path / name).write_bytes(content)
  return sorted(bad)
