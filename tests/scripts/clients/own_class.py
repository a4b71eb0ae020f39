"""A class of the script's own, which names itself in super()."""

import torch
import torch.nn as nn
from steps import train


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        x = torch.relu(self.conv3(x))
        return self.fc(x.mean((2, 3)))


def main():
    torch.manual_seed(0)
    net = Net()
    assert isinstance(net, Net)
    train(net)


if __name__ == "__main__":
    main()
