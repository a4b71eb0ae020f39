"""Adversarial training, with the attack as a module around the network."""

import torch
import torch.nn as nn
import torch.nn.functional as F
from models import resnet8
from steps import batch, count


class AttackPGD(nn.Module):
    def __init__(self, basic_net, config):
        super().__init__()
        self.basic_net = basic_net
        self.num_steps = config["num_steps"]

    def forward(self, inputs, targets):
        x = inputs.detach()
        for _ in range(self.num_steps):
            x.requires_grad_()
            with torch.enable_grad():
                loss = F.cross_entropy(self.basic_net(x), targets, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, [x])
            x = torch.clamp(x.detach() + 0.01 * torch.sign(gradient), 0, 1)
        return self.basic_net(x), x


torch.manual_seed(0)
net = AttackPGD(resnet8(), {"num_steps": 2}).to("cpu")
net = torch.nn.DataParallel(net)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
images, labels = batch()
loss = F.cross_entropy(net(images, labels)[0], labels)
loss.backward()
optimizer.step()
print(f"loss {loss.item():.6f}, {count(net)} parameters")
