"""Fields that say what to do, with which data, and on which machine."""

import dataclasses

from mrnn_jax import models
from mrnn_jax.config import task_facts
from mrnn_jax.config.fields import (
  DATASET,
  PHOTOS,
  SEVERAL_TO_EXPORT,
  TRAINS_ENCODER,
  When,
  flag,
)
from mrnn_jax.config.task_facts import TASKS, TRAINING, WRITING, all_but
from mrnn_jax.data import datasets
from mrnn_jax.data.image_features import FIRST, VIEWS
from mrnn_jax.models import fused_readout
from mrnn_jax.runtime import files, progress

_SEVERAL = When(
  lambda c: len(files.split_paths(c.model_file)) > 1,
  'with one model',
  'name several by --model_file=A,B',
)
_ENDS_IN_PRODUCT = When(
  lambda c: models.MODELS[c.model].has_last_layer() or c.task not in TRAINING,
  'with --model={model}, whose logits are not one product',
  'choose a model whose logits are',
)
_WANTS_NO_LOGITS = When(
  lambda c: (
    c.task != 'train'
    or (c.objective == 'likelihood' and not c.label_smoothing and not c.teacher)
  ),
  'with --objective=self_critical, --label_smoothing or --teacher, whose cost '
  'wants all logits',
  'leave these out',
)


@dataclasses.dataclass(frozen=True)
class RunFields:
  """What to do, and where."""

  task: str = flag(next(iter(TASKS)), task_facts.text(), choices=tuple(TASKS))
  workdir: str = flag(
    '',
    'Folder of the run: checkpoints, logs, results. Default: '
    'runs/DATASET/MODEL.',
  )
  model_file: str = flag(
    '',
    'Use the model of this file (written by task=export), or of this other '
    "workdir, instead of the workdir's. Several, separated by commas, are an "
    'ensemble.',
    all_but(*TRAINING),
  )
  ensemble: str = flag(
    'arithmetic',
    'Mean of the word probabilities of several models, at each step.',
    all_but(*TRAINING),
    when=(_SEVERAL,),
    choices=models.MEANS,
  )
  ensemble_weights: str = flag(
    '',
    'Weights of the models in that mean, separated by commas. Default: all '
    'alike.',
    all_but(*TRAINING),
    when=(_SEVERAL,),
  )
  data_dir: str = flag(
    '',
    "Folder of prepared datasets. Default: TFDS's own. Of several, separated "
    'by commas, the features of an image are put together.',
    all_but('rank'),
    when=(DATASET, SEVERAL_TO_EXPORT),
    remembered=True,
  )
  split: str = flag(
    'test',
    'Split that evaluate, caption, retrieve and report use.',
    (*WRITING, 'retrieve', 'report'),
    when=(DATASET,),
    choices=datasets.SPLITS,
  )
  eval_views: str = flag(
    FIRST,
    'What the feature of an image is that has several views, wherever it is '
    'not training that draws one: the first, which is the whole photo, or the '
    'average of all.',
    ('train', *WRITING, 'retrieve', 'calibrate', 'score', 'export'),
    when=(DATASET, SEVERAL_TO_EXPORT),
    remembered=True,
    choices=VIEWS,
  )
  thumbnail_size: int = flag(
    200,
    'Longer side of the photos in the page, in pixels; 0: the page holds no '
    'photos and loads them from their folder.',
    ('report',),
    when=(PHOTOS,),
    low=0,
    high=1000,
  )


@dataclasses.dataclass(frozen=True)
class DataFields:
  """The dataset.  A workdir holds it fast."""

  dataset: str = flag(
    'flickr8k', 'Name of the dataset, as prepared by data_prep.build.'
  )
  min_word_count: int = flag(
    5, 'Words seen less often in training are ##UNK##.', low=1
  )


@dataclasses.dataclass(frozen=True)
class MachineFields:
  """How to compute; results are the same but for rounding."""

  num_devices: int = flag(
    0,
    'Devices of each process to use; 0: all there are.',
    all_but('report'),
    low=0,
  )
  coordinator: str = flag(
    '',
    'For several processes: HOST:PORT of process 0; auto: as JAX finds out. '
    'By default SLURM, Open MPI, Kubernetes or a TPU slice tell, if they do.',
  )
  num_processes: int = flag(
    0, 'Processes of the job; 0: as the surroundings tell.', low=0
  )
  process_id: int = flag(
    -1, 'Which of them this one is, from 0; -1: as they tell.', low=-1
  )
  accumulate_steps: int = flag(
    1,
    'Parts that a device works through its rows of a batch in, one after '
    'another: the same step but for rounding, in so many times less memory.',
    TRAINING,
    low=1,
    high=4096,
  )
  fused_readout: str = flag(
    'auto',
    'Whether log-probabilities of ranking and of the training cost come from '
    'one kernel, so that logits are never in memory; equal but for rounding. '
    'auto: on GPUs, but not where the cost wants all logits. On CPUs the '
    'kernel is interpreted: slow, to check numbers.',
    (*TRAINING, 'evaluate', 'retrieve', 'rank'),
    when=(_ENDS_IN_PRODUCT, _WANTS_NO_LOGITS),
    choices=fused_readout.SETTINGS,
  )
  eval_batch_size: int = flag(
    200,
    'Captions or images a step outside training.',
    ('train', *WRITING),
    low=1,
  )
  feature_cache_mb: int = flag(
    2048,
    "Keep a split's features in memory up to this size; above it they go to a "
    "file in the user's cache folder while the command runs.",
    all_but('rank', 'export'),
    when=(DATASET,),
    low=0,
  )
  reader_threads: int = flag(
    2, 'Threads that read and fill batches.', TRAINING, low=1
  )
  photo_workers: int = flag(
    2,
    'Processes that read and change the photos of batches; 0: this one does.',
    TRAINING,
    when=(TRAINS_ENCODER,),
    low=0,
    high=256,
  )
  encoder_remat: bool = flag(
    False,
    "Compute what is inside the encoder's blocks again for the gradient, and "
    'do not keep it: less memory, a quarter more work.',
    TRAINING,
    when=(TRAINS_ENCODER,),
  )
  log_every_steps: int = flag(
    50, 'A line of log every so many steps.', TRAINING, low=1
  )
  keep_checkpoints: int = flag(
    2, 'Latest checkpoints kept, beside the best one.', TRAINING, low=1
  )
  compilation_cache: bool = flag(
    True, "Keep compiled programs in the user's cache folder."
  )
  deterministic: bool = flag(
    False,
    'Have GPUs give the same bits in every run, at some cost of speed; CPUs '
    'and TPUs do anyhow.',
  )
  profile_steps: str = flag(
    '',
    'A:B: write a JAX profile of the training steps A to B to profile/ in the '
    'workdir.',
    TRAINING,
  )
  log_level: str = flag(
    'info',
    'warning: results and warnings alone; info: progress too; debug: also what '
    'JAX, Orbax and other libraries log. log.jsonl has all in any case.',
    choices=progress.LEVELS,
  )
  quiet: bool = flag(False, 'The same as --log_level=warning.')
