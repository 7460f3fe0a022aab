"""Flags -> one frozen, validated ``Config``; nothing below reads a flag."""

from mrnn_jax.config.settings import (
  FIXED_GROUPS,
  GROUPS,
  REMEMBERED,
  TASKS,
  Config,
  with_stored,
)

__all__ = [
  'FIXED_GROUPS',
  'GROUPS',
  'REMEMBERED',
  'TASKS',
  'Config',
  'with_stored',
]
