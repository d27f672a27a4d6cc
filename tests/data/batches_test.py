"""The stream is a function of (seed, step); evaluation counts all once."""

import functools
import itertools

import jax
import numpy as np
import pytest

from configs import digits_pretrain
from selfie_jax import errors
from selfie_jax.data import batches as batches_lib

LARGE, SMALL = 4.0, 0.0  # cache_gib: in memory, on the disk


@pytest.fixture(scope='module', autouse=True)
def cache_folder(tmp_path_factory):
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('XDG_CACHE_HOME', str(tmp_path_factory.mktemp('cache')))
    yield


def _config(crop='pad', cache_gib=LARGE, **fields):
  config = digits_pretrain.get_config('tiny')
  config.update(seed=1, batch_size=64, total_steps=60)
  config.augment.update(crop=crop, flip=True)
  config.dataset.cache_gib = cache_gib
  config.update_from_flattened_dict(fields)
  return config


def _source(config, split='test'):
  return batches_lib.open_source(config, split)


def _images(source, indices):
  (images,) = source.eval_images(iter([indices]))
  return images


def _train(source, config, first, count, **share):
  """The batches of `count` steps."""
  batches = batches_lib.train_batches(source, None, config, first, **share)
  return list(itertools.islice(batches, count))


# Of lists of batches: their names, types and numbers.
_assert_equal = functools.partial(
  jax.tree.map, functools.partial(np.testing.assert_array_equal, strict=True)
)
FORMS = [('pad', LARGE), ('pad', SMALL), ('none', LARGE), ('random_resized', 0)]


@pytest.mark.parametrize('crop, gib', FORMS)
def test_seed_and_step_decide_wherever_the_run_starts(crop, gib):
  config, other = _config(crop, gib), _config(crop, gib, seed=2)
  source = _source(config)
  whole = _train(source, config, 0, 9)
  _assert_equal(whole[6:], _train(source, config, 6, 3))
  for batch in (whole[1], *_train(source, other, 0, 1)):
    assert (whole[0]['image'] != batch['image']).any()
  assert whole[0]['image'].shape == (64, 32, 32, 3)
  assert {k: v.dtype for k, v in whole[0].items()} == {
    'image': np.uint8, 'label': np.int32, 'index': np.int32,
  }  # fmt: skip


@pytest.mark.parametrize('crop, gib', FORMS)
def test_two_processes_share_the_batch_of_one(crop, gib):
  config = _config(crop, gib)
  source = _source(config)
  parts = [
    _train(source, config, 3, 3, process_index=i, process_count=2)
    for i in range(2)
  ]
  joined = [
    {name: np.concatenate([a[name], b[name]]) for name in a}
    for a, b in zip(*parts, strict=True)
  ]
  _assert_equal(joined, _train(source, config, 3, 3))
  assert joined[0]['index'].tolist() == list(range(64))


@pytest.mark.parametrize('batch_size', [7, 64, 250])
def test_each_epoch_shows_each_example_once_with_its_label(batch_size):
  steps = -(-400 // batch_size)
  config = _config('none', batch_size=batch_size, total_steps=steps)
  config.augment.flip = False
  source = _source(config)
  chosen = np.arange(5, 105)
  batches = list(batches_lib.train_batches(source, chosen, config, 0))
  assert len(batches) == steps  # it ends with the run
  shown = [
    (image.tobytes(), label)
    for batch in batches
    for image, label in zip(batch['image'], batch['label'], strict=True)
  ]
  images = [image.tobytes() for image in _images(source, chosen)]
  known = sorted(zip(images, source.labels[chosen], strict=True))
  orders = [shown[start : start + 100] for start in range(0, 400, 100)]
  assert all(sorted(order) == known for order in orders)
  assert orders[0] != orders[1] != orders[2]


@pytest.mark.parametrize('crop', ['pad', 'none', 'random_resized'])
def test_augmentation_differs_between_epochs(crop):
  config = _config(crop)
  one = np.array([7])
  batch = next(batches_lib.train_batches(_source(config), one, config, 0))
  views = {image.tobytes() for image in batch['image']}
  assert len(views) == 2 if crop == 'none' else len(views) > 20


def test_storage_does_not_change_the_batches():
  configs = [_config('pad', gib, image_size=24) for gib in (LARGE, SMALL)]
  sources = [_source(config, 'train[100:400]') for config in configs]
  assert [source.in_memory for source in sources] == [True, False]
  np.testing.assert_array_equal(sources[0].labels, sources[1].labels)
  _assert_equal(
    *(_train(*pair, 0, 4) for pair in zip(sources, configs, strict=True))
  )
  _assert_equal(*(list(batches_lib.eval_batches(s, None, 64)) for s in sources))


@pytest.mark.parametrize('crop', ['pad', 'random_resized'])
@pytest.mark.parametrize(
  'batch_size, processes',
  [(1, 1), (7, 1), (30, 1), (64, 1), (2, 2), (30, 2), (64, 2)],
)
def test_evaluation_counts_each_example_once(crop, batch_size, processes):
  config = _config(crop)
  source = _source(config)
  chosen = np.arange(30)[::-1] * 3
  expected = _images(source, np.arange(91))
  seen = []
  for process in range(processes):
    share = {'process_index': process, 'process_count': processes}
    batches = list(
      batches_lib.eval_batches(source, chosen, batch_size, **share)
    )
    assert len(batches) == -(-30 // batch_size)
    for batch in batches:
      assert len(batch['image']) == batch_size // processes
      real = batch['mask'] == 1
      shown = batch['index'][real]
      assert not batch['image'][~real].any()
      np.testing.assert_array_equal(batch['label'][real], source.labels[shown])
      np.testing.assert_array_equal(batch['image'][real], expected[shown])
      seen += shown.tolist()
  if processes == 2:
    seen, chosen = sorted(seen), np.sort(chosen)
  assert seen == chosen.tolist()


@pytest.mark.parametrize(
  'train, test, says',
  [
    ('train[:50%]', 'train[50%:]', ''),
    ('train[:50%]', 'train[40%:]', '149 of the 898 images of digits/1.0.0 tr'),
    ('all', 'test', '300 of the 300 images of digits/1.0.0 test are trained'),
  ],
)
def test_training_on_test_images_is_said(log_messages, train, test, says):
  splits = {'dataset.train_split': train, 'dataset.test_split': test}
  batches_lib.open_sources(_config(**splits))
  warned = [r.message for r in log_messages.records if r.levelname == 'WARNING']
  assert len(warned) == bool(says) and says in ''.join(warned)
  splits['dataset.train_split'] = f'{test}[:100%]' if test == 'test' else test
  with pytest.raises(errors.UserError, match='are the same'):
    batches_lib.open_sources(_config(**splits))
