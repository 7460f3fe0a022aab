"""The usual training loop in PyTorch, and the loader of its batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from mrnn_jax.data.vocabulary import PAD
from tests.benchmarks import lengths, weights, work
from tests.benchmarks.torch_mrnn import MRNN, default_device

# What ``mrnn_jax.config`` has by default.
_LEARNING_RATE, _WEIGHT_DECAY, _CLIP_NORM = 1e-3, 1e-4, 5.0


class Captions(Dataset):
  """Captions and the features of their images."""

  def __init__(self, captions: lengths.Captions, features: np.ndarray):
    """Keep everything as tensors."""
    self._captions = [torch.from_numpy(ids).long() for ids in captions]
    self._features = torch.from_numpy(features)

  def __len__(self) -> int:
    return len(self._captions)

  def __getitem__(self, index: int):
    return (
      self._captions[index],
      self._features[index // lengths.CAPTIONS_PER_IMAGE],
    )


def collate(samples: Sequence[Any]):
  """Pad captions to the longest of the batch."""
  captions, features = zip(*samples, strict=True)
  captions = pad_sequence(captions, batch_first=True, padding_value=PAD)
  tokens, targets = captions[:, :-1], captions[:, 1:]
  # The last word of a shorter caption is read, but nothing is asked there.
  return tokens, targets, torch.stack(features)


def make_loader(
  num_captions: int, batch_size: int, vocab_size: int, feature_size: int
) -> DataLoader:
  """Return the batches of an epoch, shuffled."""
  captions = lengths.training_captions(num_captions, vocab_size)
  features = lengths.features(
    -(-num_captions // lengths.CAPTIONS_PER_IMAGE), feature_size
  )
  return DataLoader(
    Captions(captions, features),
    batch_size=batch_size,
    shuffle=True,
    collate_fn=collate,
    drop_last=True,
    generator=torch.Generator().manual_seed(0),
  )


class Loading(work.Work):
  """The batches alone."""

  framework = 'torch'
  unit = 'words'

  def __init__(
    self,
    num_captions: int,
    steps: int,
    batch_size: int,
    vocab_size: int,
    feature_size: int,
  ):
    """Make the loader."""
    self._loader = make_loader(
      num_captions, batch_size, vocab_size, feature_size
    )
    self._batches = iter(())
    self._steps = steps
    self._words = self._positions = 0
    self.sizes = {'steps': steps, 'captions a step': batch_size}

  def warm_up(self) -> None:
    """Take a batch."""
    self._next()

  def run(self) -> work.Done:
    """Take the next batches."""
    before = self._words
    for _ in range(self._steps):
      self._next()
    return work.Done(self._words - before)

  def facts(self) -> dict[str, Any]:
    """Say how much is padding."""
    return {'padding': f'{1 - self._words / self._positions:.1%}'}

  def _next(self):
    batch = next(self._batches, None)
    if batch is None:  # The next epoch.
      self._batches = iter(self._loader)
      batch = next(self._batches)
    self._words += int((batch[1] != PAD).sum())
    self._positions += batch[1].numel()
    return batch


class Training(Loading):
  """The usual training loop."""

  def __init__(self, dropout: float, **sizes: int):
    """Make a model and its optimizer."""
    super().__init__(**sizes)
    torch.manual_seed(0)
    self.vocab_size = sizes['vocab_size']
    self._device = default_device()
    model = MRNN(sizes['vocab_size'], sizes['feature_size'], dropout)
    self._model = model.to(self._device).train()
    # Fused, as it is a few per cent faster.
    self._optimizer = torch.optim.AdamW(
      self._model.parameters(),
      lr=_LEARNING_RATE,
      weight_decay=_WEIGHT_DECAY,
      fused=True,
    )
    self._image_flops = 2.0 * sizes['feature_size'] * weights.M
    self._batch_size = sizes['batch_size']
    self._loss = None

  def warm_up(self) -> None:
    """Take two steps."""
    for _ in range(2):
      self._step()

  def run(self) -> work.Done:
    """Take the next steps."""
    before = self._words
    for _ in range(self._steps):
      self._step()
    self._loss.item()  # Waits for a GPU.
    words = self._words - before
    captions = self._steps * self._batch_size
    per_word = 3 * weights.word_flops(self.vocab_size)
    return work.Done(words, words * per_word + captions * 2 * self._image_flops)

  def _step(self) -> None:
    tokens, targets, features = (x.to(self._device) for x in self._next())
    logits = self._model(tokens, features)
    loss = functional.cross_entropy(
      logits.flatten(0, 1), targets.flatten(), ignore_index=PAD
    )
    self._optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(self._model.parameters(), _CLIP_NORM)
    self._optimizer.step()
    self._loss = loss.detach()
