"""Writes photos.csv and photos/ as docs/own_images.md describes them.

python -m tests.stand_in_photos, in the folder where they are to be. They are
digits, 0 and 1 by their labels cat and dog, the last test images; 40 more in
photos/more have no label and are not in the table.
"""

import pathlib

from PIL import Image
from sklearn import datasets

from selfie_jax.data import digits

LABELLED, TEST, MORE = 40, 8, 40


def main() -> None:
  loaded = datasets.load_digits(n_class=2)
  images = digits.enlarge(loaded.images)
  more = pathlib.Path('photos', 'more')
  more.mkdir(parents=True)
  rows = ['file,label,split']
  for i, label in enumerate(loaded.target[:LABELLED]):
    path = pathlib.Path('photos', f'{i:04d}.jpg')
    Image.fromarray(images[i]).resize((48, 40)).save(path)
    split = 'train' if i < LABELLED - TEST else 'test'
    rows.append(f'{path},{("cat", "dog")[label]},{split}')
  for i in range(LABELLED, LABELLED + MORE):
    Image.fromarray(images[i]).save(more / f'{i:04d}.jpg')
  pathlib.Path('photos.csv').write_text('\n'.join(rows) + '\n')


if __name__ == '__main__':
  main()
