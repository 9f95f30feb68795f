"""One class for each way of storing pairs. A new one is a file in this package and a name in ``SOURCES``."""

from image_translation.data.sources.base import PairSource
from image_translation.data.sources.folders import AlignedPairs, DerivedPairs, FolderPairs
from image_translation.data.sources.hub import HubPairs
from image_translation.data.sources.table import TablePairs

# By the value of data.layout.
SOURCES: dict[str, type[PairSource]] = {
    "folders": FolderPairs,
    "aligned": AlignedPairs,
    "derived": DerivedPairs,
    "table": TablePairs,
    "hub": HubPairs,
}
