"""What is known in advance about each dataset: files, checksums, classes and mirrors."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DataFile:
    """A file in the IDX format, its name when unpacked, and the SHA-256 of its unpacked bytes; or a .tar.gz as it is.

    Where its publisher gives nothing but the MD5 of the packed bytes, that takes the place of the SHA-256.
    """

    name: str
    sha256: str
    packed_md5: str = ""

    @property
    def is_archive(self) -> bool:
        """Whether it holds all images and labels."""
        return self.name.endswith(".tar.gz")

    @property
    def served(self) -> str:
        """What mirrors call it."""
        return self.name if self.is_archive else f"{self.name}.gz"


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset of small images: 28x28 and grey in four IDX files, or CIFAR-10."""

    name: str  # what `load` calls it, and its subfolder of the cache
    title: str  # its name in messages
    things: str  # what its images show, in the plural
    folders: tuple[str, ...]  # further subfolders of a user's folder to look in, named as other programs name them
    classes: tuple[str, ...]  # the name of each label, in the order of the labels
    files: tuple[DataFile, ...]  # training images, training labels, test images, test labels; or an archive of them
    mirrors: tuple[str, ...]  # base URLs that serve each file as NAME.gz (the archive as it is), the best first


MNIST = DatasetSpec(
    name="mnist",
    title="MNIST",
    things="digits",
    folders=("MNIST/raw",),  # torchvision
    classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    files=(
        DataFile("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
        DataFile("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
        DataFile("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
        DataFile("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
)

FASHION = DatasetSpec(
    name="fashion",
    title="Fashion-MNIST",
    things="garments",
    folders=("fashion-mnist", "FashionMNIST/raw"),  # Debian, torchvision
    classes=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    files=(
        DataFile("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
        DataFile("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
        DataFile("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
        DataFile("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
    ),
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
)

KMNIST = DatasetSpec(
    name="kmnist",
    title="Kuzushiji-MNIST",
    things="characters",
    folders=("KMNIST/raw",),  # torchvision
    classes=("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    files=(
        DataFile("train-images-idx3-ubyte", "", packed_md5="bdb82020997e1d708af4cf47b453dcf7"),
        DataFile("train-labels-idx1-ubyte", "", packed_md5="e144d726b3acfaa3e44228e80efcd344"),
        DataFile("t10k-images-idx3-ubyte", "", packed_md5="5c965bf0a639b31b8f53240b1b52f4d7"),
        DataFile("t10k-labels-idx1-ubyte", "", packed_md5="7320c461ea6c1c855c0b718fb2a4b134"),
    ),
    mirrors=("https://codh.rois.ac.jp/kmnist/dataset/kmnist/", "http://codh.rois.ac.jp/kmnist/dataset/kmnist/"),
)

CIFAR10 = DatasetSpec(
    name="cifar10",
    title="CIFAR-10",
    things="photographs",
    folders=(),
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    # its MD5, as its author publishes it, is c32a1d4ab5d03f1284b67883e8d87530
    files=(DataFile("cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),),
    mirrors=(
        "https://www.cs.toronto.edu/~kriz/",
        "https://cave.cs.toronto.edu/kriz/",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/",
    ),
)
