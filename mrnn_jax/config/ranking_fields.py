"""Fields of ranking: of datasets, of one's own images, of files of pairs."""

import dataclasses

from mrnn_jax import models
from mrnn_jax.config.fields import FEATURES, SEVERAL_TO_EXPORT, When, flag
from mrnn_jax.config.task_facts import EVALUATION, RANKING, TRAINING
from mrnn_jax.runtime import beam_engine

# Only P(w) needs what scoring does not do anyhow.
_NORMALIZED = When(
  lambda c: c.task != 'score' or c.score_normalized,
  'without --score_normalized',
  'add --score_normalized',
)
_RANKS = When(
  lambda c: c.task not in EVALUATION or c.retrieval,
  'with --noretrieval',
  'leave out --noretrieval',
)
# Training remembers them, whether it is followed by a ranking or not.
_RANKS_LATER = When(
  lambda c: c.task != 'evaluate' or c.retrieval,
  'with --noretrieval',
  'leave out --noretrieval',
)
_SEES_IMAGES = When(
  lambda c: models.MODELS[c.model].sees_images,
  'with --model={model}, which does not see the image',
  'choose a model that does',
)
_SCORES_OR_SEES_IMAGES = dataclasses.replace(
  _SEES_IMAGES, holds=lambda c: c.task == 'score' or _SEES_IMAGES.holds(c)
)
_SCORES = When(
  lambda c: not c.merge,
  'with --merge, which only puts together what is scored',
  'leave out --merge',
)
_BEAM = When(lambda c: c.beam_runner, 'without --beam_runner', 'name a runner')
_SEES_PHOTOS = When(
  lambda c: (
    c.photos
    or (c.task in TRAINING and c.train_encoder != 'none')
    # A dataset may have photos.
    or (c.task not in ('rank', *TRAINING) and not c.features)
  ),
  'without --photos',
  'give --photos, or for training --train_encoder',
)
_OWN_IMAGES = When(
  lambda c: c.task != 'caption' or c.photos or c.features,
  'with --task=caption without --photos or --features',
  'give one of these',
)


@dataclasses.dataclass(frozen=True)
class RankingFields:
  """How images and sentences are ranked."""

  norm_images: int = flag(
    300,
    'K training images that estimate P(w) for sentence retrieval; 0: rank '
    'sentences by perplexity.',
    ('train', *RANKING, 'export'),
    when=(_NORMALIZED, _RANKS_LATER, _SEES_IMAGES),
    remembered=True,
    low=0,
    high=1000,
  )
  first_caption_only: bool = flag(
    False,
    'Evaluate on the first caption of each image only.',
    ('train', *EVALUATION, 'retrieve'),
    remembered=True,
  )
  shortlist: int = flag(
    0,
    'Sentence retrieval among the sentences of so many images nearest to the '
    'query by feature (the paper: 100 on IAPR TC-12); 0: all.',
    ('train', *EVALUATION, 'retrieve'),
    when=(_RANKS_LATER,),
    remembered=True,
    low=0,
  )
  retrieval: bool = flag(
    True,
    'Whether evaluate ranks images and sentences, its longest part.',
    EVALUATION,
  )
  rank_image_block: int = flag(
    100,
    'Images ranked at a time: bounds the memory.',
    RANKING,
    when=(_NORMALIZED, _RANKS, _SEES_IMAGES),
    low=1,
  )
  rank_tile_rows: int = flag(
    0,
    'Rows of logits a tile holds: small enough for the cache on a CPU, in '
    'the ten thousands on an accelerator. 0: 500 or 16384, by device.',
    RANKING,
    when=(_RANKS,),
    low=0,
  )
  rank_dtype: str = flag(
    'auto',
    'Operands of the product that ranking consists of; sums are float32. auto: '
    'bfloat16 on GPU and TPU, float32 on CPU and with task=score, where the '
    'numbers count and not their order.',
    RANKING,
    when=(_RANKS, _SCORES_OR_SEES_IMAGES),
    choices=('auto', 'float32', 'bfloat16'),
  )
  keep_matrix: str = flag(
    'auto',
    'Whether the matrix of all scores is kept in the workdir, for later '
    'measurements. auto: up to 2 GB (5,000 images x 100,000 sentences). '
    'Without it what is counted is kept, in memory and on disk that grow with '
    'images and sentences, not with their product.',
    (*EVALUATION, 'retrieve'),
    when=(_RANKS, _SEES_IMAGES),
    choices=('auto', 'yes', 'no'),
  )


@dataclasses.dataclass(frozen=True)
class OwnFields:
  """One's own photos, features and sentences, and where the result goes."""

  photos: str = flag(
    '',
    'Photos to caption or rank: a folder, photos separated by commas, or a '
    'text file with one path a line. Without --workdir and --model_file the '
    "pretrained model is used. With task=report: the folder of the split's "
    'photos, for the page to show.',
    ('caption', 'rank', 'report'),
  )
  features: str = flag(
    '',
    'A feature file (see data_prep.build) instead of photos.',
    ('caption', 'rank', 'score'),
  )
  encoder: str = flag(
    '',
    'What the features were made with, where their file does not say: as the '
    'model\'s were, for example --encoder="efficientnet_lite0, squash to 224 x '
    '224".',
    ('caption', 'rank', 'score'),
    when=(FEATURES,),
  )
  sentences: str = flag(
    '', 'Sentences to rank: a text file with one a line.', ('rank',)
  )
  output: str = flag(
    '',
    'File for the result as JSON lines, - for stdout; by default a table is '
    'printed. Of caption and rank, where it ends in .html: a page with the '
    'photos in it. Of export and calibrate: the model file.',
    ('caption', 'rank', 'score', 'export', 'calibrate'),
    when=(_OWN_IMAGES,),
  )
  top: int = flag(
    5,
    'How many sentences and photos to name for each query.',
    ('rank',),
    low=1,
  )
  encoder_weights: str = flag(
    '',
    'Weights file of the encoder, where no pip package brings it.',
    (
      *TRAINING,
      'evaluate',
      'retrieve',
      'calibrate',
      'caption',
      'rank',
      'score',
      'export',
    ),
    when=(_SEES_PHOTOS, SEVERAL_TO_EXPORT),
  )


@dataclasses.dataclass(frozen=True)
class ScoringFields:
  """Files of pairs of an image and a sentence, and what to say of them."""

  score_input: str = flag(
    '',
    'Files of records {image_id, sentence} or {image_id, sentences}: a path '
    'or a pattern (*), of .jsonl, .csv, .tsv (each also with .gz) or .parquet. '
    'The images are those of --features, or of all splits of --dataset; '
    '--output is the folder for the results.',
    ('score',),
    when=(_SCORES,),
  )
  score_normalized: bool = flag(
    False,
    'Add log P(w|I) - log P(w), with P(w) from --norm_images training images: '
    'so many times the work for each distinct sentence.',
    ('score',),
    when=(_SCORES,),
  )
  word_log_probs: bool = flag(
    False,
    'Add the log-probability of each word, and of ##END##.',
    ('score',),
    when=(_SCORES,),
  )
  shard: str = flag(
    '',
    'Score only part i/n of the input, i from 0; auto: the task of a SLURM '
    'array (0-(n-1)) or of a Kubernetes Indexed Job (auto/n). Default: all, '
    'or the part of this process of a multi-process job.',
    ('score',),
    when=(_SCORES,),
  )
  beam_runner: str = flag(
    '',
    'Let Apache Beam score, shard by shard as --shard=i/n would, with the same '
    f'records: {", ".join(beam_engine.RUNNERS)}. Its workers must reach model, '
    'features, input and output under the same paths.',
    ('score',),
    when=(_SCORES,),
    choices=('', *beam_engine.RUNNERS),
  )
  beam_options: str = flag(
    '',
    'name=value for Beam, with commas between several: '
    'direct_num_workers=8,direct_running_mode=multi_processing.',
    ('score',),
    when=(_SCORES, _BEAM),
  )
  beam_shards: int = flag(
    16,
    "Parts of the input that Beam's workers take one after another: a few for "
    'each worker.',
    ('score',),
    when=(_SCORES, _BEAM),
    low=1,
    high=99999,
  )
  max_bad_records: int = flag(
    0,
    'Records of a shard that may be bad; they go to rejects-*.jsonl. One more '
    'and the shard stops.',
    ('score',),
    when=(_SCORES,),
    low=0,
  )
  score_block: int = flag(
    1000,
    'Records that are shared out, read and scored together: bounds the memory.',
    ('score',),
    when=(_SCORES,),
    low=1,
  )
  merge: bool = flag(
    False,
    'Put the results of all shards in --output together, in the order of the '
    'input, into one file there: scores.jsonl and the like.',
    ('score',),
  )
