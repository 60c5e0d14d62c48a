"""The type of the arrays that windows are made of."""

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
