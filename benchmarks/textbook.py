"""The textbook: Pix2Pix and the study's autoencoder as they are commonly written and trained.

Independent of the package, so that it can be compared with it: plain layers one after the other, float32, Adam as torch
has it, images read with Pillow and enlarged, cropped and flipped one by one, losses fetched at every step.

python -m benchmarks.textbook <file.json> <model> <pairs> <batch>:<steps> …
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks import find_device


class Block(nn.Module):
    """One level of the U-Net, with all deeper levels inside."""

    def __init__(self, outer: int, inner: int, below: nn.Module | None = None, dropout: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.LeakyReLU(0.2), nn.Conv2d(outer, inner, 4, 2, 1, bias=False)]
        if below is not None:
            layers += [nn.InstanceNorm2d(inner, affine=True), below]
        width = inner if below is None else 2 * inner
        layers += [
            nn.ReLU(),
            nn.ConvTranspose2d(width, outer, 4, 2, 1, bias=False),
            nn.InstanceNorm2d(outer, affine=True),
        ]
        self.layers = nn.Sequential(*layers, nn.Dropout(0.5 if dropout else 0.0))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.layers(x), x], dim=1)


class Generator(nn.Module):
    """The U-Net of Isola et al. 2017 for 256×256 images, built from the inside out."""

    def __init__(self) -> None:
        super().__init__()
        block = Block(512, 512, dropout=True)
        for dropout in (True, True, False):
            block = Block(512, 512, block, dropout)
        for outer, inner in ((256, 512), (128, 256), (64, 128)):
            block = Block(outer, inner, block)
        self.first = nn.Conv2d(3, 64, 4, 2, 1, bias=False)
        self.block = block
        self.last = nn.Sequential(nn.ReLU(), nn.ConvTranspose2d(128, 3, 4, 2, 1), nn.Tanh())
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.last(self.block(self.first(x)))
        return y


class Discriminator(nn.Module):
    """The 70×70 PatchGAN."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(6, 64, 4, 2, 1), nn.LeakyReLU(0.2)]
        for i, o, stride in ((64, 128, 2), (128, 256, 2), (256, 512, 1)):
            layers += [nn.Conv2d(i, o, 4, stride, 1, bias=False), nn.InstanceNorm2d(o, affine=True), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(512, 1, 4, 1, 1))
        initialize(self)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        logits: Tensor = self.layers(torch.cat([x, y], dim=1))
        return logits


class Autoencoder(nn.Module):
    """The study's autoencoder for 256×256 images, layer by layer as in docs/design.md."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for i, o, norm in ((3, 128, False), (128, 128, False), (128, 256, True), (256, 512, True), (512, 512, True)):
            layers = [
                nn.Conv2d(i, o, 3, 2, 1),
                *([nn.InstanceNorm2d(o, affine=True)] if norm else []),
                nn.LeakyReLU(0.2),
            ]
            self.down.append(nn.Sequential(*layers))
        for i, o in ((512, 512), (1024, 256), (512, 128), (256, 128), (256, 3)):
            self.up.append(nn.Sequential(nn.ConvTranspose2d(i, o, 3, 2, 1, output_padding=1), nn.LeakyReLU(0.2)))
        self.out = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(6, 3, 2))
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            skips.append(x)
            x = layer(x)
        for layer in self.up:
            x = torch.cat([layer(x), skips.pop()], dim=1)
        y: Tensor = self.out(x)
        return y


def initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.InstanceNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Images of two folders with equal names, read and jittered one pair at a time."""

    def __init__(self, folder: Path, input_folder: str, target_folder: str) -> None:
        self.inputs = sorted((folder / input_folder).iterdir())
        self.targets = sorted((folder / target_folder).iterdir())

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        left, top = np.random.randint(0, 31, 2)
        hflip = np.random.rand() < 0.5
        halves = []
        for file in (self.inputs[index], self.targets[index]):
            image = Image.open(file).convert("RGB").resize((286, 286), Image.Resampling.BICUBIC)
            image = image.crop((left, top, left + 256, top + 256))
            if hflip:
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            halves.append((torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255 - 0.5) / 0.5)
        return halves[0], halves[1]


class Pix2PixLoop:
    def __init__(self, device: torch.device) -> None:
        self.generator, self.discriminator = Generator().to(device), Discriminator().to(device)
        self.opt_g = torch.optim.Adam(self.generator.parameters(), 2e-4, betas=(0.5, 0.999))
        self.opt_d = torch.optim.Adam(self.discriminator.parameters(), 2e-4, betas=(0.5, 0.999))
        self.bce, self.l1 = nn.BCEWithLogitsLoss(), nn.L1Loss()

    def step(self, x: Tensor, y: Tensor) -> dict[str, float]:
        fake = self.generator(x)
        self.discriminator.requires_grad_(True)
        self.opt_d.zero_grad()
        fake_logits = self.discriminator(x, fake.detach())
        real_logits = self.discriminator(x, y)
        loss_d = 0.5 * (
            self.bce(fake_logits, torch.zeros_like(fake_logits)) + self.bce(real_logits, torch.ones_like(real_logits))
        )
        loss_d.backward()
        self.opt_d.step()
        self.discriminator.requires_grad_(False)
        self.opt_g.zero_grad()
        logits = self.discriminator(x, fake)
        gan, l1 = self.bce(logits, torch.ones_like(logits)), self.l1(fake, y) * 100
        (gan + l1).backward()
        self.opt_g.step()
        return {"G_GAN": gan.item(), "G_L1": l1.item(), "D": loss_d.item()}


class AutoencoderLoop:
    def __init__(self, device: torch.device) -> None:
        self.network = Autoencoder().to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 2e-4, betas=(0.5, 0.999))

    def step(self, x: Tensor, y: Tensor) -> dict[str, float]:
        self.optimizer.zero_grad()
        loss = nn.functional.l1_loss(self.network(x), y)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return {"L1": loss.item()}


LOOPS: dict[str, Any] = {"pix2pix": Pix2PixLoop, "autoencoder": AutoencoderLoop}


def main(file: str, model: str, pairs: str, *batches: str) -> None:
    """Train on ``<pairs>/<batch>/train``, and write when each step ended; the first one is a warm-up."""
    torch.backends.cudnn.benchmark = True
    device = find_device()
    workers = min(max((os.cpu_count() or 1) - 2, 0), 4)
    found: dict[int, list[float]] = {}
    for batch, steps in (map(int, text.split(":")) for text in batches):
        folder = Path(pairs) / str(batch) / "train"
        loader = DataLoader(Pairs(folder, "face", "comics"), batch, shuffle=True, drop_last=True,
                            num_workers=workers, persistent_workers=workers > 0)  # fmt: skip
        loop, ends = LOOPS[model](device), found.setdefault(batch, [])
        while len(ends) <= steps:
            for x, y in loader:
                losses = loop.step(x.to(device), y.to(device))
                ends.append(time.perf_counter())
                print(len(ends), losses, flush=True)
                if len(ends) > steps:
                    break
        Path(file).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
