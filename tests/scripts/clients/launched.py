"""A script for torchrun."""

import os

import torch
import torch.distributed as dist
from models import resnet8
from steps import batch, count, step

dist.init_process_group("gloo")
rank = int(os.environ["RANK"])
torch.manual_seed(rank)
net = torch.nn.parallel.DistributedDataParallel(resnet8())
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
loss = step(net, optimizer, *batch())
total = torch.tensor([sum(parameter.double().sum() for parameter in net.parameters())])
print(f"rank {rank}: loss {loss:.6f}, {count(net)} parameters, sum {total.item():.6f}\n", end="", flush=True)
if rank == 0:
    torch.save(net.state_dict(), "ddp.pt")
dist.destroy_process_group()
