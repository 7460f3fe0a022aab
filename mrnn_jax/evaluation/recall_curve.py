"""The recall curve of the paper's figure 3, as CSV and as a picture."""

from collections.abc import Mapping, Sequence
import csv
import io

from mrnn_jax.config import Config
from mrnn_jax.runtime import files

# One direction: 'percent', 'true_items' and 'share', as metrics gives them.
Curve = Mapping[str, Sequence[float]]

CSV_FILE = 'recall_curve.csv'
PICTURE_FILE = 'recall_curve.png'
# In the order of figure 3: what is retrieved, and for what.
DIRECTIONS = {
  'image_to_text': ('Sentence retrieval (image to text)', 'sentences'),
  'text_to_image': ('Image retrieval (text to image)', 'images'),
}


def write(curves: Mapping[str, Curve], config: Config) -> None:
  """Write ``recall_curve.csv`` and ``recall_curve.png`` into the workdir.

  Args:
    curves: direction -> curve: the 'recall_curve' of evaluation.json.
    config: the workdir and the split.
  """
  path = files.result_path(config.workdir, config.split, CSV_FILE)
  files.write_text(path, format_csv(curves))
  files.write_bytes(
    files.result_path(config.workdir, config.split, PICTURE_FILE),
    draw({config.model: curves}),
  )
  print(f'wrote {path}, and the picture beside it')


def format_csv(curves: Mapping[str, Curve]) -> str:
  """Return curves as CSV, a line for each direction and percentage."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(['direction', 'percent', 'mean_true_items', 'mean_share'])
  for direction in DIRECTIONS:
    curve = curves[direction]
    writer.writerows(
      [direction, f'{percent:g}', f'{items:.6g}', f'{share:.6g}']
      for percent, items, share in zip(
        curve['percent'], curve['true_items'], curve['share'], strict=True
      )
    )
  return text.getvalue()


def points(curve: Curve) -> list[tuple[float, float]]:
  """Return (percent, mean number of true items), from the first one found."""
  pairs = zip(curve['percent'], curve['true_items'], strict=True)
  return [(percent, items) for percent, items in pairs if items > 0]


def by_chance(curve: Curve) -> list[tuple[float, float]]:
  """Return the points that a random ranking would have, at the same places."""
  # All of the list holds all true items, and x percent of it x percent.
  total = curve['true_items'][-1] / (curve['percent'][-1] / 100)
  return [(percent, percent / 100 * total) for percent, _ in points(curve)]


def draw(systems: Mapping[str, Mapping[str, Curve]]) -> bytes:
  """Draw both directions beside each other and beside chance, as PNG.

  The axis of the list is logarithmic, because its beginning is what matters.

  Args:
    systems: what a line is called -> its curves by direction.
  """
  # Not pyplot: it keeps global state and may look for a display.
  from matplotlib.figure import Figure

  figure = Figure(figsize=(10, 4.2), layout='constrained')
  panels = zip(figure.subplots(1, 2), DIRECTIONS.items(), strict=True)
  for axes, (direction, (title, things)) in panels:
    shown = {
      name: points(curves[direction]) for name, curves in systems.items()
    }
    for number, (name, line) in enumerate(shown.items()):
      # Ten colours, then the same with another stroke.
      style = ('-', '-.')[number // 10 % 2]
      axes.plot(*zip(*line, strict=True), style, label=name)
    first = next(iter(systems.values()))[direction]
    chance = by_chance(first)
    axes.plot(*zip(*chance, strict=True), '--', color='gray', label='chance')
    axes.set_xscale('log')
    low = min(line[0][0] for line in shown.values())
    high = max(line[-1][0] for line in shown.values())
    axes.set_xlim(low, high)
    axes.set_ylim(0)
    ticks = [x for x in (0.02, 0.1, 1, 10, 100) if low <= x <= high]
    axes.set_xticks(ticks, [f'{x:g}%' for x in ticks])
    axes.minorticks_off()
    axes.set_title(title)
    axes.set_xlabel(f'{things} retrieved, of the whole list')
    axes.set_ylabel('mean number of true ones among them')
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc='upper left')
  buffer = io.BytesIO()
  figure.savefig(buffer, format='png', dpi=120)
  return buffer.getvalue()
