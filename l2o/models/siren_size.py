"""How wide a Siren of a given size in bytes is, without JAX, so that configs can ask."""

from l2o.arguments import Count, checked
from l2o.errors import InputError

BYTES = 4  # of a float32


@checked
def siren_width(
  max_bytes: float, num_layers: Count = 7, num_inputs: Count = 3, num_outputs: Count = 1
) -> int:
  """The widest `Siren` whose float32 parameters take at most `max_bytes`.

  Args:
    max_bytes: for a compression of x256, the bytes of the raw volume / 256.
    num_layers: as in `Siren`.
    num_inputs: coordinates.
    num_outputs: channels.

  Raises:
    InputError: not even one unit fits.

  Example:
    >>> siren_width(2 * 64**3 / 256)  # a volume of 64³ in uint16: 512 parameters
    9
  """

  def size(width: int) -> int:
    inner = (num_layers - 2) * width * (width + 1)
    return BYTES * ((num_inputs + 1) * width + inner + (width + 1) * num_outputs)

  width = 0
  while size(width + 1) <= max_bytes:
    width += 1
  if width < 1:
    raise InputError(
      f'{max_bytes:g} bytes are too few for a Siren of {num_layers} layers; raise max_bytes or '
      f'lower num_layers'
    )
  return width
