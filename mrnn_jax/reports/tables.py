"""Results as tables."""

from collections.abc import Mapping, Sequence
import math
import re
from typing import Any

from etils import epath

from mrnn_jax.reports import evaluation_file, published
from mrnn_jax.runtime.errors import InputError

# Label, path in evaluation.json, format, and factor.
_PERPLEXITY_ROWS = (
  ('perplexity (corpus)', ('perplexity', 'corpus'), '{:.2f}'),
  ('  geometric mean', ('perplexity', 'geometric_mean'), '{:.2f}'),
  ('  without ##END##', ('perplexity', 'without_end'), '{:.2f}'),
)
CAPTION_ROWS = (
  *_PERPLEXITY_ROWS,
  *(
    (f'BLEU B-{n}', ('bleu', 'cumulative', n - 1), '{:.3f}')
    for n in (1, 2, 3, 4)
  ),
  ('CIDEr-D', ('cider_d',), '{:.3f}'),
  ('ROUGE-L', ('rouge_l',), '{:.3f}'),
  ('words a caption', ('captions', 'mean_words'), '{:.1f}'),
  ('distinct captions', ('captions', 'distinct'), '{:d}'),
  ('confidence, AUC', ('confidence', 'auc'), '{:.3f}'),
  ('copied from training', ('captions', 'copied_from_training'), '{:.3f}'),
)
RETRIEVAL_ROWS = tuple(
  (f'{label} {measure}', ('retrieval', direction, key), '{:.1f}')
  for direction, label in (
    ('image_to_text', 'image to text'),
    ('image_to_text_perplexity', 'image to text, by perplexity'),
    ('text_to_image', 'text to image'),
  )
  for measure, key in (
    ('R@1', 'r@1'),
    ('R@5', 'r@5'),
    ('R@10', 'r@10'),
    ('Med r', 'median_rank'),
  )
)
ROWS = (*CAPTION_ROWS, *RETRIEVAL_ROWS)


def look_up(result: Any, path: Sequence[str | int]) -> Any:
  """Return what stands at a path of a nested result, or None."""
  for key in path:
    try:
      result = result[key]
    except (KeyError, IndexError, TypeError):
      return None
  return result


def format_table(columns: Mapping[str, Mapping[str, Any] | None]) -> str:
  """Return results side by side.

  Args:
    columns: heading -> what evaluation.json holds; what a column lacks is left
      open, and rows that all lack are left out.
  """
  return format_rows(*table_cells(columns))


def table_cells(
  columns: Mapping[str, Mapping[str, Any] | None],
  rows: Sequence[tuple[str, Sequence[str | int], str]] = ROWS,
) -> tuple[list[str], list[list[str]]]:
  """Return the head and the lines of the table of ``format_table``."""
  columns = {
    name: value
    for name, value in columns.items()
    if any(look_up(value, path) is not None for _, path, _ in rows)
  }
  lines = []
  for label, path, form in rows:
    values = [look_up(result, path) for result in columns.values()]
    if any(value is not None for value in values):
      cells = ['' if v is None else form.format(v) for v in values]
      lines.append([label, *cells])
  return ['', *columns], lines


def format_rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """Return rows of text as a table: first column left, the others right."""
  widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

  def line(row):
    cells = [row[0].ljust(widths[0])]
    cells += [
      cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)
    ]
    return '  '.join(cells).rstrip()

  rule = '-' * (sum(widths) + 2 * (len(widths) - 1))
  return '\n'.join([line(head), rule, *map(line, rows)])


def format_evaluation(result: Mapping[str, Any]) -> str:
  """Return an evaluation as a table, beside the paper's and chance."""
  columns = comparison(result)
  return (
    f'{result["dataset"]}, {result["split"]} split, step {result["step"]}\n'
    f'{format_table(columns)}\nconvention: '
    f'{format_convention(result["convention"])}'
  )


def format_convention(convention: Mapping[str, Any]) -> str:
  """Return a convention on one line."""
  return ', '.join(f'{name}={plain(x)}' for name, x in convention.items())


def plain(value: Any) -> str:
  """Return a value of a convention as people write it."""
  if isinstance(value, Mapping):
    return ', '.join(plain(x) for x in value.values() if x not in ('', None))
  if value is None:
    return '–'
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, int | float):
    return f'{value:,.12g}'
  if re.fullmatch(r'[0-9a-f]{64}', str(value)):
    return str(value)[:12]  # A checksum: its beginning tells it apart.
  return str(value)


def comparison(
  result: Mapping[str, Any],
) -> dict[str, Mapping[str, Any] | None]:
  """Return an evaluation, the paper's and chance, by heading."""
  return {
    f'{result["model"]} (ours)': result,
    f'{result["model"]} ({published.PAPER})': published.paper_row(
      result['dataset'], result['model']
    ),
    'chance': chance_column(result),
  }


def chance_column(result: Mapping[str, Any]) -> dict[str, Any] | None:
  """Return what chance would give in the retrieval of an evaluation."""
  return {'retrieval': result['chance']} if result.get('chance') else None


def compare(workdirs: Sequence[str]) -> str:
  """Return the evaluations of several workdirs side by side, and chance.

  Where they are of several datasets, the columns say of which; each pool of
  images and sentences has a chance of its own.
  """
  results = [read_evaluation(workdir) for workdir in workdirs]
  names = [epath.Path(workdir).name for workdir in workdirs]
  if len(set(names)) < len(names):
    names = list(workdirs)
  pools = [f'{result["dataset"]}, {result["split"]}' for result in results]
  several = len(set(pools)) > 1
  columns: dict[str, Any] = {}
  for name, pool, result in zip(names, pools, results, strict=True):
    where = f'{name}: {pool}' if several else name
    columns[f'{result["model"]} ({where})'] = result
  columns |= _chances(names, pools, results)
  return format_table(columns)


def _chances(
  names: Sequence[str],
  pools: Sequence[str],
  results: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
  """Return a column of chance for each pool that is measured, by heading."""
  known = [
    (name, pool, chance)
    for name, pool, result in zip(names, pools, results, strict=True)
    if (chance := chance_column(result))
  ]
  distinct: list[tuple[str, str, Any]] = []
  for each in known:
    if all(each[1:] != other[1:] for other in distinct):
      distinct.append(each)
  if len(distinct) == 1 and len({pool for _, pool, _ in known}) == 1:
    return {'chance': distinct[0][2]}
  told = [pool for _, pool, _ in distinct]
  # Of one dataset, but of other sentences: whose it is tells them apart.
  return {
    f'chance ({pool})' if told.count(pool) == 1 else f'chance ({name})': chance
    for name, pool, chance in distinct
  }


def average(workdirs: Sequence[str]) -> str:
  """Return mean and standard deviation over runs that differ by seed.

  Raises:
    InputError: an evaluation is not there, or was made under other
      conventions than the first one.
  """
  results = [read_evaluation(workdir) for workdir in workdirs]
  keys = ('dataset', 'split', 'model', 'convention')
  for workdir, result in zip(workdirs, results, strict=True):
    for key in keys:
      if result[key] != results[0][key]:
        raise InputError(
          f'{workdir} and {workdirs[0]} differ in {key}: only evaluations of '
          'one kind have a mean.'
        )
  lines = []
  for label, path, form in ROWS:
    values = [look_up(result, path) for result in results]
    values = [value for value in values if value is not None]
    if values:
      form = form.replace('d}', '.1f}')
      lines.append(
        [label, *map(form.format, mean_and_spread(values)), str(len(values))]
      )
  return format_rows(['', 'mean', 'std', 'runs'], lines)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
  """Return mean and standard deviation, which need not be finite."""
  mean = sum(values) / len(values)
  squares = sum((x - mean) * (x - mean) for x in values)
  return mean, math.sqrt(squares / max(1, len(values) - 1))


def read_evaluation(workdir: str) -> dict[str, Any]:
  """Read the evaluation.json of a workdir.

  Raises:
    InputError: it is not there, or broken.
  """
  path = epath.Path(workdir).expanduser() / 'evaluation.json'
  command = f'python -m mrnn_jax.main --task=evaluate --workdir={workdir}'
  if not path.exists():
    raise InputError(
      f'there is no evaluation in {workdir}: make it by "{command}".'
    )
  return evaluation_file.read(path, command)
