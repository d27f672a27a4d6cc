"""Pretraining and finetuning, and the state and update they share."""

from selfie_jax.tasks import finetune
from selfie_jax.tasks import pretrain

TASKS = {'pretrain': pretrain, 'finetune': finetune}  # by the config's mode
