"""What is fuzzed: every kind of file that is read, by name."""

import fuzz_arrays
import fuzz_captions
import fuzz_texts
import fuzz_workdirs
from fuzzing import Kind

KINDS: dict[str, Kind] = {
  **fuzz_captions.KINDS,
  **fuzz_arrays.KINDS,
  **fuzz_texts.KINDS,
  **fuzz_workdirs.KINDS,
}
