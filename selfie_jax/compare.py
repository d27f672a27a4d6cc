"""Prints the results of runs side by side.

python -m selfie_jax.compare runs/digits_finetune runs/digits_supervised
"""

import argparse
import json

from etils import epath


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('runs', nargs='+', help='folders of finished runs')
  pictures = []
  for run in parser.parse_args().runs:
    workdir = epath.Path(run)
    path = workdir / 'results.json'
    if not path.exists():
      parser.error(f'{run} is not a finished run: no results.json there')
    results = json.loads(path.read_text())
    pictures += sorted(str(p) for p in (workdir / 'figures').glob('*.png'))
    print(f'\n{run}')
    for line in describe(results):
      print(f'  {line}')
  print('\nPictures:')
  for picture in pictures:
    print(f'  {picture}')


def describe(results: dict) -> list[str]:
  """Lines about one run from what its results.json holds."""
  metrics = results['metrics']
  if results['mode'] == 'probe':
    return [
      f'probed {results["initialised_from"]} at step {results["checkpoint"]} '
      f'with {results["label_fraction"]:.0%} of the labels of '
      f'{results["dataset"]} in {results["wall_seconds"]:.0f} s',
      *(
        f'{name.replace("_", " ")} {accuracy:.1%}'
        for name, accuracy in metrics.items()
      ),
    ]
  time = f'{results["step"]} steps in {results["wall_seconds"]:.0f} s'
  if results['mode'] == 'pretrain':
    return [
      f'pretrained on {results["dataset"]}, {time}',
      f'patch accuracy {metrics["patch_accuracy"]:.1%} '
      f'(chance {metrics["chance"]:.1%})',
    ]
  start = results['initialised_from'] or 'random weights (supervised baseline)'
  return [
    f'finetuned on {results["label_fraction"]:.0%} of the labels of '
    f'{results["dataset"]} from {start}, {time}',
    f'test accuracy {metrics["test_accuracy"]:.1%}',
  ]


if __name__ == '__main__':
  main()
