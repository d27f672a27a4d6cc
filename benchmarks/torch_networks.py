"""The project's networks and steps as one ordinarily writes them in PyTorch."""

import torch
from torch import nn
from torch.nn import functional

from selfie_jax.models import patches
from selfie_jax.models import resnet


class Bottleneck(nn.Module):
  """Pre-activation; see selfie_jax.models.resnet.Bottleneck."""

  def __init__(self, channels: int, features: int, stride: int):
    super().__init__()
    out = features * resnet.EXPANSION
    self.norm1 = nn.BatchNorm2d(channels)
    self.conv1 = nn.Conv2d(channels, features, 1, bias=False)
    self.norm2 = nn.BatchNorm2d(features)
    self.conv2 = nn.Conv2d(features, features, 3, stride, 1, bias=False)
    self.norm3 = nn.BatchNorm2d(features)
    self.conv3 = nn.Conv2d(features, out, 1, bias=False)
    self.shortcut = None
    if stride != 1 or channels != out:
      self.shortcut = nn.Conv2d(channels, out, 1, stride, bias=False)

  def forward(self, x):
    y = functional.relu(self.norm1(x))
    shortcut = self.shortcut(y) if self.shortcut else x
    y = functional.relu(self.norm2(self.conv1(y)))
    y = functional.relu(self.norm3(self.conv2(y)))
    return shortcut + self.conv3(y)


def resnet_layers(model, depths, closing_norm) -> tuple[nn.Sequential, int]:
  """Stem, blocks and closing norm, and the channels of what comes out."""
  size, stride, padding = resnet.STEMS[model.stem]
  layers = [nn.Conv2d(3, model.width, size, stride, padding, bias=False)]
  if model.stem == 'conv7_pool':
    layers.append(nn.MaxPool2d(3, 2, 1))
  channels = model.width
  for i, depth in enumerate(depths):
    features = model.width * 2**i
    for unit in range(depth):
      stride = 2 if i and not unit else 1
      layers.append(Bottleneck(channels, features, stride))
      channels = features * resnet.EXPANSION
  if closing_norm:
    layers += [nn.BatchNorm2d(channels), nn.ReLU()]
  return nn.Sequential(*layers), channels


class Pooling(nn.Module):
  """A and its u0; see selfie_jax.models.attention_pooling."""

  def __init__(self, attention, channels: int):
    super().__init__()
    layer = nn.TransformerEncoderLayer(
      channels,
      attention.num_heads,
      attention.hidden,
      attention.dropout,
      'gelu',
      batch_first=True,
    )
    self.layers = nn.TransformerEncoder(
      layer, attention.num_layers, enable_nested_tensor=False
    )
    self.u0 = nn.Parameter(0.02 * torch.randn(channels))

  def forward(self, x):
    """[batch, vectors, channels] to [batch, channels]."""
    u0 = self.u0.expand(len(x), 1, -1)
    return self.layers(torch.cat([u0, x], 1))[:, 0]


class Selfie(nn.Module):
  """P, A and positions; see selfie_jax.models.selfie.Selfie."""

  def __init__(self, config):
    super().__init__()
    model = config.model
    if model.positions != 'flat' or model.context_positions:
      raise ValueError('this baseline has flat positions on the query only')
    self.patch_network, channels = resnet_layers(
      model, model.depths[:3], model.closing_norm
    )
    self.attention_pooling = Pooling(model.attention, channels)
    places = patches.grid_size(config.image_size, config.patch_size) ** 2
    self.positions = nn.Parameter(0.02 * torch.randn(places, channels))

  def forward(self, x, context, targets):
    """Patches [batch, n, 3, s, s] to logits [batch, targets, targets]."""
    batch, n = x.shape[:2]
    h = self.patch_network(x.flatten(0, 1)).mean((2, 3)).view(batch, n, -1)
    rows = torch.arange(batch)[:, None]
    pooled = self.attention_pooling(h[rows, context])
    queries = pooled[:, None] + self.positions[targets]
    return queries @ h[rows, targets].transpose(1, 2)


class Classifier(nn.Module):
  """ResNet-50, or ResNet-36 + A; see selfie_jax.models.classifier."""

  def __init__(self, config, num_classes: int):
    super().__init__()
    model = config.model
    attends = model.name == 'resnet36_attention'
    depths = model.depths[:3] if attends else model.depths
    # The field is P's; ResNet-50 closes in any case.
    closing_norm = model.closing_norm or not attends
    self.body, channels = resnet_layers(model, depths, closing_norm)
    self.attention_pooling = (
      Pooling(model.attention, channels) if attends else None
    )
    self.head = nn.Linear(channels, num_classes)

  def forward(self, x):
    """Images [batch, 3, s, s] to logits [batch, classes]."""
    x = self.body(x)
    if self.attention_pooling is None:
      return self.head(x.mean((2, 3)))
    return self.head(self.attention_pooling(x.flatten(2).transpose(1, 2)))


def make_pretrain_loss(config, layout):
  """(model, function of normalised images and labels to the loss)."""
  size = config.patch_size
  n = patches.grid_size(config.image_size, size) ** 2
  m = patches.num_targets(n, config.masked_fraction)
  model = Selfie(config)

  def loss(solve, images, labels):
    del labels
    x = images.unfold(2, size, size).unfold(3, size, size)
    x = x.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    x = x.flatten(0, 1).contiguous(memory_format=layout)
    x = x.view(-1, n, *x.shape[1:])
    order = torch.rand(len(x), n).argsort(1)
    logits = solve(x, order[:, m:], order[:, :m]).float()
    right = torch.arange(m).expand(len(x), m)
    return functional.cross_entropy(logits.flatten(0, 1), right.flatten())

  return model, loss


def make_finetune_loss(config, layout, num_classes: int):
  """(model, function of normalised images and labels to the loss)."""
  model = Classifier(config, num_classes)

  def loss(solve, images, labels):
    logits = solve(images.contiguous(memory_format=layout)).float()
    return functional.cross_entropy(logits, labels)

  return model, loss
