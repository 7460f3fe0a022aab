"""What the work costs here, beside PyTorch: ``python -m tests.benchmarks.run``.

Not tests: nothing fails when a machine is slow.
"""
