"""Images from files: as they are, as MNIST's digits, and folders of them."""

from functools import partial

import numpy as np
import pytest

from tinygrad_cnn import data, models
from tinygrad_cnn.commands import train
from tinygrad_cnn.commands.errors import UserError
from tinygrad_cnn.data import DataError, ImageFolder, images, read_digit, read_image
from tinygrad_cnn.training import predict
from tinygrad_cnn.utils.data import DataLoader

Image = pytest.importorskip("PIL.Image")


def written(path, array, **settings):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **settings)
    return path


@pytest.fixture
def digit():
    """A digit of MNIST, 28×28 of 0 to 255."""
    return np.uint8(data.load("sample").test_images[3, 0] * 255)


def test_an_image_is_its_pixels(tmp_path):
    pixels = np.arange(2 * 3 * 3).reshape(2, 3, 3) * 10
    found = read_image(written(tmp_path / "a.png", pixels))
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_allclose(found, pixels.transpose(2, 0, 1) / 255, rtol=1e-6)
    assert read_image(tmp_path / "a.png", mode="L").shape == (1, 2, 3)
    grey = read_image(written(tmp_path / "b.png", pixels[:, :, 0]))
    np.testing.assert_allclose(grey, np.repeat(pixels[None, :, :, 0] / 255, 3, 0), rtol=1e-6)


def test_an_image_is_cut_to_a_square(tmp_path):
    pixels = np.zeros((20, 60, 3))
    pixels[:, 20:40] = 200  # the middle
    found = read_image(written(tmp_path / "a.png", pixels), size=10)
    assert found.shape == (3, 10, 10)
    np.testing.assert_allclose(found[:, :, 2:-2], 200 / 255, rtol=1e-6)
    assert (found > 0.7).all()


def test_what_is_transparent_is_white(tmp_path):
    pixels = np.zeros((4, 4, 4))
    pixels[0, 0, 3] = 255  # one black pixel, on nothing
    found = read_image(written(tmp_path / "a.png", pixels), mode="L")
    assert found[0, 0, 0] == 0 and found.sum() == 15


def test_an_image_of_16_bits_and_one_that_lies_on_its_side(tmp_path):
    Image.fromarray(np.array([[0, 2**15, 2**16 - 1]], np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png", mode="L")[0], [[0, 127 / 255, 1]])
    turned = Image.Exif()
    turned[0x0112] = 6  # by a quarter
    written(tmp_path / "b.png", np.zeros((2, 5, 3)), exif=turned)
    assert read_image(tmp_path / "b.png").shape == (3, 5, 2)


def test_a_digit_of_mnist_stays_as_it_is(digit, tmp_path):
    np.testing.assert_array_equal(read_digit(written(tmp_path / "a.png", digit))[0], digit / np.float32(255))


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_a_digit_on_paper_becomes_one_of_mnist(digit, name, tmp_path):
    paper = np.full((300, 420), 230.0) + np.random.default_rng(0).normal(0, 4, (300, 420))
    big = np.kron(digit, np.ones((8, 8)))  # 224 × 224, far from the middle
    paper[60:284, 20:244] -= big * 0.8
    found = read_digit(written(tmp_path / name, paper.clip(0, 255)))
    assert found.shape == (1, 28, 28) and found.dtype == np.float32 and found.min() >= 0 and found.max() <= 1
    rows, columns = (np.flatnonzero(found[0].any(axis)) for axis in (1, 0))
    assert max(rows[-1] - rows[0], columns[-1] - columns[0]) == 19
    weights = found[0] / found.sum()
    assert np.abs((weights.sum(1) * np.arange(28)).sum() - 14) <= 0.7
    assert np.abs((weights.sum(0) * np.arange(28)).sum() - 14) <= 0.7
    assert np.corrcoef(found.ravel(), digit.ravel())[0, 1] > 0.95


def test_a_small_digit_on_paper_and_a_large_one_on_a_board(digit, tmp_path):
    small = read_digit(written(tmp_path / "a.png", 255 - digit))
    board = read_digit(written(tmp_path / "b.png", np.kron(digit, np.ones((5, 5)))))
    for found in (small, board):
        assert np.corrcoef(found.ravel(), digit.ravel())[0, 1] > 0.95


@pytest.mark.parametrize("shade", [0, 255, 128])
@pytest.mark.parametrize("shape", [(28, 28), (1, 1), (3, 500)])
def test_an_empty_page_has_no_digit(shade, shape, tmp_path):
    found = read_digit(written(tmp_path / "a.png", np.full(shape, shade)))
    assert found.shape == (1, 28, 28) and np.ptp(found) == 0


def test_an_empty_page_that_is_not_even_has_no_digit(tmp_path):
    noise = 230 + np.random.default_rng(0).normal(0, 3, (300, 420))
    assert not read_digit(written(tmp_path / "a.png", noise)).any()


@pytest.mark.parametrize("shape", [(200, 1), (1, 200)])
def test_a_thin_line_is_placed(shape, tmp_path):
    page = np.full((300, 300), 255)
    page[50 : 50 + shape[0], 50 : 50 + shape[1]] = 0
    found = read_digit(written(tmp_path / "a.png", page))
    assert found.max() > 0.9 and (found > 0).sum() == 20


@pytest.fixture
def folder(tmp_path):
    for label, name in enumerate(("cats", "dogs", "owls")):
        for i in range(3):
            written(tmp_path / "photos" / name / f"{i}.{('png', 'JPG', 'bmp')[i]}", np.full((8 + i, 9, 3), 80 * label))
        (tmp_path / "photos" / name / "notes.txt").write_text("no image")
    (tmp_path / "photos" / "list.csv").write_text("no folder")
    (tmp_path / "photos" / ".hidden").mkdir()
    (tmp_path / "photos" / "owls" / "._0.png").write_text("no image either")
    return tmp_path / "photos"


def test_a_folder_of_images(folder):
    photos = ImageFolder(folder, loader=partial(read_image, size=8))
    assert photos.classes == ["cats", "dogs", "owls"] and photos.class_to_idx["owls"] == 2 and len(photos) == 9
    for images_, labels in DataLoader(photos, batch_size=3):
        assert images_.shape == (3, 3, 8, 8)
        np.testing.assert_allclose(
            images_.numpy(), labels.numpy().reshape(3, 1, 1, 1) * np.full((3, 3, 8, 8), 80 / 255), atol=0.01
        )
    halved = ImageFolder(str(folder), transform=lambda image: image[:, ::2])
    assert halved[0][0].shape == (3, 4, 9)


def test_a_folder_of_digits_is_recognised_by_a_network(digit, tmp_path):
    for label in (3, 7):
        written(tmp_path / str(label) / "a.png", 255 - digit)
    (found,) = DataLoader(ImageFolder(tmp_path, loader=read_digit), batch_size=2)
    assert predict(models.lenet(), found[0].numpy()).shape == (2, 10)


def test_the_command_line_reads_images(digit, tmp_path):
    sample = data.load("sample")
    file = written(tmp_path / "my_digit.PNG", 255 - digit)
    name, image = train.read_input(str(file), sample)
    assert name == "my_digit.PNG"
    np.testing.assert_array_equal(image, read_digit(file))
    with pytest.raises(DataError, match=r"nowhere.jpg cannot be read \(No such file or directory\)$"):
        train.read_input("nowhere.jpg", sample)
    with pytest.raises(UserError, match="--predict takes images"):
        train.read_input("my_digit.txt", sample)


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "words.png").write_text("words")
    whole = written(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 256, (40, 40))).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, reason in (("words", "damaged, or no image"), ("half", "damaged"), ("nowhere", "No such file")):
        for read in (read_image, read_digit):
            with pytest.raises(DataError, match=rf"^{tmp_path}/{name}.png cannot be read \(.*{reason}"):
                read(tmp_path / f"{name}.png")
    with pytest.raises(DataError, match=f"^{tmp_path} has no sub-folders"):
        ImageFolder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=f"^{tmp_path} has no images in empty; expected one sub-folder"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match=r"nowhere cannot be read \(No such file"):
        ImageFolder(tmp_path / "nowhere")
    for act, message in (
        (lambda: read_image(tmp_path / "whole.png", size=0), "size as an integer of at least 1, got 0"),
        (lambda: read_image(tmp_path / "whole.png", mode="CMYK"), 'mode as "RGB" or "L", got .CMYK'),
        (lambda: read_image(5), "file as a path, got 5"),
        (lambda: ImageFolder(tmp_path, loader=5), "loader as a Callable, got 5"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            act()


def test_without_pillow_a_line_says_what_to_install(tmp_path, monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError(name)

    path = written(tmp_path / "a.png", np.zeros((3, 3)))
    monkeypatch.setattr(images.importlib, "import_module", refuse)
    with pytest.raises(DataError, match=r"^reading images needs the library Pillow, .* pip install '.*\[images\]'$"):
        read_digit(path)
