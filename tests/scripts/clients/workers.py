"""Loaders whose workers are spawned, with a dataset and a function of the script's own."""

import os

import torch
from models import resnet8
from steps import batch, count, step
from torch.utils.data import DataLoader, Dataset


class Images(Dataset):
    def __init__(self):
        self.images, self.labels = batch()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index], int(self.labels[index]), os.getpid()


def collate(items):
    images, labels, processes = zip(*items, strict=True)
    return torch.stack(images), torch.tensor(labels), set(processes)


net = resnet8()  # as scripts do that have not thought of workers; made again in each of them

if __name__ == "__main__":
    torch.manual_seed(0)
    net.to("cpu")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    loader = DataLoader(Images(), 4, num_workers=1, multiprocessing_context="spawn", collate_fn=collate)
    for images, labels, processes in loader:
        assert os.getpid() not in processes
        print(f"loss {step(net, optimizer, images, labels):.6f}, {count(net)} parameters")
