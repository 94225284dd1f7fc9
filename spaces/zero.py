"""The page as a Space on ZeroGPU, which takes no Space in which no function asks for a GPU.

None of this page's does, for its network answers a photo in milliseconds on the CPU. So there is
one that nobody calls, and no visitor's share of the GPUs is ever used.
"""

import runpy

import spaces  # before all else, as it demands


@spaces.GPU(duration=1)
def never_called() -> None:
    """Ask for a GPU, as ZeroGPU wants some function to."""


if __name__ == "__main__":
    runpy.run_module("app", run_name="__main__")
