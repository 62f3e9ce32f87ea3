"""A trained model as it leaves the house: plain PyTorch, torch.export or ONNX, none of which needs mtlsearch."""
