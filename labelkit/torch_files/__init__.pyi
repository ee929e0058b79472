from .archive import read_torch_file as read_torch_file
from .unpickler import (
    ForeignObjectError as ForeignObjectError,
    TorchFileError as TorchFileError,
)
