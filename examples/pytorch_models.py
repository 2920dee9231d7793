"""Two CNNs as they are written for PyTorch, run here: in their imports the word `torch` is replaced, and nothing else.

    python examples/pytorch_models.py

A ResNet learns to tell horizontal from vertical stripes, a U-Net to mark the brighter pixels. PyTorch is not needed.
"""

import tinygrad_cnn as torch
import tinygrad_cnn.nn as nn
import tinygrad_cnn.nn.functional as F
import tinygrad_cnn.optim as optim
from tinygrad_cnn.nn import init


class BasicBlock(nn.Module):
    def __init__(self, in_planes, planes, stride=1):
        super(BasicBlock, self).__init__()  # noqa: UP008 (as it is published)
        self.conv1 = nn.Conv2d(in_planes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, stride=1, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, kernel_size=1, stride=stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class ResNet(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.layers = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 16, stride=2), BasicBlock(16, 16))
        self.pool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(16, num_classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                init.constant_(m.weight, 1)
                init.constant_(m.bias, 0)

    def forward(self, x):
        x = self.pool(self.layers(self.stem(x)))
        return self.fc(torch.flatten(x, 1))


class DoubleConv(nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc = DoubleConv(1, 4)
        self.down = nn.Sequential(nn.MaxPool2d(2), DoubleConv(4, 8))
        self.up = nn.ConvTranspose2d(8, 4, kernel_size=2, stride=2)
        self.conv = DoubleConv(8, 4)
        self.outc = nn.Conv2d(4, 1, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.up(self.down(x1))
        x2 = F.interpolate(x2, size=x1.shape[2:], mode="bilinear", align_corners=True)
        return self.outc(self.conv(torch.cat([x1, x2], dim=1)))


def train(model, criterion, batch, steps=30):
    """Losses before and after some steps."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        images, target = batch()
        optimizer.zero_grad()
        loss = criterion(model(images.to(device)), target.to(device))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def stripes(n=32):
    labels = torch.randint(0, 2, (n,))
    waves = (torch.rand(n, 1, 1, 1) * 6 + torch.arange(12).float()).sin().expand(n, 1, 12, 12)
    images = torch.where(labels.view(n, 1, 1, 1) == 1, waves, waves.transpose(2, 3))
    return images + 0.3 * torch.randn(n, 1, 12, 12), labels


def bright(n=8):
    images = torch.randn(n, 1, 12, 12)
    return images, (images > images.mean(dim=(2, 3), keepdim=True)).float()


if __name__ == "__main__":
    torch.manual_seed(0)
    resnet, unet = ResNet(), UNet()
    losses = train(resnet, nn.CrossEntropyLoss(), stripes)
    print(f"ResNet: loss {losses[0]:.3f} -> {losses[-1]:.3f}")
    resnet.eval()
    with torch.no_grad():
        images, labels = stripes(200)
        correct = (resnet(images).argmax(dim=1) == labels).float().mean().item()
    print(f"ResNet: {correct:.0%} of 200 new images of stripes told apart")
    losses = train(unet, nn.BCEWithLogitsLoss(), bright)
    print(f"U-Net:  loss {losses[0]:.3f} -> {losses[-1]:.3f}")
