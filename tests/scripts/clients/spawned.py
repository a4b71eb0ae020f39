"""Processes that are spawned for training; each makes its network itself."""

import sys

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from models import resnet8
from steps import batch, count, step


def main(rank, folder, world):
    dist.init_process_group("gloo", f"file://{folder}/meeting", rank=rank, world_size=world)
    torch.manual_seed(rank)
    net = torch.nn.parallel.DistributedDataParallel(resnet8())
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loss = step(net, optimizer, *batch())
    print(f"rank {rank}: loss {loss:.6f}, {count(net)} parameters\n", end="", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(main, (sys.argv[1], 2), nprocs=2)
    print("joined")
