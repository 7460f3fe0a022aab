"""Training through the encoder in PyTorch, as people write it.

An EfficientNet-Lite0 of convolutions and frozen batch normalisations, in
channels_last (faster on CPUs than PyTorch's own order), once for all captions
of an image; photos are read, cropped, mirrored and tinted by the loader.
"""

from collections.abc import Mapping, Sequence
import io
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from mrnn_jax.data.vocabulary import PAD
from tests.benchmarks import lengths, made_photos, work
from tests.benchmarks.torch_mrnn import MRNN, default_device

# Kernel, stride, expansion, channels, repeats, of Lite0.
_STAGES = (
  (3, 1, 1, 16, 1),
  (3, 2, 6, 24, 2),
  (5, 2, 6, 40, 2),
  (3, 2, 6, 80, 3),
  (5, 1, 6, 112, 3),
  (5, 2, 6, 192, 4),
  (3, 1, 6, 320, 1),
)
_STEM, _HEAD = 32, 1280
_SIDE = 224
_DROPOUT = 0.5
# What ``mrnn_jax.config`` has by default.
_LEARNING_RATE, _ENCODER_RATE, _WEIGHT_DECAY, _CLIP_NORM = 1e-3, 1e-4, 1e-4, 5.0
_AREA, _TINT = 0.5, 0.2
_TINTS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


class SameConv(nn.Conv2d):
  """A convolution padded as TensorFlow's SAME."""

  def forward(self, x):
    """Pad the larger half behind, then convolve."""
    k, stride = self.kernel_size[0], self.stride[0]
    total = max(0, (-(-x.shape[-1] // stride) - 1) * stride + k - x.shape[-1])
    before = total // 2
    after = total - before
    return super().forward(functional.pad(x, (before, after, before, after)))


def normalised(inputs: int, outputs: int, k: int, stride=1, groups=1):
  """Return a convolution, batch normalisation behind it."""
  convolution = SameConv(inputs, outputs, k, stride, groups=groups, bias=False)
  return [convolution, nn.BatchNorm2d(outputs, eps=1e-3)]


class Bottleneck(nn.Module):
  """An inverted bottleneck."""

  def __init__(self, inputs, outputs, k, stride, expansion):
    """Create the layers."""
    super().__init__()
    size = inputs * expansion
    layers = []
    if expansion > 1:
      layers += [*normalised(inputs, size, 1), nn.ReLU6()]
    layers += [*normalised(size, size, k, stride, size), nn.ReLU6()]
    self.layers = nn.Sequential(*layers, *normalised(size, outputs, 1))
    self.adds = stride == 1 and inputs == outputs

  def forward(self, x):
    """Give [B, outputs, H', W'] for [B, inputs, H, W]."""
    y = self.layers(x)
    return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
  """The network without its classifier, random."""

  def __init__(self, num_trained: int):
    """Create the blocks; only the last ``num_trained`` get gradients."""
    super().__init__()
    blocks = [nn.Sequential(*normalised(3, _STEM, 3, 2), nn.ReLU6())]
    inputs = _STEM
    for k, stride, expansion, outputs, repeats in _STAGES:
      for i in range(repeats):
        blocks.append(
          Bottleneck(inputs, outputs, k, 1 if i else stride, expansion)
        )
        inputs = outputs
    blocks.append(nn.Sequential(*normalised(inputs, _HEAD, 1), nn.ReLU6()))
    for block in blocks[: len(blocks) - num_trained]:
      block.requires_grad_(False)
    self.blocks = nn.Sequential(*blocks)

  def forward(self, images):
    """Encode [B, 3, S, S] uint8 to [B, 1280]."""
    x = (images.float() - 127) / 128
    return self.blocks(x).mean((2, 3))

  def train(self, mode: bool = True):
    """Leave the normalisations' statistics as they are."""
    return super().train(False)


class Photos(Dataset):
  """Photos and the captions of each."""

  def __init__(self, num_images: int, vocab_size: int):
    """Keep the photos as JPEGs."""
    self._photos = made_photos.jpegs(num_images)
    count = num_images * lengths.CAPTIONS_PER_IMAGE
    captions = lengths.training_captions(count, vocab_size)
    self._captions = [torch.from_numpy(ids).long() for ids in captions]

  def __len__(self) -> int:
    return len(self._photos)

  def __getitem__(self, index: int):
    first = index * lengths.CAPTIONS_PER_IMAGE
    captions = self._captions[first : first + lengths.CAPTIONS_PER_IMAGE]
    pixels = torch.from_numpy(augmented(self._photos[index]))
    return pixels.permute(2, 0, 1), captions


def augmented(photo: bytes) -> np.ndarray:
  """Return a part of a photo, mirrored or not, tinted: [S, S, 3] uint8."""
  rng = np.random.default_rng()
  image = Image.open(io.BytesIO(photo)).convert('RGB')
  area = rng.uniform(_AREA, 1)
  ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
  width = min(1.0, max(area, np.sqrt(area * ratio)))
  height = area / width
  left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
  box = [left, top, left + width, top + height]
  image = image.resize(
    (_SIDE, _SIDE),
    Image.Resampling.BICUBIC,
    [min(1.0, x) * side for x, side in zip(box, image.size * 2, strict=True)],
  )
  if rng.random() < 0.5:
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
  for tint in _TINTS:
    image = tint(image).enhance(1 + rng.uniform(-_TINT, _TINT))
  return np.array(image)


def collate(samples: Sequence[Any]):
  """Pad captions to the longest of the batch."""
  photos, captions = zip(*samples, strict=True)
  flat = [caption for each in captions for caption in each]
  padded = pad_sequence(flat, batch_first=True, padding_value=PAD)
  return torch.stack(photos), padded[:, :-1], padded[:, 1:]


class Training(work.Work):
  """The usual training loop."""

  framework = 'torch'
  unit = 'photos'

  def __init__(
    self,
    num_images: int,
    steps: int,
    batch_size: int,
    vocab_size: int,
    num_trained: int,
  ):
    """Make models, optimizer and loader."""
    torch.manual_seed(0)
    self._steps, self._rows = steps, batch_size // lengths.CAPTIONS_PER_IMAGE
    self._device = default_device()
    self._encoder = EfficientNetLite0(num_trained).train()
    self._encoder.to(self._device, memory_format=torch.channels_last)
    self._model = MRNN(vocab_size, _HEAD, _DROPOUT).to(self._device).train()
    own = [x for x in self._encoder.parameters() if x.requires_grad]
    self._parameters = [*self._model.parameters(), *own]
    self._optimizer = torch.optim.AdamW(
      [
        {'params': self._model.parameters(), 'weight_decay': _WEIGHT_DECAY},
        {'params': own, 'lr': _ENCODER_RATE, 'weight_decay': 0.0},
      ],
      lr=_LEARNING_RATE,
      fused=True,
    )
    self._loader = DataLoader(
      Photos(num_images, vocab_size),
      batch_size=self._rows,
      shuffle=True,
      collate_fn=collate,
      drop_last=True,
    )
    self._batches = iter(())
    self.sizes = {'steps': steps, 'photos a step': self._rows}

  def warm_up(self) -> None:
    """Take a step."""
    self._step()

  def run(self) -> work.Done:
    """Take the next steps."""
    for _ in range(self._steps):
      loss = self._step()
    loss.item()  # Waits for a GPU.
    return work.Done(self._steps * self._rows)

  def facts(self) -> Mapping[str, Any]:
    """Say how many parameters are trained."""
    return {'trained': sum(x.numel() for x in self._parameters)}

  def _next(self):
    batch = next(self._batches, None)
    if batch is None:  # The next epoch.
      self._batches = iter(self._loader)
      batch = next(self._batches)
    return (x.to(self._device) for x in batch)

  def _step(self):
    photos, tokens, targets = self._next()
    features = self._encoder(
      photos.contiguous(memory_format=torch.channels_last)
    )
    features = features.repeat_interleave(lengths.CAPTIONS_PER_IMAGE, 0)
    logits = self._model(tokens, features)
    loss = functional.cross_entropy(
      logits.flatten(0, 1), targets.flatten(), ignore_index=PAD
    )
    self._optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(self._parameters, _CLIP_NORM)
    self._optimizer.step()
    return loss.detach()
