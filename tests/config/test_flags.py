"""Flags given by hand must have an effect; a flag file is for many tasks."""

from absl import flags
import pytest

from mrnn_jax import config as config_lib
from mrnn_jax.config import flags as config_flags
from mrnn_jax.runtime.errors import InputError


def read(*words):
  values = flags.FlagValues()
  config_flags.define_flags(values)
  argv = ['main', *words]
  assert values(argv) == ['main']
  return config_flags.read(values, argv)


def run(*words):
  return config_lib.complete(read(*words))


@pytest.fixture
def flag_file(tmp_path):
  def write(*lines, name='x.flags'):
    (tmp_path / name).write_text('\n'.join(lines))
    return f'--flagfile={tmp_path / name}'

  return write


def test_every_field_is_a_flag_of_its_default():
  assert run() == config_lib.Config()
  config = run(
    '--noretrieval',
    '--compilation_cache=false',
    '--num_epochs=2',
    '--split=validation',
  )
  assert config == config_lib.Config(
    retrieval=False, compilation_cache=False, num_epochs=2.0, split='validation'
  )


def test_which_flags_stand_on_the_command_line(flag_file):
  inner = flag_file('--seed=7', name='inner.flags')
  file = flag_file('--batch_size=5', '--noretrieval', inner)
  given = read(
    '--beam_size',
    '4',
    file,
    '-min_words=1',
    '--noembedding_bias',
    '--process_id',
    '-1',
    '--multimodal_bias',
    '--norm_images',
    '3',
    '--deterministic=false',
  )
  assert given.by_hand == {
    'beam_size',
    'min_words',
    'embedding_bias',
    'process_id',
    'multimodal_bias',
    'norm_images',
    'deterministic',
  }
  assert given.values.keys() - given.by_hand == {
    'batch_size',
    'retrieval',
    'seed',
  }
  assert (given.get('beam_size'), given.get('seed')) == (4, 7)
  # Two words, of which the second is no flag's value.
  given = read(*file.split('='), '--seed=8')
  assert given.by_hand == {'seed'}
  assert given.get('seed') == 8


@pytest.mark.parametrize(
  ('words', 'message'),
  [
    (
      '--task=evaluate --shard=0/4',
      '--shard is for --task=score: leave it out with --task=evaluate.',
    ),
    (
      '--task=evaluate --score_normalized',
      '--score_normalized is for --task=score: leave it out with '
      '--task=evaluate.',
    ),
    (
      '--task=evaluate --noscore_normalized',
      '--score_normalized is for --task=score: leave it out with '
      '--task=evaluate.',
    ),
    (
      '--task=evaluate --prefix a',
      '--prefix is for --task=caption: leave it out with --task=evaluate.',
    ),
    (
      '--task=train --photos=p',
      '--photos is for --task=caption, rank or report: leave it out with '
      '--task=train.',
    ),
    # A default, too.
    (
      '--task=export --beam_size=3',
      '--beam_size is for --task=train_and_evaluate, train, evaluate or '
      'caption: leave it out with --task=export.',
    ),
    (
      '--task=train --model_file=M',
      '--model_file is for --task=evaluate, caption, retrieve, rank, '
      'calibrate, score, report or export: leave it out with --task=train.',
    ),
    (
      '--model=rnn-base --image_dropout=.5',
      '--image_dropout is for --model=m-rnn',
    ),
    ('--model=elman --cell=gru', '--cell is for --model=m-rnn or rnn-base'),
    (
      '--sample --length_penalty=.5',
      '--length_penalty has no effect with --sample: leave it out, or leave '
      'out --sample.',
    ),
    ('--sample --beam_size=5', '--beam_size has no effect with --sample'),
    (
      '--top_k=5',
      '--top_k has no effect without --sample: leave it out, or add --sample.',
    ),
    ('--temperature=1.0', '--temperature has no effect without --sample'),
    ('--top_p=.5', '--top_p has no effect without --sample'),
    ('--sample_seed=1', '--sample_seed has no effect without --sample'),
    (
      '--momentum=.5',
      '--momentum has no effect with --optimizer=adamw: leave it out, or '
      'choose --optimizer=sgd.',
    ),
    (
      '--weight_decay=.5 --optimizer=sgd',
      '--weight_decay has no effect with --optimizer=sgd',
    ),
    (
      '--decay_factor=.5',
      '--decay_factor has no effect with --schedule=cosine: leave it out, or '
      'choose --schedule=step or plateau.',
    ),
    (
      '--decay_epochs=2 --schedule=plateau',
      '--decay_epochs has no effect with --schedule=plateau',
    ),
    (
      '--decay_patience=2 --schedule=step',
      '--decay_patience has no effect with --schedule=step',
    ),
    (
      '--final_learning_rate=.1 --schedule=constant',
      '--final_learning_rate has no effect with --schedule=constant',
    ),
    (
      '--rerank_captions=9',
      '--rerank_captions has no effect without --rerank_neighbors',
    ),
    (
      '--diversity_penalty=1',
      '--diversity_penalty has no effect without --beam_groups',
    ),
    (
      '--noretrieval --rank_tile_rows=9',
      '--rank_tile_rows has no effect with --noretrieval',
    ),
    (
      '--task=evaluate --noretrieval --norm_images=9',
      '--norm_images has no effect with --noretrieval',
    ),
    (
      '--task=score --norm_images=9',
      '--norm_images has no effect without --score_normalized: leave it out, '
      'or add --score_normalized.',
    ),
    (
      '--task=score --features=f --data_dir=d',
      '--data_dir has no effect with --photos or --features',
    ),
    (
      '--task=caption --photos=p --split=train',
      '--split has no effect with --photos or --features: leave it out, or '
      'leave these out.',
    ),
    (
      '--task=caption --output=o',
      '--output has no effect with --task=caption without --photos or '
      '--features',
    ),
    (
      '--task=evaluate --model=elman --norm_images=50',
      '--norm_images has no effect with --model=elman, which does not see',
    ),
    (
      '--task=caption --features=f --encoder_weights=w',
      '--encoder_weights has no effect without --photos',
    ),
    (
      '--task=evaluate --length_protocol=reference --max_words=9',
      '--max_words has no effect with --length_protocol=reference',
    ),
    (
      '--task=evaluate --length_protocol=reference --nbest=2',
      '--nbest has no effect with --length_protocol=reference',
    ),
    (
      '--task=train --model=ngram --accumulate_steps=2',
      '--accumulate_steps is for models that are trained step by step',
    ),
    (
      '--task=train --model=ngram --profile_steps=1:2',
      '--profile_steps is for models that are trained step by step',
    ),
    (
      '--task=report --thumbnail_size=9',
      '--thumbnail_size has no effect without --photos',
    ),
  ],
)
def test_a_flag_without_effect_is_refused(words, message, flag_file):
  with pytest.raises(InputError) as error:
    run(*words.split())
  assert str(error.value).startswith(message)
  # The same in a file is a description, for other tasks and models too.
  in_file = words.replace('--prefix a', '--prefix=a').split()
  chosen = [
    word
    for word in in_file
    if word.startswith(('--task', '--model=', '--optimizer', '--schedule'))
  ]
  run(flag_file(*in_file), *chosen)


@pytest.mark.parametrize(
  'words',
  [
    '--task=train --beam_size=5 --norm_images=9 --shortlist=100 --data_dir=d',
    '--model=ngram --profile_steps= --workdir=w',
    '--task=evaluate --profile_steps= --shard=',  # As scripts hand them on.
    '--noretrieval --norm_images=9',
    '--task=evaluate --sample --temperature=.5 --min_words=2 --nbest=3',
    '--task=evaluate --norm_images=9 --rank_tile_rows=9 --rank_dtype=float32',
    '--task=evaluate --length_protocol=reference --context_words=2',
    '--task=caption --nbest=2 --prefix=a --split=train --eval_batch_size=9',
    '--task=caption --photos=p --output=- --encoder_weights=w --beam_size=9',
    '--task=caption --features=f --output=o',
    '--task=retrieve --norm_images=9 --first_caption_only --shortlist=9',
    '--task=rank --photos=p --sentences=s --top=2 --norm_images=0 --output=-',
    '--task=rank --features=f --sentences=s --rank_image_block=2',
    '--task=retrieve --fused_readout=on --label_smoothing=.1',
    '--task=train --fused_readout=off',
    '--task=score --score_input=i --output=o --shard=0/2 --score_block=2 '
    '--rank_tile_rows=9 --data_dir=d --word_log_probs --max_bad_records=1',
    '--task=score --score_normalized --norm_images=9 --rank_dtype=float32 '
    '--rank_image_block=9 --features=f',
    '--task=report --photos=p --thumbnail_size=9 --split=train --data_dir=d '
    '--model_file=m',
    '--task=export --norm_images=9 --output=o --model_file=m --num_devices=1',
    '--optimizer=sgd --momentum=.5 --schedule=step --decay_epochs=2 '
    '--decay_factor=.1',
    '--schedule=plateau --decay_patience=2 --decay_factor=.1 --l2=.1',
    '--weight_decay=.3 --final_learning_rate=.1 --objective=likelihood',
    '--beam_size=6 --beam_groups=2 --diversity_penalty=1 --rerank_neighbors=9 '
    '--rerank_captions=9',
    '--model=rnn-base --cell=gru --tie_softmax --word_dropout=.1',
    '--profile_steps=2:3 --accumulate_steps=2 --reader_threads=1 '
    '--log_every_steps=3 --keep_checkpoints=3 --feature_cache_mb=9',
    # What a workdir holds fast, every task compares with it.
    '--task=caption --learning_rate=.1 --dataset=d --model=m-rnn --seed=1',
    '--task=report --coordinator=auto --num_processes=2 --process_id=1 '
    '--log_level=debug --deterministic --nocompilation_cache',
  ],
)
def test_flags_that_go_together(words):
  run(*words.split())


@pytest.mark.parametrize(
  'task', [name for name in config_lib.TASKS if name != 'rank']
)
def test_the_flag_files_are_for_every_task(task, flag_file):
  file = flag_file(
    '--dataset=flickr8k',
    '--image_dropout=0.5',
    '--weight_decay=0.3',
    '--beam_size=5',
    '--no_repeat_ngram=2',
    '--sample_seed=3',
    '--shortlist=100',
  )
  assert run(file, f'--task={task}').task == task
  # Another model's options are passed over.
  assert run(file, f'--task={task}', '--model=rnn-base').image_dropout == 0


def test_a_value_is_refused_before_anything_else():
  for word in ('--task=fly', '--beam_size=0', '--log_level=loud'):
    with pytest.raises(InputError, match=word):
      read(word)
