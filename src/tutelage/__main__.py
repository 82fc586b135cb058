"""``python -m tutelage``, which is also what ``torchrun -m tutelage`` starts."""

from tutelage.cli import main

if __name__ == "__main__":
    main()
