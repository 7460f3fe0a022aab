"""Views of a photo that are encoded beside it, for training to see more.

View 0 is the whole photo, as it is encoded everywhere, view 1 the same
mirrored; those that follow are parts of it, drawn by the photo's name, every
other mirrored.
"""

import hashlib

import numpy as np

from mrnn_jax.runtime.picture_views import WHOLE, View, random_part

# Area of a part, as a share of what is seen of the photo.
_AREAS = 0.5, 0.95


def views_of(name: str, num_views: int) -> list[View]:
  """Return the views of a photo; fewer are the first of more.

  Args:
    name: of the photo; another photo has other parts.
    num_views: K, at least 1.
  """
  digest = hashlib.sha256(name.encode()).digest()
  rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
  views = [WHOLE, View(flipped=True)]
  while len(views) < num_views:
    views.append(random_part(rng, *_AREAS, flipped=len(views) % 2 == 1))
  return views[:num_views]


def flips(num_views: int) -> list[bool]:
  """Return which of a photo's views are mirrored, of all photos alike."""
  return [view.flipped for view in views_of('', num_views)]
