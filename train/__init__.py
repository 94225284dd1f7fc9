from flowers_model import command  # noqa: F401  Ctrl-C is one line from here on
