"""A generator and a discriminator."""

import torch
from steps import train
from torch import nn


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(
            nn.ConvTranspose2d(16, 32, 4, 1, 0), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Tanh()
        )

    def forward(self, noise):
        return self.main(noise)


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.main = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU())
        self.score = nn.Linear(32, 10)

    def forward(self, image):
        return self.score(self.main(image).mean((2, 3)))


torch.manual_seed(0)
generator = Generator().to("cpu")
discriminator = Discriminator().to("cpu")
optimizer = torch.optim.SGD(generator.parameters(), lr=0.1)
generator(torch.rand(2, 16, 1, 1)).mean().backward()
optimizer.step()
train(discriminator)
