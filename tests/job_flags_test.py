"""A job's flags: what they make, and mistakes in them as one line."""

import pytest

from selfie_jax import errors
from selfie_jax import job_flags

TINY = '--config=configs/digits_pretrain.py:tiny'


@pytest.fixture(autouse=True)
def in_the_project(monkeypatch):
  monkeypatch.chdir(job_flags.ROOT)


def test_every_way_to_write_a_flag():
  flags = TINY.replace('=', ' ') + ' --config.seed=3 -config.model.width 8'
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
    ("'extra' is no flag", f'{TINY} extra'),
    (
      'did you mean optimizer.learning_rate?',
      f'{TINY} --config.learning_rate=3',
    ),
    ('the fields are augment.border, ', f'{TINY} --config.nothing=3'),
    ('jobs of another mode have it', f'{TINY} --config.init_from=x'),
    ('total_steps', f'{TINY} --config.total_steps=1e4'),
    ('must be a number in (0, ', f'{TINY} --config.optimizer.learning_rate=x'),
    ('is a job of mode=pretrain, wh', f'{TINY} --config.mode=finetune'),
    ('must be True or False', f'{TINY} --config.augment.flip=maybe'),
    ('numbers with commas', f'{TINY} --config.model.depths=(1,"x",1,1)'),
    ('Missing value for flag', f'{TINY} --config.optimizer.learning_rate'),
  ],
)
def test_mistakes_say_what_is_valid(says, flags):
  with pytest.raises(errors.UserError) as caught:
    job_flags.read(flags.split())
  assert says in str(caught.value)
