"""From a job's config to its network, and to what the network sees."""

from typing import Any

import jax
import jax.numpy as jnp
import ml_collections

from selfie_jax.models import attention
from selfie_jax.models import classifier as classifier_lib
from selfie_jax.models import patches
from selfie_jax.models import resnet
from selfie_jax.models import selfie as selfie_lib

AXIS = 'batch'  # pmap axis over which BatchNorm is synchronised


def selfie(config: ml_collections.ConfigDict) -> selfie_lib.Selfie:
  """The network of a pretraining job."""
  return selfie_lib.Selfie(
    patch_network=patch_network(config),
    attention_pooling=attention_pooling(config),
    positions=positions(config),
    context_positions=config.model.context_positions,
    logit_scale=config.model.logit_scale,
  )


def classifier(
  config: ml_collections.ConfigDict, num_classes: int
) -> classifier_lib.ResNet50 | classifier_lib.ResNet36Attention:
  """The network of a finetuning job."""
  if config.model.name == 'resnet50':
    # The field is about P's; ResNet-50 closes after block4 in any case.
    settings = resnet_settings(config, 4) | {'closing_norm': True}
    return classifier_lib.ResNet50(**settings, num_classes=num_classes)
  return classifier_lib.ResNet36Attention(
    **resnet_settings(config, 3),
    attention_pooling=attention_pooling(config),
    positions=positions(config) if config.model.context_positions else None,
    num_classes=num_classes,
  )


def patch_network(config: ml_collections.ConfigDict) -> resnet.PatchNetwork:
  """P."""
  return resnet.PatchNetwork(**resnet_settings(config, 3))


def attention_pooling(
  config: ml_collections.ConfigDict,
) -> attention.AttentionPooling:
  """A."""
  return attention.AttentionPooling(
    **config.model.attention, dtype=jnp.dtype(config.dtype)
  )


def positions(
  config: ml_collections.ConfigDict,
) -> attention.PositionEmbedding:
  """The embeddings of the patch grid's places."""
  return attention.PositionEmbedding(
    config.model.positions,
    patches.grid_size(config.image_size, config.patch_size),
  )


def resnet_settings(
  config: ml_collections.ConfigDict, blocks: int
) -> dict[str, Any]:
  """The fields that P and the finetuning networks have in common."""
  model = config.model
  return dict(
    depths=tuple(model.depths[:blocks]),
    width=model.width,
    stem=model.stem,
    closing_norm=model.closing_norm,
    norm_momentum=model.norm_momentum,
    axis_name=AXIS if model.sync_batch_norm else None,
    dtype=jnp.dtype(config.dtype),
  )


def normalise(
  images: jax.Array, config: ml_collections.ConfigDict
) -> jax.Array:
  """uint8 [batch, h, w, 3] to the compute dtype, mean 0 and deviation 1."""
  mean = jnp.asarray(config.normalise.mean, jnp.float32)
  std = jnp.asarray(config.normalise.std, jnp.float32)
  x = images.astype(jnp.float32) / 255
  return ((x - mean) / std).astype(config.dtype)
