"""Pretraining and finetuning, and the state and update they share."""
