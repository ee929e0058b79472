from .clustering import (
    Clustering as Clustering,
    cluster_images as cluster_images,
    label_images as label_images,
    with_own_classes as with_own_classes,
)
from .feature_file import FeatureFile as FeatureFile, open_features as open_features
from .feature_model import (
    FeatureModel as FeatureModel,
    load_feature_model as load_feature_model,
)
from .figures import (
    LevelAgreement as LevelAgreement,
    NamedShares as NamedShares,
    SecondNearest as SecondNearest,
    compare_with_classes as compare_with_classes,
    second_nearest as second_nearest,
)
from .making_features import make_features as make_features
from .nearest_centre import (
    Assignment as Assignment,
    KMeansSettings as KMeansSettings,
    kmeans as kmeans,
)
