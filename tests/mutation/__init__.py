"""Changes the program in small ways, and sees whether a test notices.

``python -m tests.mutation.run --help``
"""
