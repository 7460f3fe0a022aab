"""Axes of charts: where values lie, and the round ones among them."""

import math


class Axis:
  """Where values lie between two ends in the picture, and round ones."""

  def __init__(
    self,
    low: float,
    high: float,
    log: bool,
    begin: float,
    end: float,
    num_ticks: int,
    loose: bool = False,
  ):
    """Map low..high to begin..end; ``loose``: out to the next round values."""
    self._log = log
    if low == high:
      low, high = (low / 2, high * 2) if log else (low - 0.5, high + 0.5)
    self.ticks = _log_ticks(low, high) if log else _ticks(low, high, num_ticks)
    if loose and not log:
      step = self.ticks[1] - self.ticks[0]
      low = step * math.floor(low / step + 1e-9)
      high = step * math.ceil(high / step - 1e-9)
      self.ticks = _ticks(low, high, num_ticks)
    elif loose:
      low, high = low / 1.08, high * 1.08
    self._low, self._high = self._scale(low), self._scale(high)
    self._begin, self._end = begin, end

  def _scale(self, value: float) -> float:
    return math.log10(value) if self._log else float(value)

  def place(self, value: float) -> float:
    """Return where a value lies in the picture."""
    part = (self._scale(value) - self._low) / (self._high - self._low)
    return self._begin + part * (self._end - self._begin)


def _ticks(low: float, high: float, number: int) -> list[float]:
  """Return about so many round values, at least two, from low to high."""
  raw = (high - low) / number
  power = 10 ** math.floor(math.log10(raw))
  step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
  first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
  if last <= first:
    return [low, high]
  # Rounded, so that 3 * 0.1 is 0.3.
  return [float(f'{i * step:.12g}') for i in range(first, last + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
  """Return round values on a logarithmic axis, the fewer the longer it is."""
  decades = math.log10(high / low)
  digits = (
    (1, 2, 3, 5, 7) if decades < 1.2 else (1, 2, 5) if decades < 3 else (1,)
  )
  powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  values = [float(f'{d}e{p}') for p in powers for d in digits]
  inside = [v for v in values if low * 0.999 <= v <= high * 1.001]
  return inside if len(inside) > 1 else [low, high]
