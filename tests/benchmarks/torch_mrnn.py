"""The same work in PyTorch, as people write it.

Straightforward, not careless: whole batches through every layer, sentences
sorted by length, beams of all images at once, no gradients where none are
wanted.  What it does not do is what this project is about: put several captions
in a row, share the prefixes of sentences, or keep logits in the cache.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from mrnn_jax.data.vocabulary import END, PAD, START, UNK
from tests.benchmarks import lengths, weights, work


def default_device() -> str:
  """Return the device to use."""
  return 'cuda' if torch.cuda.is_available() else 'cpu'


class MRNN(nn.Module):
  """The m-RNN of the paper (section 3.2), one caption a row."""

  def __init__(self, vocab_size: int, feature_size: int, dropout: float = 0.0):
    """Create the layers."""
    super().__init__()
    E, R, M = weights.E, weights.R, weights.M
    self.embedding_1 = nn.Embedding(vocab_size, E)
    self.embedding_2 = nn.Linear(E, R)
    # Not nn.RNN: it has an input matrix of its own, which the m-RNN has not,
    # and is no faster than the loop.
    self.recurrent = nn.Linear(R, R, bias=False)
    self.multimodal_word = nn.Linear(R, M, bias=False)
    self.multimodal_recurrent = nn.Linear(R, M, bias=False)
    self.multimodal_image = nn.Linear(feature_size, M, bias=False)
    self.softmax = nn.Linear(M, vocab_size)
    self.dropout = nn.Dropout(dropout)

  @classmethod
  def of(cls, known: weights.Weights) -> 'MRNN':
    """Return a model with given parameters, ready to use."""
    model = cls(known.vocab_size, known.feature_size)
    state = {}
    for name, leaves in known.params.items():
      if name == 'recurrent':
        state['recurrent.weight'] = leaves.T
      elif name == 'embedding_1':
        state['embedding_1.weight'] = leaves['embedding']
      else:
        state[f'{name}.weight'] = leaves['kernel'].T
        if 'bias' in leaves:
          state[f'{name}.bias'] = leaves['bias']
    model.load_state_dict(
      {k: torch.from_numpy(np.array(v)) for k, v in state.items()}
    )
    return model.to(default_device()).eval()

  def forward(self, tokens, features):
    """Return logits [B, T, V] for tokens [B, T], scaled features [B, D]."""
    words = self.dropout(self.embedding_2(self.embedding_1(tokens)))
    state = words.new_zeros(len(tokens), weights.R)
    states = []
    for word in words.unbind(1):
      state = functional.relu(self.recurrent(state) + word)
      states.append(state)
    states = self.dropout(torch.stack(states, 1))
    image = self.image(features)[:, None]
    hidden = self.multimodal_word(words) + self.multimodal_recurrent(states)
    return self.readout(hidden + image)

  def image(self, features):
    """Return [B, M] for scaled features [B, D]."""
    return self.multimodal_image(self.dropout(features))

  def readout(self, hidden):
    """Return logits [..., V] for [..., M]."""
    hidden = 1.7159 * torch.tanh(hidden * (2 / 3))
    return self.softmax(self.dropout(hidden))

  def step(self, tokens, state, image):
    """Read a word: tokens [B], state [B, R], image [B, M]."""
    word = self.embedding_2(self.embedding_1(tokens))
    state = functional.relu(self.recurrent(state) + word)
    hidden = self.multimodal_word(word) + self.multimodal_recurrent(state)
    return state, self.readout(hidden + image)


class Ranking(work.Work):
  """All sentences for one image after another."""

  framework = 'torch'
  unit = 'words'

  def __init__(
    self,
    pool_size: int,
    num_sentences: int,
    num_images: int,
    vocab_size: int,
    feature_size: int,
    sentences_at_a_time: int,
  ):
    """Sort the sentences by length, and pad them batch by batch."""
    self.vocab_size = vocab_size
    pool = lengths.test_pool(pool_size, vocab_size)[:num_sentences]
    known = weights.random_weights(vocab_size, feature_size)
    self._model = MRNN.of(known)
    self._device = default_device()
    scaled = known.scaled(lengths.features(num_images, feature_size))
    self._features = torch.from_numpy(scaled).to(self._device)
    order = np.argsort([len(sentence) for sentence in pool], kind='stable')
    self._batches, positions = [], 0
    for rows in np.split(
      order, range(sentences_at_a_time, num_sentences, sentences_at_a_time)
    ):
      captions = pad_sequence(
        [torch.from_numpy(pool[row]).long() for row in rows],
        batch_first=True,
        padding_value=PAD,
      ).to(self._device)
      self._batches.append((torch.from_numpy(rows), captions))
      positions += len(rows) * (captions.shape[1] - 1)
    self._scores = torch.zeros(num_sentences, num_images)
    self._num_targets = lengths.num_targets(pool)
    self._flops = 2.0 * self._num_targets * weights.M * vocab_size * num_images
    self.sizes = {
      'S': num_sentences,
      'N': num_images,
      'sentences at a time': sentences_at_a_time,
      'padding': f'{1 - self._num_targets / positions:.1%}',
    }

  def warm_up(self) -> None:
    """Score all sentences for an image."""
    self._score(0)

  def run(self) -> work.Done:
    """Score all sentences for every image."""
    for image in range(len(self._features)):
      self._score(image)
    return work.Done(self._num_targets * len(self._features), self._flops)

  def answer(self) -> np.ndarray:
    """Return [S, N] natural logarithms."""
    return self._scores.numpy()

  @torch.inference_mode()
  def _score(self, image: int) -> None:
    feature = self._features[image]
    for rows, captions in self._batches:
      tokens, targets = captions[:, :-1], captions[:, 1:]
      logits = self._model(tokens, feature.expand(len(tokens), -1))
      losses = functional.cross_entropy(
        logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=PAD,
        reduction='none',
      )
      self._scores[rows, image] = -losses.view_as(targets).sum(1).cpu()


class Decoding(work.Work):
  """A beam search of all images of a batch at once."""

  framework = 'torch'
  unit = 'captions'

  def __init__(
    self,
    num_images: int,
    batch_size: int,
    beam_size: int,
    max_words: int,
    model: str,
    random_sizes: tuple[int, int],
  ):
    """Read or draw a model and its images."""
    known = (
      weights.read_weights(model)
      if model
      else weights.random_weights(*random_sizes)
    )
    self.vocab_size = known.vocab_size
    self._model = MRNN.of(known)
    features = torch.from_numpy(known.scaled(known.images(num_images)))
    self._batches = features.to(default_device()).split(batch_size)
    self._beam_size, self._max_words = beam_size, max_words
    self._captions = []
    self.sizes = {'images': num_images, 'images at a time': batch_size}

  def warm_up(self) -> None:
    """Write captions of a batch."""
    beam_search(self._model, self._batches[0], self._beam_size, self._max_words)

  def run(self) -> work.Done:
    """Write captions of all images."""
    self._captions = []
    for features in self._batches:
      words = beam_search(
        self._model, features, self._beam_size, self._max_words
      )
      self._captions += [
        [word for word in row if word not in (END, PAD)]
        for row in words.tolist()
      ]
    targets = sum(
      min(len(words) + 1, self._max_words) for words in self._captions
    )
    flops = weights.word_flops(self.vocab_size) * targets * self._beam_size
    return work.Done(len(self._captions), flops)

  def answer(self) -> list[list[int]]:
    """Return the words of each caption."""
    return self._captions


@torch.inference_mode()
def beam_search(model: MRNN, features, beam_size: int, max_words: int):
  """Return the likeliest captions that a beam search finds.

  Args:
    model: the model.
    features: [N, D] scaled features.
    beam_size: K; 1: the likeliest word each time.
    max_words: the most words of a caption.

  Returns:
    [N, <= max_words] word ids, ``##END##`` and then padding at the end.
  """
  N, K = len(features), beam_size
  device = features.device
  image = model.image(features).repeat_interleave(K, 0)
  state = image.new_zeros(N * K, weights.R)
  tokens = torch.full((N * K,), START, device=device)
  # K times the same start would give K times the same captions.
  log_probs = image.new_full((N, K), -torch.inf)
  log_probs[:, 0] = 0
  words = torch.empty(N * K, 0, dtype=torch.long, device=device)
  ended = torch.zeros(N * K, dtype=torch.bool, device=device)
  first_row = torch.arange(N, device=device)[:, None] * K
  for _ in range(max_words):
    state, logits = model.step(tokens, state, image)
    next_log_probs = functional.log_softmax(logits, -1)
    next_log_probs[:, [PAD, START, UNK]] = -torch.inf
    # A finished caption goes on with padding, at no cost.
    next_log_probs[ended] = -torch.inf
    next_log_probs[ended, PAD] = 0
    total = log_probs[:, :, None] + next_log_probs.view(N, K, -1)
    log_probs, best = total.flatten(1).topk(K)
    parents = (first_row + best // model.softmax.out_features).flatten()
    tokens = (best % model.softmax.out_features).flatten()
    state = state[parents]
    words = torch.cat([words[parents], tokens[:, None]], 1)
    ended = ended[parents] | (tokens == END)
    if ended.all():
      break
  return words.view(N, K, -1)[:, 0]
