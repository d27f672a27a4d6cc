"""Networks that leave as files for others, and those that come back."""

import json
import os
import pathlib
import re
import resource
import shutil

from flax import traverse_util
import jax
from jax import export as jax_export
import numpy as np
import pytest
import small_jobs

from configs import cifar_finetune
from configs import cifar_pretrain
from configs import imagenet_finetune
from configs import imagenet_pretrain
from selfie_jax import errors
from selfie_jax import export
from selfie_jax.data import batches as batches_lib
from selfie_jax.inference import model as model_lib
from selfie_jax.storage import timm_weights
from selfie_jax.training import train


@pytest.fixture
def pixels(batch):
  return batch['image'][:5]


def wide(config):
  """The narrowest network that timm can make."""
  config.model.width = 8
  config.model.attention.num_heads = 2
  return config


def test_exported_p_is_the_runs_and_starts_a_network_with_a_new_a(
  pretrain_config, finetune_config, tmp_path, pixels
):
  small_jobs.random_run(wide(pretrain_config), tmp_path / 'run', pixels)
  export.export(tmp_path / 'run', 'timm', tmp_path / 'out')
  path = str(tmp_path / 'out' / 'model.safetensors')
  wide(finetune_config).model.name = 'resnet36_attention'
  fresh = small_jobs.start_finetuning(finetune_config)
  finetune_config.init_from = path
  state = small_jobs.start_finetuning(finetune_config)
  read = timm_weights.read(path)
  for kind, trees in model_lib.load(tmp_path / 'run').variables.items():
    expected = trees['patch_network']
    jax.tree.map(np.testing.assert_array_equal, read[kind], expected)
    expected = getattr(fresh, kind) | expected
    started = getattr(state, kind)
    assert expected.keys() == started.keys()
    for name, values in started.items():
      jax.tree.map(np.testing.assert_array_equal, values, expected[name])


def test_classifier_starts_all_but_the_head(finetune_config, tmp_path, pixels):
  small_jobs.random_run(wide(finetune_config), tmp_path / 'run', pixels)
  export.export(tmp_path / 'run', 'timm', tmp_path / 'out')
  finetune_config.init_from = str(tmp_path / 'out' / 'model.safetensors')
  state = small_jobs.start_finetuning(finetune_config, 3)
  model = model_lib.load(tmp_path / 'run')
  variables = {'params': state.params, 'batch_stats': state.batch_stats}
  again = model_lib.Model(model.config, variables, ['a', 'b', 'c'])
  np.testing.assert_array_equal(
    model.embed(pixels, 'block4'), again.embed(pixels, 'block4')
  )
  card = (tmp_path / 'out' / 'README.md').read_text()
  assert '0. class 0\n1. class 1' in card and 'digits' in card
  card = json.loads((tmp_path / 'out' / 'config.json').read_text())
  assert card['num_classes'] == 10 and card['num_features'] == 256
  assert card['model_args']['channels'] == [32, 64, 128, 256]


@pytest.mark.parametrize('mode', ['pretrain', 'finetune'])
def test_stablehlo_takes_any_number_of_images(finished, tmp_path, pixels, mode):
  export.export(finished(mode), 'stablehlo', tmp_path / 'out')
  read = jax_export.deserialize((tmp_path / 'out/forward.bin').read_bytes())
  assert read.platforms == ('cpu', 'cuda', 'tpu')
  name = 'quadrants' if mode == 'pretrain' else 'logits'
  expected = model_lib.load(finished(mode)).compute(pixels, (name,))[name]
  for count in (1, 5) if mode == 'pretrain' else (5,):
    np.testing.assert_allclose(
      read.call(pixels[:count]), expected[:count], rtol=1e-4, atol=1e-5
    )


def test_numpy_has_all_arrays(finished, tmp_path):
  run = finished('finetune')
  export.export(run, 'numpy', tmp_path / 'out')
  written = dict(np.load(tmp_path / 'out/weights.npz'))
  variables = model_lib.load(run).variables
  expected = traverse_util.flatten_dict(variables, sep='/')
  assert 'params/stem/conv/kernel' in written
  jax.tree.map(np.testing.assert_array_equal, written, expected)


@pytest.mark.parametrize('mode', ['pretrain', 'finetune'])
def test_run_is_used_as_the_run_itself(finished, tmp_path, monkeypatch, mode):
  monkeypatch.chdir(tmp_path)
  run, out = finished(mode), pathlib.Path('out [1]')  # no pattern
  export.export(run, 'run', out)
  source, copy = model_lib.load(run), model_lib.load(out)
  jax.tree.map(np.testing.assert_array_equal, source.variables, copy.variables)
  assert (copy.step, copy.class_names) == (source.step, source.class_names)

  def size(folder):
    return sum(path.lstat().st_size for path in folder.rglob('*'))

  whole = size(run / 'checkpoints' / str(source.step))
  assert size(out / 'checkpoints') < 0.7 * whole  # no optimizer state
  config = small_jobs.small_job(mode)
  results = json.loads((run / 'results.json').read_text())
  assert train.train_and_evaluate(config, out) == results
  (out / 'results.json').unlink()
  with pytest.raises(errors.UserError, match='cannot be resumed'):
    train.train_and_evaluate(config, out)


def test_mistakes_say_what_is_valid_and_write_nothing(finished, tmp_path):
  run, out = finished('pretrain'), tmp_path / 'out'
  with pytest.raises(errors.UserError, match='width=4.*multiples of 8'):
    export.export(run, 'timm', out)
  shutil.copytree(finished('finetune'), tmp_path / 'run')
  small_jobs.forget_identity(tmp_path / 'run')
  path = tmp_path / 'run' / 'config.json'
  path.write_text(path.read_text().replace('resnet50', 'resnet36_attention'))
  with pytest.raises(errors.UserError, match='attention.*stablehlo'):
    export.export(tmp_path / 'run', 'timm', out)
  assert not out.exists()
  with pytest.raises(errors.UserError, match='not empty'):
    export.export(run, 'numpy', run)


@pytest.mark.slow
@pytest.mark.parametrize(
  'name, job, closing_norm',
  [
    ('cifar10', cifar_pretrain, True),
    ('cifar10', cifar_pretrain, False),
    ('cifar10', cifar_finetune, True),
    ('imagenette224/subset', imagenet_pretrain, True),
    ('imagenette224/subset', imagenet_pretrain, False),
    ('imagenette224/subset', imagenet_finetune, True),
  ],
)
def test_timm_computes_the_same(name, job, closing_norm, tmp_path, monkeypatch):
  torch = pytest.importorskip('torch')
  timm = pytest.importorskip('timm')
  if not pathlib.Path(os.environ.get('TFDS_DATA_DIR', ''), name).is_dir():
    pytest.skip(f'{name} is not in TFDS_DATA_DIR')
  config = job.get_config()
  config.dataset.name = name
  config.dtype = 'float32'
  config.model.closing_norm = closing_norm
  source = batches_lib.open_source(config, 'train[:8]')
  images = next(source.eval_images([np.arange(8)]))
  small_jobs.random_run(config, tmp_path / 'run', images)
  export.export(tmp_path / 'run', 'timm', tmp_path / 'out')
  monkeypatch.chdir(tmp_path / 'out')
  text = (tmp_path / 'out' / 'README.md').read_text()
  card = {}
  exec(re.search(r'```python\n(.*?)```', text, re.DOTALL)[1], card)
  theirs = card['run'](torch.from_numpy(images)).numpy()
  output = 'block3' if config.mode == 'pretrain' else 'logits'
  ours = model_lib.load(tmp_path / 'run', 8).compute_batch(images, (output,))
  assert np.abs(ours[output]).max() > 0.1
  np.testing.assert_allclose(ours[output], theirs, atol=1e-4)
  if 'local-dir' in text:
    card['model'] = timm.create_model(f'local-dir:{tmp_path}/out', True).eval()
    again = card['run'](torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(again, theirs, atol=1e-6)


def test_two_exports_at_once_leave_the_first(
  finetune_config, tmp_path, monkeypatch
):
  """The second one finds it there at its end, and takes nothing away."""
  images = np.zeros((2, 32, 32, 3), np.uint8)
  small_jobs.random_run(wide(finetune_config), tmp_path / 'run', images)
  card = export._card

  def other_ends_first(*given):
    monkeypatch.setattr(export, '_card', card)
    export.export(tmp_path / 'run', 'numpy', tmp_path / 'out')
    return card(*given)

  monkeypatch.setattr(export, '_card', other_ends_first)
  with pytest.raises(errors.UserError, match='cannot be written'):
    export.export(tmp_path / 'run', 'timm', tmp_path / 'out')
  written = sorted(path.name for path in (tmp_path / 'out').iterdir())
  assert written == ['README.md', 'weights.npz']
  assert sorted(path.name for path in tmp_path.iterdir()) == ['out', 'run']


def test_a_bucket_is_no_folder_of_this_machine(tmp_path):
  with pytest.raises(errors.UserError, match='copy it to the bucket'):
    export.export(tmp_path, 'numpy', 'gs://bucket/exported')


@pytest.mark.parametrize('kind', ['timm', 'numpy'])
def test_a_full_disk_leaves_nothing_behind(finetune_config, tmp_path, kind):
  images = np.zeros((2, 32, 32, 3), np.uint8)
  small_jobs.random_run(wide(finetune_config), tmp_path / 'run', images)
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
  try:
    with pytest.raises(errors.UserError, match='cannot be written'):
      export.export(tmp_path / 'run', kind, tmp_path / 'out')
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
  assert not (tmp_path / 'out').exists()
