import pytest
import torch
from torchvision.transforms.v2.functional import resize

from image_translation.data.transforms import jitter, to_float, to_uint8


def test_bytes_survive_the_way_to_floats_and_back_and_floats_are_clamped_and_rounded() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_uint8(to_float(every)), every)
    assert to_float(every).aminmax() == (-1, 1)
    values = torch.tensor([-3.0, -1.0, 1 / 127.5 - 1 + 0.49 / 127.5, 1 / 127.5 - 1 + 0.51 / 127.5, 1.0, 7.0])
    assert to_uint8(values).tolist() == [0, 0, 1, 2, 255, 255]


@pytest.mark.parametrize("size", [(64, 64), (32, 48)])
def test_jitter_is_resize_crop_and_flip(size: tuple[int, int]) -> None:
    """Every image of a batch equals one of the crops that torchvision makes, or that flipped."""
    torch.manual_seed(0)
    images = torch.randint(256, (6, 3, *size), dtype=torch.uint8)
    large = [round(side * 286 / 256) for side in size]
    enlarged = resize(to_float(images), large, antialias=False)
    places = []
    for image, whole in zip(jitter(images)[0], enlarged, strict=True):
        crops = whole.unfold(1, size[0], 1).unfold(2, size[1], 1)  # of each place: (3, tops, lefts, height, width)
        differences = [(crops - view[:, None, None]).abs().amax((0, 3, 4)) for view in (image, image.flip(-1))]
        (match,) = (torch.stack(differences) < 1.1 / 127.5).nonzero().tolist()  # flipped or not, top, left
        places.append(match)
    assert all(len({*choices}) > 1 for choices in zip(*places, strict=True))
