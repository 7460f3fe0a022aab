"""Flags -> one frozen, validated ``Config``; nothing below it reads a flag.

Every field of ``Config`` is a flag of the same name.  Fields of the groups in
``FIXED_GROUPS`` make the model what it is: they are stored with its
checkpoints, and a workdir refuses other values.  Those of ``REMEMBERED`` are
stored too, and hold for later tasks that do not give them.
"""

from collections.abc import Mapping
import dataclasses
from typing import Any

from mrnn_jax.config import checks
from mrnn_jax.runtime.errors import InputError

TASKS = (
  'train_and_evaluate',
  'train',
  'evaluate',
  'caption',
  'retrieve',
  'rank',
  'score',
  'report',
  'export',
)
GROUPS = {
  'run': 'What to do, and where',
  'data': 'Data',
  'model': 'Model',
  'training': 'Training',
  'generation': 'Writing captions',
  'retrieval': 'Ranking and retrieval',
  'own': 'Your own photos and sentences (task=caption, task=rank)',
  'scoring': 'Scoring files of pairs (task=score)',
  'machine': 'Machine and logging',
}
FIXED_GROUPS = ('data', 'model', 'training')
# Where the data is, and what is chosen together with a model.
REMEMBERED = (
  'data_dir',
  'beam_size',
  'length_penalty',
  'max_words',
  'min_words',
  'no_repeat_ngram',
  'norm_images',
  'first_caption_only',
  'shortlist',
)


def _flag(group: str, default: Any, text: str, **limits: Any) -> Any:
  """Declare a field: limits are ``choices``, ``low``, ``high``, ``above``."""
  return dataclasses.field(
    default=default, metadata={'group': group, 'help': text, **limits}
  )


@dataclasses.dataclass(frozen=True)
class Config:
  """Everything a run depends on.  See ``--help`` for each field."""

  # Run.
  task: str = _flag(
    'run',
    TASKS[0],
    'train; or, with the best model: evaluate (perplexity, BLEU, CIDEr-D, '
    'ROUGE-L, retrieval); caption; retrieve; rank (photos and sentences of '
    'your own); score (files of pairs); report (a page of what was written); '
    'export (one file). train_and_evaluate does both.',
    choices=TASKS,
  )
  workdir: str = _flag(
    'run',
    '',
    'Folder of the run: checkpoints, logs, results. Default: '
    'runs/DATASET/MODEL.',
  )
  model_file: str = _flag(
    'run',
    '',
    'Use the model of this file (written by task=export), or of this other '
    "workdir, instead of the workdir's.",
  )
  data_dir: str = _flag(
    'run', '', "Folder of prepared datasets. Default: TFDS's own."
  )
  split: str = _flag(
    'run',
    'test',
    'Split that evaluate, caption, retrieve and report use.',
    choices=('train', 'validation', 'test'),
  )
  thumbnail_size: int = _flag(
    'run',
    200,
    'Longer side of the photos in the page, in pixels; 0: the page holds no '
    'photos and loads them from their folder.',
    low=0,
    high=1000,
  )
  # Data.
  dataset: str = _flag(
    'data', 'flickr8k', 'Name of the dataset, as prepared by data_prep.build.'
  )
  min_word_count: int = _flag(
    'data', 5, 'Words seen less often in training are ##UNK##.', low=1
  )
  # Model.
  model: str = _flag(
    'model',
    'm-rnn',
    "The paper's m-RNN, or its RNN-Base, which does not see the image.",
    choices=('m-rnn', 'rnn-base'),
  )
  embedding_size: int = _flag('model', 128, 'E, first word embedding.', low=1)
  recurrent_size: int = _flag(
    'model', 256, 'R, second word embedding and recurrent layer.', low=1
  )
  multimodal_size: int = _flag('model', 512, 'M, multimodal layer.', low=1)
  embedding_activation: str = _flag(
    'model',
    'none',
    'Activation of both embedding layers.',
    choices=('none', 'relu', 'tanh'),
  )
  embedding_bias: bool = _flag('model', True, 'Bias in embedding 2.')
  multimodal_bias: bool = _flag(
    'model', False, 'Bias in the multimodal layer (eq. 3 has none).'
  )
  recurrent_scale: float = _flag(
    'model',
    0.9,
    'The recurrent matrix U_r starts as this times the identity; 0: random.',
    low=0,
  )
  feature_scaling: str = _flag(
    'model',
    'standardize',
    'Scaling of image features; standardize: by mean and deviation of the '
    'training images.',
    choices=('none', 'l2', 'standardize'),
  )
  word_dropout: float = _flag(
    'model', 0.5, 'Dropout on embedding 2.', low=0, high=0.99
  )
  recurrent_dropout: float = _flag(
    'model',
    0.5,
    'Dropout on the recurrent layer as the multimodal layer reads it.',
    low=0,
    high=0.99,
  )
  multimodal_dropout: float = _flag(
    'model', 0.5, 'Dropout on the multimodal layer.', low=0, high=0.99
  )
  image_dropout: float = _flag(
    'model', 0.0, 'Dropout on the image feature.', low=0, high=0.99
  )
  # Training.
  batch_size: int = _flag('training', 100, 'Captions a step.', low=1)
  num_epochs: float = _flag(
    'training', 12, 'Passes over the training captions.', above=0
  )
  optimizer: str = _flag(
    'training',
    'adamw',
    'Optimizer.',
    choices=('sgd', 'adam', 'adamw', 'rmsprop'),
  )
  learning_rate: float = _flag('training', 1e-3, 'Peak learning rate.', above=0)
  momentum: float = _flag(
    'training', 0.9, 'Momentum of sgd.', low=0, high=0.9999
  )
  schedule: str = _flag(
    'training',
    'cosine',
    'Learning rate after the warm-up: constant; cosine down to '
    'final_learning_rate; step: times decay_factor every decay_epochs; '
    'plateau: times decay_factor after decay_patience evaluations without a '
    'better validation perplexity.',
    choices=('constant', 'cosine', 'step', 'plateau'),
  )
  warmup_steps: int = _flag('training', 200, 'Linear warm-up.', low=0)
  final_learning_rate: float = _flag(
    'training',
    0.01,
    'Where cosine ends, as a share of the peak.',
    low=0,
    high=1,
  )
  decay_factor: float = _flag(
    'training', 0.5, 'For step and plateau.', above=0, high=1
  )
  decay_epochs: float = _flag('training', 4.0, 'For step.', above=0)
  decay_patience: int = _flag('training', 1, 'For plateau.', low=1)
  l2: float = _flag(
    'training', 0.0, 'Lambda of the cost (eq. 6): L2 of all parameters.', low=0
  )
  weight_decay: float = _flag(
    'training', 1e-4, 'Decoupled weight decay of adamw, on matrices.', low=0
  )
  clip_norm: float = _flag(
    'training', 5.0, 'Clip the global norm of the gradient; 0: never.', low=0
  )
  eval_every_steps: int = _flag(
    'training',
    0,
    'Validate and save every so many steps; 0: once an epoch.',
    low=0,
  )
  patience: int = _flag(
    'training',
    4,
    'Stop after so many validations without a better perplexity; 0: never.',
    low=0,
  )
  seed: int = _flag('training', 0, 'Seed of everything random.', low=0)
  captions_per_row: int = _flag(
    'training',
    2,
    'Captions laid one after another in a row of a batch, short ones with '
    'long ones, so that little is padding.',
    low=1,
    high=16,
  )
  num_buckets: int = _flag(
    'training', 4, 'Row lengths (compiled shapes) at most.', low=1, high=8
  )
  compute_dtype: str = _flag(
    'training',
    'float32',
    "Operands of the training step's products; parameters, sums, softmax and "
    'cost are float32. bfloat16 is for GPU and TPU: on CPUs it is slower. What '
    'is measured is computed in float32 (but see rank_dtype).',
    choices=('float32', 'bfloat16'),
  )
  # Generation.
  beam_size: int = _flag(
    'generation', 3, 'Beam width; 1: the most probable word each time.', low=1
  )
  nbest: int = _flag(
    'generation', 1, 'Captions an image to write, at most beam_size.', low=1
  )
  beam_groups: int = _flag(
    'generation',
    1,
    'Divide the beam into so many groups that are kept different from each '
    'other; --nbest are the best of all, each but once.',
    low=1,
  )
  diversity_penalty: float = _flag(
    'generation',
    0.5,
    'With beam_groups: what a word costs for each hypothesis of earlier groups '
    'that has it at the same place, in units of log-probability.',
    low=0,
    high=1e6,
  )
  length_penalty: float = _flag(
    'generation',
    0.0,
    'Beam scores are divided by length to this power.',
    low=0,
  )
  max_words: int = _flag(
    'generation', 30, 'Words a caption may have at most.', low=1
  )
  min_words: int = _flag(
    'generation', 0, 'Words a caption must have at least.', low=0
  )
  no_repeat_ngram: int = _flag(
    'generation',
    0,
    'No so many words in a row twice in a caption; 0: no such rule.',
    low=0,
  )
  sample: bool = _flag(
    'generation', False, 'Draw words at random instead of searching.'
  )
  temperature: float = _flag(
    'generation', 1.0, 'Of sampling: below 1 is bolder.', above=0
  )
  top_k: int = _flag(
    'generation', 0, 'Sample among the K likeliest words; 0: all.', low=0
  )
  top_p: float = _flag(
    'generation',
    1.0,
    'Sample among the likeliest words that hold this probability.',
    above=0,
    high=1,
  )
  sample_seed: int = _flag('generation', 0, 'Seed of sampling.', low=0)
  prefix: str = _flag(
    'generation', '', 'Words that every caption begins with (task=caption).'
  )
  rerank_neighbors: int = _flag(
    'generation',
    0,
    'Choose among the hypotheses of a beam the one most like the captions of '
    'so many training images nearest to the image (60 is usual); 0: the '
    'likeliest.',
    low=0,
  )
  rerank_captions: int = _flag(
    'generation',
    125,
    'With rerank_neighbors: of their captions so many count, the most '
    'similar ones.',
    low=1,
  )
  length_protocol: str = _flag(
    'generation',
    'end_sign',
    'For BLEU: the model stops by itself (end_sign), or one caption for each '
    'reference sentence with as many words as it has (reference).',
    choices=('end_sign', 'reference'),
  )
  context_words: int = _flag(
    'generation',
    0,
    'With length_protocol=reference: start from so many words of the '
    'sentence, and judge the rest.',
    low=0,
  )
  # Retrieval.
  norm_images: int = _flag(
    'retrieval',
    300,
    'K training images that estimate P(w) for sentence retrieval; 0: rank '
    'sentences by perplexity.',
    low=0,
    high=1000,
  )
  first_caption_only: bool = _flag(
    'retrieval', False, 'Evaluate on the first caption of each image only.'
  )
  shortlist: int = _flag(
    'retrieval',
    0,
    'Sentence retrieval among the sentences of so many images nearest to the '
    'query by feature (the paper: 100 on IAPR TC-12); 0: all.',
    low=0,
  )
  retrieval: bool = _flag(
    'retrieval',
    True,
    'Whether evaluate ranks images and sentences, its longest part.',
  )
  rank_image_block: int = _flag(
    'retrieval', 100, 'Images ranked at a time: bounds the memory.', low=1
  )
  rank_tile_rows: int = _flag(
    'retrieval',
    500,
    'Rows of logits a tile holds: small enough for the cache on a CPU, in '
    'the ten thousands on an accelerator.',
    low=1,
  )
  rank_dtype: str = _flag(
    'retrieval',
    'auto',
    'Operands of the product that ranking consists of; sums are float32. auto: '
    'bfloat16 on GPU and TPU, float32 on CPU.',
    choices=('auto', 'float32', 'bfloat16'),
  )
  # One's own photos.
  photos: str = _flag(
    'own',
    '',
    'Photos to caption or rank: a folder, photos separated by commas, or a '
    'text file with one path a line. Without --workdir and --model_file the '
    "pretrained model is used. With task=report: the folder of the split's "
    'photos, for the page to show.',
  )
  features: str = _flag(
    'own', '', 'A feature file (see data_prep.build) instead of photos.'
  )
  sentences: str = _flag(
    'own', '', 'Sentences to rank: a text file with one a line.'
  )
  output: str = _flag(
    'own',
    '',
    'File for the result as JSON lines, - for stdout; by default a table is '
    'printed.',
  )
  top: int = _flag(
    'own', 5, 'How many sentences and photos to name for each query.', low=1
  )
  encoder_weights: str = _flag(
    'own',
    '',
    'Weights file of the encoder, where no pip package brings it.',
  )
  # Scoring.
  score_input: str = _flag(
    'scoring',
    '',
    'Files of records {image_id, sentence} or {image_id, sentences}: a path '
    'or a pattern (*), of .jsonl, .csv, .tsv (each also with .gz) or .parquet. '
    'The images are those of --features, or of all splits of --dataset; '
    '--output is the folder for the results.',
  )
  score_normalized: bool = _flag(
    'scoring',
    False,
    'Add log P(w|I) - log P(w), with P(w) from --norm_images training images: '
    'so many times the work for each distinct sentence.',
  )
  word_log_probs: bool = _flag(
    'scoring', False, 'Add the log-probability of each word, and of ##END##.'
  )
  shard: str = _flag(
    'scoring',
    '',
    'Score only part i/n of the input, i from 0; auto: the task of a SLURM '
    'array (0-(n-1)) or of a Kubernetes Indexed Job (auto/n). Default: all, '
    'or the part of this process of a multi-process job.',
  )
  max_bad_records: int = _flag(
    'scoring',
    0,
    'Records of a shard that may be bad; they go to rejects-*.jsonl. One more '
    'and the shard stops.',
    low=0,
  )
  score_block: int = _flag(
    'scoring',
    1000,
    'Records that are shared out, read and scored together: bounds the memory.',
    low=1,
  )
  # Machine.
  num_devices: int = _flag(
    'machine', 0, 'Devices of each process to use; 0: all there are.', low=0
  )
  coordinator: str = _flag(
    'machine',
    '',
    'For several processes: HOST:PORT of process 0; auto: as JAX finds out. '
    'By default SLURM, Open MPI, Kubernetes or a TPU slice tell, if they do.',
  )
  num_processes: int = _flag(
    'machine', 0, 'Processes of the job; 0: as the surroundings tell.', low=0
  )
  process_id: int = _flag(
    'machine',
    -1,
    'Which of them this one is, from 0; -1: as they tell.',
    low=-1,
  )
  accumulate_steps: int = _flag(
    'machine',
    1,
    'Parts that a device works through its rows of a batch in, one after '
    'another: the same step but for rounding, in so many times less memory.',
    low=1,
    high=4096,
  )
  eval_batch_size: int = _flag(
    'machine', 200, 'Captions or images a step outside training.', low=1
  )
  feature_cache_mb: int = _flag(
    'machine',
    2048,
    "Keep a split's features in memory up to this size; above it they are "
    'read as they are needed.',
    low=0,
  )
  reader_threads: int = _flag(
    'machine', 2, 'Threads that read and fill batches.', low=1
  )
  log_every_steps: int = _flag(
    'machine', 50, 'A line of log every so many steps.', low=1
  )
  keep_checkpoints: int = _flag(
    'machine', 2, 'Latest checkpoints kept, beside the best one.', low=1
  )
  compilation_cache: bool = _flag(
    'machine', True, "Keep compiled programs in the user's cache folder."
  )
  deterministic: bool = _flag(
    'machine',
    False,
    'Have GPUs give the same bits in every run, at some cost of speed; CPUs '
    'and TPUs do anyhow.',
  )
  profile_steps: str = _flag(
    'machine',
    '',
    'A:B: write a JAX profile of the training steps A to B to profile/ in the '
    'workdir.',
  )
  log_level: str = _flag(
    'machine',
    'info',
    'warning: results and warnings alone; info: progress too; debug: also what '
    'JAX, Orbax and other libraries log. log.jsonl has all in any case.',
    choices=('warning', 'info', 'debug'),
  )

  def __post_init__(self):
    checks.check(self)

  def fixed(self) -> dict[str, Any]:
    """Return the fields that a workdir holds fast, as JSON values."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.metadata['group'] in FIXED_GROUPS
    }

  def remembered(self) -> dict[str, Any]:
    """Return the fields that later tasks take over, as JSON values."""
    return {name: getattr(self, name) for name in REMEMBERED}

  def replace(self, **changes: Any) -> 'Config':
    """Return a copy with some fields changed."""
    return dataclasses.replace(self, **changes)


def with_stored(
  config: Config,
  description: Mapping[str, Any],
  names_given: set[str],
  source: str,
) -> Config:
  """Complete a config by what a workdir or a model's file holds.

  Args:
    config: from the command line.
    description: 'config': ``Config.fixed()`` of the run that made it, and
      'remembered', of which it may lack some or all.
    names_given: flags that the user gave.  They must agree with the fixed
      fields, and prevail over the remembered ones.
    source: for the message.

  Raises:
    InputError: a flag given differs from a fixed field.
  """
  fixed, stored = config.fixed(), description['config']
  different = [
    f'--{name}={fixed[name]} (there: {stored[name]})'
    for name in fixed
    if name in names_given and name in stored and fixed[name] != stored[name]
  ]
  if different:
    raise InputError(
      f'{source} holds a run with other settings than '
      f'{", ".join(different)}: give another --workdir, or leave these flags '
      'as they were.'
    )
  known = {name: value for name, value in stored.items() if name in fixed}
  for name, value in description.get('remembered', {}).items():
    if name in REMEMBERED and name not in names_given:
      known[name] = value
  return config.replace(**known)
