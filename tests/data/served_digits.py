"""The digits in a bucket that is served on this machine, and jobs on them."""

from configs import digits_pretrain
from selfie_jax.data import batches as batches_lib

TRAIN = 'digits/1.0.0/digits-train.tfrecord-00000-of-00001'


def make_config(data_dir, **fields):
  config = digits_pretrain.get_config('tiny')
  config.dataset.data_dir = str(data_dir)
  config.dataset.cache_gib = 0.0
  config.total_steps = 40
  config.update_from_flattened_dict(fields)
  return config


def config_there(bucket, **fields):
  return make_config(f'gs://{bucket.name}', **fields)


def size(bucket):
  """Bytes of the training images' file."""
  return len(bucket.objects[f'{bucket.name}/{TRAIN}'].content)


def labels_there(bucket):
  config = config_there(bucket)
  return batches_lib.open_source(config, 'train').labels.tolist()
