"""The recall curve's CSV and picture."""

import csv
import io

import numpy as np
from PIL import Image
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax import metrics
from mrnn_jax.evaluation import recall_curve


@pytest.fixture(scope='module')
def curves():
  rng = np.random.default_rng(0)
  owner = np.repeat(np.arange(20), 5)
  scores = rng.normal(size=(100, 20))
  scores[np.arange(100), owner] += 1.5
  return {
    'image_to_text': metrics.image_to_text_recall_curve(scores, owner),
    'text_to_image': metrics.text_to_image_recall_curve(scores, owner),
  }


def test_the_files_of_a_split(curves, tmp_path):
  config = config_lib.Config(workdir=str(tmp_path), split='validation')
  recall_curve.write(curves, config)
  assert sorted(path.name for path in tmp_path.iterdir()) == [
    'recall_curve_validation.csv',
    'recall_curve_validation.png',
  ]
  with Image.open(tmp_path / 'recall_curve_validation.png') as picture:
    picture.load()
    assert picture.width > picture.height > 300


def test_the_csv_holds_the_curves(curves):
  rows = list(csv.DictReader(io.StringIO(recall_curve.format_csv(curves))))
  for direction, curve in curves.items():
    mine = [row for row in rows if row['direction'] == direction]
    for name, key in (
      ('percent', 'percent'),
      ('mean_true_items', 'true_items'),
      ('mean_share', 'share'),
    ):
      values = [float(row[name]) for row in mine]
      np.testing.assert_allclose(values, curve[key], rtol=1e-5)
  assert float(rows[0]['mean_true_items']) == 0
  last = [row for row in rows if row['percent'] == '100']
  assert [float(row['mean_true_items']) for row in last] == [5, 1]


def test_chance_is_a_share_of_the_list(curves):
  chance = dict(recall_curve.by_chance(curves['image_to_text']))
  assert chance[10.0] == pytest.approx(0.5)
  assert chance[100.0] == pytest.approx(5.0)
