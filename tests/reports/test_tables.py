"""Tables of results, and published ones."""

import json

import pytest

from mrnn_jax.reports import published, tables
from mrnn_jax.reports.__main__ import main
from mrnn_jax.runtime.errors import InputError

RESULT = {
  'dataset': 'flickr8k',
  'split': 'test',
  'model': 'm-rnn',
  'step': 7,
  'convention': {'beam_size': 3},
  'perplexity': {'corpus': 17.91},
  'bleu': {'cumulative': [0.623, 0.438, 0.293, 0.193]},
  'retrieval': {'image_to_text': {'r@1': 20.0}},
  'chance': {'image_to_text': {'r@1': 0.1}},
}


def cells(text, label):
  label += ' '
  (line,) = [x for x in text.splitlines() if x.startswith(label)]
  return line.removeprefix(label).split()


def test_ours_stands_beside_the_papers_and_chance():
  text = tables.format_evaluation(RESULT)
  assert cells(text, 'perplexity (corpus)') == ['17.91', '24.39']
  assert cells(text, 'BLEU B-4') == ['0.193']
  assert cells(text, 'image to text R@1') == ['20.0', '14.5', '0.1']
  assert 'ROUGE-L' not in text  # Nobody has it.
  assert 'beam_size=3' in text


def test_runs_are_compared(tmp_path):
  for name, value in (('one', 17.91), ('two', 18.5)):
    (tmp_path / name).mkdir()
    result = {**RESULT, 'perplexity': {'corpus': value}}
    (tmp_path / name / 'evaluation.json').write_text(json.dumps(result))
  text = tables.compare([str(tmp_path / 'one'), str(tmp_path / 'two')])
  assert cells(text, 'perplexity (corpus)') == ['17.91', '18.50']
  assert cells(text, 'image to text R@1') == ['20.0', '20.0', '0.1']
  assert 'm-rnn (one)' in text


def write_runs(tmp_path, *results):
  """Write evaluations, and return their workdirs."""
  workdirs = []
  for number, changes in enumerate(results):
    folder = tmp_path / f'{number}' / 'run'
    folder.mkdir(parents=True)
    text = json.dumps({**RESULT, **changes})
    (folder / 'evaluation.json').write_text(text)
    workdirs.append(str(folder))
  return workdirs


def by_chance(value):
  return {'chance': {'image_to_text': {'r@1': value}}}


def test_each_pool_has_its_own_chance(tmp_path):
  """Two runs of one dataset, and one of another."""
  workdirs = write_runs(
    tmp_path,
    {},
    {'dataset': 'scenes', **by_chance(0.4)},
    {'perplexity': {'corpus': 18.5}},
  )
  text = tables.compare(workdirs)
  head = text.splitlines()[0]
  for workdir, dataset in zip(
    workdirs, ('flickr8k', 'scenes', 'flickr8k'), strict=True
  ):
    assert f'm-rnn ({workdir}: {dataset}, test)' in head
  assert head.endswith('chance (flickr8k, test)  chance (scenes, test)')
  assert cells(text, 'image to text R@1') == [*['20.0'] * 3, '0.1', '0.4']


def test_runs_of_one_name_or_of_other_sentences_are_told_apart(tmp_path):
  one, two = write_runs(tmp_path, by_chance(0.1), by_chance(5.0))
  text = tables.compare([one, two])
  assert f'm-rnn ({one})' in text and f'm-rnn ({two})' in text
  assert f'chance ({one})  chance ({two})' in text
  assert cells(text, 'image to text R@1') == ['20.0', '20.0', '0.1', '5.0']


def test_conventions_are_written_as_people_do():
  checksum = '0123456789abcdef' * 4
  convention = {
    'encoder': {'name': 'a network', 'weights': checksum},
    'shortlist': None,
    'first_caption_only': False,
    'norm_images': 1000,
  }
  text = tables.format_evaluation({**RESULT, 'convention': convention})
  assert text.splitlines()[-1] == (
    'convention: encoder=a network, 0123456789ab, shortlist=–, '
    'first_caption_only=no, norm_images=1,000'
  )


def test_seeds_have_mean_and_spread(tmp_path, capsys):
  for name, value in (('s0', 17.0), ('s1', 18.0), ('s2', 20.5)):
    (tmp_path / name).mkdir()
    result = {**RESULT, 'perplexity': {'corpus': value}}
    if name != 's0':
      result['retrieval'] = None  # Measured for one seed only.
    (tmp_path / name / 'evaluation.json').write_text(json.dumps(result))
  workdirs = [str(tmp_path / name) for name in ('s0', 's1', 's2')]
  assert main(['--mean', *workdirs]) == 0
  text = capsys.readouterr().out
  assert cells(text, 'perplexity (corpus)') == ['18.50', '1.80', '3']
  assert cells(text, 'image to text R@1') == ['20.0', '0.0', '1']
  result['convention'] = {'beam_size': 5}
  (tmp_path / 's2' / 'evaluation.json').write_text(json.dumps(result))
  assert main(['--mean', *workdirs]) == 1
  assert 'differ in convention' in capsys.readouterr().err


@pytest.mark.parametrize('content', [None, '{', '[]', '{}'])
def test_a_workdir_without_an_evaluation_says_how_to_make_it(
  tmp_path, content, capsys
):
  if content is not None:
    (tmp_path / 'evaluation.json').write_text(content)
  with pytest.raises(InputError, match='--task=evaluate'):
    tables.compare([str(tmp_path)])
  assert main([str(tmp_path)]) == 1
  assert capsys.readouterr().err.count('error: ') == 1


def test_published_rows_have_the_form_of_an_evaluation():
  for dataset, expected in (('flickr8k', 9), ('flickr30k', 5), ('iaprtc12', 9)):
    rows = published.published_rows(dataset)
    assert len(rows) == expected
    for name, row in rows.items():
      assert published.PAPER in name or 'where-image2' in name
      values = [tables.look_up(row, path) for _, path, _ in tables.ROWS]
      values = [value for value in values if value is not None]
      assert values
      bleu = row['bleu']['cumulative']
      assert bleu == sorted(bleu, reverse=True)
      assert all(0 < x < 1 for x in bleu)
      for ranks in (row['retrieval'] or {}).values():
        assert ranks['r@1'] < ranks['r@5'] < ranks['r@10']
  rows = published.published_rows('flickr30k')
  table = tables.format_table(rows)
  assert cells(table, 'perplexity (corpus)') == ['43.96', '35.11']
  assert cells(table, 'text to image R@10') == ['41.5', '29.6', '44.5', '1.0']
  assert published.published_rows('scenes') == {}
  assert published.paper_row('scenes', 'm-rnn') is None
