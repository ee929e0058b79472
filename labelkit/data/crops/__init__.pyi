from .following import (
    Untraced as Untraced,
    follow_crop as follow_crop,
    require_trackable as require_trackable,
    track_crop as track_crop,
)
from .tracker import CropTracker as CropTracker
