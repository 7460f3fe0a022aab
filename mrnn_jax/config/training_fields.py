"""Fields of training.  A workdir holds them fast, so all tasks look at them."""

from collections.abc import Sequence
import dataclasses

from mrnn_jax.config.fields import TRAINS_ENCODER, When, flag
from mrnn_jax.models.layers import PRECISIONS
from mrnn_jax.training.objectives import OBJECTIVES


def _optimizer(name: str) -> When:
  return When(
    lambda c: c.optimizer == name,
    'with --optimizer={optimizer}',
    f'choose --optimizer={name}',
  )


def _schedule(*names: str) -> Sequence[When]:
  return (
    When(
      lambda c: c.schedule in names,
      'with --schedule={schedule}',
      f'choose --schedule={" or ".join(names)}',
    ),
  )


_LIKELIHOOD = (
  When(
    lambda c: c.objective == 'likelihood',
    'with --objective={objective}',
    'choose --objective=likelihood',
  ),
)
_TEACHER = When(
  lambda c: c.teacher, 'without --teacher', 'name one by --teacher=W'
)
# With photos a row is an image.
_SEES_FEATURES = When(
  lambda c: c.train_encoder == 'none',
  'with --train_encoder={train_encoder}',
  'train on features',
)


@dataclasses.dataclass(frozen=True)
class TrainingFields:
  """How the model is trained."""

  init_from: str = flag(
    '',
    "Begin from this model's parameters, words and options: pretrained, a "
    'workdir, or a file of task=export. The words of the new captions come to '
    'its own, and the learning rate is low unless it is given beside this. The '
    'features must be of the same encoder.',
  )
  held_out_fold: str = flag(
    '',
    'Train without a part of the training images: 2/3 is the second of three. '
    'Models of all parts, given as --teacher, teach of each image what those '
    'say that have not read its captions.',
  )
  batch_size: int = flag(100, 'Captions a step.', low=1)
  num_epochs: float = flag(12, 'Passes over the training captions.', above=0)
  train_views: int = flag(
    0,
    'Views of an image (data_prep.extract --views) that training draws from, '
    'the first ones: another at every step, for a caption that says left or '
    'right none that is mirrored. 0: all that the dataset has.',
    when=(_SEES_FEATURES,),
    low=0,
    high=64,
  )
  train_encoder: str = flag(
    'none',
    "none: the model sees the dataset's features. last, all: it sees its "
    'photos (data_prep.build --photos), and the errors go back into the last '
    'blocks of the encoder, or into all of it; its batch normalisation rests.',
    choices=('none', 'last', 'all'),
  )
  train_encoder_blocks: int = flag(
    3,
    'How many blocks of the encoder are trained, from its end.',
    when=(
      When(
        lambda c: c.train_encoder == 'last',
        'with --train_encoder={train_encoder}',
        'choose --train_encoder=last',
      ),
    ),
    low=1,
    high=100,
  )
  encoder_learning_rate: float = flag(
    1e-4,
    "Peak learning rate of the encoder's blocks; it goes as the model's does.",
    when=(TRAINS_ENCODER,),
    low=0,
  )
  encoder_weight_decay: float = flag(
    0.0,
    "Decoupled weight decay of adamw, on the encoder's kernels.",
    when=(TRAINS_ENCODER, _optimizer('adamw')),
    low=0,
  )
  augment_area: float = flag(
    0.5,
    'Training sees a part of each photo, drawn at every step, of at least this '
    'share of its area; 1: the whole photo.',
    when=(TRAINS_ENCODER,),
    low=0.05,
    high=1,
  )
  augment_flip: bool = flag(
    True,
    'Training sees every other photo mirrored, unless one of its captions says '
    'left or right.',
    when=(TRAINS_ENCODER,),
  )
  augment_color: float = flag(
    0.2,
    'Training sees photos whose brightness, contrast and saturation are '
    'changed by up to this share.',
    when=(TRAINS_ENCODER,),
    low=0,
    high=0.9,
  )
  objective: str = flag(
    'likelihood',
    'What training minimises; likelihood: the cost of eq. 6; self_critical: '
    'sampled captions weighed by their CIDEr-D, which goes on from a trained '
    'model (--init_from) and is validated by CIDEr-D.',
    choices=tuple(OBJECTIVES),
  )
  samples_per_image: int = flag(
    5,
    'Captions that self_critical draws of the image of each caption of a '
    'batch.',
    when=(
      When(
        lambda c: c.objective == 'self_critical',
        'with --objective={objective}',
        'choose --objective=self_critical',
      ),
    ),
    low=2,
    high=100,
  )
  teacher: str = flag(
    '',
    'Learn from this trained model too, or from several, separated by commas, '
    'as an ensemble: from its probabilities of every training word. Workdirs '
    'or files of task=export; of the same words. Of models that were trained '
    'with --held_out_fold each image is asked of those that left it out.',
    when=_LIKELIHOOD,
  )
  teacher_weight: float = flag(
    0.5,
    "Share of the cost that is the teacher's.",
    when=(*_LIKELIHOOD, _TEACHER),
    low=0,
    high=1,
  )
  teacher_temperature: float = flag(
    1.0,
    "Temperature of the teacher's and the student's probabilities.",
    when=(*_LIKELIHOOD, _TEACHER),
    above=0,
    high=100,
  )
  teacher_words: int = flag(
    64,
    'Likeliest words that are kept of what the teacher says of a target.',
    when=(*_LIKELIHOOD, _TEACHER),
    low=1,
    high=10000,
  )
  label_smoothing: float = flag(
    0.0,
    'Share of every target that goes to all words alike.',
    when=_LIKELIHOOD,
    low=0,
    high=0.99,
  )
  token_dropout: float = flag(
    0.0,
    'Rate at which words that are read become ##UNK##.',
    when=_LIKELIHOOD,
    low=0,
    high=0.99,
  )
  average_decay: float = flag(
    0.0,
    'The model is the exponential moving average of its parameters after each '
    'step, with this decay (.999); 0: the parameters themselves.',
    low=0,
    high=0.99999,
  )
  optimizer: str = flag(
    'adamw', 'Optimizer.', choices=('sgd', 'adam', 'adamw', 'rmsprop')
  )
  learning_rate: float = flag(1e-3, 'Peak learning rate.', above=0)
  momentum: float = flag(
    0.9, 'Momentum of sgd.', when=(_optimizer('sgd'),), low=0, high=0.9999
  )
  schedule: str = flag(
    'cosine',
    'Learning rate after the warm-up: constant; cosine down to '
    'final_learning_rate; step: times decay_factor every decay_epochs; '
    'plateau: times decay_factor after decay_patience evaluations without a '
    'better validation perplexity.',
    choices=('constant', 'cosine', 'step', 'plateau'),
  )
  warmup_steps: int = flag(200, 'Linear warm-up.', low=0)
  final_learning_rate: float = flag(
    0.01,
    'Where cosine ends, as a share of the peak.',
    when=_schedule('cosine'),
    low=0,
    high=1,
  )
  decay_factor: float = flag(
    0.5,
    'For step and plateau.',
    when=_schedule('step', 'plateau'),
    above=0,
    high=1,
  )
  decay_epochs: float = flag(4.0, 'For step.', when=_schedule('step'), above=0)
  decay_patience: int = flag(
    1, 'For plateau.', when=_schedule('plateau'), low=1
  )
  l2: float = flag(
    0.0, 'Lambda of the cost (eq. 6): L2 of all parameters.', low=0
  )
  weight_decay: float = flag(
    1e-4,
    'Decoupled weight decay of adamw, on matrices.',
    when=(_optimizer('adamw'),),
    low=0,
  )
  clip_norm: float = flag(
    5.0, 'Clip the global norm of the gradient; 0: never.', low=0
  )
  eval_every_steps: int = flag(
    0, 'Validate and save every so many steps; 0: once an epoch.', low=0
  )
  patience: int = flag(
    4,
    'Stop after so many validations without a better perplexity; 0: never.',
    low=0,
  )
  seed: int = flag(0, 'Seed of everything random.', low=0)
  captions_per_row: int = flag(
    2,
    'Captions laid one after another in a row of a batch, short ones with '
    'long ones, so that little is padding.',
    when=(_SEES_FEATURES,),
    low=1,
    high=16,
  )
  num_buckets: int = flag(
    4, 'Row lengths (compiled shapes) at most.', low=1, high=8
  )
  compute_dtype: str = flag(
    'float32',
    "Operands of the training step's products; parameters, sums, softmax and "
    'cost are float32. bfloat16 is for GPU and TPU: on CPUs it is slower. What '
    'is measured is computed in float32 (but see rank_dtype).',
    choices=('float32', 'bfloat16'),
  )
  matmul_precision: str = flag(
    'default',
    "Of the training step's products of float32: default: the device's fastest "
    '(TF32 on late GPUs, bfloat16 on TPUs); highest: float32 itself; high: in '
    'between. CPUs know no difference. What is measured is always by highest.',
    when=(
      When(
        lambda c: c.compute_dtype == 'float32',
        'with --compute_dtype={compute_dtype}',
        'choose --compute_dtype=float32',
      ),
    ),
    choices=PRECISIONS,
  )
