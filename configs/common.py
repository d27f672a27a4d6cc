"""Every field of every job, with what it means; the jobs change values only.

Marks after the meaning say how well the paper's value is known: [P] the paper
states it, [R] it does not but reimplementations agree on it, [O] it is open.
Values here are the paper's for CIFAR-10.
"""

from ml_collections import ConfigDict


def pretrain() -> ConfigDict:
  """The pretraining job: solve the patch puzzle."""
  config = _job('pretrain')
  # Share of the patches that are masked: 4 of 16, 12 of 49. [R]
  config.masked_fraction = 0.25
  # The network; only 'selfie'.
  config.model.name = 'selfie'
  # Scale of the dot product of query and patch: none, or inverse_sqrt to
  # divide it by sqrt(dim). [O]
  config.model.logit_scale = 'none'

  # Online nearest neighbours: what the features of P are worth meanwhile.
  config.knn = knn = ConfigDict()
  # Steps between two looks; 0 is never. Needs labels, trains on none.
  knn.every = 0
  # Labelled training images for it: four fifths vote, a fifth is asked about.
  knn.images = 10_000
  # How many neighbours of an image vote.
  knn.neighbours = 20
  # A neighbour's vote weighs exp(cosine / temperature).
  knn.temperature = 0.07
  return config


def finetune() -> ConfigDict:
  """The finetuning job: classify, from a pretraining run or from scratch."""
  config = _job('finetune')
  # Folder of the pretraining run to start from, or the FILE.safetensors of a
  # timm resnetv2_50; '' is the supervised baseline.
  config.init_from = ''
  # Share of the training images whose labels are used, (0, 1]. [P]
  config.label_fraction = 0.08
  # Share of the labelled images held out to choose the checkpoint. [O]
  config.validation_fraction = 0.1
  # resnet50, or resnet36_attention: blocks 1 to 3, then attention pooling. [P]
  config.model.name = 'resnet50'
  return config


def probe() -> ConfigDict:
  """The probes: simple classifiers on the frozen features of a run.

  The network, the size of the images and their colours are those of the run.
  """
  config = _data('probe')
  # Folder of the run to probe; it has to be given.
  config.init_from = ''
  # Steps of the checkpoints to probe, such as (1000, 4000); () is the one that
  # the run's results are of, or the newest. How many are kept is the run's
  # keep_checkpoints.
  config.init_steps = ()
  # Share of the labelled images held out to choose the regularisation.
  config.validation_fraction = 0.1

  # Logistic regression, and nearest neighbours by cosine.
  config.probe = probe = ConfigDict()
  # What to probe, such as 'quadrants,pixels'; '' is all that the run has.
  probe.features = ''
  # Grid of scikit-learn's C, the inverse of the L2 penalty's weight; the value
  # best on the held-out images is taken.
  probe.strengths = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
  # Most steps of L-BFGS for each.
  probe.max_iter = 1_000
  # How many neighbours of an image vote.
  probe.neighbours = 20
  # A neighbour's vote weighs exp(cosine / temperature).
  probe.temperature = 0.07
  return config


def _job(mode: str) -> ConfigDict:
  """The fields of training: those of _data, and how the network learns."""
  config = _data(mode)
  # Compute type, float32 or bfloat16; parameters are float32 in any case.
  config.dtype = 'bfloat16'
  # Images of a step, over all devices. [R]
  config.batch_size = 512
  # Steps of the run. [R]
  config.total_steps = 120_000
  # Side of the images in pixels; others are resized to it. [P]
  config.image_size = 32
  # Side of a patch in pixels. [P]
  config.patch_size = 8
  # Steps between two lines of training metrics.
  config.log_every = 100
  # Steps between two evaluations.
  config.eval_every = 2_000
  # Steps between two checkpoints.
  config.checkpoint_every = 2_000
  # How many of the newest checkpoints are kept.
  config.keep_checkpoints = 2
  # How many steps are traced for TensorBoard's profiler, from the eleventh
  # after a start on; 0 is none.
  config.profile_steps = 0

  # Colour statistics that images are normalised with, of values in 0..1. [O]
  config.normalise = ConfigDict()
  # Mean of red, green, blue.
  config.normalise.mean = (0.485, 0.456, 0.406)
  # Standard deviation of red, green, blue.
  config.normalise.std = (0.229, 0.224, 0.225)

  config.augment = augment = ConfigDict()
  # pad: pad and crop back to size [P]; random_resized: a crop of random area
  # and shape, resized; none.
  augment.crop = 'pad'
  # Pixels of padding on each side, for pad. [P]
  augment.padding = 4
  # What the padding is filled with, reflect or zero. In pretraining zeros
  # betray at once where a patch sat, reflection in thousands of steps. [O]
  augment.border = 'reflect'
  # Whether half of the images are mirrored. [O]
  augment.flip = True
  # Smallest share of the area that random_resized takes; of an image so wide
  # that no box of an aspect of 3/4 to 4/3 has it, all.
  augment.min_area = 0.08

  config.model = model = ConfigDict()
  # Which network; see the job.
  model.name = ''
  # Bottlenecks of block1 to block4; P has the first three blocks. [R]
  model.depths = (3, 4, 6, 3)
  # Channels of the stem; P's vectors have 16 times as many. [P]
  model.width = 64
  # conv3 (3x3) [R], conv7_pool (7x7 and max pooling, 224 px) [R], or patch2,
  # patch4, patch8 (k x k with stride k, cheap).
  model.stem = 'conv3'
  # BatchNorm + ReLU at the end of P, before its average pooling. [O]
  model.closing_norm = True
  # Share of the old value in BatchNorm's running statistics. [O]
  model.norm_momentum = 0.9
  # Whether BatchNorm's statistics are those of all devices; if not, the number
  # of devices decides the results.
  model.sync_batch_norm = True
  # Learned positions: flat, one a place; row_column, sums (224 px). [P]
  model.positions = 'flat'
  # Whether the visible patches get their positions too, before A. [O]
  model.context_positions = False

  # A, attention pooling.
  model.attention = attention = ConfigDict()
  # Transformer layers. [R]
  attention.num_layers = 3
  # Heads. [R]
  attention.num_heads = 32
  # Width of the first dense layer. [R]
  attention.hidden = 640
  # Dropout rate. [P]
  attention.dropout = 0.1

  config.optimizer = optimizer = ConfigDict()
  # Peak rate; the paper tunes it in [0.01, 0.4]. [R]
  optimizer.learning_rate = 0.1
  # Steps of linear warm-up, before the cosine. [R]
  optimizer.warmup_steps = 100
  # Momentum of SGD. [R]
  optimizer.momentum = 0.9
  # Whether the momentum is Nesterov's. [R]
  optimizer.nesterov = True
  # L2 decay, added to the gradient. [R]
  optimizer.weight_decay = 1e-4
  # Whether norms, biases and u0 decay too. [O]
  optimizer.decay_norms_and_biases = False
  return config


def _data(mode: str) -> ConfigDict:
  """The fields that all jobs have: which images, and which of their labels."""
  config = ConfigDict()
  # pretrain, finetune or probe.
  config.mode = mode
  # All randomness: weights, order, crops, masks, dropout, label subsets.
  config.seed = 0
  # Share of the training images that are used, (0, 1].
  config.label_fraction = 1.0
  # Share of these held out; 0 evaluates on the test images instead.
  config.validation_fraction = 0.0
  # Images of an evaluation step, over all devices.
  config.eval_batch_size = 1024

  config.dataset = dataset = ConfigDict()
  # A tfds name with image and label, digits, or folder: your own images.
  dataset.name = 'cifar10'
  # For folder: DIR with train/CLASS/* and test/CLASS/*, any folder of images,
  # or FILE.csv with the columns file, label and, if you like, split.
  dataset.path = ''
  # Where tfds keeps its sets; '' is TFDS_DATA_DIR or ~/tensorflow_datasets, and
  # for digits the cache folder.
  dataset.data_dir = ''
  # Whether to download a set that is not on the disk.
  dataset.download = True
  # Split to train on; for folder, a folder below path or a value in the table.
  dataset.train_split = 'train'
  # Split to test on; a folder without it has a tenth of the images held out.
  dataset.test_split = 'test'
  # Largest share of own images that may be left out because they cannot be
  # read; more is an error.
  dataset.max_unreadable = 0.01
  # Training and test images are kept in memory, decoded, if the two take up to
  # this many GiB; else the training images alone, if they do.
  dataset.cache_gib = 8.0
  # How many images of a set in a bucket that is not kept in memory are read
  # ahead of their batch; more than rate times latency, such as 17,000/s times
  # 0.1 s. 128 threads read them.
  dataset.read_ahead = 4096
  # Neighbours in a file that stay together in the shuffled order and are read
  # in one request; 1 shuffles every image by itself. For big sets in a bucket.
  dataset.shuffle_block = 1
  return config
