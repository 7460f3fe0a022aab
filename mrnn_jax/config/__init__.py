"""Flags -> one frozen, validated ``Config``; nothing below reads a flag."""

from mrnn_jax.config.given import Given, begin_from, complete, wide_enough
from mrnn_jax.config.settings import FIELDS, GROUPS, REMEMBERED, Config
from mrnn_jax.config.task_facts import TASKS

__all__ = [
  'FIELDS',
  'GROUPS',
  'REMEMBERED',
  'TASKS',
  'Config',
  'Given',
  'begin_from',
  'complete',
  'wide_enough',
]
