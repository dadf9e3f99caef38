"""The sweep: refocuses and fuses one model of each family that OpenMMLab, timm and torchvision ship."""
