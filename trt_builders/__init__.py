"""Network exports (ONNX plus manifest) and, where there is a GPU, compiled TensorRT engines."""
