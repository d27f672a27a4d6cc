"""A job's flags: what they make, and mistakes in them as one line."""

import pytest

from selfie_jax import errors
from selfie_jax import job_flags

TINY = 'configs/digits_pretrain.py:tiny'


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
  monkeypatch.chdir(job_flags.ROOT)


def refused(*given):
  with pytest.raises(errors.UserError) as caught:
    job_flags.read(list(given))
  return str(caught.value)


def test_every_way_to_write_a_flag():
  flags = f'--config {TINY} --config.seed=3 -config.model.width 8'
  flags += ' --noconfig.augment.flip --config.model.depths=1,2,1,1'
  config = job_flags.read(flags.split())
  assert config.seed == 3 and config.model.width == 8
  assert config.augment.flip is False
  assert config.model.depths == (1, 2, 1, 1)
  assert config.is_locked


@pytest.mark.parametrize(
  'says, flags',
  [
    ("'configs/nothing.py' is not a job", '--config=configs/nothing.py'),
    ('it needs a get_config()', '--config=configs/common.py'),
    (':small, :tiny', '--config=configs/digits_pretrain.py:huge'),
    ('with FILE one of cifar_finetune, ', ''),
    ('Unknown command line flag', '--nonsense=1'),
    ("'extra' is no flag", f'--config={TINY} extra'),
  ],
)
def test_no_such_job(says, flags):
  assert says in refused(*flags.split())


@pytest.mark.parametrize(
  'flag, says',
  [
    ('learning_rate=3', 'did you mean optimizer.learning_rate?'),
    ('augment.width=3', 'did you mean model.width?'),
    ('knn=3', 'did you mean knn.every, knn.images, knn.neigh'),
    ('nothing=3', 'the fields are augment.border, '),
    ('init_from=x', 'jobs of another mode have it'),
  ],
)
def test_a_field_that_is_not_there(flag, says):
  printed = refused(f'--config={TINY}', f'--config.{flag}')
  assert printed.startswith('a job of mode=pretrain has no field ')
  assert says in printed


@pytest.mark.parametrize(
  'flag, says',
  [
    ('total_steps=1e4', 'it must be a whole number of at least 1'),
    ('optimizer.learning_rate=fast', 'it must be a number in (0, inf)'),
    ('augment.flip=maybe', 'it must be True or False'),
    ("model.depths=(1,'x',1,1)", 'it must be numbers with commas between'),
    ('optimizer.learning_rate', 'Missing value for flag'),
  ],
)
def test_a_value_that_cannot_be(flag, says):
  printed = refused(f'--config={TINY}', f'--config.{flag}')
  assert says in printed and flag.partition('=')[0] in printed
