"""Triton kernels for CUDA, and the noise that they share with the CPU.

Door: `launch.use_kernels`, `available.works`, `noise`.
"""
