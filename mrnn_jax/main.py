"""The command ``python -m mrnn_jax.main``: reads flags and runs one task."""



from mrnn_jax import cli
from mrnn_jax import config as config_lib

USAGE = """
python -m mrnn_jax.main --flagfile=flickr8k.flags [--workdir=W] [--task=TASK]

Train an m-RNN on a prepared dataset and evaluate it; or evaluate, caption or
retrieve with a model that is there.
"""


def main() -> None:
  """Run the task that the flags name."""
  config = config_lib.from_flags()
  from mrnn_jax import train

  train.train(config)


if __name__ == '__main__':
  config_lib.define_flags()
  cli.run(main, USAGE, config_lib.flag_groups())
