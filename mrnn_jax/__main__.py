"""``python -m mrnn_jax``: the command ``mrnn``, where it is on no path."""

from mrnn_jax import command

if __name__ == '__main__':
  command.main()
