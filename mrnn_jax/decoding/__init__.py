"""Words from a model: argmax, sampling and beam, one stepper."""
