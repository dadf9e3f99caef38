"""`python -m refconv_mm COMMAND ...` and `torchrun -m refconv_mm COMMAND ...`."""

from .commands import main

if __name__ == '__main__':
    main()
