"""Names for the numpy columns that the data model is made of."""

import numpy as np
import numpy.typing as npt

BoolColumn = npt.NDArray[np.bool_]
UInt8Column = npt.NDArray[np.uint8]
UInt32Column = npt.NDArray[np.uint32]
Int32Column = npt.NDArray[np.int32]
Int64Column = npt.NDArray[np.int64]
Float64Column = npt.NDArray[np.float64]
