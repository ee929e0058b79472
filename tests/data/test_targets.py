"""Which target a crop gets: the paper's four, the original label, mixtures, and in which form."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from labelkit.data import LabelMapDataset, LabelMapIterable, TargetOptions, collate_sparse
from labelkit.errors import ClassListMismatch, DatasetError, LabelMapError
from labelkit.geometry import CropBox
from tests.data.support import CENTRE, CROP, FORM, C, write_maps
from tests.oracles.pooling import pooled_logits


def target_of(photos, maps, position=0, **options):
    chosen = TargetOptions(**options)
    dataset = LabelMapDataset(ImageFolder(photos[0]), maps, CENTRE, options=chosen)
    return dataset, dataset[position][1]


def original_class(dataset, position=0):
    """The file's class of a sample's folder: ``things`` is 0 in the file, 1 among the folders."""
    path, _ = dataset.dataset.samples[position]
    return {"things": 0, "animals": 1}[path.split("/")[-2]]


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize(
    ("label", "box", "hard"),
    [
        ("local-multi", CROP, False),
        ("global-multi", CropBox.whole(), False),
        ("local-single", CROP, True),
        ("global-single", CropBox.whole(), True),
    ],
)
def test_the_four_labels_of_the_paper(photos, maps, position, label, box, hard):
    dataset, target = target_of(photos, maps, position, label=label)
    logits = pooled_logits(dataset.maps[dataset.keys[position]], box, C)
    expected = logits.softmax(0)
    if hard:
        expected = torch.nn.functional.one_hot(logits.argmax(), C).float()
    torch.testing.assert_close(target, expected, rtol=0, atol=1e-5)


def test_the_original_label_is_found_by_name(photos, maps):
    for position in range(4):
        dataset, target = target_of(photos, maps, position, label="original")
        assert target.argmax() == original_class(dataset, position)
        assert target.sum() == 1
        assert target.dtype == torch.float32


def test_a_mixture_has_its_share_of_the_original_label(photos, maps):
    dataset, soft = target_of(photos, maps)
    _, mixed = target_of(photos, maps, original=0.3)
    expected = 0.7 * soft
    expected[original_class(dataset)] += 0.3
    torch.testing.assert_close(mixed, expected)


@pytest.mark.parametrize("label", ["local-multi", "local-single"])
def test_padding_takes_no_probability_from_the_visible_classes(photos, maps, label):
    folder, options = ImageFolder(photos[0]), TargetOptions(label=label)
    whole, padded = (
        LabelMapDataset(folder, maps, v2.Compose([*steps, v2.PILToTensor()]), options=options)
        for steps in ([], [v2.Pad(200)])
    )
    for batch in ([1], [0, 1, 2]):
        for (_, one), (_, other) in zip(
            whole.__getitems__(batch), padded.__getitems__(batch), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_a_temperature_softens(photos, maps):
    dataset, target = target_of(photos, maps, temperature=3.0)
    logits = pooled_logits(dataset.maps[dataset.keys[0]], CROP, C)
    torch.testing.assert_close(target, (logits / 3).softmax(0), rtol=0, atol=1e-5)


def test_absent_classes_count_as_zero_on_request(photos, maps):
    dataset, target = target_of(photos, maps, absent="zeros")
    label_map = dataset.maps[dataset.keys[0]]
    bare = type(label_map)(label_map.index, label_map.score)
    expected = pooled_logits(bare, CROP, C).softmax(0)
    torch.testing.assert_close(target, expected, rtol=0, atol=1e-5)


def test_probabilities_are_pooled_on_request(photos, maps):
    """A crop of whole cells gets the mean of their softmax."""
    dataset, target = target_of(photos, maps, method="probability", label="global-multi")
    label_map = dataset.maps[dataset.keys[0]]
    logits = torch.from_numpy(label_map.dense(C) - label_map.log_sum_exp)
    pooled = torch.tensor([pooled_mean(plane) for plane in logits.exp()])
    torch.testing.assert_close(target, pooled / pooled.sum(), rtol=0, atol=1e-5)


def pooled_mean(plane):
    from torchvision.ops import roi_align

    box = torch.tensor([[0, -0.5, -0.5, 7.5, 7.5]])
    return float(roi_align(plane[None, None], box, 1, aligned=False))


def test_probabilities_need_the_log_sum_exp(photos, tmp_path):
    from msgspec import structs

    maps = write_maps(tmp_path / "bare.h5", photos[1], structs.replace(FORM, log_sum_exp=False))
    with pytest.raises(LabelMapError, match=r"--log-sum-exp"):
        target_of(photos, maps, method="probability")


@pytest.mark.parametrize("options", [{}, {"original": 0.3}, {"label": "local-single"}], ids=str)
def test_sparse_targets_equal_dense_targets(photos, maps, options):
    folder, chosen = ImageFolder(photos[0]), TargetOptions(**options)
    dense = LabelMapDataset(folder, maps, CENTRE, options=chosen)
    sparse = LabelMapDataset(folder, maps, CENTRE, options=chosen, sparse=True)
    (_, expected) = next(iter(DataLoader(dense, 4)))
    (images, targets) = next(iter(DataLoader(sparse, 4, collate_fn=collate_sparse, num_workers=1)))
    assert images.shape == (4, 3, 48, 48)
    torch.testing.assert_close(targets.dense(C), expected, rtol=0, atol=1e-6)


def test_token_targets_are_flipped_with_the_crop(photos, maps):
    """Columns of the flipped crop are those of the plain one, from right to left."""
    flipped = v2.Compose([v2.Resize((96, 96)), v2.RandomHorizontalFlip(1), v2.PILToTensor()])
    plain = v2.Compose([v2.Resize((96, 96)), v2.PILToTensor()])
    folder, options = ImageFolder(photos[0]), TargetOptions(tokens=(2, 4))
    (target, tokens), (_, mirrored) = (
        LabelMapDataset(folder, maps, pipeline, options=options)[0][1]
        for pipeline in (plain, flipped)
    )
    assert target.shape == (C,)
    assert tokens.shape == (C, 2, 4)
    torch.testing.assert_close(tokens.sum(0), torch.ones(2, 4))
    torch.testing.assert_close(mirrored.flip(2), tokens, rtol=0, atol=1e-6)
    assert not torch.allclose(tokens[:, :, 0], tokens[:, :, 3], atol=1e-3)


def test_token_targets_follow_turned_crops_and_are_refused_for_padded_or_slanted_ones(photos, maps):
    folder, options = ImageFolder(photos[0]), TargetOptions(tokens=(2, 4))

    def tokens(*steps):
        pipeline = v2.Compose([v2.Resize((96, 96)), *steps, v2.PILToTensor()])
        return LabelMapDataset(folder, maps, pipeline, options=options).__getitems__([0, 1])[1][1][
            1
        ]

    plain = tokens()
    torch.testing.assert_close(tokens(v2.RandomVerticalFlip(1)).flip(1), plain, rtol=0, atol=1e-6)
    half = tokens(v2.RandomRotation((180, 180)))
    torch.testing.assert_close(half.flip(1, 2), plain, rtol=0, atol=1e-6)
    for steps in ([v2.CenterCrop(48), v2.Pad(9)], [v2.RandomRotation((5, 5))]):
        with pytest.raises(ValueError, match="token targets would not match the positions"):
            tokens(*steps)


def test_images_without_a_map_keep_their_original_label_on_request(photos, tmp_path):
    folder, keys = photos
    maps = write_maps(tmp_path / "some.h5", keys[:2])
    with pytest.raises(LabelMapError, match=r"2 of 4 images \(.*with the same root folder\?"):
        LabelMapDataset(ImageFolder(folder), maps, CENTRE)
    most = write_maps(tmp_path / "most.h5", keys[:3])
    with pytest.raises(LabelMapError, match=r"1 of 4 images .* added since.* --reuse"):
        LabelMapDataset(ImageFolder(folder), most, CENTRE)
    dataset = LabelMapDataset(ImageFolder(folder), maps, CENTRE, missing="hard")
    assert dataset.missing_count == 2
    for position, key in enumerate(dataset.keys):
        _, target = dataset[position]
        assert (target.max() == 1) == (key not in keys[:2])
        if key not in keys[:2]:
            assert target.argmax() == original_class(dataset, position)


def test_original_labels_that_the_file_lacks_are_named(photos, tmp_path):
    (photos[0] / "things").rename(photos[0] / "objects")
    keys = [key.replace("things", "objects") for key in photos[1]]
    renamed = write_maps(tmp_path / "renamed.h5", keys)
    with pytest.raises(ClassListMismatch, match=r"original labels objects\. Make maps over"):
        target_of(photos, renamed, label="original")


class Loose(Dataset):
    """A user's own data set: images and numbers, no paths."""

    def __init__(self, folder, keys):
        self.folder, self.paths = folder, keys

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, position):
        from PIL import Image

        return Image.open(self.folder / self.paths[position]).convert("RGB"), position // 2


def test_any_data_set_with_a_key_yields_the_same(photos, maps):
    folder, keys = photos
    loose = Loose(folder, keys)
    ours = LabelMapDataset(loose, maps, CENTRE, key=lambda position: keys[position])
    plain = LabelMapDataset(ImageFolder(folder), maps, CENTRE)
    for position, key in enumerate(keys):
        torch.testing.assert_close(ours[position], plain[plain.keys.index(key)])


def test_original_labels_need_ids(photos, maps):
    folder, keys = photos

    def make(**more):
        return LabelMapDataset(
            Loose(folder, keys),
            maps,
            CENTRE,
            key=lambda position: keys[position],
            options=TargetOptions(label="original"),
            **more,
        )

    with pytest.raises(ValueError, match=r"classes=\[\.\.\.\]"):
        make()
    assert make(classes=["animals", "things"])[0][1].argmax() == 1  # animals, by the file's list


def test_a_timm_data_set_yields_the_same_and_never_replaces_an_image(photos, maps):
    from timm.data import ImageDataset

    folder, keys = photos
    plain = LabelMapDataset(ImageFolder(folder), maps, CENTRE)
    ours = LabelMapDataset(ImageDataset(str(folder)), maps, CENTRE)
    for position, key in enumerate(ours.keys):
        torch.testing.assert_close(ours[position], plain[plain.keys.index(key)])
    (folder / keys[0]).write_bytes(b"torn")
    with pytest.raises(DatasetError, match=keys[0]):
        ours[ours.keys.index(keys[0])]


def test_a_stream_yields_the_same_in_workers(photos, maps):
    folder, keys = photos
    loose = Loose(folder, keys)
    stream = [(key, loose[position][0]) for position, key in enumerate(keys)] * 5
    plain = LabelMapDataset(ImageFolder(folder), maps, CENTRE)
    loader = DataLoader(LabelMapIterable(stream, maps, CENTRE), batch_size=None, num_workers=1)
    for key, sample in zip(keys * 5, loader, strict=True):
        torch.testing.assert_close(list(sample), list(plain[plain.keys.index(key)]))


def test_a_stream_counts_missing_images_over_workers(photos, tmp_path):
    folder, keys = photos
    maps = write_maps(tmp_path / "some.h5", keys[:2])
    loose = Loose(folder, keys)
    stream = [(key, *loose[position]) for position, key in enumerate(keys)]
    kept = LabelMapIterable(stream, maps, CENTRE, missing="hard", classes=["animals", "things"])
    for _ in range(2):
        assert len(list(DataLoader(kept, batch_size=None, num_workers=2))) == 8
    assert kept.missing_count == 8  # each worker reads the whole list
    with pytest.raises(LabelMapError, match=keys[2]):
        list(LabelMapIterable(stream, maps, CENTRE))


def test_a_data_set_can_be_pickled_for_a_worker(photos, maps):
    dataset, target = target_of(photos, maps, original=0.1)
    torch.testing.assert_close(pickle.loads(pickle.dumps(dataset))[0][1], target)  # noqa: S301 -- our own bytes


def test_a_data_set_without_a_transform_is_refused(photos, maps):
    with pytest.raises(ValueError, match="has no transform yet"):
        LabelMapDataset(ImageFolder(photos[0]), maps)[0]


@pytest.mark.parametrize(
    "options",
    [
        {"label": "local"},
        {"original": 1.1},
        {"temperature": 0},
        {"temperature": float("nan")},
        {"temperature": float("inf")},
        {"temperature": 1e-46},
        {"temperature": 1001},
        {"method": "mean"},
        {"absent": "ones"},
        {"tokens": (0, 3)},
        {"tokens": 7},
        {"tokens": (7,)},
        {"tokens": (7, True)},
        {"tokens": (7, 7, 7)},
        {"tokens": (3.5, 2)},
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"{name} is .*expected"):
        TargetOptions(**options)
