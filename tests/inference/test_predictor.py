"""``predict`` on one image of any size and kind."""

import numpy as np
import pytest
import torch
from conftest import SIZE, image
from helpers.training import make_model
from PIL import Image

from image_translation.cli.errors import UserError
from image_translation.data.kinds import make_kind
from image_translation.models import Identity, ResUNet


@pytest.mark.parametrize(("name", "size"), [
    ("pix2pix", (2 * SIZE, SIZE)), ("pix2pix", (100, 70)), ("pix2pix", (7, 5)), ("autoencoder", (100, 70)),
    ("autoencoder", (8, 3)),
])  # fmt: skip
def test_any_size_and_kind_comes_back_as_it_came(name: str, size: tuple[int, int]) -> None:
    model, source = make_model(name), image(3, size)
    predicted, array = model.predict(source), model.predict(np.asarray(source))
    assert isinstance(predicted, Image.Image)
    assert predicted.size == size
    assert (type(array), array.dtype) == (np.ndarray, np.uint8)
    assert np.array_equal(array, predicted)
    assert np.array_equal(Identity().predict(source), source)
    assert model.training  # as it was
    # The network gets the image mirrored at the right and at the bottom, again and again.
    divisor, least = model.generator.size_divisibility, 16 if name == "autoencoder" else SIZE  # no norm of a 1×1 map
    rows, columns = (
        [min(i % (2 * side), 2 * side - 1 - i % (2 * side)) for i in range(max(least, -(-side // divisor) * divisor))]
        for side in size[::-1]
    )
    x = torch.tensor(np.asarray(source)[rows][:, columns] / 127.5 - 1).float().permute(2, 0, 1)[None]
    with torch.no_grad():
        y = model.eval()(x)[0].permute(1, 2, 0).numpy()[: size[1], : size[0]]
    assert np.abs((y.clip(-1, 1) + 1) * 127.5 - array).max() < 0.51


def test_images_are_read_as_the_dataset_reads_them() -> None:
    turned = image(1, (40, 20))
    turned.getexif()[0x0112] = 6
    assert Identity().predict(turned).size == (20, 40)
    gray = image(1).convert("L")
    assert np.array_equal(Identity().predict(gray), np.stack([gray] * 3, axis=-1))
    deep = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    assert np.array_equal(Identity().predict(deep), np.stack([gray] * 3, axis=-1))


def test_a_network_that_names_no_sizes_says_which_it_cannot_take() -> None:
    model = Identity()
    model.generator = torch.nn.Sequential(torch.nn.PixelUnshuffle(4), torch.nn.PixelShuffle(4))
    assert np.array_equal(model.predict(image(1)), image(1))
    with pytest.raises(UserError, match=r"Sequential can't take an image of 481×321.*set its size_divisibility"):
        model.predict(image(1, (481, 321)))
    model.generator.size_divisibility = 4  # type: ignore[assignment]
    assert np.array_equal(model.predict(image(1, (481, 321))), image(1, (481, 321)))


@pytest.mark.parametrize("wrong", [
    np.zeros((0, 0, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((3, 8, 8), np.uint8),
], ids=["empty", "float", "gray array", "channels first"])  # fmt: skip
def test_what_would_be_misread_is_refused(wrong: object) -> None:
    with pytest.raises(UserError, match="uint8 array"):
        Identity().predict(wrong)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (90, 1)])
def test_a_single_row_of_pixels_is_scaled_too(size: tuple[int, int]) -> None:
    source = Image.new("RGB", size, (10, 200, 30))
    assert np.array_equal(Identity().predict(source, size=SIZE), source)
    model = ResUNet(base_channels=8, depth=1)
    assert model.predict(source, size=SIZE).size == size


def test_a_class_that_the_model_does_not_know_is_named() -> None:
    model = ResUNet(base_channels=8, depth=1, in_channels=3)
    model.trained_on["input"] = make_kind("input", "mask", 3, None, None, ignore=255).describe()
    mask = np.zeros((16, 16), np.uint8)
    mask[3, 4], mask[5, 6] = 7, 255
    with pytest.raises(UserError, match=r"image: has the class 7, which data\.classes=3 does not allow"):
        model.predict(mask)
    assert model.predict(np.where(mask == 7, 2, mask)).shape == (16, 16, 3)
