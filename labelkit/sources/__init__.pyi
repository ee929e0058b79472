from .columns import Columns as Columns
from .folder import FolderImages as FolderImages
from .manifest_images import ManifestImages as ManifestImages
from .opening import as_source as as_source, open_source as open_source
from .source import (
    ImageFile as ImageFile,
    ImageLabels as ImageLabels,
    ImageSource as ImageSource,
)
from .tar_headers import TarMember as TarMember, tar_members as tar_members
