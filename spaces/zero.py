"""The page as a Space on ZeroGPU, which requires at least one function that asks for a GPU.

This page needs none, because its network answers a photo in milliseconds on the CPU. So there is
one that is never called, and no visitor's GPU quota is used.
"""

import runpy

import spaces  # must be the first import


@spaces.GPU(duration=1)
def never_called() -> None:
    """Ask for a GPU, because ZeroGPU requires one such function."""


if __name__ == "__main__":
    runpy.run_module("app", run_name="__main__")
