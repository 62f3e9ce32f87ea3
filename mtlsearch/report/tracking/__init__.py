"""Trials where people look already: MLflow and TensorBoard, live and afterwards."""
