"""Small matrices of scores with ties, and their rankings as sorted lists."""

from hypothesis import strategies as st
import numpy as np

OWNER = np.array([0, 0, 1, 2])
SCORES = np.array(
  [
    [0.5, 0.5, 0.1],
    [0.4, 0.9, 0.9],
    [0.5, 0.9, 0.1],
    [0.6, 0.9, 0.2],
  ]
)


@st.composite
def problems(draw):
  """Scores with many ties, owners, and a shortlist."""
  num_images = draw(st.integers(1, 6))
  extra = draw(st.lists(st.integers(0, num_images - 1), max_size=10))
  owner = draw(st.permutations([*range(num_images), *extra]))
  row = st.lists(st.integers(-2, 2), min_size=num_images, max_size=num_images)
  scores = draw(st.lists(row, min_size=len(owner), max_size=len(owner)))
  k = draw(st.integers(1, num_images))
  shortlist = []
  for i in range(num_images):
    others = draw(st.permutations([j for j in range(num_images) if j != i]))
    shortlist.append(draw(st.permutations([i, *others[: k - 1]])))
  return np.array(scores, np.float32), np.array(owner), np.array(shortlist)


def sentence_lists(scores, owner, shortlist=None):
  """Whether each sentence is a true one, best first, for each image."""
  for i, column in enumerate(scores.T):
    among = range(len(scores.T)) if shortlist is None else shortlist[i]
    listed = [s for s in range(len(owner)) if owner[s] in among]
    # Of equal scores the true ones come last.
    listed.sort(key=lambda s: (-column[s], owner[s] == i))
    yield [owner[s] == i for s in listed]


def image_lists(scores, owner):
  """Whether each image is the true one, best first, for each sentence."""
  for row, i in zip(scores, owner, strict=True):
    images = sorted(range(len(row)), key=lambda j: (-row[j], j == i))
    yield [j == i for j in images]
