import pytest
import torch

from image_translation.data.transforms import random_crop, to_float, to_stored


def test_bytes_survive_the_way_to_floats_and_back_and_floats_are_clamped_and_rounded() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    assert torch.equal(to_stored(to_float(every)), every)
    assert to_float(every).aminmax() == (-1, 1)
    values = torch.tensor([-3.0, -1.0, 1 / 127.5 - 1 + 0.49 / 127.5, 1 / 127.5 - 1 + 0.51 / 127.5, 1.0, 7.0])
    assert to_stored(values).tolist() == [0, 0, 1, 2, 255, 255]


@pytest.mark.parametrize("whole", [(20, 20), (16, 24)])
def test_a_random_crop_is_a_part_of_its_image_or_that_flipped(whole: tuple[int, int]) -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (12, 3, *whole), dtype=torch.uint8)
    one, other = random_crop(images, 255 - images, size=(16, 16))
    assert torch.allclose(one, -other, atol=1e-6)
    places = []
    for image, from_image in zip(one, to_float(images), strict=True):
        crops = from_image.unfold(1, 16, 1).unfold(2, 16, 1)  # of each place: (3, tops, lefts, height, width)
        differences = [(crops - view[:, None, None]).abs().amax((0, 3, 4)) for view in (image, image.flip(-1))]
        (match,) = (torch.stack(differences) < 1e-6).nonzero().tolist()  # flipped or not, top, left
        places.append(match)
    assert all(
        len({*choices}) > 1
        for choices, room in zip(zip(*places, strict=True), (2, *whole), strict=True)
        if room > 16 or room == 2
    )
