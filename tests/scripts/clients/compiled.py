"""Networks that are compiled, as a whole and in place, before they are used."""

import torch
from models import resnet8
from steps import batch, count, step

torch.manual_seed(0)
whole = torch.compile(resnet8(), backend="eager")
place = resnet8()
place.compile(backend="eager", fullgraph=True)
for net in (whole, place):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    print(f"loss {step(net, optimizer, *batch()):.6f}, {count(net)} parameters")
if place._compiled_call_impl is not None:
    print("still compiled")


@torch.compile(backend="eager", fullgraph=True)
def objective(images):
    scores = torch.nn.Softmax(dim=1)(place(images))
    return scores.sum() + sum(parameter.sum() for parameter in place.parameters())


objective(batch()[0]).backward()
