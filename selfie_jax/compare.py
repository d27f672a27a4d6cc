"""Prints the results of runs side by side.

python -m selfie_jax.compare runs/digits_finetune runs/digits_supervised
"""

from collections.abc import Sequence
import os

from etils import epath
import ml_collections

from selfie_jax import command_line
from selfie_jax import config as config_lib
from selfie_jax import errors
from selfie_jax.storage import identity
from selfie_jax.storage import run_metadata
from selfie_jax.storage import workdir as workdir_lib


def main() -> None:
  parser = command_line.Parser('compare', __doc__)
  parser.add_argument(
    'runs', nargs='+', type=command_line.path, help='folders of finished runs'
  )
  says = 'draw the accuracies of the finetuned runs into FILE.png'
  parser.add_path('--picture', 'FILE', says, required=False)
  with command_line.exit_cleanly():
    compare(**vars(parser.parse_args()))


def compare(runs: list[str], picture: str | None = None) -> None:
  """Prints what the runs ended with, how they differ, and their pictures.

  Args:
    runs: their folders.
    picture: a file for the accuracies of the finetuned ones against steps.

  Raises:
    UserError: one of them is not finished or has a damaged file, or the picture
      cannot be written.
  """
  if picture:
    command_line.check_output('--picture', picture, ('.png',))
  finished = {run: read_results(run) for run in runs}
  pictures = []
  for run, results in finished.items():
    found = (workdir_lib.run_path(run) / 'figures').glob('*.png')
    pictures += sorted(os.path.join(run, 'figures', p.name) for p in found)
    print(f'\n{run}')
    try:
      lines = describe(results)
    except (KeyError, TypeError) as error:
      raise errors.UserError(
        f'{run}/results.json is damaged ({error!r}); put back its copy'
      ) from error
    for line in lines:
      print(f'  {line}')
  tuned = [run for run in runs if finished[run]['mode'] == 'finetune']
  for other in tuned[1:]:
    if changed := changes(tuned[0], other):
      print(f'\n{other} differs from {tuned[0]} in')
    for field, (old, new) in changed.items():
      print(f'  {field}: {new!r} in place of {old!r}')
  if picture:
    draw(tuned, picture)
    pictures.insert(0, picture)
  print('\nPictures:')
  for picture in pictures:
    print(f'  {picture}')


def read_results(run: str) -> dict:
  """What a run's results.json holds; UserError for none or a damaged one."""
  results = workdir_lib.read_json(
    epath.Path(run) / 'results.json', 'run its job again'
  )
  if results is None:
    raise errors.UserError(
      f'{run} is not a finished run: no results.json there; give folders of '
      'finished runs, such as runs/digits_finetune'
    )
  return results


def describe(results: dict) -> list[str]:
  """Lines about one run from what its results.json holds."""
  metrics, start = results['metrics'], results['initialised_from']
  data, time = results['dataset'], f'{results["wall_seconds"]:.0f} s'
  share = f'{100 * results["label_fraction"]:.4g}%'
  labels = f'{share} of the labels of {data}'
  if results['mode'] == 'probe':
    step = results['checkpoint']
    return [
      f'probed {start} at step {step} with {labels} in {time}',
      *(f'{k.replace("_", " ")} {v:.1%}' for k, v in metrics.items()),
    ]
  time = f'{results["step"]} steps in {time}'
  if results['mode'] == 'pretrain':
    accuracy, chance = metrics['patch_accuracy'], metrics['chance']
    return [
      f'pretrained on {data}, {time}',
      f'patch accuracy {accuracy:.1%} (chance {chance:.1%})',
    ]
  start = start or 'random weights (supervised baseline)'
  return [
    f'finetuned on {labels} from {start}, {time}',
    f'test accuracy {metrics["test_accuracy"]:.1%}',
  ]


def changes(run: str, other: str) -> dict[str, tuple[object, object]]:
  """{field: (value in `run`, in `other`)} where they make other numbers.

  The images and the initial weights too, by what the runs say of them.
  """
  folders = [epath.Path(each) for each in (run, other)]
  one, two = (config_lib.flatten(read_config(each)) for each in (run, other))
  changed = run_metadata.differences(one, two)
  old, new = (run_metadata.load(each, 'data.json') or {} for each in folders)
  changed |= run_metadata.data_differences(old, new)
  old, new = (run_metadata.load(each, identity.FILE) or {} for each in folders)
  starts = old.get('start'), new.get('start')
  if starts[0] and starts[0] == starts[1]:
    changed.pop('init_from', None)  # spelt otherwise
  elif 'init_from' not in changed and all(starts):
    changed['initial weights'] = starts
  for name in ('jax', 'number of devices'):
    if name in old and name in new and old[name] != new[name]:
      changed[name] = old[name], new[name]
  return changed


def read_config(run: str) -> ml_collections.ConfigDict:
  """A run's config; UserError for none or a damaged one."""
  config = identity.load_config(epath.Path(run))
  if config is None:
    raise errors.UserError(f'{run} has no config.json; put back its copy')
  return config


def draw(runs: list[str], picture: str) -> None:
  """Draws the accuracies of finetuned runs against steps; see `compare`."""
  from selfie_jax import figures  # loads matplotlib

  histories: dict[str, Sequence[dict]] = {}
  for run in runs:
    path = epath.Path(run) / 'history.json'
    history = workdir_lib.read_json(path, 'put back its copy', list)
    histories[run] = [row for row in history or () if isinstance(row, dict)]
    if not any(row.get('part') != 'train' for row in histories[run]):
      raise errors.UserError(f'{path} is missing or has no evaluation to draw')
  if not histories:
    raise errors.UserError('--picture draws finetuned runs, and none is one')
  path = epath.Path(picture)
  with workdir_lib.writing(path.parent), path.open('wb') as file:
    figures.accuracies(histories).savefig(file, format='png')


if __name__ == '__main__':
  main()
