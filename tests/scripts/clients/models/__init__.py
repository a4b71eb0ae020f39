from .resnet import ResNet as ResNet, resnet8 as resnet8, resnet14 as resnet14
